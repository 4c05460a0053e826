/* http_check.c - who may ask: addresses, the Host and Origin headers, the token; and what an error is called in HTTP.  No I/O but the token's file.
 *
 * Host is checked because of DNS rebinding: a page's own name can be made to resolve to 127.0.0.1, but its requests still carry that name. */
#include <arpa/inet.h>
#include <fcntl.h>
#include <string.h>
#include <strings.h>
#include "base/sbuf.h"
#include "server/http.h"

static bool port_of(const char *s, uint16_t *ret)
{
	uint64_t v;
	size_t n = strlen(s);
	if (!n || n > 5 || num_u64(s, n, &v) != (int)n || v > 65535)
		return false;
	*ret = (uint16_t)v;
	return true;
}

static bool is_loopback(const char *host, bool v6)
{
	return v6 ? !strcmp(host, "::1") : !strncmp(host, "127.", 4);
}

int http_addr_parse(const char *s, struct http_addr *ret)
{
	struct http_addr a = {.host = "127.0.0.1"};
	uint8_t bin[16];
	const char *colon = strrchr(s, ':'), *host = s, *end = colon;
	if (!colon) {
		if (!port_of(s, &a.port))
			return -VX_ERR_bad_value;
		a.loopback = true;
		*ret = a;
		return 0;
	}
	if (*s == '[') {
		host = s + 1;
		end = strchr(s, ']');
		if (!end || end + 1 != colon)
			return -VX_ERR_bad_value;
		a.v6 = true;
	}
	size_t n = (size_t)(end - host);
	if (n >= sizeof a.host || !port_of(colon + 1, &a.port) || (!a.v6 && memchr(host, ':', n)))
		return -VX_ERR_bad_value;
	if (n && !(n == 9 && !strncasecmp(host, "localhost", 9))) {
		memcpy(a.host, host, n);
		a.host[n] = 0;
	}
	if ((!n && a.v6) || inet_pton(a.v6 ? AF_INET6 : AF_INET, a.host, bin) != 1)
		return -VX_ERR_bad_value;
	a.loopback = is_loopback(a.host, a.v6);
	*ret = a;
	return 0;
}

/* "name", "name:port", "[v6]", "[v6]:port" of this machine itself? n bytes */
static bool loopback_authority(const char *p, size_t n)
{
	static const char *const names[] = {"localhost", "127.0.0.1", "[::1]"};
	for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
		size_t k = strlen(names[i]);
		if (n < k || strncasecmp(p, names[i], k))
			continue;
		if (n == k)
			return true;
		if (p[k] != ':' || n - k < 2 || n - k > 6)
			continue;
		size_t d = k + 1;
		while (d < n && p[d] >= '0' && p[d] <= '9')
			d++;
		if (d == n)
			return true;
	}
	return false;
}

bool http_host_fits(const char *h, bool has_token)
{
	return h && *h && (has_token || loopback_authority(h, strlen(h)));
}

bool http_origin_fits(const char *o)
{
	if (!o)
		return true;
	size_t skip = !strncasecmp(o, "http://", 7) ? 7 : !strncasecmp(o, "https://", 8) ? 8 : 0;
	return skip && loopback_authority(o + skip, strlen(o + skip));
}

bool http_token_fits(const char *h, const char *token)
{
	size_t n = strlen(token);
	if (!h || strncasecmp(h, "Bearer ", 7))
		return false;
	h += 7;
	while (*h == ' ')
		h++;
	size_t k = strlen(h);
	unsigned diff = k != n;
	for (size_t i = 0; i < n; i++)
		diff |= (unsigned char)token[i] ^ (unsigned char)(i < k ? h[i] : 0);
	return !diff;
}

int http_token_read(struct os *os, const char *path, char ret[HTTP_TOKEN_MAX + 1])
{
	char t[HTTP_TOKEN_MAX + 3];
	struct stat st;
	int fd = os_openat(os, AT_FDCWD, path, O_RDONLY | O_CLOEXEC, 0);
	if (fd < 0)
		return fd;
	int rc = os_fstat(os, fd, &st);
	if (rc >= 0 && (!S_ISREG(st.st_mode) || st.st_mode & 077))
		rc = -EPERM;
	ssize_t n = rc < 0 ? rc : os_pread(os, fd, t, sizeof t, 0);
	os_close(os, fd);
	if (n < 0)
		return (int)n;
	while (n && (t[n - 1] == '\n' || t[n - 1] == '\r' || t[n - 1] == ' '))
		n--;
	if (n < (ssize_t)HTTP_TOKEN_MIN || n > (ssize_t)HTTP_TOKEN_MAX)
		return -VX_ERR_bad_value;
	for (ssize_t i = 0; i < n; i++)
		if (t[i] <= ' ' || t[i] > '~')
			return -VX_ERR_bad_value;
	memcpy(ret, t, (size_t)n);
	ret[n] = 0;
	return 0;
}

unsigned http_status(int rc)
{
	if (rc >= 0)
		return 200;
	switch (err_posix(rc)) {
	case ENOENT:
	case ENODATA:
		return 404;
	case EACCES:
	case EPERM:
	case EROFS:
		return 403;
	case EEXIST:
		return 409;
	case E2BIG:
	case EFBIG:
		return 413;
	case EAGAIN:
	case EBUSY:
	case EINTR:
	case ENOMEM:
	case ESHUTDOWN:
		return 503;
	case ETIMEDOUT:
		return 504;
	case ENOSPC:
		return 507;
	case EOPNOTSUPP:
		return 501;
	case EINVAL:
	case EXDEV:
	case EILSEQ:
	case EPROTONOSUPPORT:
		return 400;
	default:
		return 500;
	}
}
