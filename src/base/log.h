/* log.h - one line a fact, to stderr (-f) or syslog; no printf, usable on a FUSE thread (a fixed buffer, one write(2)).
 * syslog takes 3.6 KB of stack, so lines for it are handed to a small thread of their own. */
#pragma once
#include <stddef.h>
#include <stdint.h>
enum log_level { LOGL_error, LOGL_warn, LOGL_info, LOGL_debug };
void log_to_stderr(void);
int log_to_syslog(void); /* starts the log thread; call after daemonising */
void log_done(void);
void log_level_set(enum log_level most);
void log_msg(enum log_level l, const char *text);
void log_msg2(enum log_level l, const char *a, const char *b); /* "a b" */
void log_rc(enum log_level l, const char *what, int rc); /* "what: sentence (name)" */
void log_kv(enum log_level l, const char *what, const char *key, uint64_t v); /* "what key=v" */
