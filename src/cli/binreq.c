/* binreq.c - binary requests through the query file: vectors go as they are, without a detour through decimal text.
 *
 * A float is 4 bytes here and up to 13 characters there, and neither end has to parse. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include "base/conf.h"
#include "base/sbuf.h"
#include "cli/binreq.h"

void binreq_batch_init(struct binreq_batch *b, const char *collection)
{
	memset(b, 0, sizeof *b);
	snprintf(b->collection, sizeof b->collection, "%s", collection);
}

void binreq_batch_done(struct binreq_batch *b)
{
	mem_free(MEM_cli, b->table);
	mem_free(MEM_cli, b->data);
	mem_free(MEM_cli, b->msg);
	memset(b, 0, sizeof *b);
}

static uint8_t *grow(uint8_t *p, size_t need, size_t *cap)
{
	if (need <= *cap)
		return p;
	size_t n = *cap ? *cap : 4096;
	while (n < need)
		n *= 2;
	uint8_t *q = mem_realloc(MEM_cli, p, n);
	if (q)
		*cap = n;
	return q;
}

/* append, 8-aligned; the offset within data */
static int data_add(struct binreq_batch *b, const void *p, size_t n, uint32_t *ret_off)
{
	size_t at = (b->data_n + 7) & ~(size_t)7;
	uint8_t *d = grow(b->data, at + n, &b->data_cap);
	if (!d)
		return -ENOMEM;
	b->data = d;
	memset(d + b->data_n, 0, at - b->data_n);
	memcpy(d + at, p, n);
	b->data_n = at + n;
	*ret_off = (uint32_t)at;
	return 0;
}

size_t binreq_batch_bytes(const struct binreq_batch *b)
{
	return sizeof(struct vexfs_batch_put) + b->n * sizeof(struct vexfs_batch_point) + b->data_n;
}

int binreq_batch_add(
        struct binreq_batch *b, const char *path, uint64_t id, const float *v, uint32_t dim, const char *payload)
{
	struct vexfs_batch_point p = {.id = path ? 0 : id};
	size_t table_cap = b->cap;
	if (b->n >= CONF_BATCH_MAX)
		return -VX_ERR_batch_range;
	uint8_t *t = grow(b->table, (b->n + 1) * sizeof p, &table_cap);
	if (!t)
		return -ENOMEM;
	b->table = t;
	b->cap = (uint32_t)table_cap;
	if (v) {
		p.vector_bytes = dim * 4;
		VX_TRY(data_add(b, v, p.vector_bytes, &p.vector_off));
	}
	if (payload) {
		p.payload_bytes = (uint32_t)strlen(payload);
		VX_TRY(data_add(b, payload, p.payload_bytes, &p.payload_off));
	}
	if (path) {
		p.path_bytes = (uint32_t)strlen(path);
		VX_TRY(data_add(b, path, p.path_bytes, &p.path_off));
	}
	memcpy(b->table + b->n * sizeof p, &p, sizeof p);
	b->n++;
	return 0;
}

bool binreq_failed(const struct cli_conn *c, uint16_t op, size_t struct_bytes, bool quiet)
{
	struct vexfs_hdr h;
	if (c->ans_n < sizeof h || (memcpy(&h, c->ans, sizeof h), h.magic != VEXFS_MAGIC)) {
		if (!quiet)
			cli_err("the mount's answer is not one this command knows: %.200s", c->ans);
		return true;
	}
	if (h.status < 0) {
		/* an error is the header alone and its sentence (c->ans ends in NUL) */
		const char *text = c->ans + sizeof h;
		if (!quiet)
			cli_err("%s", *text ? text : strerror(-h.status));
		return true;
	}
	if (h.op != op || c->ans_n < struct_bytes) {
		if (!quiet)
			cli_err("the mount's answer is too short");
		return true;
	}
	return false;
}

bool binreq_batch_send(struct binreq_batch *b, struct cli_conn *c, bool durable)
{
	size_t table = b->n * sizeof(struct vexfs_batch_point), at = sizeof(struct vexfs_batch_put) + table;
	size_t total = at + b->data_n;
	struct vexfs_batch_put put = {.hdr = {.magic = VEXFS_MAGIC,
	                                      .version = VEXFS_VERSION,
	                                      .op = VEXFS_OP_BATCH_PUT,
	                                      .size = (uint32_t)total,
	                                      .flags = durable ? VEXFS_F_DURABLE : 0},
	        .point_off = sizeof put,
	        .point_n = b->n};
	memcpy(put.collection, b->collection, sizeof put.collection);
	if (!b->n)
		return true;
	uint8_t *m = total <= CONF_REQUEST_MAX ? grow(b->msg, total, &b->msg_cap) : NULL;
	if (!m) {
		cli_err("%s", total <= CONF_REQUEST_MAX ? "out of memory" : err_text(-VX_ERR_request_too_big));
		return false;
	}
	b->msg = m;
	memcpy(m, &put, sizeof put);
	for (uint32_t i = 0; i < b->n; i++) {
		struct vexfs_batch_point p;
		memcpy(&p, b->table + i * sizeof p, sizeof p);
		p.vector_off += p.vector_bytes ? (uint32_t)at : 0;
		p.payload_off += p.payload_bytes ? (uint32_t)at : 0;
		p.path_off += p.path_bytes ? (uint32_t)at : 0;
		memcpy(m + sizeof put + i * sizeof p, &p, sizeof p);
	}
	memcpy(m + at, b->data, b->data_n);
	b->n = 0;
	b->data_n = 0;
	int rc = cli_send(c, m, total);
	if (rc < 0) {
		cli_err("the mount did not answer: %s", rc <= -VX_ERR_BASE ? err_text(rc) : strerror(-rc));
		return false;
	}
	return !binreq_failed(c, VEXFS_OP_BATCH_PUT, sizeof put, false);
}
