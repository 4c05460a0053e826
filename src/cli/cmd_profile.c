/* cmd_profile.c - vexfs profile: the tables of the report this project implements, with values measured here and now.
 *
 * On a directory: a scratch directory inside it becomes DIR and MNT of mounts of our own.  First the engine runs in this process (the
 * direct path); then the same store is mounted with components none, store, search and all, and each time every kind of operation
 * is done often enough to be sampled by the stack monitor, memory is read at each stage and calls are timed.  On a mount: what that mount
 * can tell of itself, and the timings through it.  Nothing of the user's is touched, and everything made is taken away.
 *
 * The comparison is with a direct call of the engine in the same process, for there is no loadable kernel peer.  What a machine or a way of
 * calling can't give is said so in its place. */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>
#include "base/conf.h"
#include "base/log.h"
#include "cli/profile.h"

#define STACK_TIMES 300u /* of each operation: the first 256 are all sampled */
#define FILES       STACK_TIMES
#define WORD_TIMES  60u /* a search by words in a directory is long and its stack one of the shallow ones */

static const char *const ways[] = {"none", "store", "search", "all"};

/* ---- running ourselves ------------------------------------------------------------------------------------------------------------- */

static int run_self(const char *const argv[])
{
	pid_t pid = fork();
	if (pid < 0)
		return -errno;
	if (!pid) {
		execv("/proc/self/exe", (char *const *)(uintptr_t)argv);
		_exit(127);
	}
	int status;
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return -errno;
	return WIFEXITED(status) && !WEXITSTATUS(status) ? 0 : -EIO;
}

static int mount_at(struct profile *p, const char *way)
{
	const char *const argv[] = {"vexfs", "mount", p->dir, p->mnt, "--model", "none", "-o",
	        cli_fmt("components=%s", way), NULL}; /* what `model use` chose is not what is measured */
	p->mounted = !run_self(argv);
	measure_watch(p->mounted ? cli_mnt_pid(p->mnt) : 0);
	return p->mounted ? 0 : -EIO;
}
static void umount_at(struct profile *p)
{
	const char *const argv[] = {"vexfs", "umount", p->mnt, NULL};
	if (p->mounted && run_self(argv))
		umount2(p->mnt, MNT_DETACH); /* as a last resort: not root is told by the umount above */
	p->mounted = false;
}

/* ---- the direct path ----------------------------------------------------------------------------------------------------------------- */

static int alloc_op(void *u, uint64_t i)
{
	(void)u; /* no state */
	for (int k = 0; k < 100; k++) {
		void *m = mem_alloc(MEM_cli, 64 + (i + (uint64_t)k) % 4096);
		if (!m)
			return -ENOMEM;
		mem_free(MEM_cli, m);
	}
	return 0;
}
static int pool_op(void *u, uint64_t i)
{
	struct pool *pool = u;
	(void)i; /* each is like the last */
	for (int k = 0; k < 100; k++) {
		void *m = pool_get(pool);
		if (!m)
			return -ENOMEM;
		pool_put(pool, m);
	}
	return 0;
}

static void histogram(struct measure *m, const char *name, enum perf_op op)
{
	struct perf_stat s;
	perf_read(op, &s);
	*m = (struct measure){.name = name,
	        .n = s.count,
	        .p50_ns = s.p50_ns,
	        .p90_ns = s.p90_ns,
	        .p99_ns = s.p99_ns,
	        .max_ns = s.max_ns};
	if (s.count) {
		m->mean_ns = (double)s.sum_ns / (double)s.count;
		m->per_s = 1e9 / m->mean_ns;
	}
}

static int direct(struct profile *p)
{
	struct engine *e = NULL;
	struct pool pool;
	int root = open(p->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (root < 0)
		return -errno;
	const struct eng_cfg cfg = {.os = os_real(),
	        .root_fd = root,
	        .dir = p->dir,
	        .components = ENG_search,
	        .owner_uid = (uint32_t)getuid(),
	        .transport = "none",
	        .version = VEXFS_VERSION_TEXT};
	int rc = eng_new(&cfg, &e);
	if (rc >= 0)
		rc = eng_start(e);
	p->to.e = e;
	p->to.root_fd = -1;
	if (rc >= 0)
		rc = measure_create(&p->to);
	if (rc >= 0)
		rc = measure_fill(&p->to);
	if (rc >= 0) {
		measure_run(&p->direct[PT_put], "vector store", p->seconds, UINT64_MAX, measure_put, &p->to);
		rc = measure_flush(&p->to);
	}
	if (rc >= 0) {
		measure_run(&p->direct[PT_warm], "", 0.3, UINT64_MAX, measure_search, &p->to);
		perf_reset();
		measure_run(&p->direct[PT_search], "vector search", p->seconds, UINT64_MAX, measure_search, &p->to);
		histogram(&p->direct[PT_hnsw], "HNSW traversal", PERF_hnsw_search);
		measure_run(&p->alloc, "allocation (mem_alloc, mem_free) x 100", p->seconds / 4, UINT64_MAX, alloc_op,
		        NULL);
		if (pool_init(&pool, MEM_cli, 512, 64) >= 0) {
			measure_run(&p->pool, "pool (get, put) x 100", p->seconds / 4, UINT64_MAX, pool_op, &pool);
			pool_done(&pool);
		}
	}
	if (e) {
		eng_stop(e);
		eng_free(e);
	}
	p->to.e = NULL;
	close(root);
	return rc;
}

/* ---- through a mount ----------------------------------------------------------------------------------------------------------------- */

static json_t *status_of(const char *mnt)
{
	size_t n;
	char *t = cli_read_small(cli_fmt("%s/.vexfs/status", mnt), 64u << 20, &n);
	return t ? json_loadb(t, n, 0, NULL) : NULL;
}

static void stage(struct profile *p, const char *way, const char *what)
{
	json_t *j = status_of(p->mnt), *m = json_object_get(j, "memory");
	if (m && p->stage_n < PROFILE_STAGES)
		p->stage[p->stage_n++] = (struct profile_stage){.way = way,
		        .what = what,
		        .rss = (uint64_t)json_integer_value(json_object_get(m, "rss")),
		        .vsz = (uint64_t)json_integer_value(json_object_get(m, "vsz")),
		        .heap = (uint64_t)json_integer_value(json_object_get(m, "heap"))};
	json_decref(j);
}

/* the deepest of each operation; FUSE threads and, apart, hnsw_search wherever it ran */
static void stacks(struct profile *p, unsigned way)
{
	json_t *j = status_of(p->mnt), *s;
	size_t i;
	json_array_foreach(json_object_get(j, "stack"), i, s)
	{
		const char *th = json_string_value(json_object_get(s, "thread")),
		           *op = json_string_value(json_object_get(s, "operation"));
		uint32_t bytes = (uint32_t)json_integer_value(json_object_get(s, "bytes"));
		if (!th || !op)
			continue;
		if (!strcmp(op, "hnsw_search") && bytes > p->hnsw_stack)
			p->hnsw_stack = bytes;
		if (!strncmp(th, "vx-", 3) || !strncmp(op, "hnsw", 4) || !strncmp(op, "flat", 4))
			continue;
		struct profile_mark *m = NULL;
		for (unsigned k = 0; k < p->mark_n && !m; k++)
			if (!strcmp(p->mark[k].op, op))
				m = &p->mark[k];
		if (!m && p->mark_n < PROFILE_OPS) {
			m = &p->mark[p->mark_n++];
			snprintf(m->op, sizeof m->op, "%s", op);
		}
		if (m && bytes > m->bytes[way])
			m->bytes[way] = bytes;
	}
	json_decref(j);
}

static void many(int (*op)(void *u, uint64_t i), void *u)
{
	for (uint64_t i = 0, n = op == measure_file_words ? WORD_TIMES : STACK_TIMES; i < n; i++)
		if (op(u, i) < 0)
			break;
}

static int links_op(void *u, uint64_t i)
{
	struct measure_files *f = u;
	char a[32];
	snprintf(a, sizeof a, "l%llu", (unsigned long long)i);
	if (symlinkat("f000001", f->dir_fd, a) || readlinkat(f->dir_fd, a, (char[64]){0}, 64) < 0 ||
	        unlinkat(f->dir_fd, a, 0) || linkat(f->dir_fd, "f000001", f->dir_fd, a, 0) ||
	        fchmodat(f->dir_fd, a, 0640, 0) || unlinkat(f->dir_fd, a, 0) || mkdirat(f->dir_fd, a, 0755) ||
	        unlinkat(f->dir_fd, a, AT_REMOVEDIR))
		return -errno;
	return 0;
}
static int own_xattr_op(void *u, uint64_t i)
{
	struct measure_files *f = u;
	static char path[4096], list[4096]; /* one client */
	snprintf(path, sizeof path, "%s/%s/f%06llu", f->mnt, f->dir, (unsigned long long)i % f->n);
	if (setxattr(path, "user.mine", "x", 1, 0) || getxattr(path, "user.mine", list, 16) < 0 ||
	        listxattr(path, list, sizeof list) < 0 || removexattr(path, "user.mine"))
		return -errno;
	return 0;
}

static void file_work(struct measure_files *f)
{
	many(measure_file_create, f);
	many(measure_file_read, f);
	many(measure_file_stat, f);
	many(measure_file_rename, f);
	many(links_op, f);
	many(own_xattr_op, f);
	for (uint64_t i = 0; i < 40; i++)
		if (measure_file_list(f, i) < 0)
			break;
}

static void timed(struct profile *p)
{
	struct measure_files *f = &p->files;
	measure_run(&p->fuse[PT_put], "vector store", p->seconds, UINT64_MAX, measure_put, &p->to);
	(void)measure_flush(&p->to); /* what the next figures are taken on; a failure shows in them */
	measure_run(&p->fuse[PT_warm], "", 0.3, UINT64_MAX, measure_search, &p->to);
	struct measure *reset = &p->fuse[PT_warm];
	const char *ctl = cli_fmt("%s/.vexfs/ctl", p->mnt);
	int fd = open(ctl, O_RDWR | O_CLOEXEC);
	if (fd < 0 || write(fd, "stats_reset", 11) != 11)
		reset->why = "statistics could not be reset";
	if (fd >= 0)
		close(fd);
	measure_run(&p->fuse[PT_search], "vector search", p->seconds, UINT64_MAX, measure_search, &p->to);
	profile_stats(p);
	measure_run(&p->fuse[PT_create], "file create 4 KiB", p->seconds / 2, FILES, measure_file_create, f);
	measure_run(&p->fuse[PT_read], "file read 4 KiB", p->seconds / 2, UINT64_MAX, measure_file_read, f);
	measure_run(&p->fuse[PT_stat], "file stat", p->seconds / 2, UINT64_MAX, measure_file_stat, f);
	measure_run(&p->fuse[PT_words], "search by words", p->seconds / 2, UINT64_MAX, measure_file_words, f);
}

static int open_files(struct profile *p, const char *name)
{
	p->to.root_fd = open(p->mnt, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (p->to.root_fd < 0)
		return -errno;
	if (mkdirat(p->to.root_fd, name, 0755) && errno != EEXIST)
		return -errno;
	p->files = (struct measure_files){.mnt = p->mnt, .dir = name, .to = &p->to};
	p->files.dir_fd = openat(p->to.root_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return p->files.dir_fd < 0 ? -errno : 0;
}
static void close_files(struct profile *p)
{
	if (p->files.dir_fd > 0)
		close(p->files.dir_fd);
	if (p->to.root_fd >= 0)
		close(p->to.root_fd);
	p->files.dir_fd = 0;
	p->to.root_fd = -1;
}

static int one_way(struct profile *p, unsigned way)
{
	cli_note("components=%s", ways[way]);
	int rc = mount_at(p, ways[way]);
	if (rc >= 0)
		rc = open_files(p, "profiled");
	if (rc < 0)
		return rc;
	stage(p, ways[way], "mounted");
	file_work(&p->files);
	stage(p, ways[way], "after file operations");
	if (way >= 1) {
		many(measure_file_vector, &p->files);
		many(measure_file_vector_get, &p->files);
		many(measure_put, &p->to);
		stage(p, ways[way], "after vector stores");
	}
	if (way == 3) { /* the figures that have a limit are of a collection of just so many vectors */
		rc = measure_drop(&p->to);
		rc = rc < 0 ? rc : measure_create(&p->to);
		rc = rc < 0 ? rc : measure_fill(&p->to);
		stage(p, ways[way], "collection made anew");
	}
	if (way >= 2 && rc >= 0) {
		(void)measure_flush(&p->to); /* as in timed() */
		many(measure_search, &p->to);
		many(measure_exact, &p->to);
		many(measure_file_similar, &p->files);
		stage(p, ways[way], "after searches");
		p->limited = p->stage_n - 1;
	}
	if (way == 3 && rc >= 0) {
		many(measure_file_words, &p->files);
		timed(p);
		stage(p, ways[way], "after everything");
	}
	stacks(p, way);
	close_files(p);
	umount_at(p);
	return rc;
}

/* ---- the command ------------------------------------------------------------------------------------------------------------------------- */

static int rm_tree(const char *path)
{
	pid_t pid = fork();
	if (!pid) {
		execlp("rm", "rm", "-rf", "--one-file-system", "--", path, (char *)NULL);
		_exit(127);
	}
	return pid < 0 || waitpid(pid, NULL, 0) < 0 ? -errno : 0;
}

static int on_directory(struct profile *p, const char *at)
{
	char *base = cli_fmt("%s/.vexfs-profile-XXXXXX", at);
	if (!mkdtemp(base))
		return cli_err("%s: %s", at, strerror(errno));
	p->dir = cli_fmt("%s/dir", base);
	p->mnt = cli_fmt("%s/mnt", base);
	int rc = mkdir(p->dir, 0755) || mkdir(p->mnt, 0755) ? -errno : 0;
	if (rc >= 0) {
		cli_note("direct calls, %u vectors of %u dimensions", p->to.points, p->to.dim);
		rc = direct(p);
	}
	for (unsigned way = 0; way < 4 && rc >= 0; way++)
		rc = one_way(p, way);
	close_files(p);
	umount_at(p);
	rm_tree(base);
	return rc < 0 ? cli_err("%s", rc <= -VX_ERR_BASE ? err_text(rc) : strerror(-rc)) : CLI_OK;
}

static int on_mount(struct profile *p)
{
	const char *name = cli_fmt("vexfs-profile-%d", (int)getpid());
	p->live = true;
	int rc = open_files(p, name);
	if (rc >= 0)
		rc = measure_create(&p->to);
	stage(p, "all", "before");
	if (rc >= 0) {
		file_work(&p->files);
		rc = measure_fill(&p->to);
	}
	if (rc >= 0) {
		many(measure_file_vector, &p->files);
		many(measure_file_similar, &p->files);
		stage(p, "all", "after searches");
		p->limited = p->stage_n - 1;
		timed(p);
		stage(p, "all", "after everything");
		stacks(p, 3);
	}
	if (p->files.dir_fd > 0) {
		measure_files_remove(&p->files);
		unlinkat(p->to.root_fd, name, AT_REMOVEDIR);
		(void)measure_drop(&p->to); /* there may be none */
	}
	close_files(p);
	return rc < 0 ? cli_err("%s", rc <= -VX_ERR_BASE ? err_text(rc) : strerror(-rc)) : CLI_OK;
}

int cmd_profile(int argc, char **argv)
{
	static const struct option longs[] = {{"seconds", required_argument, NULL, 's'},
	        {"points", required_argument, NULL, 'n'}, {"dim", required_argument, NULL, 'd'},
	        {"csv", no_argument, NULL, 'c'}, {"svg", required_argument, NULL, 'v'},
	        {"help", no_argument, NULL, 'h'}, {0}};
	static struct profile p = {.seconds = 2};
	uint64_t points = 10000, dim = 384;
	const char *svg = NULL;
	bool csv = false;
	int o;
	while ((o = getopt_long(argc, argv, "hn:", longs, NULL)) != -1) {
		if (o == 'h')
			return cli_usage("profile", true);
		if (o == 'c')
			csv = true;
		else if (o == 'v')
			svg = optarg;
		else if (o == 's'   ? !cli_f64(optarg, "--seconds", &p.seconds)
		         : o == 'n' ? !cli_u64(optarg, "--points", 100, CONF_ROWS_MAX, &points)
		         : o == 'd' ? !cli_u64(optarg, "--dim", 1, 2048, &dim)
		                    : true)
			return o == '?' ? cli_usage("profile", false) : CLI_ERROR;
	}
	if (argc - optind != 1)
		return cli_usage("profile", false);
	const char *at = cli_realpath(argv[optind]), *abs = NULL;
	if (!at)
		return cli_err("%s: %s", argv[optind], strerror(errno));
	if (measure_to_init(&p.to, cli_fmt("profile-%d", (int)getpid()), (uint32_t)dim, 10, (uint32_t)points) < 0)
		return cli_err("no memory");
	const struct cli_mnt *m = cli_mnt_at(at, &abs);
	measure_watch(m && cli_mnt_is_vexfs(m) ? cli_mnt_pid(at) : 0);
	log_to_stderr();
	log_level_set(LOGL_error);
	p.mnt = at;
	int rc = m && cli_mnt_is_vexfs(m) ? on_mount(&p) : on_directory(&p, at);
	if (rc == CLI_OK) {
		if (csv)
			profile_csv(&p);
		else
			profile_markdown(&p);
		if (svg && profile_svg(&p, svg) < 0)
			rc = cli_err("%s: %s", svg, strerror(errno));
	}
	measure_to_done(&p.to);
	return rc;
}
