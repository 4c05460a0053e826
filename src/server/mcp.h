/* mcp.h - the Model Context Protocol's server side: agents search a mount, read what they found, and change nothing.
 *
 * Messages are JSON-RPC 2.0 (modelcontextprotocol.io, revisions 2024-11-05 to 2025-06-18).  mcp_handle takes one and makes the answer,
 * whatever carried it; mcp_stdio is the transport of one line a message.  The mount is used as any program uses it, through
 * MNT/.vexfs/query and its files, so an agent sees exactly what its user may see. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include "base/err.h"
#include "base/mem.h"
#include "base/os.h"
#include "base/sbuf.h"

#define MCP_MESSAGE_MAX (1u << 20) /* bytes of a request */
#define MCP_DEPTH_MAX   64u /* levels of nesting */
#define MCP_ANSWER_MAX  (16u << 20) /* bytes of the mount's answer to one query */

struct mcp;
/* mcp_new - @mnt is the mount's absolute path; its root is opened. Return 0; -ENOENT, -ENOTDIR, -EACCES; -ENOMEM;
 * -VX_ERR_component_off: no vexfs is mounted there. */
int mcp_new(struct os *os, const char *mnt, const char *version, struct mcp **ret);
void mcp_free(struct mcp *m); /* takes NULL */
/* mcp_handle - one message in, the answer out.
 * @p,@n  one JSON text
 * @ret   the answer is appended: one line of JSON without a line end, or nothing when the message wants no answer (a notification)
 * Return: 0, also for what the client did wrong (that is an answer); -ENOMEM, -VX_ERR_arena_full: nothing useful is in @ret. */
int mcp_handle(struct mcp *m, const char *p, size_t n, struct sbuf *ret);
/* mcp_stdio - serve the mount on stdin and stdout until stdin ends. Return 0 or < 0; messages go to the log. */
int mcp_stdio(const char *mnt);
