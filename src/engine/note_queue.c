/* note_queue.c - the object table's lock, and the queue by which a note gets past it without waiting.
 *
 * A file operation must not wait for anybody behind the scenes, and it must not be forgotten either: once it has returned, a search has to see
 * what it did.  So a note tries the lock; where that is taken it goes into a queue, and whoever holds the lock applies it:
 *
 *     note:     try the lock ---got--> apply the queue, apply the note, unlock
 *                     \-----taken----> push; look once more, for the holder may just have left
 *     lock:     taken, then the queue is applied before the caller looks at anything: all that returned before is in the table
 *     unlock:   let go, then look at the queue; what came meanwhile is applied by whoever gets the lock next, us or another
 *
 * The push and the look after it, the unlock and the look after it: each is a store, a full fence and a load, so one of the two sees the other, and
 * no note stays behind (Hendler et al., Flat Combining, SPAA 2010, is the idea; ours keeps the order of arrival).  The queue is a stack of
 * compare-and-swap that is turned round when it is taken, by one thread at a time, with the lock held: an order that two operations have by
 * returning before beginning is kept.
 *
 * A reader that finds notes gives its lock up for a writer's once.  Before the store is open the queue is where notes are kept (ENG_MISSED_MAX of
 * them) and the opener replays it.  A queue that is full loses the note: counted, and a walk is due (eng_lost). */
#include <string.h>

#include "engine/engine_priv.h"

#define NOTE_WAIT_NS 1000000u
#define KICKS_MAX    16u /* rounds one thread serves others before it leaves the rest to ingest's */

static size_t name_bytes(const char *s)
{
	return s ? strlen(s) + 1 : 0;
}
bool note_push(struct engine *e, const struct note *n)
{
	size_t a = name_bytes(n->name), b = name_bytes(n->new_name);
	uint32_t max = eng_ready(e) ? ENG_NOTES_MAX : ENG_MISSED_MAX;
	struct note *k = NULL;
	if (atomic_fetch_add(&e->notes_n, 1) < max)
		k = mem_alloc(MEM_engine, sizeof(*k) + a + b);
	if (!k) {
		atomic_fetch_sub(&e->notes_n, 1);
		eng_lost(e);
		return false;
	}
	char *names = (char *)(k + 1);
	*k = *n;
	if (a)
		k->name = memcpy(names, n->name, a);
	if (b)
		k->new_name = memcpy(names + a, n->new_name, b);
	k->next = atomic_load_explicit(&e->notes, memory_order_relaxed);
	while (!atomic_compare_exchange_weak(&e->notes, &k->next, k))
		;
	return true;
}
/* what was pushed, the oldest first. [objects, write], or nobody else is left */
static struct note *take(struct engine *e)
{
	struct note *n = atomic_exchange(&e->notes, NULL), *first = NULL;
	for (struct note *next; n; n = next) {
		next = n->next;
		n->next = first;
		first = n;
	}
	return first;
}
static void apply_all(struct engine *e)
{
	for (struct note *n = take(e), *next; n; n = next) {
		next = n->next;
		note_apply(e, n);
		mem_free(MEM_engine, n);
		atomic_fetch_sub(&e->notes_n, 1); /* after it counts as pending, if it does */
	}
}
void note_drain(struct engine *e)
{
	if (atomic_load(&e->notes) && eng_ready(e))
		apply_all(e);
}
void note_replay(struct engine *e)
{
	pthread_rwlock_wrlock(&e->objects);
	apply_all(e);
	pthread_rwlock_unlock(&e->objects);
}
void note_forget(struct engine *e)
{
	for (struct note *n = take(e), *next; n; n = next) {
		next = n->next;
		mem_free(MEM_engine, n);
	}
}
void note_kick(struct engine *e)
{
	for (unsigned i = 0; i < KICKS_MAX; i++) {
		atomic_thread_fence(memory_order_seq_cst);
		if (!atomic_load(&e->notes) || !eng_ready(e) || pthread_rwlock_trywrlock(&e->objects))
			return;
		note_drain(e);
		pthread_rwlock_unlock(&e->objects);
	}
	bell_ring(&e->ingest_bell);
}
void eng_wrlock(struct engine *e)
{
	pthread_rwlock_wrlock(&e->objects);
	note_drain(e);
}
void note_settle(struct engine *e)
{
	if (!atomic_load(&e->notes) || !eng_ready(e))
		return;
	eng_wrlock(e);
	eng_unlock(e);
}
void eng_rdlock(struct engine *e)
{
	pthread_rwlock_rdlock(&e->objects);
	if (!atomic_load(&e->notes) || !eng_ready(e))
		return;
	pthread_rwlock_unlock(&e->objects);
	eng_wrlock(e);
	pthread_rwlock_unlock(&e->objects);
	pthread_rwlock_rdlock(&e->objects); /* what has come since did not return before we began */
}
void eng_unlock(struct engine *e)
{
	pthread_rwlock_unlock(&e->objects);
	note_kick(e);
}
bool note_trylock(struct engine *e)
{
	if (!pthread_rwlock_trywrlock(&e->objects)) {
		note_drain(e);
		return true;
	}
	perf_add(
	        atomic_load_explicit(&e->behind, memory_order_relaxed) > 0 ? PERFC_note_met_ingest : PERFC_note_met, 1);
	return false;
}
/* The counts of writable handles have a lock of their own, held for a look-up by file operations and by whoever sets a vector, never by ingest or
 * embedding.  That it is so is counted: a wait of more than NOTE_WAIT_NS. */
void note_openw_lock(struct engine *e)
{
	if (!pthread_mutex_trylock(&e->openw_lock))
		return;
	bool behind = atomic_load_explicit(&e->behind, memory_order_relaxed) > 0;
	uint64_t t0 = os_mono_ns(e->os);
	pthread_mutex_lock(&e->openw_lock);
	if (os_mono_ns(e->os) - t0 > NOTE_WAIT_NS)
		perf_add(behind ? PERFC_note_waits_ingest : PERFC_note_waits, 1);
}
bool note_open_write(struct engine *e, const struct obj_key *key)
{
	struct obj_key k = *key; /* what it points into may go with a note */
	note_openw_lock(e);
	bool open = openw_count(&e->t, &k) != 0;
	pthread_mutex_unlock(&e->openw_lock);
	if (!open)
		note_drain(
		        e); /* the last release may have come after we took the table: a vector set now is set after it */
	return open;
}
