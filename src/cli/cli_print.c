/* cli_print.c - how results look.
 *
 * For people on a terminal: path:line, score, state if not fresh, and the snippet with the words that matched.  In a pipe: one result a
 * line, fields separated by tabs, no colour.  Names may hold any byte, so what goes to a terminal is made harmless first; -0 and
 * --json give names exactly. */
#include <ctype.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "cli/cli.h"

#define CHUNK_MAX 65536

void cli_out_init(struct cli_out *o, const char *mnt, const char *spelt)
{
	o->mnt = mnt;
	o->prefix = spelt;
	o->tty = isatty(STDOUT_FILENO) == 1;
	const char *term = getenv("TERM"), *no = getenv("NO_COLOR");
	o->color = o->tty && !(no && *no) && term && strcmp(term, "dumb");
}

static void print_safe_n(const char *s, size_t n, bool keep_newlines)
{
	for (size_t i = 0; i < n; i++) {
		unsigned char c = (unsigned char)s[i];
		bool bad = c < 32 || c == 127;
		/* C1 controls are two bytes in UTF-8: C2 80..9F */
		if (c == 0xc2 && i + 1 < n && (unsigned char)s[i + 1] >= 0x80 && (unsigned char)s[i + 1] <= 0x9f) {
			putchar('?');
			i++;
			continue;
		}
		putchar(bad && !(keep_newlines && c == '\n') ? (c == '\t' || c == '\n' ? ' ' : '?') : c);
	}
}

void cli_print_safe(const char *s, bool keep_newlines)
{
	print_safe_n(s, strlen(s), keep_newlines);
}

const char *cli_bytes_text(uint64_t n)
{
	static const char *const unit[] = {"B", "KiB", "MiB", "GiB", "TiB"};
	double v = (double)n;
	size_t u = 0;
	while (v >= 1024 && u < 4) {
		v /= 1024;
		u++;
	}
	return u ? cli_fmt("%.1f %s", v, unit[u]) : cli_fmt("%llu B", (unsigned long long)n);
}

/* A path the user can paste: below the current directory as it is, else as the mount was spelt, else absolute. */
static const char *shown_path(const struct cli_out *o, const char *rel)
{
	char *cwd = cli_realpath(".");
	const char *full = cli_fmt("%s/%s", o->mnt, rel);
	if (cwd) {
		size_t n = strlen(cwd);
		if (!strncmp(full, cwd, n) && full[n] == '/' && strlen(cwd) >= strlen(o->mnt))
			return full + n + 1;
	}
	if (o->prefix)
		return cli_fmt("%.*s/%s", (int)(strlen(o->prefix) - (o->prefix[strlen(o->prefix) - 1] == '/')),
		        o->prefix, rel);
	return full;
}

static bool same_word(const char *a, const char *b, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (tolower((unsigned char)a[i]) != tolower((unsigned char)b[i]))
			return false;
	return true;
}

/* the snippet on one line, the query's words in bold */
static void print_snippet(const struct cli_out *o, const char *s)
{
	bool at_word = true;
	while (isspace((unsigned char)*s))
		s++;
	for (bool space = false; *s;) {
		if (isspace((unsigned char)*s)) {
			space = true;
			at_word = true;
			s++;
			continue;
		}
		if (space)
			putchar(' ');
		space = false;
		size_t hit = 0;
		for (size_t i = 0; at_word && o->color && i < o->word_n; i++) {
			size_t n = strlen(o->words[i]);
			if (n > hit && strnlen(s, n) == n && same_word(s, o->words[i], n))
				hit = n;
		}
		if (hit) {
			fputs("\033[1;31m", stdout);
			print_safe_n(s, hit, false);
			fputs("\033[0m", stdout);
			s += hit;
			at_word = false;
			continue;
		}
		at_word = !isalnum((unsigned char)*s) && (unsigned char)*s < 128;
		print_safe_n(s, 1, false);
		s++;
	}
}

/* Where in its chunk the match is: a chunk is a paragraph or more, and who goes there wants the line.  The first word of the query that begins a word
 * of the chunk decides; words that only their stem has in common leave the chunk's own first line. */
static json_int_t line_of_match(const struct cli_out *o, const char *rel, json_t *locator, json_int_t line)
{
	json_t *bytes = json_object_get(locator, "bytes");
	json_int_t b0 = json_integer_value(json_array_get(bytes, 0)), b1 = json_integer_value(json_array_get(bytes, 1));
	if (!o->word_n || !rel || b1 <= b0 || b1 - b0 > CHUNK_MAX)
		return line;
	int fd = open(cli_fmt("%s/%s", o->mnt, rel), O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	if (fd < 0)
		return line;
	char *p = cli_alloc((size_t)(b1 - b0) + 1);
	ssize_t n = pread(fd, p, (size_t)(b1 - b0), (off_t)b0);
	close(fd);
	json_int_t at = line;
	bool begins = true;
	for (ssize_t i = 0; i < n; i++) {
		for (size_t w = 0; begins && w < o->word_n; w++) {
			size_t k = strlen(o->words[w]);
			if ((size_t)(n - i) >= k && same_word(p + i, o->words[w], k))
				return at;
		}
		begins = !isalnum((unsigned char)p[i]) && (unsigned char)p[i] < 128;
		at += p[i] == '\n';
	}
	return line;
}

static void print_one(const struct cli_out *o, json_t *r)
{
	const char *path = json_string_value(json_object_get(r, "path"));
	const char *state = json_string_value(json_object_get(r, "state"));
	const char *snip = json_string_value(json_object_get(r, "snippet"));
	double score = json_number_value(json_object_get(r, "score"));
	json_t *lines = json_object_get(json_object_get(r, "locator"), "lines"),
	       *payload = json_object_get(r, "payload");
	json_int_t line = json_integer_value(json_array_get(lines, 0));
	if (line && !o->names_only && !o->nul)
		line = line_of_match(o, path, json_object_get(r, "locator"), line);
	const char *name = path ? shown_path(o, path)
	                        : cli_fmt("id %lld", (long long)json_integer_value(json_object_get(r, "id")));

	if (o->names_only || o->nul) {
		fputs(path ? name : cli_fmt("%lld", (long long)json_integer_value(json_object_get(r, "id"))), stdout);
		putchar(o->nul ? 0 : '\n');
		return;
	}
	if (!o->tty) {
		cli_print_safe(name, false);
		if (line)
			printf(":%lld", (long long)line);
		printf("\t%.4f\t", score);
		if (snip)
			print_snippet(o, snip);
		putchar('\n');
		return;
	}
	fputs(o->color ? "\033[35m" : "", stdout);
	cli_print_safe(name, false);
	if (line)
		printf("%s:%s%lld", o->color ? "\033[0m" : "", o->color ? "\033[32m" : "", (long long)line);
	printf("%s  %.3f", o->color ? "\033[0m" : "", score);
	if (state && strcmp(state, "fresh"))
		printf("  (%s)", state);
	putchar('\n');
	if (snip && *snip) {
		fputs("    ", stdout);
		print_snippet(o, snip);
		putchar('\n');
	}
	if (json_is_object(payload)) {
		char *t = json_dumps(payload, JSON_COMPACT);
		fputs("    ", stdout);
		cli_print_safe(t ? t : "", false);
		putchar('\n');
		mem_free(MEM_cli, t);
	}
}

void cli_print_results(const struct cli_out *o, json_t *answer, const char *raw)
{
	json_t *res = json_object_get(answer, "results"), *r;
	size_t i;
	if (o->json) {
		printf("%s%s", raw, *raw && raw[strlen(raw) - 1] == '\n' ? "" : "\n");
		return;
	}
	json_array_foreach(res, i, r)
	{
		if (o->jsonl) {
			char *t = json_dumps(r, JSON_COMPACT);
			puts(t ? t : "{}");
			mem_free(MEM_cli, t);
		} else {
			print_one(o, r);
		}
	}
	if (!o->jsonl && !json_is_true(json_object_get(answer, "complete")) && isatty(STDERR_FILENO) == 1)
		cli_note("(not complete: %lld changes are not searchable yet; --wait waits for them)",
		        (long long)json_integer_value(json_object_get(answer, "pending")));
}
