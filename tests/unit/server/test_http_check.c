/* Who may ask over HTTP: addresses, Host, Origin, tokens; and what errors are called there. */
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include "tap.h"
#include "server/http.h"

static void addr(const char *s, const char *host, unsigned port, bool loopback, bool v6)
{
	struct http_addr a = {0};
	int rc = http_addr_parse(s, &a);
	if (!host) {
		T_EQ(rc, -VX_ERR_bad_value, s);
		return;
	}
	T_OK(!rc && !strcmp(a.host, host) && a.port == port && a.loopback == loopback && a.v6 == v6, "%s: %s %u", s,
	        a.host, a.port);
}

static int token_file(const char *text, mode_t mode, char ret[HTTP_TOKEN_MAX + 1])
{
	char path[] = "/tmp/vexfs-token-XXXXXX";
	int fd = mkstemp(path);
	if (fd < 0 || write(fd, text, strlen(text)) < 0 || fchmod(fd, mode))
		abort();
	close(fd);
	int rc = http_token_read(os_real(), path, ret);
	unlink(path);
	return rc;
}

int main(void)
{
	addr("7070", "127.0.0.1", 7070, true, false);
	addr(":0", "127.0.0.1", 0, true, false);
	addr("localhost:80", "127.0.0.1", 80, true, false);
	addr("127.1.2.3:80", "127.1.2.3", 80, true, false);
	addr("[::1]:65535", "::1", 65535, true, true);
	addr("0.0.0.0:1", "0.0.0.0", 1, false, false);
	addr("[::]:1", "::", 1, false, true);
	addr("192.168.1.5:8080", "192.168.1.5", 8080, false, false);
	static const char *const bad[] = {"", ":", "x", "localhost", "127.0.0.1", "127.0.0.1:65536", "127.0.0.1:-1",
	        "1.2.3:1", "::1:80", "[::1:80", "[]:80", "[1.2.3.4]:80", "host.example:80", "127.0.0.1:1x",
	        "127.0.0.1:1:2"};
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
		addr(bad[i], NULL, 0, false, false);
	T_OK(!http_host_fits(NULL, true) && !http_host_fits("", true) && http_host_fits("any.example", true),
	        "with a token a Host is wanted, whichever");
	T_OK(http_host_fits("localhost:1", false) && !http_host_fits("any.example", false) &&
	                !http_host_fits("localhost:123456", false) && !http_host_fits("localhostx", false),
	        "without one it is this machine's");
	T_OK(http_origin_fits(NULL) && http_origin_fits("http://[::1]:3000") && !http_origin_fits("") &&
	                !http_origin_fits("null") && !http_origin_fits("http://a.example") &&
	                !http_origin_fits("ftp://localhost") && !http_origin_fits("http://localhost/"),
	        "origins");
	T_OK(http_token_fits("Bearer abc", "abc") && http_token_fits("bearer  abc", "abc"), "the token");
	static const char *const wrong[] = {
	        "", "abc", "Bearer", "Bearer ", "Bearer ab", "Bearer abcd", "Bearer abd", "Basic abc"};
	for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
		T_OK(!http_token_fits(wrong[i], "abc"), "no token: \"%s\"", wrong[i]);
	T_OK(!http_token_fits(NULL, "abc"), "none at all");
	char t[HTTP_TOKEN_MAX + 1], longest[HTTP_TOKEN_MAX + 3];
	T_EQ(token_file("0123456789abcdef\r\n", 0600, t), 0, "a token's file");
	T_STR(t, "0123456789abcdef", "without its line end");
	T_EQ(token_file("0123456789abcde\n", 0600, t), -VX_ERR_bad_value, "too short");
	T_EQ(token_file("0123456789 abcdef", 0600, t), -VX_ERR_bad_value, "two words");
	T_EQ(token_file("0123456789abcdef\nmore", 0600, t), -VX_ERR_bad_value, "two lines");
	T_EQ(token_file("0123456789abcdef", 0640, t), -EPERM, "others may read it");
	memset(longest, 'x', sizeof longest);
	longest[HTTP_TOKEN_MAX] = 0;
	T_EQ(token_file(longest, 0600, t), 0, "as long as may be");
	longest[HTTP_TOKEN_MAX] = 'x';
	longest[HTTP_TOKEN_MAX + 1] = 0;
	T_EQ(token_file(longest, 0600, t), -VX_ERR_bad_value, "longer");
	T_EQ(http_token_read(os_real(), "/nonexistent/token", t), -ENOENT, "not there");
	static const struct {
		int rc;
		unsigned status;
	} s[] = {{0, 200}, {-VX_ERR_json_syntax, 400}, {-VX_ERR_no_collection, 404}, {-VX_ERR_no_vector, 404},
	        {-VX_ERR_not_owner, 403}, {-VX_ERR_read_only, 403}, {-VX_ERR_query_too_long, 413},
	        {-VX_ERR_queue_full, 503}, {-VX_ERR_deadline, 504}, {-VX_ERR_store_full, 507},
	        {-VX_ERR_component_off, 501}, {-EIO, 500}};
	for (size_t i = 0; i < sizeof s / sizeof *s; i++)
		T_EQ(http_status(s[i].rc), s[i].status, err_name(s[i].rc));
	return tap_done();
}
