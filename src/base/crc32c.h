/* crc32c.h - the portable way of crc32c() (sbuf.h), by name for the test that compares the two. */
#pragma once
#include <stddef.h>
#include <stdint.h>
uint32_t crc32c_table(uint32_t crc, const void *p, size_t n);
