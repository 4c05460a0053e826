/* cmd_umount.c - vexfs umount: after it returns there is neither a mount nor a process.
 *
 * The daemon's pid is asked for and pinned by a pidfd before the mount goes, so a pid that is reused in between can't be mistaken
 * for it; the daemon then publishes its graphs (up to 5 s) and ends, and the pidfd tells when.
 *
 * A process that made a mount namespace of its own (a container, `unshare -m`) took a copy of every mount with it, and the connection lives
 * as long as the last copy.  The command is asked for the end of the process, so the daemon is then told to end. */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include "cli/cli.h"

#define GONE_MS       60000
#define HELD_MS       1000
#define FUSECTL_MAGIC 0x65735543 /* linux/magic.h: FUSE_CTL_SUPER_MAGIC, in newer headers */
#define CLOSING_MS    8000 /* publishing takes 5 s at most */
#define BUSY_TRIES    20
#define BUSY_STEP_NS  50000000

/* fusermount3 is setuid root: the only way for other users. -ENOENT: not installed, -ENOTDIR: it has no /etc/mtab to read */
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
	return access("/etc/mtab", F_OK) ? -ENOTDIR : -EBUSY;
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

static bool ended(int pidfd, int ms)
{
	struct pollfd p = {.fd = pidfd, .events = POLLIN};
	int n;
	do
		n = poll(&p, 1, ms);
	while (n < 0 && errno == EINTR);
	return n != 0;
}

/* does the kernel still serve the connection of that device, though nothing is mounted here?  -ENOENT: it can't be asked */
static int held_elsewhere(dev_t dev)
{
	char path[64];
	struct statfs sf;
	if (!dev || statfs("/sys/fs/fuse/connections", &sf) || sf.f_type != FUSECTL_MAGIC)
		return -ENOENT;
	snprintf(path, sizeof path, "/sys/fs/fuse/connections/%u", minor(dev));
	return !access(path, F_OK);
}

/* 0: the daemon is gone. What it writes at its end may take a while; what holds it open elsewhere is not waited for */
static int wait_gone(const char *abs, dev_t dev, int pidfd, pid_t pid)
{
	if (ended(pidfd, HELD_MS))
		return 0;
	int held = held_elsewhere(dev);
	if (held < 0 && ended(pidfd, CLOSING_MS))
		return 0;
	if (held && !syscall(SYS_pidfd_send_signal, pidfd, SIGTERM, NULL, 0))
		fprintf(stderr,
		        "vexfs: %s is unmounted here, but something still has it (another mount namespace?); process "
		        "%d is "
		        "told to end\n",
		        abs, (int)pid);
	if (ended(pidfd, GONE_MS))
		return 0;
	return cli_err(
	        "%s is unmounted, but process %d is still closing its store after %d s", abs, (int)pid, GONE_MS / 1000);
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
	struct stat st;
	dev_t dev = !dead && !stat(abs, &st) ? st.st_dev : 0;
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
	else if (rc == -ENOTDIR)
		rc = cli_err("fusermount3 wants /etc/mtab, which is not there: ln -s /proc/self/mounts /etc/mtab");
	else if (rc < 0)
		rc = cli_err("cannot unmount %s: %s", abs, strerror(-rc));
	if (rc) {
		if (pidfd >= 0)
			close(pidfd);
		return rc;
	}
	if (pidfd >= 0 && !lazy)
		rc = wait_gone(abs, dev, pidfd, pid);
	if (pidfd >= 0)
		close(pidfd);
	return rc;
}
