/* fuzz_extract.h - the parsers of vexfs-extract without their jail: what they write is looked at instead of written, and each input
 * begins as a new process would. */
#pragma once
#include <stdlib.h>
#include <string.h>
#include <sanitizer/lsan_interface.h>
#include <unistd.h>

static uint64_t fuzz_wrote;

/* text on its way out: no NUL, whatever went in: it would end the text for the chunker */
static ssize_t fuzz_write(int fd, const void *vp, size_t n)
{
	const char *p = vp;
	if (fd != 1 || memchr(p, 0, n))
		abort();
	fuzz_wrote += n;
	return (ssize_t)n;
}
#define write fuzz_write
#include "extract/extract_out.c"
#undef write

static void fuzz_begin(void)
{
	buf_n = 0;
	total = fuzz_wrote = 0;
	owed = OWED_none;
	any = failed = false;
}

static void fuzz_end(enum extract_end end)
{
	if (end > EXTRACT_no_memory)
		abort();
	bool good = out_end();
	if (good && fuzz_wrote > EXTRACT_OUTPUT_MAX + sizeof buf)
		abort();
}

/* what is loaded before the jail stays for good */
static void fuzz_prepare(void (*prepare)(void))
{
	static bool prepared;
	if (prepared)
		return;
	prepared = true;
	__lsan_disable();
	prepare();
	__lsan_enable();
}
