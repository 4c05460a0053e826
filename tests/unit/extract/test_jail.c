/* What is left to a process in the jail: each try runs in a child of its own, whose exit status says what the try gave. */
#include <errno.h>
#include <signal.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include "tap.h"
#include "extract/extract.h"

enum try {
	OPEN,
	SOCKET,
	WRITE_1,
	WRITE_2,
	WRITE_FILE,
	READ_FILE,
	MAP,
	MAP_EXEC,
	PROTECT_EXEC,
	EXEC,
	FORK,
	KILL_PARENT,
	PTRACE,
	SPIN,
	EAT,
	CHDIR
};
#define KILLED 1000

static int attempt(enum try what)
{
	char b[16];
	void *p;
	switch (what) {
	case OPEN:
		return open("/etc/passwd", O_RDONLY) < 0 ? errno : 0;
	case SOCKET:
		return socket(AF_INET, SOCK_STREAM, 0) < 0 ? errno : 0;
	case WRITE_1:
		return write(1, "", 0) < 0 ? errno : 0;
	case WRITE_2:
		return write(2, "", 0) < 0 ? errno : 0;
	case WRITE_FILE:
		return write(7, "x", 1) < 0 ? errno : 0;
	case READ_FILE:
		return read(7, b, sizeof b) < 0 ? errno : 0;
	case MAP:
		p = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		return p == MAP_FAILED ? errno : 0;
	case MAP_EXEC:
		p = mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		return p == MAP_FAILED ? errno : 0;
	case PROTECT_EXEC:
		p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		return mprotect(p, 4096, PROT_READ | PROT_EXEC) ? errno : 0;
	case EXEC:
		execl("/bin/true", "true", (char *)NULL);
		return errno;
	case FORK:
		return fork() < 0 ? errno : 0;
	case KILL_PARENT:
		return kill(getppid(), 0) ? errno : 0;
	case PTRACE:
		return ptrace(PTRACE_TRACEME, 0, NULL, NULL) ? errno : 0;
	case SPIN:
		for (volatile uint64_t i = 0;; i++)
			;
	case EAT:
		for (int i = 0; i < 1000; i++) {
			p = mmap(NULL, 1 << 24, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
			if (p == MAP_FAILED)
				return errno;
		}
		return 0;
	case CHDIR:
		return chdir("/") ? errno : 0;
	}
	return -1;
}

static int outcome(enum try what)
{
	int status, fd = open("/dev/zero", O_RDWR);
	fflush(stdout);
	pid_t pid = fork();
	if (pid == 0) {
		dup2(fd, 7);
		if (!jail_limits(256u << 20, 1))
			_exit(200);
		if (!jail_enter())
			_exit(201);
		_exit(attempt(what));
	}
	close(fd);
	if (waitpid(pid, &status, 0) != pid)
		return -1;
	return WIFSIGNALED(status) ? KILLED + WTERMSIG(status) : WEXITSTATUS(status);
}

int main(void)
{
#if defined(__SANITIZE_ADDRESS__)
	T_SKIP("the address sanitizer cannot live in the jail");
	return tap_done();
#endif
	T_EQ(outcome(OPEN), EACCES, "open a file");
	T_EQ(outcome(SOCKET), EACCES, "open a socket");
	T_EQ(outcome(WRITE_1), 0, "write fd 1");
	T_EQ(outcome(WRITE_2), EACCES, "write fd 2");
	T_EQ(outcome(WRITE_FILE), EACCES, "write an fd that was left open");
	T_EQ(outcome(READ_FILE), EACCES, "read it");
	T_EQ(outcome(MAP), 0, "map memory");
	T_EQ(outcome(MAP_EXEC), EACCES, "map executable memory");
	T_EQ(outcome(PROTECT_EXEC), EACCES, "make memory executable");
	T_EQ(outcome(EXEC), KILLED + SIGSYS, "start a program");
	T_EQ(outcome(FORK), EACCES, "fork");
	T_EQ(outcome(KILL_PARENT), KILLED + SIGSYS, "signal another process");
	T_EQ(outcome(PTRACE), KILLED + SIGSYS, "trace");
	T_EQ(outcome(CHDIR), KILLED + SIGSYS, "change directory");
	T_EQ(outcome(EAT), ENOMEM, "take all memory");
	T_EQ(outcome(SPIN), KILLED + SIGXCPU, "run for ever");
	return tap_done();
}
