/* guard.c - the SIGBUS handler and its table of maps.
 *
 * The table is fixed and its entries are atomics, since the handler may run at any instruction of any thread, the adding one too.  An
 * entry is live while its `n` is not 0: `n` is stored last when added and cleared first when removed.  The handler calls only mmap
 * (a plain system call) and runs on the thread's signal stack (base/thread.c). */
#include "base/guard.h"
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

struct entry {
	_Atomic uintptr_t base;
	_Atomic size_t n;
	_Atomic(_Atomic uint32_t *) bad;
	_Atomic uint32_t bits;
	_Atomic int prot;
};
static struct entry table[GUARD_MAPS_MAX];
static _Atomic uint32_t table_high;
static _Atomic uint64_t hits;
static _Atomic size_t page_bytes; /* sysconf is not for signal handlers */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* guards adding, removing and `installed` */
static bool installed;

static bool cover(uintptr_t at)
{
	uint32_t high = atomic_load(&table_high);
	for (uint32_t i = 0; i < high; i++) {
		struct entry *e = &table[i];
		size_t n = atomic_load(&e->n);
		uintptr_t base = atomic_load(&e->base);
		if (!n || at < base || at - base >= n)
			continue;
		void *page = (void *)(at & ~(atomic_load(&page_bytes) - 1));
		if (mmap(page, atomic_load(&page_bytes), atomic_load(&e->prot), MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED,
		            -1, 0) == MAP_FAILED)
			return false;
		atomic_fetch_or(atomic_load(&e->bad), atomic_load(&e->bits));
		atomic_fetch_add(&hits, 1);
		return true;
	}
	return false;
}

static void on_sigbus(int sig, siginfo_t *si, void *ctx)
{
	int keep = errno;
	bool fault = si->si_code > 0; /* from the kernel for an address, not sent by kill() */
	if (!fault || !cover((uintptr_t)si->si_addr)) {
		struct sigaction dfl = {.sa_handler = SIG_DFL};
		(void)sigaction(SIGBUS, &dfl, NULL); /* cannot fail for these arguments */
		if (!fault)
			(void)raise(SIGBUS); /* pending until the handler returns */
	}
	errno = keep;
}

static int install(void)
{
	struct sigaction sa = {.sa_sigaction = on_sigbus, .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_RESTART};
	if (installed)
		return 0;
	atomic_store(&page_bytes, (size_t)sysconf(_SC_PAGESIZE));
	sigemptyset(&sa.sa_mask);
	if (sigaction(SIGBUS, &sa, NULL))
		return -errno;
	installed = true;
	return 0;
}

int guard_add(const void *p, size_t n, _Atomic uint32_t *bad, uint32_t bits, bool writable)
{
	pthread_mutex_lock(&lock);
	int rc = install();
	if (!rc)
		rc = -ENOSPC;
	for (uint32_t i = 0; rc == -ENOSPC && i < GUARD_MAPS_MAX; i++) {
		struct entry *e = &table[i];
		if (atomic_load(&e->n))
			continue;
		atomic_store(&e->base, (uintptr_t)p);
		atomic_store(&e->bad, bad);
		atomic_store(&e->bits, bits);
		atomic_store(&e->prot, writable ? PROT_READ | PROT_WRITE : PROT_READ);
		atomic_store(&e->n, n);
		if (i >= atomic_load(&table_high))
			atomic_store(&table_high, i + 1);
		rc = 0;
	}
	pthread_mutex_unlock(&lock);
	return rc;
}

void guard_del(const void *p)
{
	pthread_mutex_lock(&lock);
	for (uint32_t i = 0; i < atomic_load(&table_high); i++)
		if (atomic_load(&table[i].n) && atomic_load(&table[i].base) == (uintptr_t)p)
			atomic_store(&table[i].n, 0);
	pthread_mutex_unlock(&lock);
}

void guard_trim(void)
{
	pthread_mutex_lock(&lock); /* what is unmapped is taken off the table first */
	for (uint32_t i = 0; i < atomic_load(&table_high); i++) {
		size_t n = atomic_load(&table[i].n);
		if (n && !(atomic_load(&table[i].prot) & PROT_WRITE))
			(void)madvise((void *)atomic_load(&table[i].base), n, MADV_DONTNEED); /* a hint */
	}
	pthread_mutex_unlock(&lock);
}

uint64_t guard_hits(void)
{
	return atomic_load(&hits);
}
