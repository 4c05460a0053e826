/* extract.h - vexfs-extract: a document on fd 0, its text on fd 1, from inside a sandbox.
 *
 *     vexfs-extract html|pdf|zip SECONDS
 *     vexfs-extract run SECONDS COMMAND [ARGUMENT…]
 *
 * The file is read whole, the parsers' tables are loaded, then jail_enter() takes away everything but memory, fd 0, fd 1 and the way out.
 * What the parsers do after that can cost this process and nothing else. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* exit statuses: text/text_extract.c has the sentences */
enum extract_end {
	EXTRACT_ok,
	EXTRACT_damaged,
	EXTRACT_encrypted,
	EXTRACT_too_large,
	EXTRACT_unknown,
	EXTRACT_no_jail,
	EXTRACT_no_memory
};

#define EXTRACT_INPUT_MAX  (64u << 20) /* CONF_TEXT_FILE_MAX */
#define EXTRACT_OUTPUT_MAX (64u << 20)
#define EXTRACT_UNZIP_MAX  (128u << 20) /* unpacked bytes that are looked at: a zip bomb ends here */

/* jail_enter - for good. false: this system cannot */
bool jail_enter(void);
/* jail_limits - memory, CPU seconds, no files, no core; before anything is read. */
bool jail_limits(uint64_t mem_bytes, unsigned cpu_s);

/* jail_run - become an external command, as little trusted as one can be that has to load its libraries and read its tables (jail_run.c).
 * Returns only when it cannot be: an exit status. */
int jail_run(unsigned cpu_s, char **argv);

/* ---- text on its way out: paragraphs, headings, single blanks ---------------------------------------------------------------------- */
void out_text(const char *p, size_t n); /* white space collapses; none at a line's start */
void out_plain(const char *p, size_t n); /* as it is */
void out_line(void); /* the line ends here, if it has anything */
void out_para(void); /* a blank line before what follows */
void out_heading(unsigned level); /* a paragraph that begins with level times '#' */
bool out_over(void); /* the limit is reached: stop parsing */
bool out_end(void); /* everything is written */

/* ---- parsers: the input whole; EXTRACT_… ---------------------------------------------------------------------------------------------- */
enum extract_end extract_html(const char *p, size_t n);
enum extract_end extract_zip(const char *p, size_t n);
enum extract_end extract_pdf(const char *p, size_t n);
void extract_html_prepare(void); /* what must be loaded before the jail */
void extract_pdf_prepare(void);
/* html_some - one HTML or XHTML text among several (EPUB's chapters) */
enum extract_end html_some(const char *p, size_t n);
/* ---- XML of office documents: events without a tree (office_xml.c) ------------------------------------------------------------------- */
enum office_kind { OFFICE_word, OFFICE_slides, OFFICE_open };
enum extract_end office_xml(const char *p, size_t n, enum office_kind kind);
