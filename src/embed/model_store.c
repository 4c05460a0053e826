/* model_store.c - adding, listing and choosing models. */
#include "embed/model_store.h"
#include <dirent.h>
#include <fcntl.h>
#include <string.h>
#define XXH_STATIC_LINKING_ONLY
#include <xxhash.h>
#include "base/conf.h"
#include "base/sbuf.h"
#include "embed/embed_int.h"

#define COPY_PIECE (256u << 10)
#define PATH_ROOM  480u /* homes are short; a longer one is refused */
#define RECORD_MAX 4096u

const char *const model_files[] = {"config.json", "tokenizer.json", "vocab.txt", "tokenizer_config.json",
        "model.safetensors", "sentence_bert_config.json", "config_sentence_transformers.json", "1_Pooling/config.json",
        "endpoint.json", NULL};

bool model_name_ok(const char *name)
{
	size_t n = strlen(name);
	for (size_t i = 0; i < n; i++) {
		char c = name[i];
		if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
		            c == '_' || (c == '.' && i)))
			return false;
	}
	return n >= 1 && n <= MODEL_NAME_MAX && strcmp(name, "default");
}

static int join(char *ret, size_t cap, const char *a, const char *b, const char *c)
{
	struct sbuf s;
	sbuf_fixed(&s, ret, cap);
	sb_str(&s, a);
	sb_str(&s, b);
	sb_str(&s, c);
	(void)sbuf_cstr(&s); /* over is looked at */
	return s.over ? -ENAMETOOLONG : 0;
}

int model_home(uint32_t uid, const char *xdg, const char *home, char *ret, size_t cap)
{
	if (uid == 0)
		return join(ret, cap, "/var/lib/vexfs/models", "", "");
	if (xdg && xdg[0] == '/')
		return join(ret, cap, xdg, "/vexfs/models", "");
	if (home && home[0] == '/')
		return join(ret, cap, home, "/.local/share/vexfs/models", "");
	return -ENOENT;
}

int model_path(const char *home, const char *name_or_path, char *ret, size_t cap)
{
	if (strchr(name_or_path, '/'))
		return join(ret, cap, name_or_path, "", "");
	if (!model_name_ok(name_or_path))
		return -EINVAL;
	return join(ret, cap, home, "/", name_or_path);
}

/* every component of an absolute path */
static int make_dirs(struct os *os, const char *path)
{
	char part[PATH_ROOM];
	if (strlen(path) >= sizeof part)
		return -ENAMETOOLONG;
	for (const char *p = path; *p;) {
		const char *e = strchr(p + 1, '/');
		e = e ? e : p + strlen(p);
		memcpy(part, path, (size_t)(e - path));
		part[e - path] = 0;
		int rc = os_mkdirat(os, AT_FDCWD, part, 0755);
		if (rc < 0 && rc != -EEXIST)
			return rc;
		p = e;
	}
	return 0;
}

static int write_all(struct os *os, int fd, const void *p, size_t n, uint64_t at)
{
	const char *b = p;
	while (n) {
		ssize_t k = os_pwrite(os, fd, b, n, (off_t)at);
		if (k == -EINTR)
			continue;
		if (k <= 0)
			return k ? (int)k : -EIO;
		b += k;
		at += (uint64_t)k;
		n -= (size_t)k;
	}
	return 0;
}

/* one file from folder to folder; its record goes into `rec`. -ENOENT: it is not there */
static int copy_file(struct os *os, int from, int to, const char *name, uint8_t *buf, XXH3_state_t *x, json_t *rec)
{
	int in = os_openat(os, from, name, O_RDONLY | O_CLOEXEC | O_NONBLOCK, 0), rc = 0;
	VX_TRY(in);
	int out = os_openat(os, to, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
	uint64_t at = 0;
	XXH3_128bits_reset(x);
	for (rc = out; rc >= 0;) {
		ssize_t k = os_pread(os, in, buf, COPY_PIECE, (off_t)at);
		if (k == -EINTR)
			continue;
		if (k <= 0) {
			rc = (int)k;
			break;
		}
		XXH3_128bits_update(x, buf, (size_t)k);
		rc = write_all(os, out, buf, (size_t)k, at);
		at += (uint64_t)k;
	}
	if (rc >= 0)
		rc = os_fdatasync(os, out);
	if (out >= 0)
		os_close(os, out);
	os_close(os, in);
	if (rc < 0)
		return rc;
	XXH128_canonical_t c;
	char hex[40];
	struct sbuf b;
	XXH128_canonicalFromHash(&c, XXH3_128bits_digest(x));
	sbuf_fixed(&b, hex, sizeof hex);
	for (size_t i = 0; i < sizeof c.digest; i++)
		sb_hex(&b, c.digest[i], 2);
	return json_object_set_new(rec, name, json_pack("{s:I,s:s}", "bytes", (json_int_t)at, "xxh128", sbuf_cstr(&b)))
	               ? -ENOMEM
	               : 0;
}

static int copy_files(struct os *os, int from, int to, json_t *rec)
{
	uint8_t *buf = mem_alloc(MEM_text, COPY_PIECE);
	/* the state wants 64-byte alignment */
	uint8_t *raw = mem_alloc(MEM_text, sizeof(XXH3_state_t) + 64);
	int rc = buf && raw ? os_mkdirat(os, to, "1_Pooling", 0755) : -ENOMEM;
	XXH3_state_t *x = (XXH3_state_t *)(((uintptr_t)raw + 63) & ~(uintptr_t)63);
	if (rc >= 0)
		memset(x, 0, sizeof *x);
	for (const char *const *f = model_files; *f && rc >= 0; f++) {
		rc = copy_file(os, from, to, *f, buf, x, rec);
		rc = rc == -ENOENT || rc == -ENOTDIR ? 0 : rc;
	}
	mem_free(MEM_text, raw);
	mem_free(MEM_text, buf);
	return rc;
}

static void remove_model(struct os *os, const char *path)
{
	int fd = os_openat(os, AT_FDCWD, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
	if (fd < 0)
		return;
	/* what is not there is not there; what cannot be removed is found by whoever looks at the folder */
	for (const char *const *f = model_files; *f; f++)
		(void)os_unlinkat(os, fd, *f, 0);
	(void)os_unlinkat(os, fd, "vexfs.json", 0);
	(void)os_unlinkat(os, fd, "1_Pooling", AT_REMOVEDIR);
	os_close(os, fd);
	(void)os_unlinkat(os, AT_FDCWD, path, AT_REMOVEDIR);
}

static int to_sbuf(const char *p, size_t n, void *u)
{
	struct sbuf *b = u;
	sb_bytes(b, p, n);
	return b->over ? -1 : 0;
}

/* does it work, and what is it? vexfs.json */
static int check_and_record(
        struct os *os, const char *path, int to, const char *source, json_t *files, struct vx_errinfo *reterr)
{
	static const char *const kinds[] = {
	        [EMBED_bert] = "bert", [EMBED_static] = "model2vec", [EMBED_endpoint] = "endpoint"};
	struct embed_cfg cfg = {.os = os, .folder = path};
	struct embed *m = NULL;
	struct embed_info i = {0};
	int rc = embed_open(&cfg, &m, reterr);
	if (rc >= 0)
		rc = embed_probe(m, reterr);
	if (rc >= 0)
		i = embed_info(m);
	embed_close(m);
	VX_TRY(rc);
	char hex[40], *text = mem_alloc(MEM_text, RECORD_MAX);
	struct sbuf b;
	if (!text)
		return -ENOMEM;
	sbuf_fixed(&b, hex, sizeof hex);
	for (size_t k = 0; k < sizeof i.fingerprint; k++)
		sb_hex(&b, i.fingerprint[k], 2);
	json_t *j = json_pack("{s:s,s:s,s:i,s:i,s:s,s:I,s:O}", "source", source, "kind", kinds[i.kind], "dim",
	        (int)i.dim, "tokens_max", (int)i.tokens_max, "fingerprint", sbuf_cstr(&b), "added",
	        (json_int_t)(os_real_ns(os) / 1000000000u), "files", files);
	sbuf_fixed(&b, text, RECORD_MAX);
	rc = j && !json_dump_callback(j, to_sbuf, &b, JSON_INDENT(1)) ? 0 : -ENOMEM;
	json_decref(j);
	int fd = rc < 0 ? rc : os_openat(os, to, "vexfs.json", O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
	rc = fd;
	if (rc >= 0)
		rc = write_all(os, fd, b.p, b.n, 0);
	if (rc >= 0)
		rc = os_fdatasync(os, fd);
	if (fd >= 0)
		os_close(os, fd);
	mem_free(MEM_text, text);
	return rc;
}

int model_add(struct os *os, const char *home, const char *name, const char *folder, const char *source,
        struct vx_errinfo *reterr)
{
	char path[PATH_ROOM], part[PATH_ROOM];
	struct stat st;
	int from = -1, to = -1;
	if (!model_name_ok(name))
		return emb_fail(reterr, -EINVAL, "a model's name is 1 to 64 of [A-Za-z0-9._-]", name);
	VX_TRY(join(path, sizeof path, home, "/", name));
	VX_TRY(join(part, sizeof part, path, ".part", ""));
	VX_TRY(make_dirs(os, home));
	if (os_fstatat(os, AT_FDCWD, path, &st, AT_SYMLINK_NOFOLLOW) >= 0)
		return emb_fail(reterr, -EEXIST, "a model of that name is there already", path);
	remove_model(os, part);
	json_t *files = json_object();
	int rc = files ? os_mkdirat(os, AT_FDCWD, part, 0755) : -ENOMEM;
	if (rc >= 0)
		rc = from = os_openat(os, AT_FDCWD, folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
	if (rc < 0)
		emb_fail(reterr, rc, "cannot open the folder", folder);
	if (rc >= 0)
		rc = to = os_openat(os, AT_FDCWD, part, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
	if (rc >= 0)
		rc = copy_files(os, from, to, files);
	if (rc >= 0)
		rc = check_and_record(os, part, to, source, files, reterr);
	if (rc >= 0)
		rc = os_fsync(os, to);
	if (rc >= 0)
		rc = os_renameat(os, AT_FDCWD, part, AT_FDCWD, path);
	if (rc < 0)
		remove_model(os, part);
	if (from >= 0)
		os_close(os, from);
	if (to >= 0)
		os_close(os, to);
	json_decref(files);
	return rc;
}

int model_default(struct os *os, const char *home, char ret[MODEL_NAME_MAX + 1])
{
	char path[PATH_ROOM], *text;
	size_t n;
	VX_TRY(join(path, sizeof path, home, "/default", ""));
	VX_TRY(emb_read_file(os, AT_FDCWD, path, 256, &text, &n));
	while (n && (text[n - 1] == '\n' || text[n - 1] == ' '))
		text[--n] = 0;
	int rc = n <= MODEL_NAME_MAX && model_name_ok(text) ? 0 : -ENOENT;
	if (rc >= 0)
		memcpy(ret, text, n + 1);
	mem_free(MEM_text, text);
	return rc;
}

int model_use(struct os *os, const char *home, const char *name)
{
	char path[PATH_ROOM], part[PATH_ROOM];
	struct stat st;
	VX_TRY(join(path, sizeof path, home, "/default", ""));
	if (!name) {
		int gone = os_unlinkat(os, AT_FDCWD, path, 0);
		return gone == -ENOENT ? 0 : gone;
	}
	if (!model_name_ok(name))
		return -EINVAL;
	VX_TRY(join(part, sizeof part, home, "/", name));
	VX_TRY(os_fstatat(os, AT_FDCWD, part, &st, 0));
	VX_TRY(join(part, sizeof part, path, ".part", ""));
	int fd = os_openat(os, AT_FDCWD, part, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	VX_TRY(fd);
	int rc = write_all(os, fd, name, strlen(name), 0);
	if (rc >= 0)
		rc = write_all(os, fd, "\n", 1, strlen(name));
	if (rc >= 0)
		rc = os_fdatasync(os, fd);
	os_close(os, fd);
	return rc < 0 ? rc : os_renameat(os, AT_FDCWD, part, AT_FDCWD, path);
}

int model_each(struct os *os, const char *home, int (*each)(void *u, const char *name), void *u)
{
	_Alignas(struct dirent64) char buf[1024];
	int fd = os_openat(os, AT_FDCWD, home, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0), rc = 0;
	if (fd == -ENOENT)
		return 0;
	VX_TRY(fd);
	for (;;) {
		ssize_t n = os_getdents(os, fd, buf, sizeof buf);
		if (n <= 0) {
			rc = (int)n;
			break;
		}
		for (ssize_t at = 0; at < n && !rc;) {
			struct dirent64 *d = (struct dirent64 *)(buf + at);
			struct stat st;
			at += d->d_reclen;
			size_t k = strlen(d->d_name);
			bool part = k > 5 && !strcmp(d->d_name + k - 5, ".part");
			if (!part && model_name_ok(d->d_name) && os_fstatat(os, fd, d->d_name, &st, 0) >= 0 &&
			        S_ISDIR(st.st_mode))
				rc = each(u, d->d_name);
		}
		if (rc)
			break;
	}
	os_close(os, fd);
	return rc;
}
