/* verify_int.h - what verify.c and salvage.c share. */
#pragma once
#include "base/sbuf.h"
#include "store/store_int.h"

enum vf_fate {
	VF_STAYS, /* told; a repair does not change it by itself */
	VF_FIXED, /* derived or found again: a repair leaves nothing missing */
	VF_LOST /* gone, whether repaired or not */
};
enum vf_table {
	VFT_meta,
	VFT_coll,
	VFT_obj,
	VFT_link,
	VFT_vec,
	VFT_payload,
	VFT_chunk,
	VFT_graph,
	VFT_emb,
	VFT_text_again
};
struct vf_drop {
	enum vf_table table;
	uint64_t a, b;
};
struct verify {
	struct store *st; /* directory and lock; no threads */
	bool repair, may_write, structure_bad, fts_rebuild, drop_was;
	uint64_t meta_at;
	void (*say)(void *u, const char *line);
	void *u;
	struct store_verify_report *r;
	struct vf_drop *drop;
	uint32_t drop_n, drop_cap;
};
void vf_say(struct verify *v, struct sbuf *b);
void vf_finding(struct verify *v, const char *what, const char *table, uint64_t id, enum vf_fate fate);
int vf_prepare(struct verify *v, const char *sql, sqlite3_stmt **ret);

/* salvage - copy every readable row of a broken catalog into a new one, which takes its place; the broken one is kept beside it */
int salvage(struct verify *v);

/* verify_one - store_verify without its snapshots */
int verify_one(const struct store_cfg *cfg, bool repair, void (*say)(void *u, const char *line), void *u,
        struct store_verify_report *ret);

/* store_files_open - directory and LOCK only: a struct store without catalog and threads, for store_close */
int store_files_open(const struct store_cfg *cfg, struct store **ret, struct vx_errinfo *reterr);
