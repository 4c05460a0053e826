/* faultvfs.h - SQLite's file calls, counted, failed or turned into SIGKILL at a chosen one: the half of a store's I/O that does not
 * go through struct os.  A shim over the default VFS: each file is the real one behind a table of methods that counts first. */
#pragma once
#include <sqlite3.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

enum fv_call { FV_write, FV_sync, FV_truncate, FV_read, FV_open, FV_delete, FV_shm, FV_N };
enum fv_kind { FVK_none, FVK_error, FVK_full, FVK_torn, FVK_kill };

static struct {
	_Atomic uint64_t calls[FV_N];
	uint64_t at[FV_N];
	enum fv_kind kind[FV_N];
	_Atomic uint64_t bytes; /* written */
	bool for_good; /* from `at` on, until reset */
} fv;

struct fv_file {
	sqlite3_file base;
	sqlite3_io_methods own; /* a copy of the real one's with our calls put in */
	sqlite3_file *real;
};
static sqlite3_vfs fv_vfs, *fv_real;

static enum fv_kind fv_step(enum fv_call c)
{
	uint64_t k = atomic_fetch_add(&fv.calls[c], 1) + 1;
	if (!fv.at[c] || k < fv.at[c] || (k > fv.at[c] && !fv.for_good))
		return FVK_none;
	if (fv.kind[c] == FVK_kill) {
		kill(getpid(), SIGKILL);
		for (;;)
			pause();
	}
	return fv.kind[c];
}
#define R(f) (((struct fv_file *)(f))->real)
static int fv_close(sqlite3_file *f)
{
	return R(f)->pMethods->xClose(R(f));
}
static int fv_readf(sqlite3_file *f, void *p, int n, sqlite3_int64 at)
{
	return fv_step(FV_read) ? SQLITE_IOERR_READ : R(f)->pMethods->xRead(R(f), p, n, at);
}
static int fv_writef(sqlite3_file *f, const void *p, int n, sqlite3_int64 at)
{
	atomic_fetch_add(&fv.bytes, (uint64_t)n);
	switch (fv_step(FV_write)) {
	case FVK_error:
		return SQLITE_IOERR_WRITE;
	case FVK_full:
		return SQLITE_FULL;
	case FVK_torn:
		(void)R(f)->pMethods->xWrite(R(f), p, n / 2, at);
		return SQLITE_IOERR_WRITE;
	case FVK_none:
	case FVK_kill:
		break;
	}
	return R(f)->pMethods->xWrite(R(f), p, n, at);
}
static int fv_truncatef(sqlite3_file *f, sqlite3_int64 n)
{
	return fv_step(FV_truncate) ? SQLITE_IOERR_TRUNCATE : R(f)->pMethods->xTruncate(R(f), n);
}
static int fv_syncf(sqlite3_file *f, int flags)
{
	return fv_step(FV_sync) ? SQLITE_IOERR_FSYNC : R(f)->pMethods->xSync(R(f), flags);
}
static int fv_size(sqlite3_file *f, sqlite3_int64 *n)
{
	return R(f)->pMethods->xFileSize(R(f), n);
}
static int fv_lock(sqlite3_file *f, int l)
{
	return R(f)->pMethods->xLock(R(f), l);
}
static int fv_unlock(sqlite3_file *f, int l)
{
	return R(f)->pMethods->xUnlock(R(f), l);
}
static int fv_reserved(sqlite3_file *f, int *r)
{
	return R(f)->pMethods->xCheckReservedLock(R(f), r);
}
static int fv_control(sqlite3_file *f, int op, void *p)
{
	return R(f)->pMethods->xFileControl(R(f), op, p);
}
static int fv_sector(sqlite3_file *f)
{
	return R(f)->pMethods->xSectorSize(R(f));
}
static int fv_chars(sqlite3_file *f)
{
	return R(f)->pMethods->xDeviceCharacteristics(R(f));
}
static int fv_shmmap(sqlite3_file *f, int pg, int sz, int ext, void volatile **pp)
{
	return fv_step(FV_shm) ? SQLITE_IOERR_SHMMAP : R(f)->pMethods->xShmMap(R(f), pg, sz, ext, pp);
}
static int fv_shmlock(sqlite3_file *f, int o, int n, int fl)
{
	return R(f)->pMethods->xShmLock(R(f), o, n, fl);
}
static void fv_barrier(sqlite3_file *f)
{
	R(f)->pMethods->xShmBarrier(R(f));
}
static int fv_shmunmap(sqlite3_file *f, int del)
{
	return R(f)->pMethods->xShmUnmap(R(f), del);
}
static const sqlite3_io_methods fv_methods = {2, fv_close, fv_readf, fv_writef, fv_truncatef, fv_syncf, fv_size,
        fv_lock, fv_unlock, fv_reserved, fv_control, fv_sector, fv_chars, fv_shmmap, fv_shmlock, fv_barrier,
        fv_shmunmap, NULL, NULL};

static int fv_openf(sqlite3_vfs *v, const char *name, sqlite3_file *f, int flags, int *out)
{
	struct fv_file *x = (struct fv_file *)f;
	x->base.pMethods = NULL;
	if (fv_step(FV_open))
		return SQLITE_CANTOPEN;
	x->real = (sqlite3_file *)(x + 1);
	int rc = fv_real->xOpen(fv_real, name, x->real, flags, out);
	if (x->real->pMethods)
		x->base.pMethods = &fv_methods;
	return rc;
}
static int fv_deletef(sqlite3_vfs *v, const char *name, int sync)
{
	return fv_step(FV_delete) ? SQLITE_IOERR_DELETE : fv_real->xDelete(fv_real, name, sync);
}
static void fv_reset(void)
{
	memset(&fv, 0, sizeof fv);
}
static void fv_install(void)
{
	fv_real = sqlite3_vfs_find(NULL);
	fv_vfs = *fv_real;
	fv_vfs.zName = "fault";
	fv_vfs.szOsFile = (int)sizeof(struct fv_file) + fv_real->szOsFile;
	fv_vfs.xOpen = fv_openf;
	fv_vfs.xDelete = fv_deletef;
	sqlite3_vfs_register(&fv_vfs, 1);
}
#undef R
