/* binreq.h - building and reading the binary requests of vexfs_ioctl.h that go through the query file. */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include "cli/cli.h"
#include "vexfs_ioctl.h"

/* a BATCH_PUT under construction: the struct, its table of points, then the data. Grows by doubling up to the request limit. */
struct binreq_batch {
	uint8_t *table; /* struct vexfs_batch_point[] */
	uint32_t n, cap;
	uint8_t *data;
	size_t data_n, data_cap;
	uint8_t *msg;
	size_t msg_cap;
	char collection[VEXFS_NAME_MAX];
};
void binreq_batch_init(struct binreq_batch *b, const char *collection);
/* binreq_batch_add - a point by path (not NULL) or by id. @payload may be NULL. 0, -ENOMEM, -VX_ERR_batch_range. */
int binreq_batch_add(
        struct binreq_batch *b, const char *path, uint64_t id, const float *v, uint32_t dim, const char *payload);
/* binreq_batch_send - send what is collected and start over. Prints why on failure; a
 * batch is taken whole or not at all. */
bool binreq_batch_send(struct binreq_batch *b, struct cli_conn *c, bool durable);
size_t binreq_batch_bytes(const struct binreq_batch *b);
void binreq_batch_done(struct binreq_batch *b);
/* binreq_failed - an answer's status. True (and printed, unless quiet) when it is an error or not an answer to op. */
bool binreq_failed(const struct cli_conn *c, uint16_t op, size_t struct_bytes, bool quiet);
