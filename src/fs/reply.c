/* reply.c - the one place in fs/ where a code becomes an errno for the kernel. */
#include "fs/inode.h"

void fs_reply_rc(fuse_req_t req, int rc)
{
	fuse_reply_err(req, rc < 0 ? err_posix(rc) : 0);
}
