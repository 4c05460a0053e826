/* test_crash.c - what was acknowledged is there, what was not is not half there: after SIGKILL at every call, after an error at every call.
 *
 * A script of random operations over a few files runs against a store; each op carries the number of its write in its stamp and its
 * vector.  A model replays the same script.  What a crash leaves must be the model after some prefix that holds every acknowledged op:
 * groups are whole and in order.  What an error leaves must be the model of the acknowledged ops, with or without the one group whose
 * fate the error left open (it was not acknowledged, so both are right; a part of it is not).
 * Calls are counted on both sides: struct os (os_fault) and SQLite's files (faultvfs.h). */
#include "storetest.h"
#include <sys/mman.h>
#include "faultvfs.h"

#define OPS   60u
#define FILES 12u

enum act { A_PUT, A_DEL, A_OBJ_DEL, A_FREE, A_STAMP, A_PAY, A_KINDS };
struct step {
	enum act act;
	uint32_t file; /* 0 .. FILES-1; oid = file + 2 */
	bool want;
};
struct model {
	uint64_t x[FILES]; /* number of the live write, 0: none */
	uint64_t stamp[FILES]; /* its stamp.size */
	uint8_t obj[FILES], pay[FILES];
};
struct shared { /* survives the child */
	_Atomic int acked; /* ops [0, acked) are durable */
	_Atomic int sent;
};
static struct step script[OPS];

static void script_make(uint64_t seed)
{
	uint64_t r = seed;
	for (uint32_t i = 0; i < OPS; i++) {
		r = r * 6364136223846793005ull + 1442695040888963407ull;
		uint32_t a = (uint32_t)(r >> 33) % 20;
		script[i].act = a < 11   ? A_PUT
		                : a < 13 ? A_DEL
		                : a < 15 ? A_OBJ_DEL
		                : a < 16 ? A_FREE
		                : a < 18 ? A_STAMP
		                         : A_PAY;
		script[i].file = (uint32_t)(r >> 50) % FILES;
		script[i].want = (r >> 20 & 3) == 0 || i == OPS - 1;
	}
}

static void model_apply(struct model *m, uint32_t i)
{
	uint32_t f = script[i].file;
	switch (script[i].act) {
	case A_PUT:
		m->obj[f] = 1;
		m->x[f] = m->stamp[f] = i + 1;
		break;
	case A_DEL:
		m->x[f] = m->stamp[f] = 0;
		break;
	case A_OBJ_DEL:
		m->x[f] = m->stamp[f] = m->obj[f] = m->pay[f] = 0;
		break;
	case A_STAMP:
		if (m->x[f])
			m->stamp[f] = i + 100000;
		break;
	case A_PAY:
		m->obj[f] = 1;
		m->pay[f] = 1;
		break;
	case A_FREE:
	case A_KINDS:
		break;
	}
}

/* the driver's view of rows, as the engine keeps it */
static uint32_t cur_row[FILES], dead_row[OPS * 2], dead_n;
/* a commit that is rolled back without poisoning takes back what was visible; a driver that goes on must know before its next op */
static bool each_durable;

struct sop { /* one step is up to two ops; the last is the step's acknowledgement */
	struct top a, b;
	uint32_t i;
	struct shared *sh;
	int rc;
};
static struct sop sops[OPS];
static void step_durable(struct store_op *op, int rc)
{
	struct top *t = (struct top *)op;
	struct sop *s = op->u;
	if (s && !rc && atomic_load(&s->sh->acked) == (int)s->i)
		atomic_store(&s->sh->acked, (int)s->i + 1);
	if (s)
		s->rc = rc;
	on_durable(op, rc);
	(void)t;
}
static void step_wait_visible(struct waiter *w, struct top *t)
{
	pthread_mutex_lock(&w->m);
	while (!t->seen)
		pthread_cond_wait(&w->c, &w->m);
	pthread_mutex_unlock(&w->m);
}
static void step_visible(struct store_op *op, int rc)
{
	struct top *t = (struct top *)op;
	on_visible(op, rc);
	pthread_mutex_lock(&t->w->m);
	pthread_cond_broadcast(&t->w->c);
	pthread_mutex_unlock(&t->w->m);
}
static void step_send(struct store *st, struct waiter *w, struct top *t, struct sop *s)
{
	t->w = w;
	t->seq = next_seq();
	t->seen = false;
	t->op.visible = step_visible;
	t->op.durable = step_durable;
	t->op.u = s;
	pthread_mutex_lock(&w->m);
	w->left++;
	pthread_mutex_unlock(&w->m);
	store_submit(st, &t->op);
	step_wait_visible(w, t);
}

static void script_run(struct store *st, struct shared *sh)
{
	struct waiter w;
	struct top bind;
	waiter_init(&w);
	memset(cur_row, 0xff, sizeof cur_row);
	dead_n = 0;
	op_bind(&bind, 1, DIM);
	bind.op.want_durable = true;
	step_send(st, &w, &bind, NULL);
	for (uint32_t i = 0; i < OPS; i++) {
		struct sop *s = &sops[i];
		uint32_t f = script[i].file;
		uint64_t oid = f + 2;
		memset(s, 0, sizeof *s);
		s->i = i;
		s->sh = sh;
		struct top *t = &s->b;
		if (script[i].act == A_PUT || script[i].act == A_PAY) {
			op_obj(&s->a, oid);
			step_send(st, &w, &s->a, NULL);
		}
		memset(t, 0, sizeof *t);
		t->op.cid = 1;
		t->op.oid = oid;
		t->op.old_row = cur_row[f];
		switch (script[i].act) {
		case A_PUT:
			op_put_file(t, 1, oid, i + 1, cur_row[f]);
			break;
		case A_DEL:
			t->op.kind = cur_row[f] == UINT32_MAX ? SOP_barrier : SOP_vec_del;
			break;
		case A_OBJ_DEL:
			t->op.kind = SOP_obj_del;
			break;
		case A_FREE:
			t->op.kind = dead_n ? SOP_row_free : SOP_barrier;
			if (dead_n)
				t->op.old_row = dead_row[--dead_n];
			break;
		case A_STAMP:
			t->op.kind = cur_row[f] == UINT32_MAX ? SOP_barrier : SOP_vec_stamp;
			t->op.stamp.size = i + 100000;
			break;
		case A_PAY:
		case A_KINDS:
			t->op.kind = SOP_payload_put;
			t->op.data = "{\"p\":1}";
			t->op.data_n = 7;
			break;
		}
		t->op.want_durable = script[i].want || each_durable;
		atomic_store(&sh->sent, (int)i + 1);
		step_send(st, &w, t, s);
		if (each_durable)
			wait_all(&w);
		if (t->rc_visible < 0 || (each_durable && t->rc_durable < 0))
			continue;
		if (script[i].act == A_PUT || script[i].act == A_DEL || script[i].act == A_OBJ_DEL) {
			if (cur_row[f] != UINT32_MAX)
				dead_row[dead_n++] = cur_row[f];
			cur_row[f] = script[i].act == A_PUT ? t->op.ret_row : UINT32_MAX;
		}
	}
	wait_all(&w);
}

/* ---- what is there --------------------------------------------------------------------------------------------------------- */
struct got {
	struct model m;
	uint32_t bad, dup;
	struct store *st;
};
static int got_obj(void *u, uint64_t oid, const struct obj_key *key, uint8_t kind, uint8_t ts, int32_t te,
        const struct stamp *t, bool pay)
{
	struct got *g = u;
	if (oid < 2 || oid >= FILES + 2 || le64_get(key->b) != oid * 7919)
		g->bad++;
	else {
		g->m.obj[oid - 2] = 1;
		g->m.pay[oid - 2] = pay;
	}
	return 0;
}
static int got_vec(
        void *u, uint32_t cid, uint32_t row, uint64_t gen, bool dead, bool fp, uint64_t id, const struct stamp *t)
{
	struct got *g = u;
	if (dead)
		return 0;
	if (id < 2 || id >= FILES + 2) {
		g->bad++;
		return 0;
	}
	uint32_t f = (uint32_t)id - 2;
	g->dup += g->m.x[f] != 0;
	g->m.stamp[f] = t->size;
	const void *have = rows_vec(store_rows(g->st, cid), row);
	float want[DIM];
	for (uint64_t x = 1; have && x <= OPS; x++) { /* which write is it? */
		vec_fill(want, x);
		if (!memcmp(want, have, sizeof want))
			g->m.x[f] = x;
	}
	g->bad += !g->m.x[f] || !store_row_ok(g->st, cid, row);
	return 0;
}
static void got_damaged(void *u, const char *t, uint64_t id)
{
	((struct got *)u)->bad++;
}
static int look(struct box *b, struct got *g)
{
	const struct store_load_cb cb = {.obj = got_obj, .vec = got_vec, .damaged = got_damaged};
	struct vx_errinfo e = {0};
	memset(g, 0, sizeof *g);
	int rc = open_in(b, os_real(), &g->st, &e);
	if (rc < 0) {
		printf("# opening again: %d %s\n", rc, e.detail);
		return rc;
	}
	rc = store_load(g->st, &cb, g);
	g->bad += g->dup;
	store_close(g->st);
	return rc;
}
static void verify_say(void *u, const char *line)
{
	printf("# verify: %s\n", line);
}
static int clean(struct box *b)
{
	struct store_cfg cfg = {.os = os_real(), .root_fd = b->fd};
	struct store_verify_report r;
	return store_verify(&cfg, false, verify_say, NULL, &r);
}
/* some prefix of at least `acked` ops is what is there */
static bool prefix_ok(const struct got *g, int acked, int sent)
{
	struct model m = {0};
	for (int p = 0;; p++) {
		if (p >= acked && !memcmp(&m, &g->m, sizeof m))
			return true;
		if (p >= sent || p >= (int)OPS)
			break;
		model_apply(&m, (uint32_t)p);
		/* a step of two ops may have been cut between them: the object without its vector */
		if (p >= acked && (script[p].act == A_PUT || script[p].act == A_PAY)) {
			struct model half = {0};
			for (int q = 0; q < p; q++)
				model_apply(&half, (uint32_t)q);
			half.obj[script[p].file] = 1;
			if (!memcmp(&half, &g->m, sizeof half))
				return true;
		}
	}
	return false;
}

static struct os_fault of;

static void child(struct box *b, struct shared *sh)
{
	struct store *st;
	struct vx_errinfo e;
	if (open_in(b, &of.os, &st, &e) < 0)
		_exit(3);
	script_run(st, sh);
	store_close(st);
	_exit(0);
}

static struct shared *sh;
/* runs the script in a child until it dies; 1: it was killed, 0: it ran to its end */
static int crash(struct box *b)
{
	int status;
	atomic_store(&sh->acked, 0);
	atomic_store(&sh->sent, 0);
	fflush(stdout);
	pid_t p = fork();
	if (!p)
		child(b, sh);
	fv_reset(); /* the fault was the child's */
	waitpid(p, &status, 0);
	return WIFSIGNALED(status) ? 1 : WEXITSTATUS(status) ? -1 : 0;
}

static uint32_t n_cuts, n_lost, n_verify, n_open;
static void crash_check(const char *what, uint64_t at)
{
	struct box b;
	struct got g;
	box_open(&b);
	int r = crash(&b);
	if (r < 0)
		n_open++;
	int rc = look(&b, &g);
	n_cuts++;
	if (rc < 0 || g.bad || !prefix_ok(&g, atomic_load(&sh->acked), atomic_load(&sh->sent))) {
		n_lost++;
		printf("# LOST after kill at %s %d: rc %d bad %u acked %d sent %d\n", what, (int)at, rc, g.bad,
		        atomic_load(&sh->acked), atomic_load(&sh->sent));
	}
	if (clean(&b) != 0) {
		n_verify++;
		printf("# NOT CLEAN after kill at %s %d\n", what, (int)at);
	}
	box_close(&b);
}

static void kill_everywhere(uint64_t seed)
{
	static const enum os_call oc[] = {OSC_openat, OSC_pwrite, OSC_fdatasync, OSC_fsync, OSC_ftruncate, OSC_mkdirat,
	        OSC_unlinkat, OSC_mmap_ro, OSC_flock};
	static const char *const on[] = {
	        "openat", "pwrite", "fdatasync", "fsync", "ftruncate", "mkdirat", "unlinkat", "mmap", "flock"};
	static const char *const fn[] = {"sqlite write", "sqlite sync", "sqlite truncate"};
	struct box b;
	struct store *st;
	struct vx_errinfo e;
	uint64_t count[OSC_N], fcount[FV_N];
	script_make(seed);
	os_fault_init(&of, os_real());
	fv_reset();
	box_open(&b);
	if (open_in(&b, &of.os, &st, &e) < 0)
		abort();
	script_run(st, sh);
	store_close(st);
	box_close(&b);
	for (int i = 0; i < OSC_N; i++)
		count[i] = atomic_load(&of.calls[i]);
	for (int i = 0; i < FV_N; i++)
		fcount[i] = atomic_load(&fv.calls[i]);
	n_cuts = n_lost = n_verify = n_open = 0;
	for (size_t c = 0; c < sizeof oc / sizeof *oc; c++)
		for (uint64_t k = 1; k <= count[oc[c]]; k++) {
			os_fault_init(&of, os_real());
			fv_reset();
			of.at[oc[c]] = k;
			of.kind[oc[c]] = OSF_KILL;
			crash_check(on[c], k);
		}
	for (int c = FV_write; c <= FV_truncate; c++)
		for (uint64_t k = 1; k <= fcount[c]; k++) {
			os_fault_init(&of, os_real());
			fv_reset();
			fv.at[c] = k;
			fv.kind[c] = FVK_kill;
			crash_check(fn[c], k);
		}
	fv_reset();
	T_OK(n_cuts > 100, "kills at every call: %u", n_cuts);
	T_EQ(n_lost, 0, "acknowledged ops lost, or unacknowledged ones half there");
	T_EQ(n_verify, 0, "stores not clean after a kill");
	T_EQ(n_open, 0, "openings that failed without a fault");
}

/* kill -9 from outside, at a time of chance; the same store goes on from kill to kill */
static void kill_anytime(uint64_t seed, int rounds)
{
	uint32_t lost = 0, unclean = 0;
	uint64_t r = seed;
	for (int i = 0; i < rounds; i++) {
		struct box b;
		struct got g;
		int status;
		r = r * 6364136223846793005ull + 1442695040888963407ull;
		script_make(r);
		os_fault_init(&of, os_real());
		box_open(&b);
		atomic_store(&sh->acked, 0);
		atomic_store(&sh->sent, 0);
		fflush(stdout);
		pid_t p = fork();
		if (!p)
			child(&b, sh);
		usleep((useconds_t)(r >> 40) % 12000);
		kill(p, SIGKILL);
		waitpid(p, &status, 0);
		int rc = look(&b, &g);
		if (rc < 0 || g.bad || !prefix_ok(&g, atomic_load(&sh->acked), atomic_load(&sh->sent))) {
			lost++;
			printf("# LOST: script seed %llu acked %d sent %d\n", (unsigned long long)r,
			        atomic_load(&sh->acked), atomic_load(&sh->sent));
		}
		unclean += clean(&b) != 0;
		box_close(&b);
	}
	T_EQ(lost, 0, "lost after kills at random times");
	T_EQ(unclean, 0, "not clean after them");
}

/* ---- errors ---------------------------------------------------------------------------------------------------------------- */
static bool errors_ok(const struct got *g)
{
	struct model m = {0};
	int last = -1;
	for (uint32_t i = 0; i < OPS; i++)
		if (sops[i].rc == 0)
			last = (int)i;
	for (uint32_t i = 0; i < OPS; i++)
		if (sops[i].rc == 0)
			model_apply(&m, i);
	/* objects put by the first op of a step whose second failed may stay */
	for (int e = last;; e++) {
		if (e > last && e < (int)OPS)
			model_apply(&m, (uint32_t)e);
		struct model a = m, h = g->m;
		for (uint32_t f = 0; f < FILES; f++)
			if (a.obj[f] != h.obj[f] && !h.x[f] && !a.x[f] && !a.pay[f] && !h.pay[f])
				a.obj[f] = h.obj[f];
		if (!memcmp(&a, &h, sizeof a))
			return true;
		if (e + 1 >= (int)OPS)
			return false;
	}
}

static uint32_t e_runs, e_wrong, e_refused, e_poison, e_full, e_unclean, e_stuck;
static void error_check(const char *what, uint64_t at, bool poisons_maybe)
{
	struct box b;
	struct got g;
	struct store *st = NULL;
	struct vx_errinfo e = {0};
	box_open(&b);
	e_runs++;
	for (uint32_t i = 0; i < OPS; i++)
		sops[i].rc = -1;
	int rc = open_in(&b, &of.os, &st, &e);
	if (rc < 0) {
		e_refused++;
	} else {
		script_run(st, sh);
		e_poison += store_health(st) == -VX_ERR_store_poisoned;
		e_full += store_health(st) == -VX_ERR_store_full;
		if (!poisons_maybe && store_health(st) == -VX_ERR_store_poisoned) {
			e_stuck++;
			printf("# POISONED by %s %d\n", what, (int)at);
		}
		store_close(st);
	}
	os_fault_init(&of, os_real());
	fv_reset();
	rc = look(&b, &g);
	if (rc < 0 || g.bad || !errors_ok(&g)) {
		e_wrong++;
		printf("# WRONG after %s %d: rc %d bad %u\n", what, (int)at, rc, g.bad);
	}
	if (clean(&b) != 0) {
		e_unclean++;
		printf("# NOT CLEAN after %s %d\n", what, (int)at);
	}
	box_close(&b);
}

static void errors_everywhere(uint64_t seed, uint32_t stride)
{
	static const enum os_call oc[] = {OSC_openat, OSC_pread, OSC_pwrite, OSC_fdatasync, OSC_fsync, OSC_ftruncate,
	        OSC_mkdirat, OSC_unlinkat, OSC_mmap_ro, OSC_flock, OSC_fstat, OSC_fstatat, OSC_getdents, OSC_close,
	        OSC_munmap, OSC_random};
	struct box b;
	struct store *st;
	struct vx_errinfo e;
	uint64_t count[OSC_N], fcount[FV_N];
	char what[64];
	script_make(seed);
	os_fault_init(&of, os_real());
	fv_reset();
	box_open(&b);
	if (open_in(&b, &of.os, &st, &e) < 0)
		abort();
	script_run(st, sh);
	store_close(st);
	box_close(&b);
	for (int i = 0; i < OSC_N; i++)
		count[i] = atomic_load(&of.calls[i]);
	for (int i = 0; i < FV_N; i++)
		fcount[i] = atomic_load(&fv.calls[i]);
	e_runs = e_wrong = e_refused = e_poison = e_full = e_unclean = e_stuck = 0;
	static const int errs[] = {EIO, ENOSPC, ENOMEM, -1 /* short */};
	for (size_t c = 0; c < sizeof oc / sizeof *oc; c++)
		for (size_t x = 0; x < 4; x++)
			for (uint64_t k = 1 + (c + x) % stride; k <= count[oc[c]]; k += stride) {
				os_fault_init(&of, os_real());
				fv_reset();
				of.at[oc[c]] = k;
				of.kind[oc[c]] = errs[x] < 0 ? OSF_SHORT : OSF_ERROR;
				of.error[oc[c]] = errs[x] < 0 ? EIO : errs[x];
				snprintf(what, sizeof what, "os call %d error %d no.", (int)oc[c], errs[x]);
				each_durable = errs[x] == ENOSPC || errs[x] == ENOMEM;
				error_check(what, k, true);
			}
	static const enum fv_kind fk[] = {FVK_error, FVK_full, FVK_torn};
	for (int c = 0; c < FV_N; c++)
		for (size_t x = 0; x < 3; x++)
			for (uint64_t k = 1 + ((uint64_t)c + x) % stride; k <= fcount[c]; k += stride) {
				if ((c == FV_read && k % 5) || (c != FV_write && x))
					continue;
				os_fault_init(&of, os_real());
				fv_reset();
				fv.at[c] = k;
				fv.kind[c] = fk[x];
				snprintf(what, sizeof what, "sqlite call %d kind %d no.", c, (int)fk[x]);
				each_durable = fk[x] == FVK_full;
				error_check(what, k, fk[x] != FVK_full);
			}
	each_durable = false;
	printf("# runs %u, opening refused %u, poisoned %u, full %u\n", e_runs, e_refused, e_poison, e_full);
	T_OK(e_runs >= 60, "errors injected: %u", e_runs);
	T_EQ(e_wrong, 0, "acknowledged lost, or half of an op there");
	T_EQ(e_unclean, 0, "not clean afterwards");
	T_EQ(e_stuck, 0, "poisoned for want of room");
	T_OK(e_poison > 0, "some errors poison: %u", e_poison);
}

/* no space for a while: ops of that time fail, files of before and after are there, the store is not poisoned */
static void full_and_back(void)
{
	struct box b;
	struct top t;
	struct store *st;
	struct vx_errinfo e;
	static struct seen s;
	box_open(&b);
	os_fault_init(&of, os_real());
	fv_reset();
	T_EQ(open_in(&b, &of.os, &st, &e), 0, "open");
	op_bind(&t, 1, DIM);
	T_EQ(run1(st, &t), 0, "bind");
	op_put(&t, 1, 2, 2, UINT32_MAX);
	T_EQ(run1(st, &t), 0, "put");
	of.at[OSC_pwrite] = atomic_load(&of.calls[OSC_pwrite]) + 1;
	of.until[OSC_pwrite] = UINT64_MAX;
	of.kind[OSC_pwrite] = OSF_ERROR;
	of.error[OSC_pwrite] = ENOSPC;
	for (int i = 0; i < 3; i++) {
		op_put(&t, 1, 3, 3, UINT32_MAX);
		T_EQ(run1(st, &t), -VX_ERR_store_full, "put on a full disk");
		T_EQ(t.rc_visible, -VX_ERR_store_full, "visible was told as well");
	}
	T_EQ(store_health(st), -VX_ERR_store_full, "health says so");
	of.at[OSC_pwrite] = 0;
	fv.at[FV_write] = atomic_load(&fv.calls[FV_write]) + 1;
	fv.kind[FV_write] = FVK_full;
	fv.for_good = true;
	op_put(&t, 1, 4, 4, UINT32_MAX);
	T_EQ(run1(st, &t), -VX_ERR_store_full, "no room for the catalog's log");
	fv_reset();
	int rc = -1;
	for (int i = 0; i < 100 && rc; i++) { /* the store looks for room again at its own pace */
		if (i)
			usleep(20000);
		op_put(&t, 1, 5, 5, UINT32_MAX);
		rc = run1(st, &t);
	}
	T_EQ(rc, 0, "room again: put");
	T_EQ(store_health(st), 0, "healthy again");
	store_close(st);
	st = open_ok(&b);
	load(st, &s);
	T_EQ(s.vecs, 2, "the two that were acknowledged");
	T_EQ(s.bad_bytes, 0, "right");
	T_OK(s.row_of[2] != UINT32_MAX && s.row_of[5] != UINT32_MAX, "files 2 and 5");
	store_close(st);
	box_close(&b);
}

static void poisoned(void)
{
	struct box b;
	struct top t;
	struct store *st;
	struct vx_errinfo e;
	static struct seen s;
	box_open(&b);
	os_fault_init(&of, os_real());
	fv_reset();
	T_EQ(open_in(&b, &of.os, &st, &e), 0, "open");
	op_bind(&t, 1, DIM);
	run1(st, &t);
	op_put(&t, 1, 2, 2, UINT32_MAX);
	run1(st, &t);
	of.at[OSC_fdatasync] = atomic_load(&of.calls[OSC_fdatasync]) + 1;
	of.kind[OSC_fdatasync] = OSF_ERROR;
	op_put(&t, 1, 3, 3, UINT32_MAX);
	T_EQ(run1(st, &t), -VX_ERR_store_poisoned, "fdatasync fails once");
	T_EQ(t.rc_visible, 0, "it was visible");
	T_EQ(store_health(st), -VX_ERR_store_poisoned, "the store is poisoned");
	uint64_t syncs = atomic_load(&of.calls[OSC_fdatasync]), writes = atomic_load(&of.calls[OSC_pwrite]);
	op_put(&t, 1, 4, 4, UINT32_MAX);
	T_EQ(run1(st, &t), -VX_ERR_store_poisoned, "later ops are refused");
	T_EQ(t.rc_visible, -VX_ERR_store_poisoned, "and not made visible");
	T_EQ(atomic_load(&of.calls[OSC_fdatasync]), syncs, "the sync is not tried again");
	T_EQ(atomic_load(&of.calls[OSC_pwrite]), writes, "nothing is written");
	T_OK(store_row_ok(st, 1, 0), "reads go on");
	store_close(st);
	st = open_ok(&b);
	load(st, &s);
	T_EQ(s.bad_bytes, 0, "after reopening all is right");
	T_EQ(s.vecs, 1, "the acknowledged one is there");
	T_EQ(store_health(st), 0, "and the store is healthy");
	op_put(&t, 1, 6, 6, UINT32_MAX);
	T_EQ(run1(st, &t), 0, "and takes vectors");
	store_close(st);
	box_close(&b);
}

int main(int argc, char **argv)
{
	uint64_t seed = tap_seed(20261123);
	bool all = argc > 1 && !strcmp(argv[1], "--all");
	sh = mmap(NULL, sizeof *sh, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	fv_install();
	if (freopen("/dev/null", "w", stderr) == NULL) /* the store logs each injected fault */
		return 99;
	full_and_back();
	poisoned();
	kill_everywhere(seed);
	kill_anytime(seed, all ? 2000 : 100);
	errors_everywhere(seed, all ? 1 : 7);
	return tap_done();
}
