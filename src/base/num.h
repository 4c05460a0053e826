/* num.h - decimal and binary floating point by integer arithmetic: what sbuf.c, num.c and num_print.c share. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/wide.h"

/* h * 2^e <= value < (h + err) * 2^e; the top bit of h is set.  err 0: exact. */
struct num_approx {
	struct wide h;
	int e;
	uint32_t err;
};
/* num_scale - w * 10^q for w != 0, NUM_Q_MIN <= q <= NUM_Q_MAX */
#define NUM_Q_MIN (-351)
#define NUM_Q_MAX 350
struct num_approx num_scale(uint64_t w, int q);
/* num_from_dec - the double nearest to w * 10^q, ties to even */
double num_from_dec(uint64_t w, int q);
/* writes v's digits before `end`, returns where they begin; at most 20 */
char *num_dec_digits(char *end, uint64_t v);
