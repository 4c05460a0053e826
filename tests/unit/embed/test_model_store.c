/* The folder of models: adding whole or not at all, choosing, listing; fetching from a server in this process. */
#include <arpa/inet.h>
#include <pthread.h>
#include <sys/socket.h>
#include "model_files.h"
#include "base/mem.h"
#include "embed/embed.h"
#include "embed/model_store.h"

#define TOKENIZER                                                                                                      \
	"{\"normalizer\":{\"type\":\"BertNormalizer\",\"lowercase\":true},\"pre_tokenizer\":{\"type\":"                \
	"\"BertPreTokenizer\"},\"model\":{"                                                                            \
	"\"type\":\"WordPiece\",\"unk_token\":\"[UNK]\",\"vocab\":{\"[PAD]\":0,\"[UNK]\":1,\"probe\":2}}}"
static struct mf_dir src;
static char root[] = "/tmp/vexfs-home-XXXXXX", home[100];

static void write_model(void)
{
	struct mf_st st = {0};
	static const float table[3][2] = {{9, 9}, {8, 8}, {1, 2}};
	mf_st_add(&st, "embeddings", "F32", "3,2", table, sizeof table);
	mf_st_write(&st, &src, "model.safetensors");
	mf_text(&src, "config.json", "{\"model_type\":\"model2vec\"}");
	mf_text(&src, "tokenizer.json", TOKENIZER);
	mf_text(&src, "README.md", "not part of it");
}

static char names[400];
static int note(void *u, const char *name)
{
	(void)u;
	strcat(strcat(names, name), " ");
	return 0;
}
static const char *list(void)
{
	names[0] = 0;
	T_EQ(model_each(os_real(), home, note, NULL), 0, "list");
	return names;
}
static bool there(const char *name)
{
	char path[300];
	struct stat st;
	snprintf(path, sizeof path, "%s/%s", home, name);
	return !stat(path, &st);
}

static void test_add(void)
{
	struct vx_errinfo e = {0};
	char got[MODEL_NAME_MAX + 1] = "", path[300];
	T_STR(list(), "", "no folder: no models");
	T_EQ(model_default(os_real(), home, got), -ENOENT, "no default");
	T_EQ(model_add(os_real(), home, "a/b", src.path, "test", &e), -EINVAL, "a bad name");
	T_EQ(model_add(os_real(), home, "default", src.path, "test", &e), -EINVAL, "a reserved one");
	T_EQ(model_add(os_real(), home, "m1", "/nonexistent", "test", &e), -ENOENT, "no folder");
	T_EQ(model_add(os_real(), home, "m1", src.path, "test", &e), 0, "add");
	T_OK(there("m1/config.json") && there("m1/tokenizer.json") && there("m1/model.safetensors") &&
	                there("m1/vexfs.json") && !there("m1/README.md") && !there("m1.part"),
	        "what is there");
	T_EQ(model_add(os_real(), home, "m1", src.path, "test", &e), -EEXIST, "twice");
	T_EQ(model_path(home, "m1", path, sizeof path), 0, "path");
	struct embed_cfg cfg = {.os = os_real(), .folder = path};
	struct embed *m;
	T_EQ(embed_open(&cfg, &m, &e), 0, "it opens");
	T_EQ(embed_info(m).dim, 2, "dim");
	embed_close(m);
	T_STR(list(), "m1 ", "list");
	T_EQ(model_use(os_real(), home, "m2"), -ENOENT, "use what is not there");
	T_EQ(model_use(os_real(), home, "m1"), 0, "use");
	T_EQ(model_default(os_real(), home, got), 0, "default");
	T_STR(got, "m1", "its name");
	T_EQ(model_use(os_real(), home, NULL), 0, "use none");
	T_EQ(model_use(os_real(), home, NULL), 0, "again");
	T_EQ(model_default(os_real(), home, got), -ENOENT, "no default");
	/* a folder that is no model */
	mf_text(&src, "tokenizer.json", "{}");
	T_EQ(model_add(os_real(), home, "bad", src.path, "test", &e), -VX_ERR_bad_format, "a model that does not work");
	T_OK(!there("bad") && !there("bad.part"), "leaves nothing (%s)", e.detail);
	mf_text(&src, "tokenizer.json", TOKENIZER);
}

/* every system call fails once: the model is there whole, or not at all */
static struct os_ops bad_ops;
static struct os bad_os = {&bad_ops};
static int countdown;
static int hit(void)
{
	return --countdown == 0;
}
static int b_openat(struct os *o, int d, const char *p, int f, mode_t m)
{
	(void)o;
	return hit() ? -EMFILE : os_real()->ops->openat(os_real(), d, p, f, m);
}
static ssize_t b_pwrite(struct os *o, int fd, const void *p, size_t n, off_t at)
{
	(void)o;
	return hit() ? -ENOSPC : os_real()->ops->pwrite(os_real(), fd, p, n > 10 ? n / 2 : n, at);
}
static ssize_t b_pread(struct os *o, int fd, void *p, size_t n, off_t at)
{
	(void)o;
	return hit() ? -EIO : os_real()->ops->pread(os_real(), fd, p, n, at);
}
static int b_fdatasync(struct os *o, int fd)
{
	(void)o;
	return hit() ? -EIO : os_real()->ops->fdatasync(os_real(), fd);
}
static int b_fsync(struct os *o, int fd)
{
	(void)o;
	return hit() ? -EIO : os_real()->ops->fsync(os_real(), fd);
}
static int b_renameat(struct os *o, int a, const char *p, int b, const char *q)
{
	(void)o;
	return hit() ? -EIO : os_real()->ops->renameat(os_real(), a, p, b, q);
}
static void test_faults(void)
{
	int rc = -1, half = 0, failed = 0, n;
	bad_ops = *os_real()->ops;
	bad_ops.openat = b_openat;
	bad_ops.pwrite = b_pwrite;
	bad_ops.pread = b_pread;
	bad_ops.fdatasync = b_fdatasync;
	bad_ops.fsync = b_fsync;
	bad_ops.renameat = b_renameat;
	for (n = 1; n < 500; n++) {
		struct vx_errinfo e;
		char cmd[200];
		countdown = n;
		rc = model_add(&bad_os, home, "f", src.path, "test", &e);
		half += rc < 0 ? there("f") : !there("f/vexfs.json") || !there("f/model.safetensors");
		if (countdown > 0)
			break; /* there was no n-th call */
		failed += rc < 0;
		snprintf(cmd, sizeof cmd, "rm -rf %s/f", home);
		if (system(cmd))
			abort();
	}
	T_OK(rc == 0 && failed > 30 && !half,
	        "each of %d system calls failed once: %d tries failed, %d models were half made", n - 1, failed, half);
}

/* ---- a server of files -------------------------------------------------------------------------------------------------------------- */
static int srv_fd;
static _Atomic int srv_mode; /* 0 good, 1 cut off, 2 nothing there, 3 redirect to another host's http */
static void *serve(void *u)
{
	(void)u;
	for (int c; (c = accept(srv_fd, NULL, NULL)) >= 0; close(c)) {
		char req[4000], out[300], name[200] = "";
		static char body[100000];
		size_t n = 0;
		ssize_t k;
		while (n < sizeof req - 1 && (k = recv(c, req + n, sizeof req - 1 - n, 0)) > 0) {
			n += (size_t)k;
			req[n] = 0;
			if (strstr(req, "\r\n\r\n"))
				break;
		}
		req[n] = 0;
		sscanf(req, "GET /base/%150s ", name);
		int fd = srv_mode == 2 ? -1 : openat(src.fd, name, O_RDONLY);
		ssize_t len = fd < 0 ? 0 : read(fd, body, sizeof body);
		if (fd >= 0)
			close(fd);
		int h = srv_mode == 3 ? sprintf(out, "HTTP/1.1 302 Found\r\nLocation: "
		                                     "file:///etc/passwd\r\nContent-Length: 0\r\n\r\n")
		        : fd < 0 ? sprintf(out, "HTTP/1.1 404 No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
		                 : sprintf(out, "HTTP/1.1 200 OK\r\nContent-Length: %zd\r\nConnection: close\r\n\r\n",
		                           len);
		if (send(c, out, (size_t)h, MSG_NOSIGNAL) < 0 ||
		        (fd >= 0 && send(c, body, (size_t)(srv_mode == 1 ? len / 2 : len), MSG_NOSIGNAL) < 0))
			continue;
	}
	return NULL;
}

static int stop_at;
static int tell(void *u, const char *file, uint64_t bytes)
{
	(void)u, (void)file, (void)bytes;
	return stop_at && --stop_at == 0;
}
static void test_fetch(void)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t an = sizeof a;
	pthread_t th;
	char url[100];
	struct vx_errinfo e = {0};
	srv_fd = socket(AF_INET, SOCK_STREAM, 0);
	if (bind(srv_fd, (struct sockaddr *)&a, sizeof a) || listen(srv_fd, 8) ||
	        getsockname(srv_fd, (struct sockaddr *)&a, &an) || pthread_create(&th, NULL, serve, NULL))
		abort();
	snprintf(url, sizeof url, "http://127.0.0.1:%d/base", ntohs(a.sin_port));
	struct mf_dir d = mf_dir_new();
	T_EQ(model_fetch(os_real(), url, d.path, tell, NULL, &e), 0, "fetch");
	T_EQ(faccessat(d.fd, "vocab.txt", F_OK, 0), -1, "what is not there is left out");
	T_EQ(model_add(os_real(), home, "fetched", d.path, url, &e), 0, "and add");
	srv_mode = 1;
	int rc = model_fetch(os_real(), url, d.path, tell, NULL, &e);
	T_OK(rc == -EIO, "files that are cut off: %s (%s)", err_name(rc), e.detail);
	srv_mode = 2;
	T_EQ(model_fetch(os_real(), url, d.path, tell, NULL, &e), -ENOENT, "nothing there");
	srv_mode = 3;
	T_EQ(model_fetch(os_real(), url, d.path, tell, NULL, &e), -EIO, "a redirect to a file");
	srv_mode = 0;
	stop_at = 2;
	T_EQ(model_fetch(os_real(), url, d.path, tell, NULL, &e), -VX_ERR_cancelled, "cancelled");
	T_EQ(model_fetch(os_real(), "http://example.com/x", d.path, tell, NULL, &e), -VX_ERR_bad_value,
	        "plain http to another machine");
	T_EQ(model_fetch(os_real(), "file:///etc", d.path, tell, NULL, &e), -VX_ERR_bad_value, "another protocol");
	shutdown(srv_fd, SHUT_RDWR);
	close(srv_fd);
	pthread_join(th, NULL);
	mf_dir_done(&d);
}

int main(void)
{
	char p[300];
	src = mf_dir_new();
	if (!mkdtemp(root))
		return 1;
	snprintf(home, sizeof home, "%s/deep/models", root);
	write_model();
	T_OK(model_name_ok("all-MiniLM.v2_x") && !model_name_ok("") && !model_name_ok(".x") && !model_name_ok("a/b") &&
	                !model_name_ok("..") && !model_name_ok("\xc3\xa9"),
	        "names");
	T_OK(model_home(0, "/x", "/y", p, sizeof p) == 0 && !strcmp(p, "/var/lib/vexfs/models"), "root's home");
	T_OK(model_home(1, "/x", "/y", p, sizeof p) == 0 && !strcmp(p, "/x/vexfs/models"), "XDG_DATA_HOME");
	T_OK(model_home(1, NULL, "/y", p, sizeof p) == 0 && !strcmp(p, "/y/.local/share/vexfs/models"), "HOME");
	T_EQ(model_home(1, "rel", NULL, p, sizeof p), -ENOENT, "neither");
	T_OK(model_path("/h", "./m", p, sizeof p) == 0 && !strcmp(p, "./m"), "a path stays a path");
	T_EQ(model_path("/h", "..", p, sizeof p), -EINVAL, "no name");
	test_add();
	test_faults();
	test_fetch();
	T_EQ(mem_used(MEM_text), 0, "nothing left");
	mf_dir_done(&src);
	char cmd[100];
	snprintf(cmd, sizeof cmd, "rm -rf %s", root);
	return system(cmd) ? 1 : tap_done();
}
