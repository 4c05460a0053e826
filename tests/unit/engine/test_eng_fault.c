/* test_eng_fault.c - the disk is full for a while; a write fails for good; the process is killed: what was acknowledged as durable is
 * there, what is shown is true, nothing hangs. */
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include "engtest.h"

#define DIM   4u
#define FILES 12u

static struct et T;
static float val[FILES][DIM];

static void name_of(unsigned i, char *p)
{
	sprintf(p, "k%02u", i);
}
static bool says(const char *what)
{
	struct eng_job *j = et_job(&T, EV_status);
	eng_run(T.e, j);
	return strstr(j->out_text, what) != NULL;
}
/* get and search agree, and with what the file says */
static unsigned agree(struct et *t)
{
	unsigned n = 0, bad = 0;
	char p[16];
	for (unsigned i = 0; i < FILES; i++) {
		name_of(i, p);
		n += faccessat(t->root, p, F_OK, 0) == 0 && et_get(t, p) == 0;
	}
	float q[DIM] = {1, 2, 3, 4};
	int rc = et_search(t, q, DIM, 100, true);
	if (rc == 0 && t->j.res_n != n) {
		printf("# search finds %u, get %u\n", t->j.res_n, n);
		bad++;
	}
	for (uint32_t r = 0; rc == 0 && r < t->j.res_n; r++)
		bad += faccessat(t->root, t->j.res[r].path, F_OK, 0) != 0;
	return bad + (rc != 0 && n);
}
static void full(void)
{
	struct os_fault f;
	uint64_t s = 17;
	char p[16];
	os_fault_init(&f, os_real());
	et_new(&T, ENG_all);
	et_close(&T);
	T.os = &f.os;
	et_open(&T);
	for (unsigned i = 0; i < FILES / 2; i++) {
		name_of(i, p);
		et_write(&T, p, "words before");
		et_vec(&s, val[i], DIM);
		et_put(&T, p, val[i], DIM);
	}
	T_EQ(et_wait(&T, true, false), 0, "committed");
	/* slots can't be written */
	f.error[OSC_pwrite] = f.error[OSC_pwritev] = ENOSPC;
	f.kind[OSC_pwrite] = f.kind[OSC_pwritev] = OSF_ERROR;
	f.at[OSC_pwrite] = f.at[OSC_pwritev] = 1;
	f.until[OSC_pwrite] = f.until[OSC_pwritev] = UINT64_MAX;
	unsigned refused = 0;
	for (unsigned i = 0; i < FILES; i++) {
		name_of(i, p);
		et_write(&T, p, "words while it is full");
		et_vec(&s, val[i], DIM);
		int rc = et_put(&T, p, val[i], DIM);
		refused += rc < 0 && err_posix(rc) == ENOSPC;
	}
	T_EQ(refused, FILES, "puts are refused for want of space");
	T_EQ(agree(&T), 0, "what is shown is true");
	f.kind[OSC_pwrite] = f.kind[OSC_pwritev] = OSF_NONE;
	for (unsigned i = 0; i < FILES; i++) {
		name_of(i, p);
		int rc = et_put(&T, p, val[i], DIM);
		if (rc)
			T_OK(0, "put after there is room: %s", err_text(rc));
	}
	T_EQ(et_wait(&T, true, false), 0, "wait");
	T_OK(T.j.complete, "complete again");
	T_EQ(agree(&T), 0, "agree");
	T_EQ(et_text(&T, "while full", 20), 0, "search");
	T_EQ(T.j.res_n, FILES, "all texts are there");
	et_close(&T);
	T.os = os_real();
	et_open(&T);
	T_EQ(et_wait(&T, false, false), 0, "reopened");
	unsigned wrong = 0;
	for (unsigned i = 0; i < FILES; i++) {
		name_of(i, p);
		wrong += et_get(&T, p) != 0 || memcmp(T.j.ret_vec, val[i], sizeof(val[i])) != 0 ||
		         T.j.ret_state != ENG_STATE_fresh;
	}
	T_EQ(wrong, 0, "all there, all fresh");
	T_EQ(et_text(&T, "while full", 20), 0, "search");
	T_EQ(T.j.res_n, FILES, "and their texts");
	et_done(&T);
}
static void poisoned(void)
{
	struct os_fault f;
	uint64_t s = 19;
	os_fault_init(&f, os_real());
	et_new(&T, ENG_all);
	et_close(&T);
	T.os = &f.os;
	et_open(&T);
	et_write(&T, "k00", "words");
	et_vec(&s, val[0], DIM);
	T_EQ(et_put(&T, "k00", val[0], DIM), 0, "put");
	et_wait(&T, true, false);
	f.error[OSC_fdatasync] = EIO;
	f.kind[OSC_fdatasync] = OSF_ERROR;
	f.at[OSC_fdatasync] = atomic_load(&f.calls[OSC_fdatasync]) + 1;
	et_write(&T, "k01", "words");
	et_put(&T, "k01", val[0], DIM);
	T_OK(et_wait(&T, true, false) < 0, "a failed sync is told");
	int rc = et_put(&T, "k01", val[0], DIM);
	T_EQ(rc, -VX_ERR_store_poisoned, "no more writes");
	T_OK(says("\"writable\":false"), "status says so");
	T_EQ(et_get(&T, "k00"), 0, "reading goes on");
	T_EQ(et_search(&T, val[0], DIM, 5, true), 0, "searching too");
	et_close(&T);
	T.os = os_real();
	et_open(&T);
	T_EQ(et_get(&T, "k00"), 0, "after the next mount");
	T_EQ(et_put(&T, "k01", val[0], DIM), 0, "writable again");
	et_done(&T);
}

/* ---- kill -9 ---- */
struct shared {
	_Atomic uint32_t put[FILES], acked[FILES]; /* numbers of vectors: set, and known to be durable */
};
static void numbered(unsigned file, uint32_t n, float *v)
{
	v[0] = 1;
	v[1] = (float)file;
	v[2] = (float)n;
	v[3] = (float)(n * 7 % 13);
}
static void child(struct shared *sh, uint64_t s)
{
	char p[16], q[24];
	float v[DIM];
	uint32_t next[FILES];
	for (unsigned i = 0; i < FILES; i++)
		next[i] = atomic_load(&sh->put[i]);
	et_open(&T);
	for (;;) {
		unsigned i = (unsigned)(et_rnd(&s) >> 30) % FILES;
		name_of(i, p);
		switch ((et_rnd(&s) >> 30) % 6) {
		case 0: /* a save by rename: the vector goes along, stale */
			sprintf(q, "%s.tmp", p);
			et_write(&T, q, "saved");
			et_rename(&T, q, p);
			break;
		case 1:
			et_write(&T, p, "rewritten in place");
			break;
		default: {
			if (faccessat(T.root, p, F_OK, 0))
				et_write(&T, p, "new");
			struct eng_job *j = et_job(&T, EV_put);
			numbered(i, ++next[i], v);
			atomic_store(&sh->put[i], next[i]);
			j->path = p;
			j->vec = v;
			j->vec_bytes = sizeof(v);
			j->want_durable = (et_rnd(&s) >> 30) % 3 == 0;
			bool durable = j->want_durable;
			if (eng_run(T.e, j) == 0 && durable)
				atomic_store(&sh->acked[i], next[i]);
		}
		}
	}
}
static void killed(unsigned rounds)
{
	uint64_t s = tap_seed(23);
	unsigned lost = 0, strange = 0, bad = 0;
	char p[16];
	struct shared *sh = mmap(NULL, sizeof(*sh), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	et_new(&T, ENG_all);
	et_close(&T);
	for (unsigned r = 0; r < rounds; r++) {
		fflush(stdout);
		uint64_t seed = et_rnd(&s);
		pid_t pid = fork();
		if (!pid)
			child(sh, seed);
		usleep(1000 * (20 + (unsigned)(et_rnd(&s) >> 30) % 120));
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
		et_open(&T);
		bad += et_wait(&T, true, false) != 0;
		for (unsigned i = 0; i < FILES; i++) {
			name_of(i, p);
			int rc = faccessat(T.root, p, F_OK, 0) ? -ENOENT : et_get(&T, p);
			uint32_t acked = atomic_load(&sh->acked[i]), put = atomic_load(&sh->put[i]);
			if (rc) {
				lost += acked != 0;
				continue;
			}
			const float *v = T.j.ret_vec;
			uint32_t n = (uint32_t)v[2];
			float want[DIM];
			numbered(i, n, want);
			strange += memcmp(want, v, sizeof(want)) != 0 || n > put;
			lost += n < acked;
			atomic_store(&sh->acked[i], n); /* from here on this one is known to be there */
		}
		bad += agree(&T);
		struct eng_job *j = et_job(&T, EV_verify);
		bad += eng_run(T.e, j) != 0 || !strstr(j->out_text, "\"findings\":0");
		et_close(&T);
	}
	T_EQ(lost, 0, "acknowledged and lost");
	T_EQ(strange, 0, "vectors nobody set");
	T_EQ(bad, 0, "other findings");
	et_done(&T);
	munmap(sh, sizeof(*sh));
}
int main(void)
{
	full();
	poisoned();
	killed(getenv("VEXFS_KILLS") ? (unsigned)atoi(getenv("VEXFS_KILLS")) : 25);
	return tap_done();
}
