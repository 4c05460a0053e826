/* text_utf8.h - the shape of UTF-8 (RFC 3629): no overlong forms, no surrogates, nothing above U+10FFFF. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* utf8_len - bytes of the valid sequence at p (1..4); 0: invalid; -1: valid so far but cut off by the end. n >= 1. */
int utf8_len(const uint8_t *p, size_t n);
/* utf8_bound - may a cut be made before p[at]? No: a valid sequence goes across it. at <= n. */
bool utf8_bound(const uint8_t *p, size_t n, size_t at);
/* utf8_clean - copy n bytes, each byte that belongs to no valid sequence becomes a space; offsets stay what they were.
 * Return: bytes replaced. */
size_t utf8_clean(char *ret, const uint8_t *p, size_t n);
