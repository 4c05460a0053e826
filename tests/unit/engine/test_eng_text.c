/* test_eng_text.c - lexical search: ingest on close, by the walk, after edits; like; hybrid; scope; chunks. */
#include "engtest.h"
#include "base/perf.h"
#include "engine/engine_priv.h"

static void words(struct et *t)
{
	et_mkdir(t, "docs");
	et_write(t, "docs/apple.md", "# Apples\n\nThe orchard grows crisp apples in autumn.\n");
	et_write(t, "docs/pear.md", "# Pears\n\nPears ripen slowly near the old orchard wall.\n");
	et_write(t, "notes.txt", "quarterly budget approved by the zebra committee\n");
	int fd = openat(t->root, "bin", O_WRONLY | O_CREAT, 0644);
	char z[64] = {0, 1, 2, 3, 'o', 'r', 'c', 'h', 'a', 'r', 'd'};
	if (write(fd, z, sizeof(z)) != (ssize_t)sizeof(z))
		T_OK(0, "write");
	close(fd);
	T_EQ(et_wait(t, false, false), 0, "wait");
	T_EQ(et_text(t, "zebra", 5), 0, "search");
	T_STR(et_paths(t), "notes.txt", "by its only word");
	T_OK(t->j.res_n && t->j.res[0].snippet && strstr(t->j.res[0].snippet, "zebra"), "with a snippet");
	T_OK(t->j.res_n && t->j.res[0].has_locator && t->j.res[0].line0 == 1, "and a place");
	T_EQ(t->j.res_n ? t->j.res[0].state : 99, ENG_STATE_fresh, "fresh");
	T_EQ(et_text(t, "orchard", 5), 0, "search");
	T_EQ(t->j.res_n, 2, "two files of words, the binary not");
	struct eng_job *j = et_job(t, EV_search);
	j->text = "orchard zebra";
	j->text_n = 13;
	j->scope = "docs";
	T_EQ(eng_run(t->e, j), 0, "search in scope");
	T_EQ(j->res_n, 2, "only below the scope");
	T_EQ(et_text(t, "...", 5), -VX_ERR_query_syntax, "no word");
	T_EQ(et_text(t, "unheardof", 5), 0, "no match");
	T_EQ(t->j.res_n, 0, "is no result");
}
static void edits(struct et *t)
{
	et_write(t, "notes.txt", "about giraffes now\n");
	et_text(t, "zebra", 5);
	T_STR(et_paths(t), "", "old words find nothing at once after the edit");
	et_wait(t, false, false);
	et_text(t, "giraffes", 5);
	T_STR(et_paths(t), "notes.txt", "new words after wait");
	et_rename(t, "notes.txt", "docs/n.txt");
	et_text(t, "giraffes", 5);
	T_STR(et_paths(t), "docs/n.txt", "renamed");
	et_unlink(t, "docs/n.txt");
	et_text(t, "giraffes", 5);
	T_STR(et_paths(t), "", "unlinked");
	/* behind the mount: found by a rescan */
	et_write_flags(t, "behind.txt", "platypus facts\n", false, O_TRUNC);
	et_wait(t, false, true);
	et_text(t, "platypus", 5);
	T_STR(et_paths(t), "behind.txt", "made behind the mount");
	/* an editor's save */
	et_write(t, "behind.tmp", "echidna facts\n");
	et_rename(t, "behind.tmp", "behind.txt");
	et_wait(t, false, false);
	et_text(t, "echidna", 5);
	T_STR(et_paths(t), "behind.txt", "saved by rename");
	et_text(t, "platypus", 5);
	T_STR(et_paths(t), "", "the old content is gone");
}
static void near(struct et *t)
{
	et_write(t, "docs/apple2.md", "Crisp apples again: the orchard and its apples.\n");
	et_wait(t, false, false);
	struct eng_job *j = et_job(t, EV_search);
	j->like = "docs/apple.md";
	j->k = 1;
	T_EQ(eng_run(t->e, j), 0, "like by words");
	T_STR(et_paths(t), "docs/apple2.md", "the nearest, not itself");
	float a[2] = {1, 0}, b[2] = {0.9f, 0.1f}, c[2] = {0, 1};
	et_put(t, "docs/apple.md", a, 2);
	et_put(t, "docs/pear.md", b, 2);
	et_put(t, "behind.txt", c, 2);
	j = et_job(t, EV_search);
	j->like = "docs/apple.md";
	j->k = 1;
	T_EQ(eng_run(t->e, j), 0, "like by vector");
	T_STR(et_paths(t), "docs/pear.md", "the nearest vector");
	j = et_job(t, EV_search);
	j->vec = a;
	j->vec_bytes = 8;
	j->text = "ripen slowly";
	j->text_n = 12;
	j->mode = ENG_MODE_hybrid;
	T_EQ(eng_run(t->e, j), 0, "hybrid");
	T_STR(j->res_n ? j->res[0].path : "", "docs/pear.md", "second by vector, first by words: first of both");
	T_OK(j->res_n && j->res[0].score <= 1.0f && j->res[0].score > 0.9f, "fused score %.3f in [0, 1]",
	        (double)j->res[0].score);
	bool dup = false;
	for (uint32_t i = 0; i < j->res_n; i++)
		for (uint32_t k = 0; k < i; k++)
			dup |= !strcmp(j->res[i].path, j->res[k].path);
	T_OK(!dup, "each file once");
}
static void status(struct et *t)
{
	et_wait(t, false, false);
	struct eng_job *j = et_job(t, EV_status);
	T_EQ(eng_run(t->e, j), 0, "status");
	T_OK(strstr(j->out_text, "\"state\":\"ready\"") && strstr(j->out_text, "\"complete\":true"), "%.120s",
	        j->out_text);
	j = et_job(t, EV_verify);
	T_EQ(eng_run(t->e, j), 0, "verify");
	T_OK(strstr(j->out_text, "\"findings\":0"), "%s", j->out_text);
	j = et_job(t, EV_verify);
	j->who.uid = 12345;
	T_EQ(eng_run(t->e, j), getuid() == 12345 ? 0 : -VX_ERR_not_owner, "verify is the owner's");
	j = et_job(t, EV_locate);
	j->key = et_key(t, "docs/pear.md");
	T_EQ(eng_run(t->e, j), 0, "locate");
	T_STR(j->out_text, "docs/pear.md", "by key");
}
static void again(struct et *t)
{
	et_close(t);
	et_open(t);
	et_wait(t, false, false);
	et_text(t, "echidna", 5);
	T_STR(et_paths(t), "behind.txt", "after reopening");
	struct eng_job *j = et_job(t, EV_status);
	eng_run(t->e, j);
	T_OK(strstr(j->out_text, "\"ingest\":{\"queued\":0,"), "nothing is read again when nothing changed: %s",
	        strstr(j->out_text, "\"ingest\""));
}
/* somebody holds the object table for as long as he likes: file operations go on, and whoever looks afterwards sees them, in their order */
static void held(struct et *t)
{
	et_write(t, "h1.txt", "wolverine\n");
	et_write(t, "h2.txt", "wolverine too\n");
	et_write(t, "h3.txt", "wolverine three\n");
	et_wait(t, false, false);
	et_text(t, "wolverine", 9);
	T_EQ(t->j.res_n, 3, "three files");
	uint64_t met = perf_get(PERFC_note_met), lost = perf_get(PERFC_events_lost);
	pthread_rwlock_wrlock(&t->e->objects);
	et_rename(t, "h1.txt", "h4.txt");
	et_write(t, "h4.txt", "pangolin\n");
	et_unlink(t, "h2.txt");
	et_rename(t, "h3.txt", "h2.txt");
	struct obj_key key = et_key(t, "h2.txt");
	T_OK(eng_known(t->e, &key), "what can't be asked counts as known");
	T_EQ(perf_get(PERFC_note_met) - met, 6,
	        "notes left to the holder: two renames with their times, a write, a removal");
	pthread_rwlock_unlock(&t->e->objects); /* as if he had not looked yet */
	T_EQ(et_text(t, "wolverine", 9), 0, "search");
	T_STR(et_paths(t), "h2.txt",
	        "old words of the written file, the removed one: gone; the renamed one by its new name");
	et_wait(t, false, false);
	et_text(t, "pangolin", 9);
	T_STR(et_paths(t), "h4.txt", "new words after wait");
	T_EQ(atomic_load(&t->e->notes_n), 0, "none is left");
	T_EQ(perf_get(PERFC_events_lost) - lost, 0, "none was lost");
	T_EQ(perf_get(PERFC_note_waits) + perf_get(PERFC_note_waits_ingest), 0, "nobody waited");
}
int main(void)
{
	struct et t;
	et_new(&t, ENG_all);
	words(&t);
	edits(&t);
	near(&t);
	status(&t);
	again(&t);
	held(&t);
	et_done(&t);
	return tap_done();
}
