/* event.c - see event.h. */
#include "base/event.h"

#include <pthread.h>
#include <string.h>

#include "base/os.h"

static struct {
	pthread_mutex_t lock; /* guards all below */
	uint64_t seq;
	struct event ring[EVENT_RING];
	void (*fn)(void *u);
	void *u;
} ev = {.lock = PTHREAD_MUTEX_INITIALIZER};

static void cut(char *dst, size_t cap, const char *s)
{
	size_t n = s ? strnlen(s, cap - 1) : 0;
	while (n && s[n] && ((unsigned char)s[n] & 0xc0) == 0x80)
		n--; /* not inside a character */
	memcpy(dst, s ? s : "", n);
	dst[n] = 0;
}

void event_post(const char *kind, const char *text, uint64_t value)
{
	uint64_t now = os_real_ns(os_real());
	pthread_mutex_lock(&ev.lock);
	struct event *e = &ev.ring[++ev.seq % EVENT_RING];
	e->seq = ev.seq;
	e->real_ns = now;
	e->value = value;
	cut(e->kind, sizeof e->kind, kind);
	cut(e->text, sizeof e->text, text);
	if (ev.fn)
		ev.fn(ev.u); /* under the lock: after event_watch(NULL) nobody is in it */
	pthread_mutex_unlock(&ev.lock);
}

uint64_t event_seq(void)
{
	pthread_mutex_lock(&ev.lock);
	uint64_t s = ev.seq;
	pthread_mutex_unlock(&ev.lock);
	return s;
}

bool event_get(uint64_t *seq, struct event *ret)
{
	pthread_mutex_lock(&ev.lock);
	uint64_t oldest = ev.seq >= EVENT_RING ? ev.seq - EVENT_RING + 1 : 1;
	if (*seq < oldest)
		*seq = oldest;
	bool there = *seq <= ev.seq;
	if (there)
		*ret = ev.ring[*seq % EVENT_RING];
	pthread_mutex_unlock(&ev.lock);
	return there;
}

void event_watch(void (*fn)(void *u), void *u)
{
	pthread_mutex_lock(&ev.lock);
	ev.fn = fn;
	ev.u = u;
	pthread_mutex_unlock(&ev.lock);
}
