/* ingest_priv.h - between the ingest thread (ingest.c) and what it asks: is this file left out, what is in this document. */
#pragma once
#include "engine/engine_priv.h"
#include "text/text_extract.h"

/* ---- ignore.c: patterns and marks; the ingest thread's own, no lock needed but where said ---- */
struct ignore;
int ignore_new(struct engine *e, struct ignore **ret);
void ignore_free(struct ignore *g); /* takes NULL */
/* ignore_says - is the file at this path (relative to the root) left out of the text index? I/O on its ancestors. */
bool ignore_says(struct ignore *g, const char *path);
/* ignore_step - one directory below which rules have changed: its files are looked at again. Return whether there was one. */
bool ignore_step(struct engine *e);

/* ---- ingest_doc.c: documents through the sandboxed child ---- */
struct doc;
int doc_new(struct engine *e, struct doc **ret);
void doc_free(struct doc *d); /* takes NULL */
/* doc_format - what a file is, from its first bytes (at most 8 KiB) and its name; TEXT_FORMAT_plain and _none need no child. */
enum text_format doc_format(const struct doc *d, const void *head, size_t n, bool whole_file, const char *name);
/* doc_read - the text of an open document in chunks; ranges are those of the extracted text.
 * Return: 0; -VX_ERR_shutting_down; a reason that is the file's own (-VX_ERR_doc_…, _not_text, _deadline, _component_off); what emit returned. */
int doc_read(struct doc *d, int fd, enum text_format format, const char *name,
        int (*emit)(void *u, const struct text_chunk *ch), void *u);
/* doc_reason - is this code the file's own (state error), or the machine's (try again)? */
bool doc_reason(int rc);
