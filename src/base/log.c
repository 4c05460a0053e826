/* log.c - one line a fact: "vexfs: warning: text".
 *
 * To stderr a line is built in a fixed buffer and leaves by one write(2), so lines of several threads don't mix.  syslog(3) takes 3.6 KB
 * of stack: its lines are copied into one of 64 slots and a thread of our own sends them.  When all slots wait, a line is counted
 * and dropped, and the count is logged as soon as there is room: logging never blocks a request.  A longer line is cut. */
#include "base/log.h"
#include "base/err.h"
#include "base/sbuf.h"
#include "base/thread.h"
#include "base/wq.h"

#include <stdatomic.h>
#include <string.h>
#include <syslog.h>
#include <unistd.h>

#define LINE_BYTES 480
#define SLOTS      64
#define LOG_STACK  ((size_t)32 << 10)

struct slot {
	struct wq_item item;
	enum log_level level;
	char text[LINE_BYTES];
};
static _Atomic int level_most = LOGL_info;
static _Atomic bool to_syslog;
static _Atomic uint64_t lost;
static struct slot slots[SLOTS];
static struct wq spare, waiting;
static struct thread sender;

static const char *level_name(enum log_level l)
{
	switch (l) {
	case LOGL_error:
		return "error: ";
	case LOGL_warn:
		return "warning: ";
	case LOGL_debug:
		return "debug: ";
	case LOGL_info:
		break;
	}
	return "";
}
static int syslog_level(enum log_level l)
{
	switch (l) {
	case LOGL_error:
		return LOG_ERR;
	case LOGL_warn:
		return LOG_WARNING;
	case LOGL_debug:
		return LOG_DEBUG;
	case LOGL_info:
		break;
	}
	return LOG_INFO;
}

static void sender_main(void *arg)
{
	struct wq_item *it;
	while (wq_pop(&waiting, WQ_FOREVER, &it) == 1) {
		struct slot *s = WQ_OF(it, struct slot, item);
		syslog(syslog_level(s->level), "%s%s", level_name(s->level), s->text);
		(void)wq_push(&spare, it); /* as long as the slots: never full */
		uint64_t n = atomic_exchange(&lost, 0);
		if (n)
			syslog(LOG_WARNING, "warning: %llu log lines were lost", (unsigned long long)n);
	}
}

void log_to_stderr(void)
{
	log_done();
}

int log_to_syslog(void)
{
	if (atomic_load(&to_syslog))
		return 0;
	int rc = wq_init(&spare, SLOTS);
	if (rc < 0)
		return rc;
	rc = wq_init(&waiting, SLOTS);
	if (rc < 0)
		goto out_spare;
	for (int i = 0; i < SLOTS; i++)
		(void)wq_push(&spare, &slots[i].item); /* there is room for all */
	openlog("vexfs", LOG_PID, LOG_DAEMON);
	rc = thread_start(&sender, "vx-log", LOG_STACK, sender_main, NULL);
	if (rc < 0)
		goto out_log;
	atomic_store(&to_syslog, true);
	return 0;
out_log:
	closelog();
	wq_done(&waiting);
out_spare:
	wq_done(&spare);
	return rc;
}

void log_done(void)
{
	if (!atomic_exchange(&to_syslog, false))
		return;
	wq_close(&waiting); /* what waits is still sent */
	(void)thread_join(&sender);
	closelog();
	/* the queues stay initialised: another thread may just be in a call on them */
}

void log_level_set(enum log_level most)
{
	atomic_store(&level_most, (int)most);
}

static bool wanted(enum log_level l)
{
	return (int)l <= atomic_load_explicit(&level_most, memory_order_relaxed);
}

/* control characters would let a file's name forge a line */
static void clean(char *s, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if ((unsigned char)s[i] < 0x20 || s[i] == 0x7f)
			s[i] = '?';
}

/* copies the parts into text[LINE_BYTES], cut with "..." when too long; returns the length */
static size_t join(char *text, size_t room, const char *const *parts, size_t n)
{
	size_t at = 0;
	for (size_t i = 0; i < n; i++) {
		size_t k = strlen(parts[i]);
		if (k > room - 1 - at) {
			k = room - 1 - at;
			memcpy(text + at, parts[i], k);
			memcpy(text + room - 4, "...", 3);
			at = room - 1;
			break;
		}
		memcpy(text + at, parts[i], k);
		at += k;
	}
	clean(text, at);
	text[at] = 0;
	return at;
}

static void emit(enum log_level l, const char *const *parts, size_t n)
{
	if (atomic_load(&to_syslog)) {
		struct wq_item *it;
		if (wq_pop(&spare, 0, &it) != 1) {
			atomic_fetch_add(&lost, 1);
			return;
		}
		struct slot *s = WQ_OF(it, struct slot, item);
		s->level = l;
		join(s->text, sizeof s->text, parts, n);
		if (wq_push(&waiting, it) < 0)
			atomic_fetch_add(&lost, 1);
		return;
	}
	char line[LINE_BYTES + 32];
	struct sbuf b;
	sbuf_fixed(&b, line, sizeof line);
	sb_str(&b, "vexfs: ");
	sb_str(&b, level_name(l));
	size_t at = b.n + join(line + b.n, LINE_BYTES, parts, n);
	line[at++] = '\n';
	ssize_t k = write(2, line, at);
	(void)k; /* nowhere to say that stderr is gone */
}

void log_msg(enum log_level l, const char *text)
{
	if (wanted(l))
		emit(l, (const char *const[]){text}, 1);
}

void log_msg2(enum log_level l, const char *a, const char *b)
{
	if (wanted(l))
		emit(l, (const char *const[]){a, " ", b}, 3);
}

void log_rc(enum log_level l, const char *what, int rc)
{
	if (wanted(l))
		emit(l, (const char *const[]){what, ": ", err_text(rc), " (", err_name(rc), ")"}, 6);
}

void log_kv(enum log_level l, const char *what, const char *key, uint64_t v)
{
	char t[24];
	struct sbuf b;
	if (!wanted(l))
		return;
	sbuf_fixed(&b, t, sizeof t);
	sb_u64(&b, v);
	emit(l, (const char *const[]){what, " ", key, "=", t}, 5);
}
