/* cmd_umount.c - vexfs umount: after it returns there is neither a mount nor a process.
 *
 * The daemon's pid is asked for and pinned by a pidfd before the mount goes, so a pid that is reused in between can't be mistaken
 * for it; the daemon then publishes its graphs (up to 5 s) and ends, and the pidfd tells when. */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include "cli/cli.h"

#define GONE_MS      60000
#define BUSY_TRIES   20
#define BUSY_STEP_NS 50000000

/* fusermount3 is setuid root: the only way for other users */
static int by_fusermount(const char *mnt, bool lazy)
{
	int status = 0;
	pid_t p = fork();
	if (p < 0)
		return -errno;
	if (!p) {
		int null = open("/dev/null", O_WRONLY | O_CLOEXEC);
		dup2(null, STDERR_FILENO);
		execlp("fusermount3", "fusermount3", lazy ? "-uz" : "-u", "--", mnt, (char *)NULL);
		_exit(127);
	}
	while (waitpid(p, &status, 0) < 0 && errno == EINTR)
		;
	if (!status)
		return 0;
	if (WIFEXITED(status) && WEXITSTATUS(status) == 127)
		return -ENOENT;
	return -EBUSY;
}

static int detach(const char *mnt, bool lazy)
{
	if (!geteuid()) {
		if (!umount2(mnt, UMOUNT_NOFOLLOW | (lazy ? MNT_DETACH : 0)))
			return 0;
		if (errno != EPERM)
			return -errno;
	}
	return by_fusermount(mnt, lazy);
}

int cmd_umount(int argc, char **argv)
{
	static const struct option longs[] = {{"lazy", no_argument, NULL, 'l'}, {"help", no_argument, NULL, 'h'}, {0}};
	bool lazy = false;
	int o;
	while ((o = getopt_long(argc, argv, "lh", longs, NULL)) != -1) {
		if (o == 'h')
			return cli_usage("umount", true);
		if (o != 'l')
			return cli_usage("umount", false);
		lazy = true;
	}
	if (argc - optind != 1)
		return cli_usage("umount", false);
	const char *abs = NULL;
	const struct cli_mnt *m = cli_mnt_at(argv[optind], &abs);
	if (!abs)
		return cli_err("%s: %s", argv[optind], strerror(errno));
	if (!m)
		return cli_err("nothing is mounted at %s", abs);
	if (!cli_mnt_is_vexfs(m))
		return cli_err("what is mounted at %s is %s, not VexFS", abs, m->type);

	bool dead = access(abs, F_OK) < 0 && errno == ENOTCONN;
	pid_t pid = dead ? 0 : cli_mnt_pid(abs);
	int pidfd = pid ? (int)syscall(SYS_pidfd_open, pid, 0) : -1;
	int rc = detach(abs, lazy || dead);
	/* whoever is just leaving (a shell's prompt, an indexer) gets a moment */
	for (int i = 0; rc == -EBUSY && i < BUSY_TRIES; i++) {
		nanosleep(&(struct timespec){.tv_nsec = BUSY_STEP_NS}, NULL);
		rc = detach(abs, lazy);
	}
	if (rc == -EBUSY)
		rc = cli_err("%s is in use: a program has a file open or its working directory there (fuser -vm %s "
		             "names it); "
		             "`vexfs umount -l` detaches it anyway",
		        abs, abs);
	else if (rc == -ENOENT)
		rc = cli_err("fusermount3 is not installed (package fuse3); only root can unmount without it");
	else if (rc < 0)
		rc = cli_err("cannot unmount %s: %s", abs, strerror(-rc));
	if (rc) {
		if (pidfd >= 0)
			close(pidfd);
		return rc;
	}
	if (pidfd >= 0 && !lazy) {
		struct pollfd p = {.fd = pidfd, .events = POLLIN};
		int n;
		do
			n = poll(&p, 1, GONE_MS);
		while (n < 0 && errno == EINTR);
		if (n == 0)
			rc = cli_err("%s is unmounted, but process %d is still closing its store after %d s", abs,
			        (int)pid, GONE_MS / 1000);
	}
	if (pidfd >= 0)
		close(pidfd);
	return rc;
}
