/* mini_mount.c - the file half of the mount alone: DIR at MNT in the foreground, no engine.  For conformance runs and for finding out
 * on which side of the engine a fault lies.  Usage: mini_mount DIR MNT [option,...]; timeout=SECONDS sets both timeouts. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>
#include "base/log.h"
#include "base/thread.h"
#include "fs/transport.h"

static struct transport *the_t;
static void on_signal(int sig)
{
	(void)sig;
	transport_stop(the_t);
}

int main(int argc, char **argv)
{
	static char real[4096], opts[1024];
	struct rlimit rl;
	if (argc < 3) {
		fprintf(stderr, "usage: mini_mount DIR MNT [OPTIONS]\n");
		return 2;
	}
	struct fs_cfg cfg = {.entry_timeout = 1, .attr_timeout = 1, .owner_uid = geteuid(), .owner_gid = getegid()};
	struct transport_cfg tc = {.custom_fd = -1, .mnt = argv[2], .fsname = argv[1]};
	if (argc > 3)
		for (char *o = strtok(argv[3], ","); o; o = strtok(NULL, ",")) {
			if (!strcmp(o, "allow_other"))
				tc.allow_other = cfg.allow_other = true;
			else if (!strcmp(o, "debug"))
				tc.debug = true;
			else if (!strncmp(o, "timeout=", 8))
				cfg.entry_timeout = cfg.attr_timeout = atof(o + 8);
			else if (!strcmp(o, "noatime")) {
				cfg.noatime = true;
				strcat(opts, *opts ? ",noatime" : "noatime");
			} else if (!strncmp(o, "transport=", 10))
				tc.want = o + 10;
			else if (!strncmp(o, "workers=", 8))
				tc.workers = (unsigned)atoi(o + 8);
			else {
				if (*opts)
					strcat(opts, ",");
				strncat(opts, o, sizeof opts - strlen(opts) - 2);
			}
		}
	tc.subtype_opts = opts;
	log_to_stderr();
	if (!getrlimit(RLIMIT_NOFILE, &rl)) {
		rl.rlim_cur = rl.rlim_max;
		(void)setrlimit(RLIMIT_NOFILE, &rl); /* fewer fds then: the cache sizes itself by what there is */
	}
	int root = open(argv[1], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (root < 0 || !realpath(argv[1], real)) {
		perror(argv[1]);
		return 1;
	}
	cfg.dir = real;
	cfg.mnt = argv[2];
	struct fs *f;
	struct vx_errinfo err = {0};
	int rc = fs_new(&cfg, root, NULL, &f);
	if (rc >= 0)
		rc = transport_new(f, &tc, &the_t, &err);
	if (rc < 0) {
		fprintf(stderr, "mini_mount: %s (%s)\n", err.detail, err_text(rc));
		return 1;
	}
	signal(SIGTERM, on_signal);
	signal(SIGINT, on_signal);
	rc = transport_start(the_t);
	if (rc >= 0)
		rc = transport_wait(the_t);
	if (getenv("MINI_STATS"))
		for (unsigned op = 0; op < PERF_OP_N; op++) {
			struct perf_stat ps;
			perf_read(op, &ps);
			if (ps.count)
				fprintf(stderr, "%-16s n %8llu  p50 %7llu ns  p99 %8llu ns  stack %5u\n",
				        perf_op_name(op), (unsigned long long)ps.count, (unsigned long long)ps.p50_ns,
				        (unsigned long long)ps.p99_ns, stack_op_high_all(op));
		}
	transport_free(the_t);
	fs_free(f);
	close(root);
	if (getenv("MINI_STATS"))
		for (unsigned g = 0; g < MEM_TAG_N; g++)
			if (mem_used(g))
				fprintf(stderr, "mem %s: %llu bytes left\n", mem_tag_name(g),
				        (unsigned long long)mem_used(g));
	return rc < 0;
}
