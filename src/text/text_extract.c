/* text_extract.c - telling formats apart, and the parent's side of the sandboxed child: start it, read its pipe, hold it to its time.
 *
 * The child is started by posix_spawn with nothing but the file, a pipe and /dev/null, a clean signal mask and an empty environment; it
 * inherits the idle class of the thread that asks.  It is always waited for: on any failure it is killed first. */
#include "text/text_extract.h"
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <strings.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/conf.h"
#include "base/mem.h"
#include "base/sbuf.h"
#include "text/text.h"

#define PIECE 65536u
#define WALL_FACTOR                                                                                                    \
	3u /* a busy machine is not the document's fault: what it computes is limited strictly, what it waits less so */

/* exit statuses of the helper, the same list as in extract/extract.h (layers do not include each other) */
static const struct {
	int rc;
	const char *why;
} reasons[] = {{0, ""}, {-VX_ERR_doc_damaged, "the document is damaged"},
        {-VX_ERR_doc_encrypted, "the document is encrypted"},
        {-VX_ERR_doc_too_large, "the document holds more than is read"},
        {-VX_ERR_not_text, "no kind of document that is read"},
        {-VX_ERR_component_off, "no sandbox can be set up on this system"},
        {-VX_ERR_doc_too_large, "out of memory in the parser"}};
#define ARGS_MAX 20u

static bool begins(const char *p, size_t n, const char *with)
{
	size_t k = strlen(with);
	return n >= k && !strncasecmp(p, with, k);
}

static bool has(const void *p, size_t n, const char *what)
{
	return memmem(p, n, what, strlen(what)) != NULL;
}

/* does markup begin here, behind white space, a BOM, an XML declaration and comments? */
static bool begins_html(const char *p, size_t n)
{
	if (begins(p, n, "\xef\xbb\xbf")) {
		p += 3;
		n -= 3;
	}
	for (int rounds = 0; rounds < 16; rounds++) {
		while (n && (*p == ' ' || (*p >= '\t' && *p <= '\r'))) {
			p++;
			n--;
		}
		const char *end = begins(p, n, "<?xml") ? "?>" : begins(p, n, "<!--") ? "-->" : NULL;
		if (!end)
			break;
		const char *e = memmem(p, n, end, strlen(end));
		if (!e)
			return false;
		n -= (size_t)(e - p) + strlen(end);
		p = e + strlen(end);
	}
	return begins(p, n, "<!doctype html") || begins(p, n, "<html");
}

enum text_format text_format_of(const void *head, size_t n, bool whole_file, const char *name)
{
	const char *p = head, *dot = name ? strrchr(name, '.') : NULL;
	bool text = text_sniff(head, n, whole_file);
	/* it may come behind other bytes (ISO 32000-1, annex H.3.4.1), and a text may speak of it */
	if (n >= 5 && (!memcmp(p, "%PDF-", 5) || (!text && has(p, n < 1024 ? n : 1024, "%PDF-"))))
		return TEXT_FORMAT_pdf;
	if (n >= 4 && !memcmp(p, "PK\3\4", 4)) {
		bool office = has(p, n, "[Content_Types].xml") || has(p, n, "word/") || has(p, n, "ppt/");
		bool open = has(p, n < 512 ? n : 512, "mimetypeapplication/");
		return office || open ? TEXT_FORMAT_zip : TEXT_FORMAT_none;
	}
	bool called_html = dot && (!strcasecmp(dot, ".html") || !strcasecmp(dot, ".htm") || !strcasecmp(dot, ".xhtml"));
	/* HTML in an old encoding looks binary to the sniffer: its parser knows encodings */
	if ((text || called_html) && !memchr(head, 0, n) && (begins_html(p, n) || (called_html && memchr(p, '<', n))))
		return TEXT_FORMAT_html;
	return text ? TEXT_FORMAT_plain : TEXT_FORMAT_none;
}

static int fail(struct vx_errinfo *reterr, int rc, const char *what, uint64_t number)
{
	struct sbuf b;
	if (reterr) {
		reterr->code = rc;
		reterr->position = -1;
		sbuf_fixed(&b, reterr->detail, sizeof reterr->detail);
		sb_str(&b, what);
		if (number)
			sb_u64(&b, number);
		(void)sbuf_cstr(&b); /* ends the text */
	}
	return rc;
}

static int start(const struct text_extract_cfg *cfg, const char *kind, uint32_t time_ms, int fd, int pipe_w, pid_t *ret)
{
	char seconds[16];
	struct sbuf b;
	sbuf_fixed(&b, seconds, sizeof seconds);
	sb_u64(&b, (time_ms + 999) / 1000);
	(void)sbuf_cstr(&b); /* ends the text */
	char name[] = "vexfs-extract", path[] = "PATH=/usr/local/bin:/usr/bin:/bin", lang[] = "LC_ALL=C.UTF-8";
	char *argv[ARGS_MAX] = {name, (char *)kind, seconds}, *envp[] = {path, lang, NULL};
	unsigned argc = 3;
	for (const char *const *c = cfg->command; c && *c && argc + 1 < ARGS_MAX; c++)
		argv[argc++] = (char *)*c;
	if (!cfg->command)
		envp[0] = NULL;
	posix_spawn_file_actions_t fa;
	posix_spawnattr_t at;
	sigset_t none, all;
	sigemptyset(&none);
	sigfillset(&all);
	int rc = posix_spawn_file_actions_init(&fa);
	if (rc)
		return -rc;
	if ((rc = posix_spawnattr_init(&at))) {
		posix_spawn_file_actions_destroy(&fa);
		return -rc;
	}
	/* through numbers out of the way: fd or pipe_w may be 0 or 1 themselves */
	rc = posix_spawn_file_actions_adddup2(&fa, fd, 200);
	rc = rc ? rc : posix_spawn_file_actions_adddup2(&fa, pipe_w, 201);
	rc = rc ? rc : posix_spawn_file_actions_adddup2(&fa, 200, 0);
	rc = rc ? rc : posix_spawn_file_actions_adddup2(&fa, 201, 1);
	rc = rc ? rc : posix_spawn_file_actions_addopen(&fa, 2, "/dev/null", O_WRONLY, 0);
	rc = rc ? rc : posix_spawn_file_actions_addclosefrom_np(&fa, 3);
	rc = rc ? rc : posix_spawnattr_setsigmask(&at, &none);
	rc = rc ? rc : posix_spawnattr_setsigdefault(&at, &all);
	rc = rc ? rc : posix_spawnattr_setflags(&at, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
	rc = rc ? rc : posix_spawn(ret, cfg->helper, &fa, &at, argv, envp);
	posix_spawnattr_destroy(&at);
	posix_spawn_file_actions_destroy(&fa);
	return rc == ENOENT ? -VX_ERR_component_off : -rc;
}

/* the pipe to its end */
static int drain(const struct text_extract_cfg *cfg, int pipe_r, uint64_t end_ns, uint8_t *buf,
        int (*take)(void *u, const void *p, size_t n), void *u)
{
	uint64_t total = 0, max = cfg->out_max ? cfg->out_max : CONF_TEXT_FILE_MAX;
	for (;;) {
		struct pollfd pf = {.fd = pipe_r, .events = POLLIN};
		uint64_t now = os_mono_ns(cfg->os);
		if (cfg->cancel && atomic_load_explicit(cfg->cancel, memory_order_relaxed))
			return -VX_ERR_cancelled;
		if (now >= end_ns)
			return -VX_ERR_deadline;
		uint64_t left_ms = (end_ns - now) / 1000000 + 1;
		int k = poll(&pf, 1, left_ms < 50 ? (int)left_ms : 50); /* in slices: a cancel is seen soon */
		if (k < 0 && errno != EINTR)
			return -errno;
		if (k <= 0)
			continue;
		ssize_t n = read(pipe_r, buf, PIECE); /* rule file-io: a pipe, not a file */
		if (n < 0 && (errno == EINTR || errno == EAGAIN))
			continue;
		if (n <= 0)
			return n < 0 ? -errno : 0;
		total += (uint64_t)n;
		if (total > max)
			return -VX_ERR_doc_too_large;
		VX_TRY(take(u, buf, (size_t)n));
	}
}

static int judge(int status, bool command, struct vx_errinfo *reterr)
{
	if (WIFSIGNALED(status)) {
		int sig = WTERMSIG(status);
		if (sig == SIGXCPU)
			return fail(reterr, -VX_ERR_deadline, "the parser used up its time", 0);
		return fail(reterr, -VX_ERR_doc_parser, "the parser was ended by signal ", (uint64_t)sig);
	}
	int code = WIFEXITED(status) ? WEXITSTATUS(status) : 127;
	if (!code)
		return 0;
	if (command && code != 127) /* a command's statuses are its own */
		return fail(reterr, -VX_ERR_doc_parser, "the command ended with status ", (uint64_t)code);
	if (code == 127)
		return fail(reterr, -VX_ERR_component_off,
		        command ? "the command does not start" : "vexfs-extract does not start", 0);
	if (code < (int)(sizeof reasons / sizeof *reasons))
		return fail(reterr, reasons[code].rc, reasons[code].why, 0);
	return fail(reterr, -VX_ERR_doc_parser, "the parser failed", 0);
}

int text_extract(const struct text_extract_cfg *cfg, int fd, enum text_format format,
        int (*take)(void *u, const void *p, size_t n), void *u, struct vx_errinfo *reterr)
{
	static const char *const kinds[] = {[TEXT_FORMAT_html] = "html",
	        [TEXT_FORMAT_pdf] = "pdf",
	        [TEXT_FORMAT_zip] = "zip",
	        [TEXT_FORMAT_command] = "run"};
	uint32_t time_ms = cfg->time_ms ? cfg->time_ms : TEXT_EXTRACT_TIME_MS;
	int pipes[2], status = 0;
	pid_t pid = -1;
	if ((size_t)format >= sizeof kinds / sizeof *kinds || !kinds[format] ||
	        (format == TEXT_FORMAT_command) != (cfg->command != NULL))
		return fail(reterr, -VX_ERR_not_text, "", 0);
	uint8_t *buf = mem_alloc(MEM_text, PIECE);
	if (!buf)
		return -ENOMEM;
	int rc = pipe2(pipes, O_CLOEXEC) ? -errno : 0;
	if (rc < 0) {
		mem_free(MEM_text, buf);
		return rc;
	}
	rc = start(cfg, kinds[format], time_ms, fd, pipes[1], &pid);
	os_close(cfg->os, pipes[1]);
	if (rc >= 0) {
		rc = drain(cfg, pipes[0], os_mono_ns(cfg->os) + WALL_FACTOR * time_ms * 1000000ull, buf, take, u);
		if (rc < 0)
			kill(pid, SIGKILL);
		pid_t w;
		do
			w = waitpid(pid, &status, 0);
		while (w < 0 && errno == EINTR);
		if (rc >= 0)
			rc = w < 0 ? -errno : judge(status, cfg->command, reterr);
		else if (rc == -VX_ERR_deadline)
			fail(reterr, rc, "the parser used up its time", 0);
	}
	os_close(cfg->os, pipes[0]);
	mem_free(MEM_text, buf);
	return rc;
}

#ifndef VEXFS_LIBEXEC
#define VEXFS_LIBEXEC "/usr/local/libexec"
#endif

int text_extract_find(struct os *os, char *ret, size_t cap)
{
	static const char *const near[] = {"/vexfs-extract", "/../extract/vexfs-extract", "/../libexec/vexfs-extract"};
	struct stat st;
	struct sbuf b;
	ssize_t n = os_readlinkat(os, AT_FDCWD, "/proc/self/exe", ret, cap);
	while (n > 0 && ret[n - 1] != '/')
		n--;
	for (size_t i = 0; n > 1 && i < sizeof near / sizeof *near; i++) {
		sbuf_fixed(&b, ret + n - 1, cap - (size_t)n + 1);
		sb_str(&b, near[i]);
		(void)sbuf_cstr(&b); /* looked at below */
		if (!b.over && os_fstatat(os, AT_FDCWD, ret, &st, 0) >= 0 && S_ISREG(st.st_mode) && st.st_mode & 0111)
			return 0;
	}
	sbuf_fixed(&b, ret, cap);
	sb_str(&b, VEXFS_LIBEXEC "/vexfs-extract");
	(void)sbuf_cstr(&b); /* looked at below */
	return !b.over && os_fstatat(os, AT_FDCWD, ret, &st, 0) >= 0 && S_ISREG(st.st_mode) ? 0 : -ENOENT;
}
