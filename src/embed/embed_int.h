/* embed_int.h - what the model kinds share. */
#pragma once
#include <jansson.h>
#include <pthread.h>
#include "base/mem.h"
#include "embed/embed.h"

#define EMBED_FILE_JSON_MAX (24u << 20) /* tokenizer.json of a vocabulary of 250,000 is about 17 MB */
#define EMBED_JSON_DEPTH    24u

struct embed_ops {
	/* headers and shapes; sets info.dim, info.tokens_max */
	int (*open)(struct embed *m, struct vx_errinfo *reterr);
	void (*close)(struct embed *m);
	int (*load)(
	        struct embed *m, struct vx_errinfo *reterr); /* memory for encode; on failure nothing stays loaded */
	void (*unload)(struct embed *m); /* takes what is not loaded */
	/* rows need not have unit length; @t has its prefix already */
	int (*encode)(struct embed *m, const struct embed_text *t, uint32_t n, float *ret, struct vx_errinfo *reterr);
	const char *const *files; /* what the fingerprint covers, NULL-terminated; missing ones are left out */
};
extern const struct embed_ops embed_bert_ops, embed_static_ops, embed_endpoint_ops;

struct embed {
	const struct embed_ops *ops;
	struct embed_info info;
	struct os *os;
	int dirfd;
	uint32_t windows;
	_Atomic int *cancel;
	char *prefix[2]; /* by enum embed_use; "" when none */
	pthread_mutex_t lock; /* loaded, state and the work in it; info.dim of an endpoint */
	bool loaded;
	uint64_t bytes; /* counted by emb_alloc */
	void *state; /* the kind's own, from open to close */
	uint64_t sizes, times; /* of the files at open, hashed together: are they still the same? */
};

/* memory that embed_bytes counts */
void *emb_alloc(struct embed *m, size_t n); /* 64-aligned, zeroed */
void emb_free(struct embed *m, void *p, size_t n);

/* emb_fail - fill reterr with "what: name" and return rc; @name may be NULL */
int emb_fail(struct vx_errinfo *reterr, int rc, const char *what, const char *name);
/* emb_read_file - a whole small file, NUL-terminated behind; freed with mem_free(MEM_text). -E2BIG above max */
int emb_read_file(struct os *os, int dirfd, const char *name, size_t max, char **ret, size_t *ret_n);
/* emb_json_file - parse a JSON object from a file, of bounded size and depth (jansson recurses; its caller's stack is small) */
int emb_json_file(struct os *os, int dirfd, const char *name, json_t **ret, struct vx_errinfo *reterr);
int emb_json_text(const char *p, size_t n, const char *name, json_t **ret, struct vx_errinfo *reterr);
/* a member that must be an integer in [lo, hi]; @dflt when absent or null; INT64_MIN: must be there */
int emb_json_int(const json_t *o, const char *key, int64_t lo, int64_t hi, int64_t dflt, int64_t *ret,
        struct vx_errinfo *reterr);
bool emb_is_loopback(const char *url); /* http to this machine itself */
int emb_curl_init(struct vx_errinfo *reterr); /* libcurl is there to be called (curl_dl.h); any thread */
static inline bool emb_cancelled(const struct embed *m)
{
	return m->cancel && atomic_load_explicit(m->cancel, memory_order_relaxed);
}
