/* watch.h - private to fs/: changes made behind the mount, by fanotify where we may (root). */
#pragma once
#include "fs/inode.h"

struct watch;
/* watch_start - @ret NULL and 0 when the system doesn't let us: then timeouts stay short. Needs f->se and a mounted session. */
int watch_start(struct fs *f, struct watch **ret);
bool watch_local(int fd); /* on a file system that only this kernel changes */
void watch_stop(struct watch *w); /* takes NULL; joins */
void watch_mount(struct watch *w, int fd, uint64_t dev); /* a file system mounted inside DIR; takes NULL */
