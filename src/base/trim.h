/* trim.h - under --mem-limit the pages of mapped files are let go when the whole process comes near the limit.
 *
 * The limit refuses allocations; pages of maps belong to the page cache, but count as the process's while they are mapped, and one
 * fault may map a megabyte of them.  Whoever touches many calls trim_poll() now and then. */
#pragma once
/* trim_poll - without a limit: nothing. With one: a look at the resident size (some microseconds), and guard_trim() above 3/4 of it. */
void trim_poll(void);
