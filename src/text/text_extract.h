/* text_extract.h - text out of documents that are not plain text, by a program of its own in a sandbox.
 *
 * Parsers of strangers' files crash, loop and are taken over; none of them runs in this process.  `vexfs-extract` gets the file on fd 0,
 * locks itself in (no new files, no network, limits on memory and time) and writes plain UTF-8 with "# " headings and blank lines
 * between paragraphs to fd 1.  What comes out goes through the chunker like a text file; byte and line ranges are then those of
 * the extracted text, not of the file. */
#pragma once
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/err.h"
#include "base/os.h"

enum text_format {
	TEXT_FORMAT_none, /* binary: nothing to index */
	TEXT_FORMAT_plain, /* text as it is: no extraction */
	TEXT_FORMAT_html,
	TEXT_FORMAT_pdf,
	TEXT_FORMAT_zip, /* DOCX, PPTX, ODT, ODP, EPUB: which one is found out inside */
	TEXT_FORMAT_command /* by an external command (text_filters.h); never the answer of text_format_of */
};
/* text_format_of - by content; the name's ending only tells HTML that begins like any text from text about HTML.
 * @head,@n     the file's first bytes: 8 KiB are enough
 * @whole_file  there are no more */
enum text_format text_format_of(const void *head, size_t n, bool whole_file, const char *name);

#define TEXT_EXTRACT_TIME_MS 20000u
struct text_extract_cfg {
	struct os *os;
	const char *helper; /* path of vexfs-extract */
	uint32_t time_ms; /* of CPU; 0: TEXT_EXTRACT_TIME_MS; of the wall clock three times as much */
	uint64_t out_max; /* 0: CONF_TEXT_FILE_MAX bytes of text */
	const char *const *command; /* TEXT_FORMAT_command: what to run, its arguments, NULL */
	_Atomic int *cancel; /* NULL, or: not 0 ends it */
};
/* text_extract - run the helper over an open file.
 * @fd    read from its beginning by the child (its offset moves); borrowed
 * @take  gets the text in pieces, in order; < 0 ends it and is returned
 * Return: 0; -VX_ERR_doc_damaged, _encrypted, _too_large, _parser (it crashed, or a command failed: the detail says how), -VX_ERR_not_text (of no
 * kind that is read), -VX_ERR_deadline, -VX_ERR_cancelled, -VX_ERR_component_off (no helper, no sandbox), or the system's own.  What take has
 * been given before a failure is to be thrown away.  The child is gone when this returns.  Frame < 1 KiB. */
int text_extract(const struct text_extract_cfg *cfg, int fd, enum text_format format,
        int (*take)(void *u, const void *p, size_t n), void *u, struct vx_errinfo *reterr);
/* text_extract_find - where the helper is: beside this program, in the build tree, or where it was installed. 0 or -ENOENT. */
int text_extract_find(struct os *os, char *ret, size_t cap);
