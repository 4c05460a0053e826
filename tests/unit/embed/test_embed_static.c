/* Static token tables: mean of rows, factors, mapping, unknown tokens; and files that do not fit together. */
#include "model_files.h"
#include "base/mem.h"
#include "embed/embed.h"

#define TOKENIZER                                                                                                      \
	"{\"normalizer\":{\"type\":\"BertNormalizer\",\"lowercase\":true},\"pre_tokenizer\":{\"type\":"                \
	"\"BertPreTokenizer\"},\"model\":{"                                                                            \
	"\"type\":\"WordPiece\",\"unk_token\":\"[UNK]\",\"vocab\":{\"[PAD]\":0,\"[UNK]\":1,\"red\":2,\"green\":3,"     \
	"\"blue\":4,\"##ish\":5}}}"
static const float table[6][3] = {{9, 9, 9}, {8, 8, 8}, {1, 0, 0}, {0, 2, 0}, {0, 0, 4}, {0.5f, 0.5f, 0}};

static struct mf_dir dir;
static void write_model(const char *dtype, const void *p, size_t n, const char *shape, bool weights, const int64_t *map)
{
	struct mf_st st = {0};
	static const float w[6] = {1, 1, 3, 1, 0.5f, 1};
	mf_st_add(&st, "embeddings", dtype, shape, p, n);
	if (weights)
		mf_st_add(&st, "weights", "F32", "6", w, sizeof w);
	if (map)
		mf_st_add(&st, "mapping", "I64", "6", map, 48);
	mf_st_write(&st, &dir, "model.safetensors");
}

static int encode(const char *text, float ret[3], struct vx_errinfo *e)
{
	struct embed_cfg cfg = {.os = os_real(), .folder = dir.path};
	struct embed *m;
	struct embed_text t = {text, strlen(text)};
	*e = (struct vx_errinfo){0};
	VX_TRY(embed_open(&cfg, &m, e));
	int rc = embed_info(m).dim == 3 ? embed_encode(m, EMBED_document, &t, 1, ret, e) : -ERANGE;
	if (rc >= 0 && embed_info(m).kind != EMBED_static)
		rc = -ENOSYS;
	embed_close(m);
	return rc;
}
static void is(const char *text, float a, float b, float c)
{
	float v[3] = {0};
	struct vx_errinfo e;
	double len = sqrt((double)(a * a + b * b + c * c));
	len = len > 0 ? len : 1;
	int rc = encode(text, v, &e);
	T_OK(rc == 0 && fabs((double)v[0] - (double)a / len) < 1e-6 && fabs((double)v[1] - (double)b / len) < 1e-6 &&
	                fabs((double)v[2] - (double)c / len) < 1e-6,
	        "\"%s\": %g %g %g (%s %s)", text, (double)v[0], (double)v[1], (double)v[2], err_name(rc), e.detail);
}

int main(void)
{
	struct vx_errinfo e;
	float v[3];
	dir = mf_dir_new();
	mf_text(&dir, "config.json", "{\"model_type\":\"model2vec\",\"normalize\":true}");
	mf_text(&dir, "tokenizer.json", TOKENIZER);
	write_model("F32", table, sizeof table, "6,3", false, NULL);
	is("red", 1, 0, 0);
	is("Red GREEN", 1, 2, 0);
	is("redish blue", 1.5f, 0.5f, 4);
	is("red nothing known", 1, 0, 0);
	is("nothing", 0, 0, 0);
	is("", 0, 0, 0);
	write_model("F32", table, sizeof table, "6,3", true, NULL);
	is("red blue", 3, 0, 2);
	static const int64_t map[6] = {0, 0, 4, 2, 2, 0};
	write_model("F32", table, sizeof table, "6,3", false, map);
	is("red green blue", 2, 0, 4);
	int8_t q[6][3];
	for (int i = 0; i < 18; i++)
		q[i / 3][i % 3] = (int8_t)(table[i / 3][i % 3] * 10);
	write_model("I8", q, sizeof q, "6,3", false, NULL);
	is("Red GREEN", 1, 2, 0);
	static const int64_t bad_map[6] = {0, 0, 6, 2, 2, 0}, neg_map[6] = {0, 0, -1, 2, 2, 0};
	write_model("F32", table, sizeof table, "6,3", false, bad_map);
	T_EQ(encode("red", v, &e), -VX_ERR_bad_format, "a mapping outside the table");
	write_model("F32", table, sizeof table, "6,3", false, neg_map);
	T_EQ(encode("red", v, &e), -VX_ERR_bad_format, "a negative one");
	write_model("F32", table, 60, "5,3", false, NULL);
	T_EQ(encode("red", v, &e), -VX_ERR_bad_format, "fewer rows than words");
	write_model("F32", table, 60, "5,3", true, NULL);
	T_EQ(encode("red", v, &e), -VX_ERR_bad_format, "another number of factors");
	write_model("F32", table, sizeof table, "18", false, NULL);
	T_EQ(encode("red", v, &e), -VX_ERR_bad_format, "a table of one dimension");
	write_model("F32", table, 0, "6,0", false, NULL);
	T_EQ(encode("red", v, &e), -VX_ERR_bad_format, "vectors of length 0");
	write_model("I64", table, 48, "2,3", false, NULL);
	T_EQ(encode("red", v, &e), -VX_ERR_bad_format, "integers");
	float nan_table[6][3] = {{0}};
	nan_table[2][1] = NAN;
	write_model("F32", nan_table, sizeof nan_table, "6,3", false, NULL);
	T_EQ(encode("red", v, &e), -VX_ERR_not_finite, "NaN");
	is("green", 0, 0, 0);
	T_EQ(mem_used(MEM_text), 0, "nothing left");
	mf_dir_done(&dir);
	return tap_done();
}
