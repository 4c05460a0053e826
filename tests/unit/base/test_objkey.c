/* test_objkey.c - a file's key is stable over rename and hard links, differs between files, survives no reuse of the inode number. */
#include "base/objkey.h"
#include "tap.h"
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

/* files come and go for as long as the process lives: the inode numbers of removed ones are given out again */
static pid_t maker(int d)
{
	pid_t pid = fork();
	while (!pid) {
		char name[] = "a";
		for (; *name <= 'p'; ++*name)
			close(openat(d, name, O_CREAT | O_WRONLY, 0600));
		while (--*name >= 'a')
			unlinkat(d, name, 0);
		if (getppid() == 1)
			_exit(0);
	}
	return pid;
}
static void stale_handles(int d)
{
	enum { FILES = 3000, LOOKS = 10 };
	unsigned stale = 0, other = 0;
	int err = 0;
	struct obj_key alive;
	int probe = objkey_at(d, "h", &alive) ? -1 : objkey_open(d, &alive, O_PATH);
	if (probe < 0) {
		T_SKIP("no file can be opened by handle: it needs root and a file system that gives handles");
		return;
	}
	close(probe);
	pid_t made[2] = {maker(d), maker(d)};
	for (int i = 0; i < FILES; i++) {
		struct obj_key k;
		close(openat(d, "stale", O_CREAT | O_WRONLY, 0600));
		int rc = objkey_at(d, "stale", &k);
		unlinkat(d, "stale", 0);
		for (int j = 0; !rc && j < LOOKS; j++) {
			int fd = objkey_open(d, &k, O_PATH);
			if (fd >= 0)
				close(fd);
			stale += fd == -ESTALE;
			other += fd != -ESTALE;
			err = fd != -ESTALE ? fd : err;
		}
	}
	for (int i = 0; i < 2; i++) {
		kill(made[i], SIGKILL);
		waitpid(made[i], NULL, 0);
	}
	for (char name[] = "a"; *name <= 'p'; ++*name)
		unlinkat(d, name, 0);
	T_OK(stale == FILES * LOOKS && !other,
	        "handles of removed files while their inodes are made others': %u of %d stale, else %d", stale,
	        FILES * LOOKS, err);
}

int main(void)
{
	char dir[] = "/tmp/vx-test-key-XXXXXX";
	int d = mkdtemp(dir) ? open(dir, O_RDONLY | O_DIRECTORY) : -1;
	if (d < 0)
		return 99;
	struct obj_key a, b, c;
	memset(&a, 0xee, sizeof a);
	T_EQ(objkey_at(d, "none", &a), -ENOENT, "a missing file");
	T_EQ(a.len, 0xee, "leaves the result alone");
	close(openat(d, "f", O_CREAT | O_WRONLY, 0600));
	close(openat(d, "g", O_CREAT | O_WRONLY, 0600));
	T_OK(objkey_at(d, "f", &a) == 0 && a.len > 0 && a.len <= CONF_KEY_MAX, "a key of %u bytes, type %u", a.len,
	        a.type);
	T_OK(objkey_at(d, "g", &b) == 0 && !objkey_eq(&a, &b), "another file has another");
	renameat(d, "f", d, "h");
	T_OK(objkey_at(d, "h", &b) == 0 && objkey_eq(&a, &b), "stable over rename");
	linkat(d, "h", d, "i", 0);
	T_OK(objkey_at(d, "i", &b) == 0 && objkey_eq(&a, &b), "the same by another link");
	int fd = openat(d, "h", O_RDONLY);
	T_OK(objkey_at(fd, "", &b) == 0 && objkey_eq(&a, &b), "the same by descriptor");
	close(fd);
	fd = openat(d, "h", O_PATH);
	T_OK(objkey_at(fd, "", &b) == 0 && objkey_eq(&a, &b), "and by one without rights");
	close(fd);
	T_EQ(objkey_at(-1, "", &b), -EBADF, "no descriptor");
	T_EQ(symlinkat("h", d, "s"), 0, "a link");
	T_OK(objkey_at(d, "s", &c) == 0 && !objkey_eq(&a, &c), "is not followed");
	T_OK(objkey_at(d, "", &c) == 0 && !objkey_eq(&a, &c), "the directory itself");
	int same = 0, reused = 0;
	for (int i = 0; i < 50; i++) {
		struct stat s0, s1;
		fstatat(d, "g", &s0, 0);
		objkey_at(d, "g", &a);
		unlinkat(d, "g", 0);
		close(openat(d, "g", O_CREAT | O_WRONLY, 0600));
		fstatat(d, "g", &s1, 0);
		objkey_at(d, "g", &b);
		reused += s0.st_ino == s1.st_ino;
		same += objkey_eq(&a, &b);
	}
	T_OK(same == 0, "new files in an old inode's place: %d took an old key (inode number reused %d times)", same,
	        reused);

	stale_handles(d);

	/* a file system without handles, where there is one: /proc has none */
	int p = open("/proc/self/status", O_RDONLY);
	int rc = objkey_at(p, "", &a);
	T_OK(rc == 0 && a.len > 0, "without handles: rc %d, %u bytes, type %#x", rc, a.len, a.type);
	close(p);
	unlinkat(d, "g", 0);
	unlinkat(d, "h", 0);
	unlinkat(d, "i", 0);
	unlinkat(d, "s", 0);
	T_EQ(rmdir(dir), 0, "nothing is left behind");
	return tap_done();
}
