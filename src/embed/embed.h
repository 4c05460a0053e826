/* embed.h - from text to unit vectors, by a model in a folder.
 *
 * What a folder holds decides what it is:
 *   endpoint.json                                    an OpenAI-compatible /v1/embeddings server (embed_endpoint.c)
 *   config.json of model_type "model2vec",           a static table of token vectors (embed_static.c)
 *     tokenizer.json, model.safetensors
 *   config.json of model_type "bert",                a sentence encoder, run in this process (embed_bert.c)
 *     tokenizer.json or vocab.txt, model.safetensors
 *
 * embed_open reads headers and knows dim and fingerprint; weights are loaded by the first embed_encode and can be dropped at any time
 * with embed_drop (they are loaded again when next needed).  Memory is bounded whatever the texts: packed weights, the vocabulary
 * and one work area.  Nothing of a model's files stays mapped, so a file that shrinks under us is an error and not a signal.
 *
 * Threads: all calls may come from any thread; encode, drop and probe of one model run one after the other.  Stack: an encode takes
 * less than 32 KiB for models in this process, less than 160 KiB for an endpoint (libcurl, TLS). */
#pragma once
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/err.h"
#include "base/os.h"

enum embed_kind { EMBED_bert, EMBED_static, EMBED_endpoint };
enum embed_use { EMBED_document, EMBED_query }; /* some models want another prefix on each; most want none */

#define EMBED_DIM_MAX     4096u
#define EMBED_WINDOWS_MAX 16u
#define EMBED_NAME_MAX    128u

struct embed;
struct embed_text {
	const char *p; /* UTF-8; what is not is skipped; need not end in NUL */
	size_t n;
};
struct embed_cfg {
	struct os *os;
	const char *folder;
	uint32_t tokens_max; /* tokens the model sees at once; 0: what its configuration says */
	uint32_t
	        windows; /* 0, 1: what is longer is cut off there, as the reference does; else up to so many pieces of a text are
	                         encoded and averaged by length */
	_Atomic int *cancel; /* NULL, or: encode returns -VX_ERR_cancelled soon after this is not 0 */
};
struct embed_info {
	enum embed_kind kind;
	char name[EMBED_NAME_MAX]; /* the folder's last component; an endpoint's: the model's name there */
	uint32_t dim; /* 0: an endpoint that was not asked yet and whose endpoint.json does not say */
	uint32_t tokens_max; /* 0: unknown */
	uint8_t fingerprint[16]; /* of everything that decides a vector: files, prefixes, tokens_max, windows */
};

/* embed_open - @ret on success; embed_close frees.
 * Return: 0; -ENOENT no such folder or file; -VX_ERR_bad_format, -VX_ERR_truncated, -VX_ERR_bad_value (reterr->detail names the file and what
 * is wrong); -ENOMEM; the operating system's own.
 * Bounds: reads each file once (for the fingerprint); no network. */
int embed_open(const struct embed_cfg *cfg, struct embed **ret, struct vx_errinfo *reterr);
void embed_close(struct embed *m); /* takes NULL */
struct embed_info embed_info(struct embed *m);

/* embed_encode - one unit vector a text.
 * @use   document for what is stored, query for what is asked
 * @t,@n  texts, n >= 1
 * @ret   f32[n][dim]; untouched rows are possible on error
 * Return: 0; -VX_ERR_bad_format, -VX_ERR_not_finite, -VX_ERR_dim_mismatch (an endpoint changed its mind), -VX_ERR_file_changed (the folder's files
 * are others than at open: open it again), -VX_ERR_cancelled, -ENOMEM, network errors as -errno (-ETIMEDOUT, -ECONNREFUSED, -EHOSTUNREACH;
 * -EACCES for a refused key, -EPROTO for an answer that is none); -VX_ERR_text_refused: an endpoint will not have one of these texts, or any
 * text (embed_probe tells which: it says -EPROTO then).
 * A text of which the model knows nothing (a static model and no known token) gives a row of zeros: do not store it.
 * The vector of a text does not depend on what it was batched with, but for the last bits. */
int embed_encode(struct embed *m, enum embed_use use, const struct embed_text *t, uint32_t n, float *ret,
        struct vx_errinfo *reterr);
/* embed_probe - encode one short text: loads everything, asks an endpoint for its dim. 0 means the model works. */
int embed_probe(struct embed *m, struct vx_errinfo *reterr);
void embed_drop(struct embed *m); /* give the memory back; the next encode loads again */
uint64_t embed_bytes(struct embed *m); /* of memory held now */
