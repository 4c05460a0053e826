/* transport_priv.h - private to transport*.c: one session, the threads that serve it, and which of the kernel's faster ways are on.
 *
 *   transport.c       life: mount, what is agreed in INIT, which transport runs and why not a better one
 *   transport_dev.c   workers that read requests from /dev/fuse or a socket
 *   transport_ring.c  requests over io_uring, one pinned thread a CPU
 *   transport_pt.c    passthrough: backing ids of open files
 *   transport_wire.c  messages checked before libfuse sees them
 *
 * A request is run by process() on the thread that has it.  What the operation needs to know of its transport (where to build a large
 * reply, whether the kernel asks to clear suid) lies in `cur`, a thread-local.  A reply comes back through libfuse's writev hook, on
 * that thread or, if the request was parked, on another; transport_send finds where it belongs. */
#pragma once
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include "base/thread.h"
#include "fs/fuse_uapi.h"
#include "fs/inode.h"
#include "fs/transport.h"
#include "fs/transport_wire.h"

#define WORKERS_MAX 16u
#define REQ_BYTES   (TRANSPORT_MAX_WRITE + 8192u)
#define REPLY_BYTES (TRANSPORT_MAX_WRITE + 8192u)
#define BUF_BYTES   (REQ_BYTES + REPLY_BYTES)
#define WAKE_SIGNAL SIGUSR2
#define PT_LOCKS    64u

enum { TR_plain = 0, TR_pt = 1, TR_uring = 2 }; /* bits */

struct worker {
	struct thread th;
	struct transport *t;
	uint8_t *buf;
	enum { W_free, W_running, W_ended } state; /* t->lock */
	uint32_t asked;
	int cpu; /* pinned there; -1: anywhere */
};
struct rings;
struct ring_ent;
struct transport {
	struct fs *f;
	struct fuse_session *se;
	struct fuse_args args;
	int fd, ev;
	bool custom, mounted;
	char *mnt;
	unsigned base;
	pthread_mutex_t lock; /* guards worker[].state */
	struct worker worker[WORKERS_MAX];
	_Atomic uint32_t running, idle;
	_Atomic uint32_t client; /* pid of the request looked at last */
	cpu_set_t cpus; /* where the process may run */
	_Atomic bool stop, ready, over;
	_Atomic uint64_t init_unique;
	uint64_t offered; /* INIT flags, 64 bits, of the kernel; written before its reply */
	uint8_t *one_buf;

	unsigned want; /* TR_ bits asked for or worth trying */
	_Atomic unsigned have; /* TR_ bits on */
	bool killpriv; /* FUSE_HANDLE_KILLPRIV_V2 was agreed on */
	uint32_t stack_depth;
	char why[240];
	struct rings *rings; /* NULL: none; set before the workers start, freed after they ended */
	pthread_mutex_t pt_lock[PT_LOCKS]; /* an inode's backing id and open counts, by its slot */
	_Atomic uint64_t pt_ids;
	_Atomic int pt_quiet[MNT_MAX]; /* noatime: copies of inodes->mnt[]; 0: not made yet; < 0: it can't be */
};

/* what the running operation may ask about its request */
struct transport_cur {
	uint8_t *scratch;
	size_t scratch_cap;
	struct ring_ent *ent; /* NULL: it came by /dev/fuse */
	bool kill_priv, tmpfile;
};
extern _Thread_local struct transport_cur transport_cur;

/* transport.c */
/* transport_process - check one message and let libfuse run it. @msg n bytes, 8-aligned, writable. */
void transport_process(struct transport *t, uint8_t *msg, size_t n);
void transport_refuse(
        struct transport *t, const uint8_t *msg, int rc); /* answer with a negative errno, if it has an answer */
void transport_wake_main(struct transport *t);
void transport_why_not(
        struct transport *t, const char *what, const char *why); /* add to the sentence of transport_why */

/* transport_dev.c */
int dev_receive(struct transport *t, uint8_t *buf, size_t *ret_n); /* 1: a message; 0: the end; < 0: look again */
void dev_spawn(struct transport *t);
void dev_wake(struct transport *t);
void dev_join(struct transport *t);

/* transport_ring.c */
/* rings_new - threads started, their rings set up, memory reserved; nothing asked of the fuse device yet.
 * @payload  bytes of an entry's payload as the kernel will want it
 * Return:   0; -ENOSYS, -EPERM …: io_uring can't be had; -E2BIG: memory bound too small for one entry a queue. */
int rings_new(struct transport *t, uint32_t payload, struct rings **ret);
int rings_register(
        struct rings *r); /* after INIT's reply: hand the entries to the kernel; < 0: not taken, use the device */
void rings_stop(struct rings *r); /* new requests are refused from here on; parked ones still get out; any thread */
void rings_free(struct rings *r); /* joins; takes NULL */
/* rings_reply - true: the reply belonged to a ring request and is on its way (or its mount is gone) */
bool rings_reply(struct rings *r, const struct iovec *iov, int n);
bool rings_may_park(struct rings *r);
uint64_t rings_bytes(const struct rings *r); /* reserved; touched as used */
/* what to do with a command that came back with an error */
enum ring_next { RN_again, RN_register, RN_dead };
enum ring_next ring_next_step(int res, bool was_commit, unsigned tries);
unsigned ring_cpus(const char *list, uint8_t *ret_bits, unsigned max); /* "0-3,6": bits set; highest + 1 */

/* transport_pt.c */
int pt_probe(struct transport *t); /* 0: backing ids can be had; < 0 */
void pt_done(struct transport *t);

/* tests: make a step fail */
enum { TF_ring_setup = 1, TF_ring_register = 2, TF_backing = 4 };
extern unsigned transport_faults;
/* tests: takes a ring request's reply (true), to give it to rings_reply on another thread later, as a parked request's would come */
extern bool (*transport_far)(struct transport *t, const struct iovec *iov, int n);
