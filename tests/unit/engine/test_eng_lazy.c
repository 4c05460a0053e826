/* test_eng_lazy.c - opening at first use: nothing before, one opening for many first touches, failure with reason, retry. */
#include <pthread.h>
#include "engtest.h"

#define TOUCHERS 8

static struct et T;
static void *touch(void *arg)
{
	struct arena a;
	struct eng_job j = {.verb = EV_coll_list, .fd = -1};
	(void)arg;
	arena_init(&a, MEM_req, 1u << 20);
	j.arena = &a;
	j.who.uid = getuid();
	int rc = eng_run(T.e, &j);
	arena_done(&a);
	return (void *)(intptr_t)rc;
}
static const char *status_text(void)
{
	struct eng_job *j = et_job(&T, EV_status);
	eng_run(T.e, j);
	return j->out_text;
}
/* a system whose openat stands still until it is let go */
static struct {
	struct os os;
	struct os_ops ops;
	pthread_mutex_t lock;
	pthread_cond_t turn;
	bool hold, held;
} slow = {.lock = PTHREAD_MUTEX_INITIALIZER, .turn = PTHREAD_COND_INITIALIZER};
static int slow_openat(struct os *o, int dirfd, const char *path, int flags, mode_t mode)
{
	pthread_mutex_lock(&slow.lock);
	while (slow.hold && !strcmp(path, ".vexfs")) { /* the store's directory: its opening begins there */
		slow.held = true;
		pthread_cond_broadcast(&slow.turn);
		pthread_cond_wait(&slow.turn, &slow.lock);
	}
	pthread_mutex_unlock(&slow.lock);
	return os_real()->ops->openat(os_real(), dirfd, path, flags, mode);
}
static void *stopper(void *arg)
{
	(void)arg;
	eng_stop(T.e);
	return NULL;
}
/* the mount is stopped while its store is being opened: who waits for the opening is answered, and stopping ends */
static void stopped_while_opening(void)
{
	pthread_t th[TOUCHERS], st;
	slow.ops = *os_real()->ops;
	slow.ops.openat = slow_openat;
	slow.os.ops = &slow.ops;
	T.os = &slow.os;
	T.comp = ENG_search;
	et_open(&T);
	slow.hold = true; /* nothing is opened before the first touch */
	for (int i = 0; i < TOUCHERS; i++)
		pthread_create(&th[i], NULL, touch, NULL);
	pthread_mutex_lock(&slow.lock);
	while (!slow.held)
		pthread_cond_wait(&slow.turn, &slow.lock);
	pthread_mutex_unlock(&slow.lock);
	T_OK(strstr(status_text(), "\"store\":{\"state\":\"opening\"}"), "opening, and status answers meanwhile");
	pthread_create(&st, NULL, stopper, NULL);
	int rc = 0;
	while (rc == 0) /* a status never waits */
		rc = eng_run(T.e, et_job(&T, EV_status));
	T_EQ(rc, -VX_ERR_shutting_down, "a request that comes while it stops is refused as such");
	pthread_mutex_lock(&slow.lock);
	slow.hold = false;
	pthread_cond_broadcast(&slow.turn);
	pthread_mutex_unlock(&slow.lock);
	unsigned bad = 0;
	for (int i = 0; i < TOUCHERS; i++) {
		void *ret;
		pthread_join(th[i], &ret);
		rc = (int)(intptr_t)ret;
		bad += rc != 0 && rc != -VX_ERR_shutting_down;
	}
	T_EQ(bad, 0, "every first touch has its answer");
	pthread_join(st, NULL);
	T_OK(1, "and stopping has ended");
	et_close(&T);
	T.os = os_real();
	et_open(&T);
	T_EQ(et_get(&T, "kept"), 0, "what was there is there");
	et_close(&T);
}

int main(void)
{
	et_new(&T, ENG_search);
	T_OK(strstr(status_text(), "\"store\":{\"state\":\"cold\"}"), "cold after start");
	T_OK(faccessat(T.root, ".vexfs", F_OK, 0) != 0, "no store directory before the first use");
	struct obj_key k = {.len = 4, .type = 1};
	T_OK(eng_known(T.e, &k), "before opening everything may have a vector");
	pthread_t th[TOUCHERS];
	for (int i = 0; i < TOUCHERS; i++)
		pthread_create(&th[i], NULL, touch, NULL);
	unsigned bad = 0;
	for (int i = 0; i < TOUCHERS; i++) {
		void *rc;
		pthread_join(th[i], &rc);
		bad += rc != NULL;
	}
	T_EQ(bad, 0, "racing first touches are all answered");
	T_OK(strstr(status_text(), "\"store\":{\"state\":\"ready\"}"), "ready");
	T_OK(!eng_known(T.e, &k), "now it is known that it hasn't");
	et_close(&T);

	/* opening fails: told with the reason, tried again by itself */
	struct os_fault f;
	os_fault_init(&f, os_real());
	T.os = &f.os;
	et_open(&T);
	f.at[OSC_openat] = atomic_load(&f.calls[OSC_openat]) + 1;
	f.until[OSC_openat] = UINT64_MAX;
	f.kind[OSC_openat] = OSF_ERROR;
	f.error[OSC_openat] = EIO;
	f.at[OSC_flock] = f.at[OSC_mkdirat] = 1;
	f.until[OSC_flock] = f.until[OSC_mkdirat] = UINT64_MAX;
	f.kind[OSC_flock] = f.kind[OSC_mkdirat] = OSF_ERROR;
	f.error[OSC_flock] = f.error[OSC_mkdirat] = EIO;
	struct eng_job *j = et_job(&T, EV_coll_list);
	int rc = eng_run(T.e, j);
	T_OK(rc < 0, "refused: %s", err_text(rc));
	const char *s = status_text();
	T_OK(strstr(s, "\"state\":\"failed\"") && strstr(s, "next_retry_ms"), "status says failed and when: %.300s", s);
	/* notes meanwhile are kept */
	et_write(&T, "kept", "x");
	f.kind[OSC_openat] = f.kind[OSC_flock] = f.kind[OSC_mkdirat] = OSF_NONE;
	j = et_job(&T, EV_retry);
	T_EQ(eng_run(T.e, j), 0, "retry");
	for (int i = 0; i < 4000 && !strstr(status_text(), "\"store\":{\"state\":\"ready\"}"); i++)
		usleep(1000); /* there is no event for an open that nobody waits for */
	j = et_job(&T, EV_coll_list);
	T_EQ(eng_run(T.e, j), 0, "answered once it is open");
	T_EQ(j->coll_n, 2, "default and text");
	float v[2] = {1, 2};
	T_EQ(et_put(&T, "kept", v, 2), 0, "put");
	T_EQ(et_get(&T, "kept"), 0, "get");
	et_close(&T);

	/* a store that another process holds */
	T.os = os_real();
	et_open(&T);
	et_get(&T, "kept");
	struct engine *first = T.e;
	et_open(&T);
	j = et_job(&T, EV_coll_list);
	T_EQ(eng_run(T.e, j), -VX_ERR_store_locked, "locked");
	T_OK(j->err.detail[0] != 0, "by whom: %s", j->err.detail);
	eng_stop(first);
	eng_free(first);
	T_OK(1, "the first has gone");
	/* by itself, after a second */
	for (int i = 0; i < 6000 && !strstr(status_text(), "\"store\":{\"state\":\"ready\"}"); i++)
		usleep(1000);
	T_EQ(et_get(&T, "kept"), 0, "opened by the retry");
	et_close(&T);

	stopped_while_opening();

	/* stopping answers what is parked */
	T.comp = ENG_none;
	et_open(&T);
	j = et_job(&T, EV_coll_list);
	T_EQ(eng_run(T.e, j), -VX_ERR_component_off, "components=none");
	et_done(&T);
	return tap_done();
}
