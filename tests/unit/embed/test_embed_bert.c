/* The encoder against the network of the paper in double arithmetic, on a small random model; and everything around it: batches, windows,
 * pooling, names of tensors, dropping and loading again, files that change, lie or end early. */
#include "model_files.h"
#include "base/mem.h"
#include "embed/embed.h"
#include "simd/gemm.h"

enum { H = 40, HEADS = 4, INTER = 56, LAYERS = 2, VOCAB = 40, POS = 48, TOKENS = 16 };

/* every weight is a bf16 number, so packing loses nothing and the kernels can be held to tight bounds */
static float word[VOCAB][H], pos[POS][H], type[2][H], emb_g[H], emb_b[H];
static struct layer {
	float q[H][H], k[H][H], v[H][H], o[H][H], up[INTER][H], down[H][INTER];
	float qb[H], kb[H], vb[H], ob[H], upb[INTER], downb[H], g1[H], b1[H], g2[H], b2[H];
} lay[LAYERS];

static void fill(float *p, size_t n, float scale, float around)
{
	for (size_t i = 0; i < n; i++) {
		float f = around + scale * mf_rndf();
		uint32_t u;
		memcpy(&u, &f, 4);
		u &= 0xffff0000u;
		memcpy(p + i, &u, 4);
	}
}
#define FILL(a, scale, around) fill((float *)(a), sizeof(a) / 4, scale, around)

static void make_weights(void)
{
	FILL(word, 1, 0);
	FILL(pos, 0.5f, 0);
	FILL(type, 0.5f, 0);
	FILL(emb_g, 0.3f, 1);
	FILL(emb_b, 0.3f, 0);
	for (int l = 0; l < LAYERS; l++) {
		FILL(lay[l].q, 0.4f, 0);
		FILL(lay[l].k, 0.4f, 0);
		FILL(lay[l].v, 0.4f, 0);
		FILL(lay[l].o, 0.4f, 0);
		FILL(lay[l].up, 0.4f, 0);
		FILL(lay[l].down, 0.4f, 0);
		FILL(lay[l].qb, 0.2f, 0);
		FILL(lay[l].kb, 0.2f, 0);
		FILL(lay[l].vb, 0.2f, 0);
		FILL(lay[l].ob, 0.2f, 0);
		FILL(lay[l].upb, 0.2f, 0);
		FILL(lay[l].downb, 0.2f, 0);
		FILL(lay[l].g1, 0.3f, 1);
		FILL(lay[l].b1, 0.3f, 0);
		FILL(lay[l].g2, 0.3f, 1);
		FILL(lay[l].b2, 0.3f, 0);
	}
}

/* ---- the reference -------------------------------------------------------------------------------------------------------- */
static void r_norm(double *x, const float *g, const float *b)
{
	double m = 0, v = 0;
	for (int i = 0; i < H; i++)
		m += x[i] / H;
	for (int i = 0; i < H; i++)
		v += (x[i] - m) * (x[i] - m) / H;
	for (int i = 0; i < H; i++)
		x[i] = (x[i] - m) / sqrt(v + 1e-12) * (double)g[i] + (double)b[i];
}
static void r_lin(const double *x, const float *w, const float *b, int n, int k, double *y)
{
	for (int i = 0; i < n; i++) {
		y[i] = (double)b[i];
		for (int j = 0; j < k; j++)
			y[i] += x[j] * (double)w[i * k + j];
	}
}
static void r_encode(const uint32_t *ids, int n, bool cls, bool tanh_form, double *ret)
{
	static double x[POS][H], q[POS][H], k[POS][H], v[POS][H], c[POS][H], y[H], m[INTER];
	for (int t = 0; t < n; t++) {
		for (int i = 0; i < H; i++)
			x[t][i] = (double)word[ids[t]][i] + (double)pos[t][i] + (double)type[0][i];
		r_norm(x[t], emb_g, emb_b);
	}
	for (int l = 0; l < LAYERS; l++) {
		const struct layer *a = &lay[l];
		for (int t = 0; t < n; t++) {
			r_lin(x[t], a->q[0], a->qb, H, H, q[t]);
			r_lin(x[t], a->k[0], a->kb, H, H, k[t]);
			r_lin(x[t], a->v[0], a->vb, H, H, v[t]);
		}
		for (int h = 0; h < HEADS; h++) {
			int d = H / HEADS, o = h * d;
			for (int t = 0; t < n; t++) {
				double s[POS], sum = 0;
				for (int u = 0; u < n; u++) {
					s[u] = 0;
					for (int i = 0; i < d; i++)
						s[u] += q[t][o + i] * k[u][o + i];
					sum += s[u] = exp(s[u] / sqrt(d));
				}
				for (int i = 0; i < d; i++) {
					c[t][o + i] = 0;
					for (int u = 0; u < n; u++)
						c[t][o + i] += s[u] / sum * v[u][o + i];
				}
			}
		}
		for (int t = 0; t < n; t++) {
			r_lin(c[t], a->o[0], a->ob, H, H, y);
			for (int i = 0; i < H; i++)
				x[t][i] += y[i];
			r_norm(x[t], a->g1, a->b1);
			r_lin(x[t], a->up[0], a->upb, INTER, H, m);
			for (int i = 0; i < INTER; i++)
				m[i] = tanh_form ? 0.5 * m[i] *
				                           (1 + tanh(0.7978845608 *
				                                        (m[i] + 0.044715 * m[i] * m[i] * m[i])))
				                 : 0.5 * m[i] * (1 + erf(m[i] / sqrt(2)));
			r_lin(m, a->down[0], a->downb, H, INTER, y);
			for (int i = 0; i < H; i++)
				x[t][i] += y[i];
			r_norm(x[t], a->g2, a->b2);
		}
	}
	for (int i = 0; i < H; i++) {
		ret[i] = cls ? x[0][i] * n : 0;
		for (int t = 0; t < n && !cls; t++)
			ret[i] += x[t][i];
	}
}
static void r_unit(double *v)
{
	double s = 0;
	for (int i = 0; i < H; i++)
		s += v[i] * v[i];
	for (int i = 0; i < H; i++)
		v[i] /= sqrt(s);
}

/* ---- the model on disk ---------------------------------------------------------------------------------------------------- */
static struct mf_st st;
static const char *dtype = "F32", *prefix = "";
static bool old_names;

static void put(const char *name, const char *shape, const float *p, size_t n)
{
	char full[128];
	uint16_t h[4096];
	snprintf(full, sizeof full, "%s%s", prefix, name);
	char *dot = strrchr(full, '.');
	if (old_names && strstr(full, "LayerNorm"))
		strcpy(dot, strcmp(dot, ".weight") ? ".beta" : ".gamma");
	if (strcmp(dtype, "BF16")) {
		mf_st_add(&st, full, "F32", shape, p, n * 4);
		return;
	}
	for (size_t i = 0; i < n; i++) {
		uint32_t u;
		memcpy(&u, p + i, 4);
		h[i] = (uint16_t)(u >> 16);
	}
	mf_st_add(&st, full, "BF16", shape, h, n * 2);
}
static void put_l(int l, const char *name, const char *shape, const float *p, size_t n)
{
	char full[128];
	snprintf(full, sizeof full, "encoder.layer.%d.%s", l, name);
	put(full, shape, p, n);
}
static void write_weights(const struct mf_dir *d)
{
	st = (struct mf_st){0};
	put("embeddings.word_embeddings.weight", "40,40", word[0], VOCAB * H);
	put("embeddings.position_embeddings.weight", "48,40", pos[0], POS * H);
	put("embeddings.token_type_embeddings.weight", "2,40", type[0], 2 * H);
	put("embeddings.LayerNorm.weight", "40", emb_g, H);
	put("embeddings.LayerNorm.bias", "40", emb_b, H);
	for (int l = 0; l < LAYERS; l++) {
		struct layer *a = &lay[l];
		put_l(l, "attention.self.query.weight", "40,40", a->q[0], H * H);
		put_l(l, "attention.self.key.weight", "40,40", a->k[0], H * H);
		put_l(l, "attention.self.value.weight", "40,40", a->v[0], H * H);
		put_l(l, "attention.self.query.bias", "40", a->qb, H);
		put_l(l, "attention.self.key.bias", "40", a->kb, H);
		put_l(l, "attention.self.value.bias", "40", a->vb, H);
		put_l(l, "attention.output.dense.weight", "40,40", a->o[0], H * H);
		put_l(l, "attention.output.dense.bias", "40", a->ob, H);
		put_l(l, "attention.output.LayerNorm.weight", "40", a->g1, H);
		put_l(l, "attention.output.LayerNorm.bias", "40", a->b1, H);
		put_l(l, "intermediate.dense.weight", "56,40", a->up[0], INTER * H);
		put_l(l, "intermediate.dense.bias", "56", a->upb, INTER);
		put_l(l, "output.dense.weight", "40,56", a->down[0], H * INTER);
		put_l(l, "output.dense.bias", "40", a->downb, H);
		put_l(l, "output.LayerNorm.weight", "40", a->g2, H);
		put_l(l, "output.LayerNorm.bias", "40", a->b2, H);
	}
	mf_st_write(&st, d, "model.safetensors");
}
#define CONFIG(act, more)                                                                                              \
	"{\"model_type\":\"bert\",\"hidden_size\":40,\"num_attention_heads\":4,\"num_hidden_layers\":2,"               \
	"\"intermediate_size\":56,\"vocab_size\":40,"                                                                  \
	"\"max_position_embeddings\":48,\"type_vocab_size\":2,\"layer_norm_eps\":1e-12,\"hidden_act\":\"" act          \
	"\"" more "}"
static void write_rest(const struct mf_dir *d, bool cls, bool tanh_form)
{
	char vocab[400] = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n";
	for (int i = 4; i < VOCAB; i++)
		sprintf(vocab + strlen(vocab), "w%d\n", i);
	mf_text(d, "vocab.txt", vocab);
	mf_text(d, "config.json", tanh_form ? CONFIG("gelu_new", "") : CONFIG("gelu", ""));
	mf_text(d, "sentence_bert_config.json", "{\"max_seq_length\":16}");
	mkdirat(d->fd, "1_Pooling", 0700);
	mf_text(d, "1_Pooling/config.json",
	        cls ? "{\"pooling_mode_cls_token\":true,\"pooling_mode_mean_tokens\":false}"
	            : "{\"pooling_mode_cls_token\":false,\"pooling_mode_mean_tokens\":true}");
}

/* ---- texts ------------------------------------------------------------------------------------------------------------------ */
static size_t make_text(char *p, uint32_t *ids, uint32_t n)
{
	size_t at = 0;
	for (uint32_t i = 0; i < n; i++) {
		ids[i] = 4 + mf_rnd(VOCAB - 4);
		at += (size_t)sprintf(p + at, "w%u ", ids[i]);
	}
	return at;
}
/* what encode must give: pieces of equal length, at most `windows`, sums of their rows */
static void want_of(const uint32_t *ids, uint32_t n, uint32_t windows, bool cls, bool tanh_form, double *ret)
{
	uint32_t most = TOKENS - 2;
	n = n < windows * most ? n : windows * most;
	uint32_t pieces = n ? (n + most - 1) / most : 1, at = 0;
	for (int i = 0; i < H; i++)
		ret[i] = 0;
	for (uint32_t p = 0; p < pieces; p++) {
		uint32_t k = (n - at) / (pieces - p), row[TOKENS];
		double v[H];
		row[0] = 2;
		memcpy(row + 1, ids + at, k * 4);
		row[k + 1] = 3;
		r_encode(row, (int)k + 2, cls, tanh_form, v);
		for (int i = 0; i < H; i++)
			ret[i] += v[i];
		at += k;
	}
	r_unit(ret);
}

enum { TEXTS = 70 };
static double worst_of(const struct mf_dir *d, uint32_t windows, bool cls, bool tanh_form, double *ret_alone)
{
	static char text[TEXTS][400];
	static uint32_t ids[TEXTS][80];
	static float v[TEXTS][H], one[H];
	struct embed_text t[TEXTS];
	uint32_t n[TEXTS];
	struct embed *m;
	struct vx_errinfo e;
	struct embed_cfg cfg = {.os = os_real(), .folder = d->path, .windows = windows};
	double worst = 0, w[H];
	*ret_alone = 0;
	if (embed_open(&cfg, &m, &e) < 0) {
		printf("# %s\n", e.detail);
		return 1e9;
	}
	for (int i = 0; i < TEXTS; i++) {
		n[i] = mf_rnd(45) * (i != 3);
		t[i] = (struct embed_text){text[i], make_text(text[i], ids[i], n[i])};
	}
	if (embed_encode(m, EMBED_document, t, TEXTS, v[0], &e) < 0) {
		printf("# %s\n", e.detail);
		worst = 1e9;
	}
	for (int i = 0; i < TEXTS && worst < 1e9; i++) {
		want_of(ids[i], n[i], windows ? windows : 1, cls, tanh_form, w);
		for (int k = 0; k < H; k++)
			worst = fmax(worst, fabs(w[k] - (double)v[i][k]));
		if (i % 9 == 0 && embed_encode(m, EMBED_query, &t[i], 1, one, &e) >= 0)
			for (int k = 0; k < H; k++)
				*ret_alone = fmax(*ret_alone, (double)fabsf(one[k] - v[i][k]));
	}
	embed_close(m);
	return worst;
}

static void test_agreement(const struct mf_dir *d)
{
	/* keys and values are rounded to bf16 by all kernels, every activation by one of them */
	bool bf = !strcmp(gemm_get()->name, "avx512bf16");
	double bound = bf ? 0.03 : 0.006, alone;
	for (int k = 0; k < 12; k++) {
		bool cls = k & 1, tanh_form = k & 2;
		uint32_t windows = (uint32_t)(k % 3);
		prefix = k & 4 ? "bert." : "";
		old_names = k == 5 || k == 8;
		dtype = k & 1 ? "BF16" : "F32";
		write_weights(d);
		write_rest(d, cls, tanh_form);
		double worst = worst_of(d, windows, cls, tanh_form, &alone);
		T_OK(worst < bound,
		        "%s pooling, %s, windows %u, prefix \"%s\", %s: worst difference %.3g (%s, allowed %g)",
		        cls ? "cls" : "mean", tanh_form ? "gelu_tanh" : "gelu", windows, prefix, dtype, worst,
		        gemm_get()->name, bound);
		T_OK(alone < 1e-5, "the same by itself: %.3g", alone);
	}
	prefix = "";
	old_names = false;
	dtype = "F32";
}

static int try_open(const struct mf_dir *d, struct vx_errinfo *e)
{
	struct embed_cfg cfg = {.os = os_real(), .folder = d->path};
	struct embed *m;
	*e = (struct vx_errinfo){0};
	VX_TRY(embed_open(&cfg, &m, e));
	int rc = embed_probe(m, e);
	embed_close(m);
	return rc;
}

static void test_life(const struct mf_dir *d)
{
	struct embed_cfg cfg = {.os = os_real(), .folder = d->path};
	struct embed *m, *other;
	struct vx_errinfo e = {0};
	struct embed_text t = {"w5 w6 w7", 8};
	float a[H], b[H];
	_Atomic int stop = 0;
	write_weights(d);
	write_rest(d, false, false);
	cfg.cancel = &stop;
	T_EQ(embed_open(&cfg, &m, &e), 0, "open");
	struct embed_info i = embed_info(m);
	T_OK(i.kind == EMBED_bert && i.dim == H && i.tokens_max == TOKENS && strstr(d->path, i.name), "info: %s",
	        i.name);
	T_EQ(embed_bytes(m), 0, "nothing is loaded by opening");
	T_EQ(embed_encode(m, EMBED_document, &t, 1, a, &e), 0, "encode");
	uint64_t held = embed_bytes(m);
	T_OK(held > 10000 && held < 8u << 20, "memory in use: %" PRIu64, held);
	embed_drop(m);
	embed_drop(m);
	T_EQ(embed_bytes(m), 0, "dropped");
	T_EQ(embed_encode(m, EMBED_document, &t, 1, b, &e), 0, "encode again");
	T_OK(!memcmp(a, b, sizeof a), "the same vector");
	stop = 1;
	T_EQ(embed_encode(m, EMBED_document, &t, 1, b, &e), -VX_ERR_cancelled, "cancelled");
	stop = 0;
	T_EQ(embed_open(&cfg, &other, &e), 0, "open twice");
	T_OK(!memcmp(embed_info(other).fingerprint, i.fingerprint, 16), "the same fingerprint");
	embed_close(other);
	cfg.windows = 3;
	T_EQ(embed_open(&cfg, &other, &e), 0, "open with windows");
	T_OK(memcmp(embed_info(other).fingerprint, i.fingerprint, 16), "another fingerprint");
	embed_close(other);
	cfg.windows = 17;
	T_EQ(embed_open(&cfg, &other, &e), -VX_ERR_bad_value, "too many windows");
	cfg.windows = 0;
	/* the weights change while it is open */
	float keep = lay[1].down[3][3];
	lay[1].down[3][3] = 2;
	embed_drop(m);
	write_weights(d);
	T_EQ(embed_encode(m, EMBED_document, &t, 1, b, &e), -VX_ERR_file_changed, "another file under the same name");
	T_EQ(embed_open(&cfg, &other, &e), 0, "open anew");
	T_OK(memcmp(embed_info(other).fingerprint, i.fingerprint, 16), "another fingerprint");
	embed_close(other);
	lay[1].down[3][3] = keep;
	embed_close(m);
	embed_close(NULL);
	/* prompts */
	mf_text(d, "config_sentence_transformers.json", "{\"prompts\":{\"query\":\"w9 \",\"passage\":\"\"}}");
	write_weights(d);
	T_EQ(embed_open(&cfg, &m, &e), 0, "open with prompts");
	T_EQ(embed_encode(m, EMBED_query, &t, 1, a, &e), 0, "a query");
	struct embed_text with = {"w9 w5 w6 w7", 11};
	T_EQ(embed_encode(m, EMBED_document, &with, 1, b, &e), 0, "a document");
	T_OK(!memcmp(a, b, sizeof a), "the query has its prompt");
	embed_close(m);
	unlinkat(d->fd, "config_sentence_transformers.json", 0);
}

static void test_refused(const struct mf_dir *d)
{
	static const struct {
		const char *from, *to;
		int want;
	} c[] = {
	        {"\"bert\"", "\"gpt2\"", -VX_ERR_bad_format},
	        {"\"hidden_size\":40", "\"hidden_size\":4000000000", -VX_ERR_bad_value},
	        {"\"hidden_size\":40", "\"hidden_size\":-40", -VX_ERR_bad_value},
	        {"\"hidden_size\":40", "\"hidden_size\":\"40\"", -VX_ERR_bad_value},
	        {"\"hidden_size\":40", "\"hidden_size\":42", -VX_ERR_bad_format},
	        {"\"hidden_size\":40", "\"hidden_size\":48", -VX_ERR_bad_format},
	        {"\"hidden_size\":40,", "", -VX_ERR_bad_value},
	        {"heads\":4", "heads\":0", -VX_ERR_bad_value},
	        {"heads\":4", "heads\":8", -VX_ERR_bad_format},
	        {"layers\":2", "layers\":3", -VX_ERR_bad_format},
	        {"layers\":2", "layers\":1000000", -VX_ERR_bad_value},
	        {"intermediate_size\":56", "intermediate_size\":57", -VX_ERR_bad_format},
	        {"vocab_size\":40", "vocab_size\":41", -VX_ERR_bad_format},
	        {"embeddings\":48", "embeddings\":512", -VX_ERR_bad_format},
	        {"1e-12", "\"x\"", 0}, /* not a number: json_number_value gives 0, as if it were 0 */
	        {"1e-12", "-1", -VX_ERR_bad_value},
	        {"\"gelu\"", "\"silu\"", -VX_ERR_bad_format},
	        {"\"gelu\"", "\"gelu\",\"position_embedding_type\":\"rotary\"", -VX_ERR_bad_format},
	};
	struct vx_errinfo e;
	write_weights(d);
	write_rest(d, false, false);
	T_EQ(try_open(d, &e), 0, "the good model");
	for (size_t i = 0; i < sizeof c / sizeof *c; i++) {
		char text[1000];
		const char *good = CONFIG("gelu", ""), *at = strstr(good, c[i].from);
		snprintf(text, sizeof text, "%.*s%s%s", (int)(at - good), good, c[i].to, at + strlen(c[i].from));
		mf_text(d, "config.json", text);
		int rc = try_open(d, &e);
		T_OK(rc == c[i].want, "%s instead of %s: %s (%s)", c[i].to, c[i].from, err_name(rc), e.detail);
	}
	mf_text(d, "config.json", CONFIG("gelu", ""));
	mf_text(d, "1_Pooling/config.json", "{\"pooling_mode_max_tokens\":true}");
	T_EQ(try_open(d, &e), -VX_ERR_bad_format, "max pooling");
	write_rest(d, false, false);
	mf_text(d, "vocab.txt", "[PAD]\n[UNK]\na\nb\n");
	T_EQ(try_open(d, &e), -VX_ERR_bad_format, "no [CLS]");
	char big[3000] = "";
	for (int i = 0; i < VOCAB + 1; i++)
		sprintf(big + strlen(big), "%s\n", i == 2 ? "[CLS]" : i == 3 ? "[SEP]" : "x");
	mf_text(d, "vocab.txt", big);
	T_EQ(try_open(d, &e), -VX_ERR_bad_format, "more words than rows");
	write_rest(d, false, false);
	float keep = lay[0].up[1][1];
	lay[0].up[1][1] = NAN;
	write_weights(d);
	T_EQ(try_open(d, &e), -VX_ERR_bad_format, "a weight that is no number");
	lay[0].up[1][1] = keep;
	keep = word[1][0];
	word[1][0] = INFINITY;
	write_weights(d);
	T_EQ(try_open(d, &e), -VX_ERR_not_finite, "a word embedding that is infinite");
	word[1][0] = keep;
	write_weights(d);
	struct embed_cfg cfg = {.os = os_real(), .folder = "/nonexistent/model"};
	struct embed *m;
	T_EQ(embed_open(&cfg, &m, &e), -ENOENT, "no folder");
}

/* each prefix of the weights, and random damage to every file: an error or a model that answers */
static void test_damage(const struct mf_dir *d)
{
	static const char *const files[] = {"model.safetensors", "config.json", "vocab.txt", "1_Pooling/config.json"};
	static uint8_t good[4][400000], bad[400000];
	size_t n[4], opened = 0, tried = 0;
	struct vx_errinfo e;
	for (int f = 0; f < 4; f++) {
		int fd = openat(d->fd, files[f], O_RDONLY);
		n[f] = (size_t)read(fd, good[f], sizeof good[f]);
		close(fd);
	}
	for (int i = 0; i < 600; i++, tried++) {
		int f = i % 4;
		size_t len = i % 3 ? n[f] : mf_rnd((uint32_t)n[f]);
		memcpy(bad, good[f], n[f]);
		for (uint32_t k = mf_rnd(4) + (i % 3 != 0); k; k--)
			bad[mf_rnd((uint32_t)(f ? n[f] : 3000))] =
			        i % 2 ? (uint8_t)mf_rnd(256) : (uint8_t)('0' + mf_rnd(10));
		mf_write(d, files[f], bad, len);
		opened += try_open(d, &e) == 0;
		mf_write(d, files[f], good[f], n[f]);
	}
	T_OK(opened < tried, "%zu of %zu damaged models still answer", opened, tried);
	T_EQ(try_open(d, &e), 0, "the repaired one does");
}

int main(void)
{
	mf_rng = tap_seed(mf_rng);
	struct mf_dir d = mf_dir_new();
	make_weights();
	test_agreement(&d);
	test_life(&d);
	test_refused(&d);
	test_damage(&d);
	for (int64_t n = 1, rc = -ENOMEM; rc == -ENOMEM; n++) {
		struct vx_errinfo e;
		mem_fail_after(n);
		rc = try_open(&d, &e);
		mem_fail_after(-1);
		if (rc != -ENOMEM)
			T_OK(rc == 0 && n > 20, "out of memory at each of %d allocations: then %s", (int)n - 1,
			        err_name((int)rc));
	}
	T_EQ(mem_used(MEM_text), 0, "nothing left");
	mf_dir_done(&d);
	return tap_done();
}
