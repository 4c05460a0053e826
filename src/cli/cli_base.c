/* cli_base.c - errors, usage, formatting and numbers for the commands.
 *
 * A command that runs out of its few megabytes of bookkeeping can do nothing useful any more, so cli_alloc ends the process with a
 * sentence instead of handing NULL to every caller. */
#include <errno.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/sbuf.h"
#include "cli/cli.h"

struct arena cli_arena;

int cli_err(const char *fmt, ...)
{
	va_list ap;
	fflush(stdout);
	fputs("vexfs: ", stderr);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
	return CLI_ERROR;
}

void cli_note(const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
}

int cli_usage(const char *name, bool asked)
{
	const struct cli_command *c = cli_command_by_name(name);
	FILE *to = asked ? stdout : stderr;
	fprintf(to, "usage: vexfs %s %s\n", name, c ? c->args : "");
	if (asked && c) {
		fprintf(to, "%s.\n", c->what);
		if (c->help)
			fprintf(to, "\n%s", c->help);
	}
	return asked ? CLI_OK : CLI_ERROR;
}

void *cli_alloc(size_t n)
{
	void *p = arena_zalloc(&cli_arena, n ? n : 1);
	if (!p) {
		fputs("vexfs: out of memory\n", stderr);
		exit(CLI_ERROR);
	}
	return p;
}

char *cli_fmt(const char *fmt, ...)
{
	va_list ap, again;
	if (!fmt) /* tells gcc's sanitizer build that the format is there */
		abort();
	va_start(ap, fmt);
	va_copy(again, ap);
	int n = vsnprintf(NULL, 0, fmt, ap);
	va_end(ap);
	char *s = cli_alloc((size_t)(n < 0 ? 0 : n) + 1);
	if (n >= 0)
		vsnprintf(s, (size_t)n + 1, fmt, again);
	va_end(again);
	return s;
}

char *cli_realpath(const char *path)
{
	char *buf = cli_alloc(PATH_MAX);
	return realpath(path, buf);
}

bool cli_u64(const char *s, const char *what, uint64_t lo, uint64_t hi, uint64_t *ret)
{
	uint64_t v;
	int n = num_u64(s, strlen(s), &v);
	if (n < 0 || (size_t)n != strlen(s) || v < lo || v > hi) {
		cli_err("%s is a whole number from %llu to %llu, not \"%s\"", what, (unsigned long long)lo,
		        (unsigned long long)hi, s);
		return false;
	}
	*ret = v;
	return true;
}

bool cli_f64(const char *s, const char *what, double *ret)
{
	double v;
	int n = num_f64(s, strlen(s), &v);
	if (n < 0 || (size_t)n != strlen(s)) {
		cli_err("%s is a number, not \"%s\"", what, s);
		return false;
	}
	*ret = v;
	return true;
}

/* jansson's memory is counted like everyone's */
static void *json_mem_get(size_t n)
{
	return mem_alloc(MEM_cli, n);
}
static void json_mem_put(void *p)
{
	mem_free(MEM_cli, p);
}

void cli_begin(void)
{
	json_set_alloc_funcs(json_mem_get, json_mem_put);
	arena_init(&cli_arena, MEM_cli, 256u << 20);
}
