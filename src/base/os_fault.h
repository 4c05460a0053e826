/* os_fault.h - a struct os around another that counts every call and fails, cuts or kills at a chosen one (tests only). */
#pragma once
#include "base/os.h"

enum os_call {
	OSC_openat,
	OSC_close,
	OSC_pread,
	OSC_pwrite,
	OSC_pwritev,
	OSC_fdatasync,
	OSC_fsync,
	OSC_ftruncate,
	OSC_fallocate,
	OSC_clone,
	OSC_linkat,
	OSC_renameat,
	OSC_unlinkat,
	OSC_mkdirat,
	OSC_fstat,
	OSC_fstatat,
	OSC_fsmagic,
	OSC_flock,
	OSC_getdents,
	OSC_readlinkat,
	OSC_mmap_ro,
	OSC_munmap,
	OSC_random,
	OSC_N
};
enum os_fault_kind { OSF_NONE, OSF_ERROR, OSF_SHORT, OSF_KILL };

struct os_fault {
	struct os os; /* first: cast */
	struct os *under;
	_Atomic uint64_t calls[OSC_N]; /* how often each was called */
	uint64_t at[OSC_N]; /* the call's number (1-based) at which the fault happens; 0: never */
	uint64_t until[OSC_N]; /* last number it happens at; 0: only at `at` */
	enum os_fault_kind kind[OSC_N];
	int error[OSC_N]; /* positive errno for OSF_ERROR */
	_Atomic int64_t clock_skew_ns; /* added to both clocks: a fake clock when fake_clock is set */
	int fake_clock; /* clocks stand still but for clock_skew_ns; sleep advances it */
	uint64_t random_state; /* != 0: deterministic random */
};
void os_fault_init(struct os_fault *f, struct os *under);
