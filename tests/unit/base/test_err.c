/* test_err.c - the table of error codes: every row reachable by its code, every class a real errno, foreign codes harmless. */
#include "base/err.h"
#include "tap.h"
#include <limits.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

static int try_twice(int rc)
{
	VX_TRY(rc);
	return 7;
}

int main(void)
{
	T_EQ(VX_ERR_dim_mismatch, VX_ERR_BASE + 1, "the first code");
	T_STR(err_name(-VX_ERR_dim_mismatch), "dim_mismatch", "name of the first");
	T_STR(err_name(-VX_ERR_bad_format), "bad_format", "name of the last");
	T_EQ(err_posix(-VX_ERR_dim_mismatch), EINVAL, "class of dim_mismatch");
	T_EQ(err_posix(-VX_ERR_stack_risk), EAGAIN, "class of stack_risk");
	T_STR(err_text(-VX_ERR_store_locked), "another process serves this store", "a sentence");
#define X(n, p, s)                                                                                                     \
	if (strcmp(err_name(-VX_ERR_##n), #n) || err_posix(-VX_ERR_##n) != p || strcmp(err_text(-VX_ERR_##n), s))      \
		T_OK(0, "row " #n);                                                                                    \
	else                                                                                                           \
		rows++;
	int rows = 0;
	VX_ERR_TABLE(X)
#undef X
	T_EQ(rows, VX_ERR_END - VX_ERR_BASE - 1, "rows whose name, class and text come back");
	T_STR(err_name(-ENOENT), "ENOENT", "an errno's name");
	T_EQ(err_posix(-ENOENT), ENOENT, "an errno is its own class");
	T_EQ(err_posix(-EDOM), EDOM, "an errno without a row too");
	T_STR(err_name(-EDOM), "EIO", "its name is EIO");
	T_STR(err_name(0), "ok", "success");
	T_EQ(err_posix(0), 0, "success has class 0");
	T_EQ(err_posix(5), 0, "a count is success");
	T_EQ(err_posix(-VX_ERR_END), EIO, "a code behind the table");
	T_EQ(err_posix(-VX_ERR_BASE), EIO, "the base itself is no code");
	T_EQ(err_posix(INT_MIN), EIO, "the smallest int");
	T_OK(err_text(INT_MIN) && *err_text(INT_MIN), "has a sentence too");
	T_EQ(try_twice(-ENOMEM), -ENOMEM, "VX_TRY returns the error");
	T_EQ(try_twice(3), 7, "and goes on after success");

	int pp[2], st = 0;
	char line[200] = "";
	if (pipe(pp))
		return 99;
	pid_t pid = fork();
	if (!pid) {
		dup2(pp[1], 2);
		vx_assert(1 + 1 == 3);
		_exit(0);
	}
	close(pp[1]);
	for (ssize_t n, at = 0; (n = read(pp[0], line + at, sizeof line - 1 - (size_t)at)) > 0;)
		at += n;
	waitpid(pid, &st, 0);
	T_OK(WIFSIGNALED(st) && WTERMSIG(st) == SIGABRT, "a failed assertion aborts: status %d", st);
	T_OK(strstr(line, "assertion failed: 1 + 1 == 3 (") && strstr(line, "test_err.c:"),
	        "and says what and where: %s", strtok(line, "\n"));
	return tap_done();
}
