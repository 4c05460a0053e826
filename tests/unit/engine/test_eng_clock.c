/* test_eng_clock.c - the clock goes backwards: a second with every look at it, and a year between two mounts.
 *
 * Nothing may hang on it: numbers of commits only grow, a text read at an earlier hour than the one before takes its place all the same, a
 * file whose times went back with the clock is stale like any other that changed, what waits is told, and the store verifies clean. */
#include <stdatomic.h>
#include "engtest.h"
#include "store/store.h"

#define YEAR_NS (365ll * 86400 * 1000000000)
#define STEP_NS 1000000000ll

static _Atomic int64_t back_ns;
static _Atomic uint64_t looks;
static uint64_t backward_real(struct os *o)
{
	(void)o;
	atomic_fetch_add(&looks, 1);
	return os_real_ns(os_real()) - (uint64_t)atomic_fetch_add(&back_ns, STEP_NS);
}
static uint64_t gen_last, gen_fell;
static void gen_look(struct et *t)
{
	gen_fell += t->j.generation < gen_last;
	gen_last = t->j.generation;
}
/* the file's word is found, by that file alone, and the word of before by none */
static void found(struct et *t, const char *word, const char *before, const char *what)
{
	T_EQ(et_wait(t, false, false), 0, "wait");
	T_EQ(et_text(t, word, 5), 0, "search");
	T_STR(et_paths(t), "a.txt", what);
	T_OK(t->j.complete && !t->j.pending, "  nothing is pending");
	gen_look(t);
	if (before) {
		et_text(t, before, 5);
		T_STR(et_paths(t), "", "  the text of before is gone");
	}
}
static void vectors(struct et *t, const char *what)
{
	static const float v[2] = {1, 2};
	T_EQ(et_put(t, "a.txt", v, 2), 0, what);
	T_EQ(et_wait(t, true, false), 0, "  durable");
	T_EQ(et_get(t, "a.txt"), 0, "  there");
	T_EQ(t->j.ret_state, ENG_STATE_fresh, "  fresh");
	et_search(t, v, 2, 1, false);
	T_STR(et_paths(t), "a.txt", "  found");
	gen_look(t);
}
/* behind the mount, with a time that lies before the one the vector was bound to: as a program does when the clock is back */
static void older(struct et *t)
{
	struct timespec past[2] = {{.tv_sec = 1000000000}, {.tv_sec = 1000000000}};
	struct stat st;
	fstatat(t->root, "a.txt", &st, 0);
	int fd = openat(t->root, "a.txt", O_WRONLY);
	if (fd < 0 || pwrite(fd, "Crane", 5, 4) != 5 || futimens(fd, past))
		abort();
	close(fd);
	T_EQ(et_wait(t, false, true), 0, "a walk");
	T_EQ(et_get(t, "a.txt"), 0, "get");
	T_EQ(t->j.ret_state, ENG_STATE_stale, "a file changed at an earlier hour is stale");
	found(t, "crane", "heron", "and its text is the new one");
}
int main(void)
{
	static const char *const words[] = {"ibis", "stork", "crane", "egret", "bittern", "spoonbill"};
	struct et t;
	struct os_ops ops = *os_real()->ops;
	struct os os = {.ops = &ops};
	const char *before = NULL;
	char kept[24];
	ops.real_ns = backward_real;
	et_new(&t, ENG_all);
	et_close(&t);
	t.os = &os;
	for (int year = 0; year < 3; year++) {
		et_open(&t);
		if (before)
			found(&t, before, NULL, "opened a year earlier: the text is there");
		for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
			char text[80], word[24];
			snprintf(word, sizeof word, "%s%d", words[i], year);
			snprintf(text, sizeof text, "The %s waits in the reeds.\n", word);
			et_write(&t, "a.txt", text);
			found(&t, word, before, "written again: found by its new word");
			memcpy(kept, word, sizeof kept);
			before = kept;
		}
		vectors(&t, "a vector");
		et_write(&t, "a.txt", "The heron waits in the reeds, and so do I.\n");
		T_EQ(et_wait(&t, false, false), 0, "wait");
		T_EQ(et_get(&t, "a.txt"), 0, "get");
		T_EQ(t.j.ret_state, ENG_STATE_stale, "written again: its vector is stale");
		vectors(&t, "put again");
		older(&t);
		before = "crane";
		et_close(&t);
		struct store_cfg cfg = {.os = os_real(), .root_fd = t.root};
		struct store_verify_report r;
		T_EQ(store_verify(&cfg, false, NULL, NULL, &r), 0, "it verifies clean");
		atomic_fetch_add(&back_ns, YEAR_NS);
	}
	T_OK(atomic_load(&looks) > 10, "the clock was looked at: %d times", (int)atomic_load(&looks));
	T_EQ(gen_fell, 0, "numbers of commits only grow");
	et_done(&t);
	return tap_done();
}
