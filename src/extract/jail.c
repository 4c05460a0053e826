/* jail.c - the sandbox: resource limits, no new privileges, and a system call filter that leaves memory, reading fd 0, writing fd 1 and
 * exiting.  What libraries ask for out of habit (files, their own limits, time zones) gets EACCES, so they go on without; everything else
 * ends the process.  The filter is plain BPF (Documentation/userspace-api/seccomp_filter.rst), checked for the architecture first. */
#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include "extract/extract.h"

#if defined(__x86_64__)
#define JAIL_ARCH AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define JAIL_ARCH AUDIT_ARCH_AARCH64
#endif

bool jail_limits(uint64_t mem_bytes, unsigned cpu_s)
{
	struct rlimit mem = {mem_bytes, mem_bytes}, cpu = {cpu_s, cpu_s + 1}, none = {0, 0}, few = {16, 16};
	return !setrlimit(RLIMIT_AS, &mem) && !setrlimit(RLIMIT_CPU, &cpu) && !setrlimit(RLIMIT_CORE, &none) &&
	       !setrlimit(RLIMIT_FSIZE, &none) && !setrlimit(RLIMIT_NOFILE, &few) &&
	       !prctl(PR_SET_PDEATHSIG, SIGKILL) && !prctl(PR_SET_DUMPABLE, 0);
}

#ifdef JAIL_ARCH
#define ALLOW(call) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (call), 0, 1), BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)
#define DENY(call)                                                                                                     \
	BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (call), 0, 1), BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EACCES)
#define LOAD(field) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, field))
/* an argument's low half: little-endian */
#define LOAD_ARG(i) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args) + 8 * (i))
/* memory, but never executable */
#define ALLOW_NO_EXEC(call)                                                                                            \
	BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (call), 0, 4), LOAD_ARG(2),                                                \
	        BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, PROT_EXEC, 1, 0), BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),   \
	        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EACCES)
/* one file descriptor only */
#define ALLOW_FD(call, fd)                                                                                             \
	BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (call), 0, 4), LOAD_ARG(0),                                                \
	        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (fd), 0, 1), BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),         \
	        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EACCES)

bool jail_enter(void)
{
	static struct sock_filter f[] = {
	        LOAD(arch),
	        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, JAIL_ARCH, 1, 0),
	        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
	        LOAD(nr),
	        ALLOW_FD(SYS_write, 1),
	        ALLOW_FD(SYS_read, 0),
	        ALLOW_NO_EXEC(SYS_mmap),
	        ALLOW_NO_EXEC(SYS_mprotect),
	        ALLOW(SYS_munmap),
	        ALLOW(SYS_mremap),
	        ALLOW(SYS_brk),
	        ALLOW(SYS_madvise),
	        ALLOW(SYS_futex),
	        ALLOW(SYS_exit_group),
	        ALLOW(SYS_exit),
	        ALLOW(SYS_rt_sigreturn),
	        ALLOW(SYS_rt_sigprocmask),
	        ALLOW(SYS_clock_gettime),
	        ALLOW(SYS_gettimeofday),
	        ALLOW(SYS_getrandom),
	        ALLOW(SYS_sched_yield),
	        ALLOW(SYS_getpid),
	        ALLOW(SYS_gettid),
	        ALLOW(SYS_close),
	        /* abort() raises its signal by this; it may hit nobody but us: the process table is ours alone to signal under no privileges */
	        ALLOW(SYS_rt_sigaction),
	        DENY(SYS_tgkill),
	        DENY(SYS_openat),
#ifdef SYS_open
	        DENY(SYS_open),
	        DENY(SYS_stat),
	        DENY(SYS_lstat),
	        DENY(SYS_access),
	        DENY(SYS_readlink),
	        DENY(SYS_time),
	        DENY(SYS_getrlimit),
#endif
	        DENY(SYS_newfstatat),
	        DENY(SYS_statx),
	        DENY(SYS_fstat),
	        DENY(SYS_faccessat),
	        DENY(SYS_faccessat2),
	        DENY(SYS_readlinkat),
	        DENY(SYS_lseek),
	        DENY(SYS_ioctl),
	        DENY(SYS_fcntl),
	        DENY(SYS_getcwd),
	        DENY(SYS_uname),
	        DENY(SYS_sysinfo),
	        DENY(SYS_prlimit64),
	        DENY(SYS_getrusage),
	        DENY(SYS_sched_getaffinity),
	        DENY(SYS_geteuid),
	        DENY(SYS_getuid),
	        DENY(SYS_getgid),
	        DENY(SYS_getegid),
	        DENY(SYS_clone3),
	        DENY(SYS_clone),
	        DENY(SYS_socket),
	        DENY(SYS_prctl),
	        DENY(SYS_membarrier),
	        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
	};
	struct sock_fprog prog = {.len = sizeof f / sizeof *f, .filter = f};
	return !prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) && !prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog, 0, 0);
}
#else
bool jail_enter(void)
{
	return false; /* no filter for this machine: nothing is parsed without one */
}
#endif
