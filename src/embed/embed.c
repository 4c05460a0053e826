/* embed.c - opening a model's folder, its fingerprint, loading at need, and what all kinds have in common: prefixes, unit length.
 *
 * The fingerprint covers the bytes of the files that decide a vector, read once at open in pieces (so no 90 MB stay in our memory),
 * and the settings that do.  The files' sizes and times are kept with it: when weights are loaded again after a drop and the files are
 * no longer those, the answer is VX_ERR_file_changed and the caller opens the model anew, with a new fingerprint.
 *
 * m->lock guards everything behind `loaded`; it is held while a model works, so drop waits for the encode that runs. */
#include <fcntl.h>
#include <math.h>
#include <string.h>
#define XXH_STATIC_LINKING_ONLY
#include <xxhash.h>
#include "base/sbuf.h"
#include "embed/embed_int.h"

#define HASH_PIECE (256u << 10)

void *emb_alloc(struct embed *m, size_t n)
{
	/* the block's own start is kept right before the aligned one */
	uint8_t *raw = mem_zalloc(MEM_text, n + 64 + sizeof raw);
	if (!raw)
		return NULL;
	uint8_t *p = (uint8_t *)(((uintptr_t)raw + sizeof raw + 63) & ~(uintptr_t)63);
	memcpy(p - sizeof raw, &raw, sizeof raw);
	m->bytes += n;
	return p;
}

void emb_free(struct embed *m, void *p, size_t n)
{
	uint8_t *raw;
	if (!p)
		return;
	memcpy(&raw, (uint8_t *)p - sizeof raw, sizeof raw);
	mem_free(MEM_text, raw);
	m->bytes -= n;
}

static int pick_kind(struct embed *m, struct vx_errinfo *reterr)
{
	struct stat st;
	json_t *j;
	if (os_fstatat(m->os, m->dirfd, "endpoint.json", &st, 0) >= 0) {
		m->info.kind = EMBED_endpoint;
		m->ops = &embed_endpoint_ops;
		return 0;
	}
	VX_TRY(emb_json_file(m->os, m->dirfd, "config.json", &j, reterr));
	const char *type = json_string_value(json_object_get(j, "model_type"));
	int rc = 0;
	if (type && !strcmp(type, "bert")) {
		m->info.kind = EMBED_bert;
		m->ops = &embed_bert_ops;
	} else if (type && !strcmp(type, "model2vec")) {
		m->info.kind = EMBED_static;
		m->ops = &embed_static_ops;
	} else {
		rc = emb_fail(
		        reterr, -VX_ERR_bad_format, "model_type is neither bert nor model2vec", type ? type : "absent");
	}
	json_decref(j);
	return rc;
}

/* prompts of sentence-transformers: {"prompts": {"query": "…", "document": "…"}}; passage and document are the same thing */
static int read_prefixes(struct embed *m, struct vx_errinfo *reterr)
{
	static const char *const keys[][2] = {
	        [EMBED_document] = {"document", "passage"}, [EMBED_query] = {"query", "query"}};
	json_t *j = NULL;
	int rc = emb_json_file(m->os, m->dirfd, "config_sentence_transformers.json", &j, reterr);
	if (rc < 0 && rc != -ENOENT)
		return rc;
	const json_t *prompts = json_object_get(j, "prompts");
	rc = 0;
	for (int u = 0; u < 2 && rc >= 0; u++) {
		const char *s = NULL;
		for (int i = 0; i < 2 && !s; i++)
			s = json_string_value(json_object_get(prompts, keys[u][i]));
		if (s && strlen(s) > 1024)
			rc = emb_fail(reterr, -VX_ERR_bad_value, "a prompt is at most 1024 bytes",
			        "config_sentence_transformers.json");
		else if (!m->prefix[u])
			rc = (m->prefix[u] = mem_strdup(MEM_text, s ? s : "")) ? 0 : -ENOMEM;
	}
	json_decref(j);
	return rc;
}

static uint64_t mix(uint64_t h, uint64_t v)
{
	return hash64(&v, sizeof v, h);
}

/* sizes and times of the files that matter */
static void stat_files(struct embed *m, uint64_t *sizes, uint64_t *times)
{
	struct stat st;
	*sizes = *times = 1;
	for (const char *const *f = m->ops->files; *f; f++) {
		bool there = os_fstatat(m->os, m->dirfd, *f, &st, 0) >= 0;
		*sizes = mix(*sizes, there ? (uint64_t)st.st_size + 1 : 0);
		*times = mix(
		        *times, there ? (uint64_t)st.st_mtim.tv_sec * 1000000000u + (uint64_t)st.st_mtim.tv_nsec : 0);
	}
}

static int hash_file(struct embed *m, XXH3_state_t *x, const char *name, uint8_t *buf)
{
	int fd = os_openat(m->os, m->dirfd, name, O_RDONLY | O_CLOEXEC | O_NONBLOCK, 0);
	uint64_t at = 0;
	ssize_t k = 0;
	if (fd == -ENOENT)
		return 0;
	VX_TRY(fd);
	XXH3_128bits_update(x, name, strlen(name) + 1);
	do {
		k = os_pread(m->os, fd, buf, HASH_PIECE, (off_t)at);
		if (k > 0) {
			XXH3_128bits_update(x, buf, (size_t)k);
			at += (uint64_t)k;
		}
	} while (k > 0 || k == -EINTR);
	XXH3_128bits_update(x, &at, sizeof at);
	os_close(m->os, fd);
	return k < 0 ? (int)k : 0;
}

static int fingerprint(struct embed *m)
{
	XXH3_state_t *x = emb_alloc(m, sizeof *x);
	uint8_t *buf = emb_alloc(m, HASH_PIECE);
	int rc = x && buf ? 0 : -ENOMEM;
	if (rc >= 0) {
		uint32_t head[4] = {1, m->info.kind, m->info.tokens_max, m->windows};
		XXH3_128bits_reset(x);
		XXH3_128bits_update(x, head, sizeof head);
		for (int u = 0; u < 2; u++)
			XXH3_128bits_update(x, m->prefix[u], strlen(m->prefix[u]) + 1);
		for (const char *const *f = m->ops->files; *f && rc >= 0; f++)
			rc = hash_file(m, x, *f, buf);
	}
	if (rc >= 0) {
		XXH128_canonical_t c;
		XXH128_canonicalFromHash(&c, XXH3_128bits_digest(x));
		memcpy(m->info.fingerprint, c.digest, sizeof m->info.fingerprint);
	}
	emb_free(m, buf, HASH_PIECE);
	emb_free(m, x, sizeof *x);
	return rc;
}

static void name_of(const char *folder, char ret[EMBED_NAME_MAX])
{
	size_t n = strlen(folder);
	while (n && folder[n - 1] == '/')
		n--;
	size_t at = n;
	while (at && folder[at - 1] != '/')
		at--;
	n = n - at < EMBED_NAME_MAX ? n - at : EMBED_NAME_MAX - 1;
	memcpy(ret, folder + at, n);
	ret[n] = 0;
}

int embed_open(const struct embed_cfg *cfg, struct embed **ret, struct vx_errinfo *reterr)
{
	if (cfg->windows > EMBED_WINDOWS_MAX)
		return emb_fail(reterr, -VX_ERR_bad_value, "at most 16 windows", NULL);
	struct embed *m = mem_zalloc(MEM_text, sizeof *m);
	if (!m)
		return emb_fail(reterr, -ENOMEM, "out of memory", NULL);
	pthread_mutex_init(&m->lock, NULL);
	m->os = cfg->os;
	m->windows = cfg->windows ? cfg->windows : 1;
	m->cancel = cfg->cancel;
	m->info.tokens_max = cfg->tokens_max;
	name_of(cfg->folder, m->info.name);
	int rc = m->dirfd = os_openat(m->os, AT_FDCWD, cfg->folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
	if (rc < 0)
		emb_fail(reterr, rc, "cannot open the model's folder", cfg->folder);
	if (rc >= 0)
		rc = pick_kind(m, reterr);
	if (rc >= 0)
		stat_files(m, &m->sizes, &m->times);
	if (rc >= 0)
		rc = m->ops->open(m, reterr);
	if (rc >= 0)
		rc = read_prefixes(m, reterr);
	if (rc >= 0)
		rc = fingerprint(m);
	if (rc < 0) {
		embed_close(m);
		return rc;
	}
	*ret = m;
	return 0;
}

void embed_close(struct embed *m)
{
	if (!m)
		return;
	if (m->ops && m->loaded)
		m->ops->unload(m);
	if (m->ops && m->state)
		m->ops->close(m);
	for (int u = 0; u < 2; u++)
		mem_free(MEM_text, m->prefix[u]);
	if (m->dirfd >= 0)
		os_close(m->os, m->dirfd);
	pthread_mutex_destroy(&m->lock);
	mem_free(MEM_text, m);
}

struct embed_info embed_info(struct embed *m)
{
	pthread_mutex_lock(&m->lock);
	struct embed_info i = m->info;
	pthread_mutex_unlock(&m->lock);
	return i;
}

uint64_t embed_bytes(struct embed *m)
{
	pthread_mutex_lock(&m->lock);
	uint64_t n = m->bytes;
	pthread_mutex_unlock(&m->lock);
	return n;
}

void embed_drop(struct embed *m)
{
	pthread_mutex_lock(&m->lock);
	if (m->loaded)
		m->ops->unload(m);
	m->loaded = false;
	pthread_mutex_unlock(&m->lock);
}

/* rows to unit length; a row of zeros stays. -VX_ERR_not_finite */
static int to_unit(float *v, uint32_t n, uint32_t dim)
{
	for (uint32_t i = 0; i < n; i++, v += dim) {
		double sum = 0;
		for (uint32_t d = 0; d < dim; d++)
			sum += (double)v[d] * (double)v[d];
		if (!isfinite(sum))
			return -VX_ERR_not_finite;
		if (sum == 0)
			continue;
		double inv = 1 / sqrt(sum);
		for (uint32_t d = 0; d < dim; d++)
			v[d] = (float)((double)v[d] * inv);
	}
	return 0;
}

static int load(struct embed *m, struct vx_errinfo *reterr)
{
	uint64_t sizes, times;
	stat_files(m, &sizes, &times);
	if (sizes != m->sizes || times != m->times)
		return emb_fail(reterr, -VX_ERR_file_changed, "the model's files are not those it was opened with",
		        m->info.name);
	int rc = m->ops->load(m, reterr);
	m->loaded = rc >= 0;
	return rc == -VX_ERR_not_finite ? -VX_ERR_bad_format : rc; /* the weights' fault, not a text's */
}

#define PREFIXED_N 64u

/* texts behind their prefix: copies, PREFIXED_N at a time */
static int encode_prefixed(struct embed *m, const char *prefix, const struct embed_text *t, uint32_t n, float *ret,
        struct vx_errinfo *reterr)
{
	struct embed_text part[PREFIXED_N];
	size_t pn = strlen(prefix);
	int rc = 0;
	for (uint32_t i = 0; i < n && rc >= 0; i += PREFIXED_N) {
		uint32_t k = n - i < PREFIXED_N ? n - i : PREFIXED_N, made = 0;
		for (; made < k; made++) {
			char *p = mem_alloc(MEM_text, pn + t[i + made].n);
			if (!p) {
				rc = -ENOMEM;
				break;
			}
			memcpy(p, prefix, pn);
			if (t[i + made].n)
				memcpy(p + pn, t[i + made].p, t[i + made].n);
			part[made] = (struct embed_text){p, pn + t[i + made].n};
		}
		if (rc >= 0)
			rc = m->ops->encode(m, part, k, ret + (size_t)i * m->info.dim, reterr);
		while (made)
			mem_free(MEM_text, (void *)part[--made].p);
	}
	return rc;
}

int embed_encode(struct embed *m, enum embed_use use, const struct embed_text *t, uint32_t n, float *ret,
        struct vx_errinfo *reterr)
{
	int rc = 0;
	vx_assert(n >= 1);
	if (reterr)
		*reterr = (struct vx_errinfo){.position = -1};
	pthread_mutex_lock(&m->lock);
	if (!m->loaded)
		rc = load(m, reterr);
	if (rc >= 0 && !m->info.dim)
		rc = emb_fail(reterr, -VX_ERR_missing_key, "the endpoint's dim is not known yet: probe it first",
		        m->info.name);
	if (rc >= 0 && m->prefix[use][0])
		rc = encode_prefixed(m, m->prefix[use], t, n, ret, reterr);
	else if (rc >= 0)
		rc = m->ops->encode(m, t, n, ret, reterr);
	uint32_t dim = m->info.dim;
	pthread_mutex_unlock(&m->lock);
	if (rc >= 0)
		rc = to_unit(ret, n, dim);
	if (rc < 0 && reterr && !reterr->code)
		reterr->code = rc;
	return rc < 0 ? rc : 0;
}

int embed_probe(struct embed *m, struct vx_errinfo *reterr)
{
	static const struct embed_text t = {"probe", 5};
	float *v = mem_alloc(MEM_text, EMBED_DIM_MAX * sizeof *v);
	int rc = v ? 0 : -ENOMEM;
	pthread_mutex_lock(&m->lock);
	if (rc >= 0 && !m->loaded)
		rc = load(m, reterr);
	if (rc >= 0)
		rc = m->ops->encode(m, &t, 1, v, reterr);
	if (rc == -VX_ERR_text_refused) { /* this one is no worse than any other */
		rc = -EPROTO;
		if (reterr)
			reterr->code = rc;
	}
	uint32_t dim = m->info.dim;
	pthread_mutex_unlock(&m->lock);
	if (rc >= 0)
		rc = to_unit(v, 1, dim);
	mem_free(MEM_text, v);
	return rc < 0 ? rc : 0;
}
