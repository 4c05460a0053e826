/* Formats told apart; and the parent's side of the extractor, with scripts in the helper's place: what comes through, what ends it, that no
 * child is ever left. */
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include "tap.h"
#include "base/mem.h"
#include "text/text_extract.h"
#include "text/text_filters.h"

static char dir[] = "/tmp/vexfs-extract-XXXXXX";
static char helper[100], got[1 << 20];
static size_t got_n;
static int stop_after = -1;
static int take(void *u, const void *p, size_t n)
{
	(void)u;
	if (got_n + n < sizeof got)
		memcpy(got + got_n, p, n);
	got_n += n;
	return stop_after >= 0 && got_n > (size_t)stop_after ? -ECANCELED : 0;
}

static struct text_extract_cfg cfg;
static struct vx_errinfo e;
static int run(const char *script, enum text_format f, const char *input)
{
	char path[100];
	FILE *o = fopen(helper, "w");
	fprintf(o, "#!/bin/sh\n%s\n", script);
	fclose(o);
	chmod(helper, 0700);
	snprintf(path, sizeof path, "%s/in", dir);
	o = fopen(path, "w");
	fputs(input, o);
	fclose(o);
	int fd = open(path, O_RDONLY);
	memset(got, 0, 4096);
	got_n = 0;
	e = (struct vx_errinfo){0};
	int rc = text_extract(&cfg, fd, f, take, NULL, &e);
	close(fd);
	return rc;
}

static void test_format(void)
{
	static const struct {
		const char *head;
		size_t n; /* 0: strlen */
		const char *name;
		enum text_format want;
	} c[] = {
	        {"plain words", 0, "a.txt", TEXT_FORMAT_plain},
	        {"", 0, "a", TEXT_FORMAT_plain},
	        {"<!DOCTYPE html><p>", 0, "x", TEXT_FORMAT_html},
	        {"\xef\xbb\xbf \n<!-- c --><?xml version='1.0'?>\n<HTML>", 0, "x", TEXT_FORMAT_html},
	        {"<p>words", 0, "x.HTM", TEXT_FORMAT_html},
	        {"<p>words", 0, "x.txt", TEXT_FORMAT_plain},
	        {"words only", 0, "x.html", TEXT_FORMAT_plain},
	        {"<html>\xd0\xd2\xc9\xd7\xc5\xd4\xd0\xd2\xc9\xd7\xc5\xd4\xd0\xd2\xc9", 0, "x.html", TEXT_FORMAT_html},
	        {"<html>\0\1\2", 9, "x.html", TEXT_FORMAT_none},
	        {"<!-- never closed", 0, "x", TEXT_FORMAT_plain},
	        {"%PDF-1.7\n\x80\x81\x82", 0, "x", TEXT_FORMAT_pdf},
	        {"junk\n%PDF-1.7\n%\xe2\xe3\xcf\xd3\x80\x81", 0, "x", TEXT_FORMAT_pdf},
	        {"text about %PDF-1.7\n", 0, "x", TEXT_FORMAT_plain},
	        {"PK\3\4....mimetypeapplication/epub+zip", 0, "x", TEXT_FORMAT_zip},
	        {"PK\3\4....[Content_Types].xml", 0, "x.docx", TEXT_FORMAT_zip},
	        {"PK\3\4....a.class", 0, "x.jar", TEXT_FORMAT_none},
	        {"PK\3\4", 0, "x.docx", TEXT_FORMAT_none},
	        {"\x7f"
	         "ELF\2\1\1\0\0\0\0",
	                11, "x", TEXT_FORMAT_none},
	};
	for (size_t i = 0; i < sizeof c / sizeof *c; i++)
		T_EQ(text_format_of(c[i].head, c[i].n ? c[i].n : strlen(c[i].head), true, c[i].name), c[i].want,
		        "format");
	T_EQ(text_format_of("<p>", 3, true, NULL), TEXT_FORMAT_plain, "no name");
}

static void test_filters(void)
{
	static const char good[] =
	        "# endings  command\n\nrtf unrtf --text \"a b\"\r\ndjvu,DJV\tdjvutxt /dev/stdin # not a comment here\n";
	struct text_filters *t;
	unsigned line = 0;
	T_EQ(text_filters_new(good, sizeof good - 1, &t, &line), 0, "a table");
	const char *const *c = text_filters_find(t, "x.RTF");
	T_OK(c && !strcmp(c[0], "unrtf") && !strcmp(c[1], "--text") && !strcmp(c[2], "a b") && !c[3],
	        "words and quotes");
	c = text_filters_find(t, "a.b.djv");
	T_OK(c && !strcmp(c[0], "djvutxt") && !strcmp(c[1], "/dev/stdin") && !c[2], "two endings, a comment behind");
	T_OK(!text_filters_find(t, "x.dj") && !text_filters_find(t, "rtf") && !text_filters_find(t, "x.") &&
	                !text_filters_find(NULL, "x.rtf"),
	        "no ending, no command");
	text_filters_free(t);
	static const struct {
		const char *text;
		unsigned line;
	} bad[] = {{"rtf\n", 1}, {"a b\nc \"d\n", 2}, {"a 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17", 1}};
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		T_EQ(text_filters_new(bad[i].text, strlen(bad[i].text), &t, &line), -VX_ERR_bad_value, "a bad table");
		T_EQ(line, bad[i].line, "its line");
	}
}

int main(void)
{
	if (!mkdtemp(dir))
		return 1;
	snprintf(helper, sizeof helper, "%s/helper", dir);
	cfg = (struct text_extract_cfg){.os = os_real(), .helper = helper};
	test_format();
	/* a file's text through cat: the kind and the seconds come as arguments, the file on fd 0, nothing else is open */
	T_EQ(run("cat; echo \"$1 $2 $#\"; ls /proc/self/fd | tr '\\n' ' '; env | grep -v -e PWD -e SHLVL -e '^_='",
	             TEXT_FORMAT_pdf, "hello\n"),
	        -VX_ERR_doc_damaged, "a status that is not 0 (grep found nothing)");
	T_OK(!strncmp(got, "hello\npdf 20 2\n0 1 2 3 ", 23) && got_n == 23, "what the child sees");
	T_EQ(run("cat", TEXT_FORMAT_html, "hello\n"), 0, "status 0");
	T_OK(got_n == 6 && !memcmp(got, "hello\n", 6), "the text");
	T_EQ(run("head -c 500000 /dev/zero | tr '\\0' x", TEXT_FORMAT_zip, ""), 0, "a long text");
	T_OK(got_n == 500000 && got[0] == 'x' && got[499999] == 'x', "all of it");
	static const char *const says[] = {"", "damaged", "encrypted", "more than is read", "no kind", "no sandbox",
	        "out of memory", "parser failed"};
	static const int codes[] = {0, -VX_ERR_doc_damaged, -VX_ERR_doc_encrypted, -VX_ERR_doc_too_large,
	        -VX_ERR_not_text, -VX_ERR_component_off, -VX_ERR_doc_too_large, -VX_ERR_doc_parser};
	for (int i = 1; i < 8; i++) {
		char s[20];
		snprintf(s, sizeof s, "exit %d", i);
		int rc = run(s, TEXT_FORMAT_pdf, "");
		T_OK(rc == codes[i] && strstr(e.detail, says[i]), "%s: %s", s, e.detail);
	}
	T_EQ(run("kill -SEGV $$", TEXT_FORMAT_pdf, ""), -VX_ERR_doc_parser, "a crash");
	T_OK(strstr(e.detail, "signal 11") != NULL, "%s", e.detail);
	T_EQ(run("kill -XCPU $$", TEXT_FORMAT_pdf, ""), -VX_ERR_deadline, "the CPU limit");
	cfg.time_ms = 150;
	T_EQ(run("echo a; exec sleep 60", TEXT_FORMAT_pdf, ""), -VX_ERR_deadline, "the time limit");
	cfg.time_ms = 0;
	cfg.out_max = 100000;
	T_EQ(run("exec yes", TEXT_FORMAT_pdf, ""), -VX_ERR_doc_too_large, "text without end, by size");
	cfg.out_max = 0;
	stop_after = 1000;
	T_EQ(run("exec yes", TEXT_FORMAT_pdf, ""), -ECANCELED, "take's refusal");
	stop_after = -1;
	_Atomic int stop = 1;
	cfg.cancel = &stop;
	T_EQ(run("exec sleep 60", TEXT_FORMAT_pdf, ""), -VX_ERR_cancelled, "cancelled");
	cfg.cancel = NULL;
	cfg.helper = "/nonexistent/helper";
	T_EQ(run("", TEXT_FORMAT_pdf, ""), -VX_ERR_component_off, "no helper");
	cfg.helper = helper;
	T_EQ(run("", TEXT_FORMAT_plain, ""), -VX_ERR_not_text, "plain text is not extracted");
	/* a command: its words behind the seconds, its statuses its own */
	static const char *const words[] = {"unrtf", "--text", NULL};
	cfg.command = words;
	T_EQ(run("cat; echo \"$1 $3 $4 $#\"", TEXT_FORMAT_command, "rtf\n"), 0, "a command");
	T_OK(got_n == 23 && !memcmp(got, "rtf\nrun unrtf --text 4\n", 23), "gets its words");
	T_EQ(run("exit 2", TEXT_FORMAT_command, ""), -VX_ERR_doc_parser, "fails");
	T_OK(strstr(e.detail, "status 2") != NULL, "%s", e.detail);
	T_EQ(run("exit 127", TEXT_FORMAT_command, ""), -VX_ERR_component_off, "is not there");
	T_EQ(run("cat", TEXT_FORMAT_pdf, ""), -VX_ERR_not_text, "a command for a format that has its parser");
	cfg.command = NULL;
	T_EQ(run("cat", TEXT_FORMAT_command, ""), -VX_ERR_not_text, "a command that is none");
	test_filters();
	/* fd 0 closed: the pipe takes its number */
	int keep = dup(0);
	close(0);
	T_EQ(run("cat", TEXT_FORMAT_html, "hello\n"), 0, "with fd 0 closed");
	T_OK(got_n == 6, "the text");
	dup2(keep, 0);
	close(keep);
	T_OK(waitpid(-1, NULL, WNOHANG) < 0 && errno == ECHILD, "no child is left");
	T_EQ(mem_used(MEM_text), 0, "nothing left");
	char cmd[100];
	snprintf(cmd, sizeof cmd, "rm -rf %s", dir);
	return system(cmd) ? 1 : tap_done();
}
