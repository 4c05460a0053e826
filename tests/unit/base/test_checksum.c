/* test_checksum.c - crc32c against RFC 3720's vectors and itself cut in pieces; hash64 spreads and depends on every byte. */
#include "base/crc32c.h"
#include "base/sbuf.h"
#include "tap.h"

int main(void)
{
	uint8_t b[300];
	memset(b, 0, 32);
	T_EQ(crc32c(0, b, 32), 0x8a9136aau, "32 zeros (RFC 3720 B.4)");
	T_EQ(crc32c_table(0, b, 32), 0x8a9136aau, "by tables");
	memset(b, 0xff, 32);
	T_EQ(crc32c(0, b, 32), 0x62a8ab43u, "32 ones");
	for (int i = 0; i < 32; i++)
		b[i] = (uint8_t)i;
	T_EQ(crc32c(0, b, 32), 0x46dd794eu, "0..31");
	for (int i = 0; i < 32; i++)
		b[i] = (uint8_t)(31 - i);
	T_EQ(crc32c(0, b, 32), 0x113fdb5cu, "31..0");
	T_EQ(crc32c(0, "123456789", 9), 0xe3069283u, "123456789");
	T_EQ(crc32c_table(0, "123456789", 9), 0xe3069283u, "by tables");
	T_EQ(crc32c(0, "", 0), 0, "nothing");
	uint64_t rng = tap_seed(5);
	int bad = 0, cut = 0;
	for (int i = 0; i < 20000; i++) {
		for (int k = 0; k < 300; k++)
			b[k] = (uint8_t)((rng = rng * 6364136223846793005u + 1442695040888963407u) >> 56);
		size_t at = rng >> 33 & 15, n = rng >> 40 & 255;
		uint32_t seed = (uint32_t)(rng >> 13);
		bad += crc32c(seed, b + at, n) != crc32c_table(seed, b + at, n);
		size_t half = n / 3;
		cut += crc32c(crc32c(0, b + at, half), b + at + half, n - half) != crc32c(0, b + at, n);
	}
	static uint8_t page[9000]; /* long enough for runs side by side */
	for (int i = 0; i < 3000; i++) {
		rng = rng * 6364136223846793005u + 1442695040888963407u;
		for (size_t k = 0; k < 64; k++)
			page[(rng >> 20) % (sizeof(page) - 64) + k] = (uint8_t)(rng >> (k % 57));
		size_t at = rng >> 33 & 15, n = (rng >> 40) % (sizeof(page) - 16);
		bad += crc32c((uint32_t)rng, page + at, n) != crc32c_table((uint32_t)rng, page + at, n);
		size_t half = n / 3;
		cut += crc32c(crc32c(0, page + at, half), page + at + half, n - half) != crc32c(0, page + at, n);
	}
	T_EQ(bad, 0, "sums in which instruction and tables differ");
	T_EQ(cut, 0, "sums that depend on where the bytes are cut");

	/* hash64: flipping any bit changes about half of the 64 */
	double worst = 0;
	int same = 0;
	for (size_t n = 1; n <= 70; n++) {
		uint64_t h = hash64(b, n, 1);
		double flips = 0;
		for (size_t bit = 0; bit < n * 8; bit++) {
			b[bit / 8] ^= (uint8_t)(1u << bit % 8);
			uint64_t g = hash64(b, n, 1);
			b[bit / 8] ^= (uint8_t)(1u << bit % 8);
			same += g == h;
			flips += __builtin_popcountll(g ^ h);
		}
		double mean = flips / (double)(n * 8);
		worst = fabs(mean - 32) > worst ? fabs(mean - 32) : worst;
	}
	T_EQ(same, 0, "single flips that don't change the hash");
	T_OK(worst < 4, "flipped bits, furthest mean from 32: %.2f", worst);
	T_OK(hash64(b, 8, 1) != hash64(b, 8, 2) && hash64(b, 0, 1) != hash64(b, 0, 2), "the seed matters");
	memset(b, 0, sizeof b);
	T_OK(hash64(b, 3, 0) != hash64(b, 4, 0) && hash64(b, 16, 0) != hash64(b, 17, 0),
	        "zeros of another length differ");
	/* sequential keys into 2^16 buckets: occupancy as a random function's, 1 - 1/e */
	static uint8_t hit[65536];
	int got = 0;
	for (uint64_t i = 0; i < 65536; i++) {
		uint8_t *p = &hit[hash64(&i, 8, 0) & 65535];
		got += !*p;
		*p = 1;
	}
	T_OK(abs(got - 41427) < 700, "buckets hit: %d, a random function 41427", got);
	return tap_done();
}
