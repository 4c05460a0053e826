/* jail_run.c - the sandbox of external commands.  They are programs of their own that load libraries, read tables and may start others, so the
 * filter of jail.c would end them at once.  What can be taken away: new privileges; writing to files (Landlock and a file size of 0) and
 * reading any but the system's own and the document (Landlock: /usr, /lib*, /bin, /etc, /opt, /proc and a few devices); sockets, tracing,
 * mounting, other processes' memory, namespaces, keys, BPF (a filter that says EPERM); of root's capabilities all but to read the document,
 * whosever it is; more than 1 GiB of memory and the CPU seconds given.  Where the kernel knows no Landlock (before 5.13), the rest
 * stands.  Documentation/userspace-api/landlock.rst */
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/landlock.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "extract/extract.h"

#define RUN_MEM_MAX (1ull << 30)
#define NOT_FOUND   127 /* what a shell says of a command that does not start */

#define READS     (LANDLOCK_ACCESS_FS_EXECUTE | LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR)
#define ALL_OF_V1 ((1ull << 13) - 1)

static bool allow(int rules, const char *path, uint64_t what)
{
	int fd = open(path, O_PATH | O_CLOEXEC); /* rule file-io: a program of its own */
	struct landlock_path_beneath_attr a = {.allowed_access = what, .parent_fd = fd};
	if (fd < 0)
		return true; /* nothing there to be read */
	long rc = syscall(SYS_landlock_add_rule, rules, LANDLOCK_RULE_PATH_BENEATH, &a, 0);
	close(fd);
	return rc == 0;
}

/* false: the kernel can, and it did not work */
static bool landlock(void)
{
	static const char *const readable[] = {"/usr", "/lib", "/lib64", "/bin", "/sbin", "/etc", "/opt", "/proc"};
	static const char *const devices[] = {
	        "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom"}; /* no disk, no memory */
	struct landlock_ruleset_attr attr = {.handled_access_fs = ALL_OF_V1};
	long rules = syscall(SYS_landlock_create_ruleset, &attr, sizeof attr, 0);
	if (rules < 0)
		return errno == ENOSYS || errno == EOPNOTSUPP;
	bool good = true;
	for (size_t i = 0; i < sizeof readable / sizeof *readable; i++)
		good = good && allow((int)rules, readable[i], READS);
	for (size_t i = 0; i < sizeof devices / sizeof *devices; i++)
		good = good && allow((int)rules, devices[i], LANDLOCK_ACCESS_FS_READ_FILE);
	/* the document by name: some know no other way to their standard input */
	(void)allow((int)rules, "/proc/self/fd/0", LANDLOCK_ACCESS_FS_READ_FILE); /* a pipe has no path */
	good = good && allow((int)rules, "/dev/null", LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_WRITE_FILE);
	good = good && !prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) && !syscall(SYS_landlock_restrict_self, rules, 0);
	close((int)rules);
	return good;
}

#if defined(__x86_64__)
#define RUN_ARCH AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define RUN_ARCH AUDIT_ARCH_AARCH64
#endif
#ifdef RUN_ARCH
#define DENY(call)                                                                                                     \
	BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (call), 0, 1), BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM)
#define LOAD(field) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, field))

static bool deny_some(void)
{
	static struct sock_filter f[] = {
	        LOAD(arch),
	        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, RUN_ARCH, 1, 0),
	        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
	        LOAD(nr),
#ifdef __x86_64__
	        /* the x32 numbers of the same calls */
	        BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, 0x40000000u, 0, 1),
	        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
#endif
	        DENY(SYS_socket),
	        DENY(SYS_socketpair),
	        DENY(SYS_connect),
	        DENY(SYS_ptrace),
	        DENY(SYS_process_vm_readv),
	        DENY(SYS_process_vm_writev),
	        DENY(SYS_pidfd_getfd),
	        DENY(SYS_mount),
	        DENY(SYS_umount2),
	        DENY(SYS_move_mount),
	        DENY(SYS_open_tree),
	        DENY(SYS_fsopen),
	        DENY(SYS_pivot_root),
	        DENY(SYS_chroot),
	        DENY(SYS_unshare),
	        DENY(SYS_setns),
	        DENY(SYS_bpf),
	        DENY(SYS_perf_event_open),
	        DENY(SYS_io_uring_setup),
	        DENY(SYS_userfaultfd),
	        DENY(SYS_keyctl),
	        DENY(SYS_add_key),
	        DENY(SYS_request_key),
	        DENY(SYS_kexec_load),
	        DENY(SYS_init_module),
	        DENY(SYS_finit_module),
	        DENY(SYS_delete_module),
	        DENY(SYS_reboot),
	        DENY(SYS_swapon),
	        DENY(SYS_setxattr),
	        DENY(SYS_fsetxattr),
	        DENY(SYS_lsetxattr),
	        DENY(SYS_fchmodat),
	        DENY(SYS_fchownat),
#ifdef SYS_chmod
	        DENY(SYS_chmod),
	        DENY(SYS_chown),
	        DENY(SYS_lchown),
#endif
	        DENY(SYS_fchmod),
	        DENY(SYS_fchown),
	        DENY(SYS_truncate),
	        DENY(SYS_ftruncate),
	        DENY(SYS_utimensat),
	        DENY(SYS_kill),
	        DENY(SYS_tkill),
	        DENY(SYS_pidfd_send_signal),
	        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog prog = {.len = sizeof f / sizeof *f, .filter = f};
	return !prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) && !prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog, 0, 0);
}
#else
static bool deny_some(void)
{
	return false; /* no filter for this machine: no command is run without one */
}
#endif

/* Root's command gets no more of these at its start than are left here.  Whoever is not root has none to drop. */
static bool drop_capabilities(void)
{
	for (unsigned long c = 0; prctl(PR_CAPBSET_READ, c, 0, 0, 0) >= 0; c++)
		if (c != CAP_DAC_OVERRIDE && c != CAP_DAC_READ_SEARCH && prctl(PR_CAPBSET_DROP, c, 0, 0, 0))
			return errno == EPERM;
	return true;
}

int jail_run(unsigned cpu_s, char **argv)
{
	struct rlimit mem = {RUN_MEM_MAX, RUN_MEM_MAX}, cpu = {cpu_s, cpu_s + 1}, none = {0, 0}, files = {64, 64};
	if (setrlimit(RLIMIT_AS, &mem) || setrlimit(RLIMIT_CPU, &cpu) || setrlimit(RLIMIT_CORE, &none) ||
	        setrlimit(RLIMIT_FSIZE, &none) || setrlimit(RLIMIT_NOFILE, &files) ||
	        prctl(PR_SET_PDEATHSIG, SIGKILL) || chdir("/"))
		return NOT_FOUND;
	if (lseek(0, 0, SEEK_SET) < 0 && errno != ESPIPE)
		return NOT_FOUND;
	if (!drop_capabilities() || !landlock() || !deny_some())
		return NOT_FOUND;
	execvp(argv[0], argv);
	return NOT_FOUND;
}
