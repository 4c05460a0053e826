/* transport_wire.h - private to the transports: the FUSE messages themselves, before and after libfuse. */
#pragma once
#include <linux/fuse.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/perf.h"

/* wire_check - may this message be handed to libfuse, which trusts every length and every NUL in it?
 * Return: 0; -EINVAL: answer that (when there is a unique to answer); -EPROTO: not even a header, drop it. */
int wire_check(const void *msg, size_t n);
bool wire_has_reply(uint32_t opcode); /* FORGET, BATCH_FORGET, INTERRUPT have none */
enum perf_op wire_perf_op(uint32_t opcode);
