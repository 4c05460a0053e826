/* model_fetch.c - a model's files by their names below one URL, by libcurl: what model hubs call a "resolve" address.
 * Redirects are followed, for hubs answer with them, but never from https to http.  A file that a model need not have may be missing (404). */
#include "embed/curl_dl.h"
#include <fcntl.h>
#include <string.h>
#include "base/sbuf.h"
#include "embed/embed_int.h"
#include "embed/model_store.h"

#define FILE_MAX (4ull << 30)

struct get {
	struct os *os;
	int fd;
	uint64_t at;
	int rc;
	const char *file;
	int (*tell)(void *u, const char *file, uint64_t bytes);
	void *u;
};

static size_t on_data(char *p, size_t one, size_t n, void *u)
{
	struct get *g = u;
	for (size_t done = 0; done < one * n;) {
		ssize_t k = os_pwrite(g->os, g->fd, p + done, one * n - done, (off_t)g->at);
		if (k == -EINTR)
			continue;
		if (k <= 0) {
			g->rc = k ? (int)k : -EIO;
			return 0;
		}
		done += (size_t)k;
		g->at += (uint64_t)k;
	}
	if (g->at > FILE_MAX)
		g->rc = -EFBIG;
	else if (g->tell && g->tell(g->u, g->file, g->at))
		g->rc = -VX_ERR_cancelled;
	return g->rc < 0 ? 0 : one * n;
}

/* 0; -ENOENT: 404 */
static int get_one(CURL *c, struct get *g, const char *url, struct vx_errinfo *reterr)
{
	long status = 0;
	curl_easy_setopt(c, CURLOPT_URL, url);
	curl_easy_setopt(c, CURLOPT_WRITEDATA, g);
	CURLcode cc = curl_easy_perform(c);
	curl_easy_getinfo(c, CURLINFO_RESPONSE_CODE, &status);
	if (g->rc < 0)
		return emb_fail(reterr, g->rc, err_text(g->rc), g->file);
	if (cc == CURLE_HTTP_RETURNED_ERROR && status == 404)
		return -ENOENT;
	if (cc == CURLE_OK)
		return 0;
	return emb_fail(reterr, cc == CURLE_OPERATION_TIMEDOUT ? -ETIMEDOUT : -EIO, curl_easy_strerror(cc), g->file);
}

static int fetch_into(struct os *os, CURL *c, const char *base, int dir,
        int (*tell)(void *u, const char *file, uint64_t bytes), void *u, struct vx_errinfo *reterr)
{
	char url[1024];
	int rc = os_mkdirat(os, dir, "1_Pooling", 0755), got = 0;
	rc = rc == -EEXIST ? 0 : rc;
	for (const char *const *f = model_files; *f && rc >= 0; f++) {
		struct sbuf b;
		if (!strcmp(*f, "endpoint.json"))
			continue; /* that is written here, not fetched */
		sbuf_fixed(&b, url, sizeof url);
		sb_str(&b, base);
		if (b.n && b.p[b.n - 1] != '/')
			sb_ch(&b, '/');
		sb_str(&b, *f);
		(void)sbuf_cstr(&b); /* over is looked at */
		if (b.over)
			return emb_fail(reterr, -ENAMETOOLONG, "the URL is too long", NULL);
		struct get g = {.os = os, .file = *f, .tell = tell, .u = u};
		rc = g.fd = os_openat(os, dir, *f, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
		if (rc < 0)
			break;
		rc = get_one(c, &g, url, reterr);
		os_close(os, g.fd);
		if (rc == -ENOENT) { /* model_add says what a model lacks */
			rc = os_unlinkat(os, dir, *f, 0);
			continue;
		}
		got += rc >= 0;
	}
	if (rc >= 0 && !got)
		return emb_fail(reterr, -ENOENT, "nothing of a model is there", base);
	return rc;
}

int model_fetch(struct os *os, const char *base_url, const char *folder,
        int (*tell)(void *u, const char *file, uint64_t bytes), void *u, struct vx_errinfo *reterr)
{
	bool https = !strncmp(base_url, "https://", 8);
	VX_TRY(emb_curl_init(reterr));
	if (!https && !emb_is_loopback(base_url))
		return emb_fail(
		        reterr, -VX_ERR_bad_value, "models are fetched over https, or from this machine", base_url);
	CURL *c = curl_easy_init();
	int dir = c ? os_openat(os, AT_FDCWD, folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0) : -ENOMEM, rc = dir;
	if (c) {
		curl_easy_setopt(c, CURLOPT_PROTOCOLS_STR, https ? "https" : "http,https");
		curl_easy_setopt(c, CURLOPT_REDIR_PROTOCOLS_STR, https ? "https" : "http,https");
		curl_easy_setopt(c, CURLOPT_FOLLOWLOCATION, 1L);
		curl_easy_setopt(c, CURLOPT_MAXREDIRS, 8L);
		curl_easy_setopt(c, CURLOPT_FAILONERROR, 1L);
		curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L);
		curl_easy_setopt(c, CURLOPT_USERAGENT, "vexfs");
		curl_easy_setopt(c, CURLOPT_CONNECTTIMEOUT, 20L);
		curl_easy_setopt(c, CURLOPT_LOW_SPEED_LIMIT, 1000L);
		curl_easy_setopt(c, CURLOPT_LOW_SPEED_TIME, 60L);
		curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, on_data);
		if (!https)
			curl_easy_setopt(c, CURLOPT_NOPROXY, "*");
	}
	if (rc >= 0)
		rc = fetch_into(os, c, base_url, dir, tell, u, reterr);
	if (dir >= 0)
		os_close(os, dir);
	curl_easy_cleanup(c);
	return rc;
}
