/* perm.c - may this caller read that file?  The kernel itself is asked, as the caller.
 *
 * A root daemon takes the caller's fsuid, fsgid and supplementary groups on this one thread (the raw system calls: glibc's wrappers
 * change all threads), walks the path from the root directory with faccessat2(AT_EACCESS), so that modes, ACLs, groups and x on
 * every ancestor are judged by the code that will judge the open, and takes its own identity back.  setfsuid away from 0 drops exactly
 * the capabilities that override file permissions (capabilities(7)).
 * A daemon that is not root and serves its own user asks as itself.  One that serves others (allow_other) can't become them: modes are
 * judged here, and a file or directory with an ACL is refused to all but its owner, since the group bits then mean something else.
 * The caller's groups are those of its thread in /proc, read for each request: a process may drop them at any time, and nothing tells.
 * Only the descriptor is kept from one request of a thread to the next (opening costs a third of the reading).  When they can't be read,
 * or belong to another uid by now, uid and gid alone decide. */
#include <fcntl.h>
#include <string.h>
#include <linux/capability.h>
#include <linux/securebits.h>
#include <sys/fsuid.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "engine/engine_priv.h"

#ifndef AT_EACCESS
#define AT_EACCESS 0x200
#endif
#define PROC_STATUS_MAX (1u << 20) /* 65,536 groups are the kernel's limit */

/* the numbers after "Key:" of a /proc status text */
static const char *status_key(const char *p, const char *key)
{
	size_t n = strlen(key);
	while (p && strncmp(p, key, n) != 0) {
		p = strchr(p, '\n');
		p = p ? p + 1 : NULL;
	}
	return p ? p + n : NULL;
}
/* is the line of groups in @t, to its end?  /proc makes the whole text anew for each read of it: once is enough then. */
static bool groups_whole(const char *t)
{
	const char *s = status_key(t, "Groups:");
	return s && strchr(s, '\n');
}
static uint32_t number(const char **p)
{
	uint32_t v = 0;
	while (**p == ' ' || **p == '\t')
		(*p)++;
	while (**p >= '0' && **p <= '9')
		v = v * 10 + (uint32_t)(*(*p)++ - '0');
	return v;
}
/* the status text of a thread, at least to the end of its groups; NULL: it can't be read (any more) */
static char *status_read(struct os *os, int fd, struct arena *a)
{
	size_t cap = 4096, n = 0;
	char *t = arena_alloc(a, cap);
	while (t) {
		ssize_t r = os_pread(os, fd, t + n, cap - 1 - n, (off_t)n);
		if (r <= 0)
			return NULL;
		n += (size_t)r;
		t[n] = 0;
		if (groups_whole(t))
			return t;
		if (n < cap - 1)
			continue;
		char *more = cap * 4 <= PROC_STATUS_MAX ? arena_alloc(a, cap * 4) : NULL;
		if (more)
			memcpy(more, t, n + 1);
		t = more;
		cap *= 4;
	}
	return NULL;
}
static int status_open(struct os *os, uint32_t pid)
{
	char name[40];
	struct sbuf b;
	sbuf_fixed(&b, name, sizeof(name));
	sb_str(&b, "/proc/");
	sb_u64(&b, pid);
	sb_str(&b, "/status");
	return os_openat(os, AT_FDCWD, sbuf_cstr(&b), O_RDONLY | O_CLOEXEC, 0);
}
static void kept_close(struct os *os, uint64_t kept)
{
	if (kept)
		(void)os_close(os, (int)(kept & INT32_MAX)); /* read only */
}
/* Whoever takes a descriptor out of its place has it alone until it is put back.  It stands for that one thread, not for its number: of a
 * thread that has ended nothing can be read, also when its number is another's by now.  The text is made anew at each read. */
static char *status_of(struct engine *e, uint32_t pid, struct arena *a)
{
	_Atomic uint64_t *place = &e->proc_kept[pid % PERM_KEPT];
	uint64_t kept = atomic_exchange(place, 0);
	char *t = NULL;
	if (kept >> 32 == pid)
		t = status_read(e->os, (int)(kept & INT32_MAX), a);
	if (!t) {
		kept_close(e->os, kept);
		int fd = status_open(e->os, pid);
		if (fd < 0)
			return NULL;
		kept = (uint64_t)pid << 32 | (uint32_t)fd;
		t = status_read(e->os, fd, a);
	}
	kept_close(e->os, atomic_exchange(place, kept));
	return t;
}
void perm_done(struct engine *e)
{
	for (unsigned i = 0; i < PERM_KEPT; i++)
		kept_close(e->os, atomic_exchange(&e->proc_kept[i], 0));
}
static void caller_groups(struct perm_as *as, const struct eng_caller *who, struct arena *a)
{
	char *t = status_of(as->e, (uint32_t)who->pid, a);
	if (!t)
		return;
	const char *u = status_key(t, "Uid:"), *g = status_key(t, "Gid:"), *s = status_key(t, "Groups:");
	if (!u || !g || !s)
		return;
	uint32_t uid = 0, gid = 0;
	for (unsigned i = 0; i < 4; i++) { /* real, effective, saved, file system */
		uid = number(&u);
		gid = number(&g);
	}
	if (uid != who->uid || gid != who->gid)
		return; /* the process is another one by now */
	uint32_t *list = arena_alloc(a, (strlen(s) / 2 + 1) * sizeof(*list));
	if (!list)
		return;
	while (*s == ' ' || *s == '\t')
		s++;
	while (*s >= '0' && *s <= '9') {
		list[as->group_n++] = number(&s);
		while (*s == ' ' || *s == '\t')
			s++;
	}
	as->groups = list;
}
/* does the thread still have what overrides file permissions?  Then it must judge for nobody but root. */
static bool overrides_left(uint32_t uid)
{
	struct __user_cap_header_struct h = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct d[2];
	if (!uid)
		return false;
	if (syscall(SYS_capget, &h, d))
		return true;
	return (d[0].effective & (1u << CAP_DAC_OVERRIDE | 1u << CAP_DAC_READ_SEARCH)) != 0;
}
int perm_begin(struct perm_as *as, struct engine *e, const struct eng_caller *who, struct arena *a)
{
	memset(as, 0, sizeof(*as));
	as->e = e;
	as->uid = who->uid;
	as->gid = who->gid;
	if (who->uid == e->euid)
		return 0;
	if (who->pid > 0)
		caller_groups(as, who, a);
	if (!e->root_daemon) {
		as->manual = true;
		return 0;
	}
	/* a thread that makes files as their owner keeps its capabilities over setfsuid (fs.c): for this judging it must not */
	as->secbits = prctl(PR_GET_SECUREBITS);
	if (as->secbits < 0)
		return -errno;
	if (as->secbits & SECBIT_NO_SETUID_FIXUP &&
	        prctl(PR_SET_SECUREBITS, (unsigned long)as->secbits & ~(unsigned long)SECBIT_NO_SETUID_FIXUP))
		return -errno;
	as->on = true;
	long rc = syscall(SYS_setgroups, (size_t)as->group_n, as->groups);
	if (rc < 0) {
		rc = -errno;
		perm_end(as);
		return (int)rc;
	}
	(void)syscall(SYS_setfsgid, as->gid); /* say the former id whatever happens: asked again below */
	(void)syscall(SYS_setfsuid, as->uid);
	if ((uint32_t)syscall(SYS_setfsuid, (uid_t)-1) != as->uid ||
	        (uint32_t)syscall(SYS_setfsgid, (gid_t)-1) != as->gid || overrides_left(as->uid)) {
		perm_end(as);
		return -EPERM;
	}
	return 0;
}
void perm_end(struct perm_as *as)
{
	if (!as->on)
		return;
	as->on = false;
	(void)syscall(SYS_setfsuid, as->e->euid); /* root may always go back; asserted */
	(void)syscall(SYS_setfsgid, getegid());
	if (as->secbits & SECBIT_NO_SETUID_FIXUP) {
		int r = prctl(PR_SET_SECUREBITS, (unsigned long)as->secbits);
		vx_assert(r == 0);
	}
	long rc = syscall(SYS_setgroups, (size_t)as->e->own_group_n, as->e->own_groups);
	vx_assert(rc == 0 && (uint32_t)syscall(SYS_setfsuid, (uid_t)-1) == as->e->euid);
}

/* ---- by hand ---- */
static bool has_acl(struct perm_as *as, const char *path)
{
	int fd = os_openat(as->e->os, as->e->cfg.root_fd, *path ? path : ".", O_PATH | O_NOFOLLOW | O_CLOEXEC, 0);
	if (fd < 0)
		return true;
	char name[40];
	struct sbuf b;
	sbuf_fixed(&b, name, sizeof(name));
	sb_str(&b, "/proc/self/fd/");
	sb_i64(&b, fd);
	bool acl = getxattr(sbuf_cstr(&b), "system.posix_acl_access", NULL, 0) > 0;
	(void)os_close(as->e->os, fd); /* nothing was written */
	return acl;
}
static int mode_allows(struct perm_as *as, const char *path, uint32_t want)
{
	struct stat st;
	int rc = os_fstatat(as->e->os, as->e->cfg.root_fd, path, &st, AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH);
	if (rc < 0)
		return rc;
	if (as->uid == 0)
		return 0;
	uint32_t bits = st.st_mode & 7;
	if (st.st_uid == as->uid) {
		bits = st.st_mode >> 6 & 7;
	} else {
		bool in = st.st_gid == as->gid;
		for (uint32_t i = 0; i < as->group_n && !in; i++)
			in = as->groups[i] == st.st_gid;
		if (has_acl(as, path))
			return -EACCES;
		if (in)
			bits = st.st_mode >> 3 & 7;
	}
	return (bits & want) == want ? 0 : -EACCES;
}
static int manual(struct perm_as *as, const char *path, int mode)
{
	/* a copy to cut: ancestors first, each needs x */
	char *p = mem_alloc(MEM_engine, CONF_PATH_MAX + 1);
	if (!p)
		return -ENOMEM;
	size_t n = strlen(path);
	int rc = n > CONF_PATH_MAX ? -ENAMETOOLONG : *path ? mode_allows(as, "", 1) : 0;
	for (size_t i = 0; i < n && rc >= 0; i++) {
		if (path[i] == '/') {
			memcpy(p, path, i);
			p[i] = 0;
			rc = mode_allows(as, p, 1);
		}
	}
	if (rc >= 0)
		rc = mode_allows(as, path, (uint32_t)mode);
	mem_free(MEM_engine, p);
	return rc;
}
int perm_path(struct perm_as *as, const char *path, int mode)
{
	if (as->manual)
		return manual(as, path, mode);
	int flags = AT_EACCESS | AT_SYMLINK_NOFOLLOW;
	if (syscall(SYS_faccessat2, as->e->cfg.root_fd, *path ? path : ".", mode, flags) == 0)
		return 0;
	return -errno;
}
int perm_check(struct engine *e, const struct eng_caller *who, struct arena *a, const char *path, int mode)
{
	struct perm_as as;
	VX_TRY(perm_begin(&as, e, who, a));
	int rc = perm_path(&as, path, mode);
	perm_end(&as);
	return rc;
}
int eng_access(struct engine *e, const struct eng_caller *who, const char *path, int mode)
{
	struct arena a;
	arena_init(&a, MEM_engine, 4 * PROC_STATUS_MAX);
	int rc = perm_check(e, who, &a, path, mode);
	arena_done(&a);
	return rc;
}
