/* What counts as text, byte by byte; and the content hash against known answers. */
#include "tap.h"
#include "text/text.h"
#include "text/text_utf8.h"

static void hex_is(const uint8_t h[16], const char *want, const char *what)
{
	char s[33];
	for (int i = 0; i < 16; i++)
		snprintf(s + 2 * i, 3, "%02x", h[i]);
	T_STR(s, want, what);
}

static void test_hash(void)
{
	uint8_t h[16], g[16];
	/* from xxh128sum (xxHash 0.8.1) */
	text_hash_once("", 0, h);
	hex_is(h, "99aa06d3014798d86001c324468d497f", "hash of nothing");
	text_hash_once("abc", 3, h);
	hex_is(h, "06b05ab6733a618578af5f94892f3950", "hash of abc");
	static uint8_t big[100000];
	for (size_t i = 0; i < sizeof big; i++)
		big[i] = (uint8_t)(i * 31 + i / 256);
	text_hash_once(big, sizeof big, h);
	for (size_t step = 1; step < sizeof big; step = step * 7 + 3) {
		struct text_hash *t;
		T_EQ(text_hash_new(&t), 0, "hash_new");
		for (size_t at = 0; at < sizeof big; at += step)
			text_hash_add(t, big + at, at + step < sizeof big ? step : sizeof big - at);
		text_hash_end(t, g);
		T_OK(!memcmp(h, g, 16), "streamed by %zu is the same", step);
	}
	struct text_hash *t;
	T_EQ(text_hash_new(&t), 0, "hash_new");
	text_hash_end(t, NULL);
	text_hash_end(NULL, NULL);
	T_EQ(mem_used(MEM_text), 0, "nothing left");
}

static void test_utf8(void)
{
	static const struct {
		const char *s;
		int n, want;
	} v[] = {
	        {"a", 1, 1},
	        {"\x7f", 1, 1},
	        {"\x80", 1, 0},
	        {"\xc0\x80", 2, 0},
	        {"\xc1\xbf", 2, 0},
	        {"\xc2\x80", 2, 2},
	        {"\xdf\xbf", 2, 2},
	        {"\xe0\x9f\xbf", 3, 0},
	        {"\xe0\xa0\x80", 3, 3},
	        {"\xed\x9f\xbf", 3, 3},
	        {"\xed\xa0\x80", 3, 0},
	        {"\xef\xbf\xbf", 3, 3},
	        {"\xf0\x8f\xbf\xbf", 4, 0},
	        {"\xf0\x90\x80\x80", 4, 4},
	        {"\xf4\x8f\xbf\xbf", 4, 4},
	        {"\xf4\x90\x80\x80", 4, 0},
	        {"\xf5\x80\x80\x80", 4, 0},
	        {"\xff", 1, 0},
	        {"\xe2\x82", 2, -1},
	        {"\xf0\x90\x80", 3, -1},
	        {"\xc3", 1, -1},
	        {"\xc3(", 2, 0},
	};
	for (size_t i = 0; i < sizeof v / sizeof *v; i++)
		T_EQ(utf8_len((const uint8_t *)v[i].s, (size_t)v[i].n), v[i].want, "utf8_len");
	char out[32] = "";
	T_EQ(utf8_clean(out, (const uint8_t *)"a\xff\xc3\xa9\xe2\x82z\xe2", 8), 4, "bytes replaced");
	T_STR(out, "a \xc3\xa9  z ", "cleaned");
	const uint8_t *e = (const uint8_t *)"x\xe2\x82\xac\x80y";
	T_OK(utf8_bound(e, 6, 1) && !utf8_bound(e, 6, 2) && !utf8_bound(e, 6, 3) && utf8_bound(e, 6, 4) &&
	                utf8_bound(e, 6, 6),
	        "bounds of characters");
}

int main(void)
{
	static char b[20000];
	T_OK(text_sniff("", 0, true), "empty");
	T_OK(text_sniff("hello\n", 6, true), "ascii");
	T_OK(!text_sniff("hel\0lo", 6, true), "NUL");
	T_OK(text_sniff("\xef\xbb\xbfhi", 5, true), "BOM of UTF-8");
	T_OK(!text_sniff("\xff\xfeh\0i\0", 6, true), "UTF-16");
	T_OK(!text_sniff("%PDF-1.4\n%%EOF\n", 15, true), "PDF");
	T_OK(text_sniff("na\xefve caf\xe9 in the old encoding", 29, true), "Latin-1, a few accents");
	T_OK(!text_sniff("\xf0\xd2\xc9\xd7\xc5\xd4\xf0\xd2\xc9\xd7\xc5\xd4", 12, true), "KOI8-R");
	T_OK(!text_sniff("\x7f"
	                 "ELF\x02\x01\x01 abc def",
	             16, true),
	        "control bytes");
	T_OK(text_sniff("\x1b[31mred\x1b[0m text\n", 18, true), "terminal colours");
	memset(b, 'a', sizeof b);
	memcpy(b + 8190, "\xe2\x82\xac", 3);
	T_OK(text_sniff(b, sizeof b, true), "only 8 KiB count");
	T_OK(text_sniff("abc\xe2\x82", 5, false), "a sequence cut off by the piece's end");
	for (unsigned i = 0; i < sizeof b; i++)
		b[i] = (char)(i * 2654435761u >> 13 | 1);
	T_OK(!text_sniff(b, sizeof b, true), "noise");
	test_utf8();
	test_hash();
	return tap_done();
}
