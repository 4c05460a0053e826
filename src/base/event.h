/* event.h - what happened lately, for whoever watches: a ring of small records, the newest EVENT_RING kept.
 *
 * Posting takes one short lock, allocates nothing and waits for nobody, so any thread may do it under any lock.  A watcher keeps the
 * number of the next event it wants; one that was too slow learns how many it missed. */
#pragma once
#include <stdbool.h>
#include <stdint.h>

#define EVENT_RING     1024u
#define EVENT_TEXT_MAX 100u

struct event {
	uint64_t seq; /* 1, 2, 3, … */
	uint64_t real_ns; /* since 1970 */
	uint64_t value; /* what the kind says: a count, a generation */
	char kind[20];
	char text[EVENT_TEXT_MAX + 1]; /* cut when longer */
};
void event_post(const char *kind, const char *text, uint64_t value);
uint64_t event_seq(void); /* number of the newest; 0: none yet */
/* event_get - the oldest kept event numbered >= *seq. false: none yet; else *seq is its number. */
bool event_get(uint64_t *seq, struct event *ret);
/* event_watch - fn is called after each post, on the poster's thread and under its locks: it may only wake somebody. NULL ends it. */
void event_watch(void (*fn)(void *u), void *u);
