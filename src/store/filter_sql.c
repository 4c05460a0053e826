/* filter_sql.c - a parsed filter (base/filter.h) as one SELECT over the catalog, on a reader thread.
 *
 * Of a collection it gives the set of rows that pass, one bit each; of text the passing objects, ascending.  What a file's size and
 * times are is what its stamp says, that is what they were when its vector or text was made: for a fresh result the same thing.
 * Every comparison is wrapped so that it is 0 or 1, never NULL: `not` and `!=` then hold for what isn't there.
 * Values and paths travel as parameters, in the order the leaves stand in the text. */
#include <string.h>
#include "base/filter.h"
#include "base/sbuf.h"
#include "store/store_int.h"

#define LEAF_MAX 640u
#define DATA     "CAST(p.data AS TEXT)"
#define TYPE     "json_type(" DATA ",?)"
#define VALUE    "json_extract(" DATA ",?)"

struct fsql {
	struct sbuf b;
	bool text;
	uint32_t start[FLT_NODES_MAX]; /* where each operand on the stack begins */
	uint32_t n;
};

static const char *cmp_sql(uint8_t c)
{
	switch ((enum flt_cmp)c) {
	case FLC_lt:
		return "<?";
	case FLC_le:
		return "<=?";
	case FLC_gt:
		return ">?";
	case FLC_ge:
		return ">=?";
	case FLC_glob:
		return " GLOB ?";
	case FLC_eq:
	case FLC_ne:
	case FLC_contains:
	case FLC_exists:
		break;
	}
	return "=?";
}

/* how often a leaf's path and value are bound, in the order of its text: 'p' and 'v' */
static const char *leaf_params(const struct flt_node *nd)
{
	if (nd->field != FLF_payload)
		return nd->cmp == FLC_exists ? "" : "v";
	if (nd->cmp == FLC_exists)
		return "p";
	bool typed = nd->value == FLV_text || nd->value == FLV_number;
	if (nd->cmp == FLC_contains)
		return nd->value == FLV_text ? "ppvppv" : nd->value == FLV_number ? "ppv" : "pp";
	return typed ? "ppv" : "p";
}

static const char *type_word(uint8_t value)
{
	return value == FLV_true ? "'true'" : value == FLV_false ? "'false'" : "'null'";
}

static void payload_leaf(struct sbuf *b, const struct flt_node *nd)
{
	if (nd->cmp == FLC_exists) {
		sb_str(b, TYPE " IS NOT NULL");
	} else if (nd->cmp == FLC_contains) {
		if (nd->value == FLV_text)
			sb_str(b, "(" TYPE "='text' AND instr(" VALUE ",?)>0) OR ");
		sb_str(b, "(" TYPE "='array' AND EXISTS(SELECT 1 FROM json_each(" DATA ",?) e WHERE e.type");
		if (nd->value == FLV_text) {
			sb_str(b, "='text' AND e.value=?))");
		} else if (nd->value == FLV_number) {
			sb_str(b, " IN ('integer','real') AND e.value=?))");
		} else {
			sb_str(b, "=");
			sb_str(b, type_word(nd->value));
			sb_str(b, "))");
		}
	} else if (nd->value == FLV_text || nd->value == FLV_number) {
		sb_str(b, nd->value == FLV_text ? TYPE "='text' AND " VALUE : TYPE " IN ('integer','real') AND " VALUE);
		sb_str(b, cmp_sql(nd->cmp));
	} else {
		sb_str(b, TYPE "=");
		sb_str(b, type_word(nd->value));
	}
}

static void leaf(struct fsql *f, const struct flt_node *nd)
{
	struct sbuf *b = &f->b;
	sb_str(b, nd->cmp == FLC_ne ? "(NOT coalesce((" : "coalesce((");
	switch ((enum flt_field)nd->field) {
	case FLF_payload:
		payload_leaf(b, nd);
		break;
	case FLF_size:
	case FLF_mtime:
	case FLF_ctime: {
		static const char *const of_text[] = {"o.tsize", "o.tmtime", "o.tctime"};
		static const char *const of_vec[] = {"(CASE WHEN v.kind=0 THEN v.size END)",
		        "(CASE WHEN v.kind=0 THEN v.mtime END)", "(CASE WHEN v.kind=0 THEN v.ctime END)"};
		unsigned at = nd->field - FLF_size;
		sb_str(b, f->text ? of_text[at] : of_vec[at]);
		sb_str(b, nd->cmp == FLC_exists ? " IS NOT NULL" : cmp_sql(nd->cmp));
		break;
	}
	case FLF_name:
		sb_str(b, "EXISTS(SELECT 1 FROM link l WHERE l.oid=");
		sb_str(b, f->text ? "o.oid" : "v.id AND v.kind=0");
		if (nd->cmp != FLC_exists) {
			sb_str(b, " AND CAST(l.name AS TEXT)");
			sb_str(b, cmp_sql(nd->cmp));
		}
		sb_ch(b, ')');
		break;
	case FLF_id:
		sb_str(b, f->text ? "NULL" : "(CASE WHEN v.kind=1 THEN v.id END)");
		sb_str(b, nd->cmp == FLC_exists ? " IS NOT NULL" : cmp_sql(nd->cmp));
		break;
	}
	sb_str(b, nd->cmp == FLC_ne ? "),0))" : "),0)");
}

static void insert(struct sbuf *b, uint32_t at, const char *s)
{
	size_t n = strlen(s), tail = b->n - at;
	sb_str(b, s);
	if (b->over)
		return;
	memmove(b->p + at + n, b->p + at, tail);
	memcpy(b->p + at, s, n);
}

/* operands lie side by side in the text; an operator is put between the last two, or before the last one */
static int program(struct fsql *f, const struct flt *p)
{
	for (uint32_t i = 0; i < p->n; i++) {
		const struct flt_node *nd = p->node + i;
		if (nd->op == FLT_cmp) {
			f->start[f->n++] = (uint32_t)f->b.n;
			leaf(f, nd);
		} else if (nd->op == FLT_not) {
			if (!f->n)
				return -VX_ERR_filter_syntax;
			insert(&f->b, f->start[f->n - 1], "(NOT ");
			sb_ch(&f->b, ')');
		} else {
			if (f->n < 2)
				return -VX_ERR_filter_syntax;
			f->n--;
			insert(&f->b, f->start[f->n], nd->op == FLT_and ? " AND " : " OR ");
			insert(&f->b, f->start[f->n - 1], "(");
			sb_ch(&f->b, ')');
		}
		if (f->b.over)
			return -VX_ERR_arena_full;
	}
	return f->n == 1 ? 0 : -VX_ERR_filter_syntax;
}

static void bind_value(sqlite3_stmt *s, int at, const struct flt_node *nd)
{
	if (nd->value == FLV_text)
		sqlite3_bind_text(s, at, nd->text, (int)nd->text_n, SQLITE_STATIC);
	else if (nd->field == FLF_mtime || nd->field == FLF_ctime)
		sqlite3_bind_double(s, at, nd->num * 1e9);
	else
		sqlite3_bind_double(s, at, nd->num);
}

static void bind_all(sqlite3_stmt *s, int at, const struct flt *p)
{
	for (uint32_t i = 0; i < p->n; i++) {
		const struct flt_node *nd = p->node + i;
		if (nd->op != FLT_cmp)
			continue;
		for (const char *c = leaf_params(nd); *c; c++, at++)
			if (*c == 'p')
				sqlite3_bind_text(s, at, nd->path, -1, SQLITE_STATIC);
			else
				bind_value(s, at, nd);
	}
}

static int collect_rows(struct catalog *c, sqlite3_stmt *s, struct store_read *rd)
{
	uint32_t words = (rd->limit + 63) / 64;
	rd->bits = arena_zalloc(rd->arena, (words ? words : 1) * sizeof *rd->bits);
	if (!rd->bits)
		return -VX_ERR_arena_full;
	int q;
	while ((q = sqlite3_step(s)) == SQLITE_ROW) {
		uint64_t row = (uint64_t)sqlite3_column_int64(s, 0) & UINT32_MAX;
		if (row < rd->limit) {
			rd->bits[row / 64] |= 1ull << row % 64;
			rd->id_n++;
		}
	}
	return q == SQLITE_DONE ? 0 : cat_rc(c, sqlite3_extended_errcode(c->db));
}

static int collect_ids(struct catalog *c, sqlite3_stmt *s, struct store_read *rd)
{
	uint32_t cap = 0;
	int q;
	while ((q = sqlite3_step(s)) == SQLITE_ROW) {
		if (rd->id_n == cap) {
			cap = cap ? cap * 2 : 256;
			uint64_t *p = arena_alloc(rd->arena, cap * sizeof *p);
			if (!p)
				return -VX_ERR_arena_full;
			if (rd->id_n)
				memcpy(p, rd->ids, rd->id_n * sizeof *p);
			rd->ids = p;
		}
		rd->ids[rd->id_n++] = (uint64_t)sqlite3_column_int64(s, 0);
	}
	return q == SQLITE_DONE ? 0 : cat_rc(c, sqlite3_extended_errcode(c->db));
}

int filter_search(struct catalog *c, struct store_read *rd)
{
	static const char rows[] =
	        "SELECT v.key FROM vec v LEFT JOIN payload p ON p.cid=(CASE WHEN v.kind=1 THEN ? ELSE 0 END) "
	        "AND p.id=v.id WHERE v.key BETWEEN ? AND ? AND v.dead=0 AND ";
	static const char objs[] =
	        "SELECT o.oid FROM obj o LEFT JOIN payload p ON p.cid=0 AND p.id=o.oid WHERE o.tstate=1 AND ";
	struct fsql *f = arena_zalloc(rd->arena, sizeof *f);
	if (!f || sbuf_arena(&f->b, rd->arena, 4096, FLT_NODES_MAX * LEAF_MAX) < 0)
		return -VX_ERR_arena_full;
	f->text = !rd->cid;
	sb_str(&f->b, f->text ? objs : rows);
	VX_TRY(program(f, rd->filter));
	if (f->text)
		sb_str(&f->b, " ORDER BY o.oid");
	sqlite3_stmt *s;
	const char *text = sbuf_cstr(&f->b);
	if (f->b.over)
		return -VX_ERR_arena_full;
	if (sqlite3_prepare_v2(c->db, text, -1, &s, NULL) != SQLITE_OK)
		return cat_rc(c, sqlite3_extended_errcode(c->db));
	int at = 1;
	if (!f->text) {
		sqlite3_bind_int64(s, at++, rd->cid);
		sqlite3_bind_int64(s, at++, vec_key(rd->cid, 0));
		sqlite3_bind_int64(s, at++, vec_key(rd->cid, UINT32_MAX));
	}
	bind_all(s, at, rd->filter);
	int rc = f->text ? collect_ids(c, s, rd) : collect_rows(c, s, rd);
	sqlite3_finalize(s);
	return rc;
}
