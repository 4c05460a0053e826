/* extract_out.c - the text on its way out.  White space is decided late: a blank, a line end or a blank line is owed until something
 * follows it, so none is ever doubled and none ends the text. */
#include <unistd.h>
#include <errno.h>
#include <string.h>
#include "extract/extract.h"

enum owed { OWED_none, OWED_blank, OWED_line, OWED_para };
static char buf[65536];
static size_t buf_n;
static uint64_t total;
static enum owed owed;
static bool any, failed;

static void flush(void)
{
	for (size_t at = 0; at < buf_n && !failed;) {
		ssize_t k = write(1, buf + at, buf_n - at); /* rule file-io: a pipe, not a file */
		if (k < 0 && errno == EINTR)
			continue;
		failed = k < 0;
		at += k > 0 ? (size_t)k : 0;
	}
	buf_n = 0;
}

static void put(const char *p, size_t n)
{
	total += n;
	while (n && total <= EXTRACT_OUTPUT_MAX && !failed) {
		size_t k = n < sizeof buf - buf_n ? n : sizeof buf - buf_n;
		memcpy(buf + buf_n, p, k);
		buf_n += k;
		p += k;
		n -= k;
		if (buf_n == sizeof buf)
			flush();
	}
}

static void pay(void)
{
	if (any && owed != OWED_none)
		put(owed == OWED_para ? "\n\n" : owed == OWED_line ? "\n" : " ", owed == OWED_para ? 2 : 1);
	owed = OWED_none;
	any = true;
}

static void owe(enum owed what)
{
	owed = what > owed ? what : owed;
}

void out_text(const char *p, size_t n)
{
	for (size_t at = 0; at < n;) {
		size_t k = at;
		while (k < n && !(p[k] == ' ' || (p[k] >= '\t' && p[k] <= '\r') || p[k] == 0))
			k++;
		if (k > at) {
			pay();
			put(p + at, k - at);
		}
		if (k < n)
			owe(OWED_blank);
		at = k + 1;
	}
}

void out_plain(const char *p, size_t n)
{
	while (n) { /* a NUL would end the text for the chunker */
		size_t k = strnlen(p, n);
		if (k) {
			pay();
			put(p, k);
		}
		p += k;
		n -= k;
		while (n && !*p) {
			p++;
			n--;
		}
	}
}

void out_line(void)
{
	owe(OWED_line);
}

void out_para(void)
{
	owe(OWED_para);
}

void out_heading(unsigned level)
{
	out_para();
	out_plain("######", level < 1 ? 1 : level > 6 ? 6 : level);
	owe(OWED_blank);
}

bool out_over(void)
{
	return total > EXTRACT_OUTPUT_MAX || failed;
}

bool out_end(void)
{
	if (any)
		put("\n", 1);
	flush();
	return !failed;
}
