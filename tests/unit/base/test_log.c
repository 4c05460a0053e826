/* test_log.c - a log line's form, byte for byte, read back from a pipe in stderr's place. */
#include "base/err.h"
#include "base/log.h"
#include "tap.h"
#include <fcntl.h>
#include <unistd.h>

static int pp[2];
static const char *line(void)
{
	static char b[4096];
	ssize_t n = read(pp[0], b, sizeof b - 1);
	b[n > 0 ? n : 0] = 0;
	/* line ends are shown as '$': TAP takes one line a check */
	for (char *p = b; (p = strchr(p, '\n'));)
		*p = '$';
	return b;
}

int main(void)
{
	int err = dup(2);
	if (pipe2(pp, O_NONBLOCK) || dup2(pp[1], 2) < 0)
		return 99;
	log_to_stderr();
	log_msg(LOGL_info, "serving");
	T_STR(line(), "vexfs: serving$", "info");
	log_msg(LOGL_warn, "slow");
	T_STR(line(), "vexfs: warning: slow$", "warning");
	log_msg2(LOGL_error, "cannot open", "/a/b");
	T_STR(line(), "vexfs: error: cannot open /a/b$", "two parts");
	log_rc(LOGL_error, "opening the store", -VX_ERR_store_locked);
	T_STR(line(), "vexfs: error: opening the store: another process serves this store (store_locked)$", "a code");
	log_rc(LOGL_error, "open", -ENOENT);
	T_STR(line(), "vexfs: error: open: no such file or directory (ENOENT)$", "an errno");
	log_kv(LOGL_info, "walk done", "files", 18446744073709551615u);
	T_STR(line(), "vexfs: walk done files=18446744073709551615$", "a number");
	log_msg(LOGL_debug, "hidden");
	T_STR(line(), "", "debug is off at first");
	log_level_set(LOGL_debug);
	log_msg(LOGL_debug, "shown");
	T_STR(line(), "vexfs: debug: shown$", "and can be switched on");
	log_level_set(LOGL_error);
	log_msg(LOGL_warn, "no");
	log_msg2(LOGL_info, "no", "no");
	log_rc(LOGL_info, "no", -1);
	log_kv(LOGL_info, "no", "no", 1);
	T_STR(line(), "", "errors alone");
	log_level_set(LOGL_info);
	log_msg2(LOGL_info, "file", "a\nvexfs: error: forged\x1b[31m");
	T_STR(line(), "vexfs: file a?vexfs: error: forged?[31m$", "a name can't forge a line");
	static char big[3000];
	memset(big, 'x', sizeof big - 1);
	log_msg2(LOGL_warn, "long", big);
	const char *l = line();
	size_t n = strlen(l);
	T_OK(n > 400 && n < 520 && !strcmp(l + n - 4, "...$") && strchr(l, '$') == l + n - 1,
	        "a long line is cut: %zu bytes", n);
	T_EQ(log_to_syslog(), 0, "syslog takes over");
	for (int i = 0; i < 500; i++)
		log_kv(LOGL_debug, "to syslog", "i", (uint64_t)i);
	log_msg(LOGL_info, "unit test of the log");
	log_done();
	T_STR(line(), "", "nothing of it on stderr");
	log_msg(LOGL_info, "back");
	T_STR(line(), "vexfs: back$", "after log_done stderr again");
	T_EQ(log_to_syslog(), 0, "and a second time");
	log_done();
	log_done();
	dup2(err, 2);
	return tap_done();
}
