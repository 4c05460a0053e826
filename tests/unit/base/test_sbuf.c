/* test_sbuf.c - bounds of text building, integers, JSON strings, UTF-8. */
#include "base/err.h"
#include "base/sbuf.h"
#include "base/utf8.h"
#include "tap.h"

static const char *json(const char *s, size_t n)
{
	static char t[400];
	struct sbuf b;
	sbuf_fixed(&b, t, sizeof t);
	sb_json(&b, s, n);
	return sbuf_cstr(&b);
}
#define J(lit) json(lit, sizeof lit - 1)

static void bounds(void)
{
	char t[8];
	struct sbuf b;
	memset(t, 'x', sizeof t);
	sbuf_fixed(&b, t, 6);
	sb_str(&b, "abc");
	sb_ch(&b, 'd');
	T_OK(!b.over && b.n == 4, "four of five bytes");
	sb_ch(&b, 'e');
	T_OK(!b.over, "the fifth fits before the NUL");
	T_STR(sbuf_cstr(&b), "abcde", "text");
	sb_ch(&b, 'f');
	T_OK(b.over && b.n == 5, "the sixth doesn't");
	T_STR(sbuf_cstr(&b), "abcde", "and changes nothing");
	T_OK(t[6] == 'x' && t[7] == 'x', "nothing behind the buffer is touched");
	sbuf_fixed(&b, t, 6);
	sb_str(&b, "abcdefgh");
	T_OK(b.over && b.n == 0, "a write that doesn't fit writes nothing");
	sb_ch(&b, 'a');
	T_EQ(b.n, 0, "later writes do nothing");
	sbuf_fixed(&b, t, 0);
	sb_ch(&b, 'a');
	T_OK(b.over, "no memory at all");
	T_STR(sbuf_cstr(&b), "", "is an empty text");

	struct arena a;
	arena_init(&a, MEM_query, 1 << 20);
	T_EQ(sbuf_arena(&b, &a, 4, 100000), 0, "on an arena");
	for (int i = 0; i < 20000; i++)
		sb_ch(&b, (char)('a' + i % 26));
	T_OK(!b.over && b.n == 20000 && strlen(sbuf_cstr(&b)) == 20000, "grows to %zu", b.n);
	int same = 1;
	for (int i = 0; i < 20000; i++)
		same &= b.p[i] == 'a' + i % 26;
	T_OK(same, "and keeps its bytes");
	T_OK(a.used < 60000, "grown partly in place: the arena gave %zu bytes", a.used);
	void *other = arena_alloc(&a, 16);
	memset(other, 0xee, 16);
	for (int i = 20000; i < 99999; i++)
		sb_ch(&b, (char)('a' + i % 26));
	T_OK(!b.over && b.n == 99999, "moves when something lies behind, up to its most");
	T_OK(b.p[25] == 'z' && b.p[99998] == 'a' + 99998 % 26, "with its bytes");
	sb_ch(&b, '!');
	T_OK(b.over && b.n == 99999, "one more than max is refused");
	arena_done(&a);
	arena_init(&a, MEM_query, 1000);
	T_EQ(sbuf_arena(&b, &a, 600, 5000), 0, "600 of an arena of 1000");
	for (int i = 0; i < 2000; i++)
		sb_ch(&b, 'x');
	T_OK(b.over && b.n < 1000, "stops at the arena's limit: %zu", b.n);
	T_EQ(sbuf_arena(&b, &a, 600, 5000), -VX_ERR_arena_full, "a second one has no room");
	sb_ch(&b, 'x');
	T_OK(b.over, "and is over from the start");
	arena_done(&a);
}

static void integers(void)
{
	char t[200];
	struct sbuf b;
	sbuf_fixed(&b, t, sizeof t);
	sb_u64(&b, 0);
	sb_ch(&b, ' ');
	sb_u64(&b, UINT64_MAX);
	sb_ch(&b, ' ');
	sb_i64(&b, INT64_MIN);
	sb_ch(&b, ' ');
	sb_i64(&b, INT64_MAX);
	sb_ch(&b, ' ');
	sb_hex(&b, 0xdeadbeef, 8);
	sb_ch(&b, ' ');
	sb_hex(&b, 0xabc, 2);
	sb_ch(&b, ' ');
	sb_hex(&b, UINT64_MAX, 99);
	sb_ch(&b, ' ');
	sb_pad_u64(&b, 7, 3);
	sb_ch(&b, ' ');
	sb_pad_u64(&b, 12345, 3);
	T_STR(sbuf_cstr(&b),
	        "0 18446744073709551615 -9223372036854775808 9223372036854775807 deadbeef bc ffffffffffffffff 007 "
	        "12345",
	        "integers");
}

static void json_strings(void)
{
	T_STR(J(""), "\"\"", "empty");
	T_STR(J("a/b.md"), "\"a/b.md\"", "plain");
	T_STR(J("q\"b\\n\n\r\t\b\f"), "\"q\\\"b\\\\n\\n\\r\\t\\b\\f\"", "short escapes");
	T_STR(J("\x01\x1f\x7f"), "\"\\u0001\\u001f\x7f\"", "control characters");
	T_STR(J("a\0b"), "\"a\\u0000b\"", "a NUL inside");
	T_STR(J("\xc3\xa4 \xe2\x82\xac \xf0\x9f\x98\x80"), "\"\xc3\xa4 \xe2\x82\xac \xf0\x9f\x98\x80\"",
	        "2, 3 and 4 bytes pass");
#define R "\xef\xbf\xbd"
	T_STR(J("a\xff"
	        "b"),
	        "\"a" R "b\"", "a byte that can't be");
	T_STR(J("\xc3"), "\"" R "\"", "cut in the middle");
	T_STR(J("\xe2\x82"), "\"" R R "\"", "two of three bytes: one each");
	T_STR(J("\xc0\xaf"), "\"" R R "\"", "overlong slash");
	T_STR(J("\xe0\x80\xaf"), "\"" R R R "\"", "overlong in three");
	T_STR(J("\xed\xa0\x80"), "\"" R R R "\"", "a surrogate");
	T_STR(J("\xf4\x90\x80\x80"), "\"" R R R R "\"", "above U+10FFFF");
	T_STR(J("\xc3\"x"), "\"" R "\\\"x\"", "a lead byte doesn't swallow the quote");
	char t[8];
	struct sbuf b;
	sbuf_fixed(&b, t, sizeof t);
	sb_json(&b, "aaaaaaaaaa", 10);
	T_OK(b.over, "too long is over");
}

static void utf8(void)
{
	int bad = 0, valid = 0;
	for (uint32_t c = 0; c <= 0x110010; c++) {
		uint8_t e[4];
		uint32_t back = 0;
		unsigned k = utf8_encode(c, e);
		int is = c <= 0x10ffff && !(c >= 0xd800 && c < 0xe000);
		valid += is;
		if (!is)
			bad += k != 0;
		else
			bad += utf8_decode(e, k, &back) != k || back != c || (k > 1 && utf8_decode(e, k - 1, &back));
	}
	T_EQ(bad, 0, "code points that don't come back");
	T_EQ(valid, 0x110000 - 0x800, "scalar values");
	/* every two-byte string against the definition */
	int twos = 0;
	for (unsigned a = 0; a < 256; a++)
		for (unsigned c = 0; c < 256; c++) {
			uint8_t s[2] = {(uint8_t)a, (uint8_t)c};
			bool want = (a < 0x80 && c < 0x80) || (a >= 0xc2 && a <= 0xdf && c >= 0x80 && c <= 0xbf);
			twos += utf8_valid(s, 2) == want;
		}
	T_EQ(twos, 65536, "two-byte strings judged rightly");
	uint32_t c;
	T_EQ(utf8_decode("", 0, &c), 0, "nothing decodes to nothing");
	T_OK(utf8_valid("", 0), "the empty string is valid");
}

static void endian(void)
{
	uint8_t m[8];
	le64_put(m, 0x0102030405060708u);
	T_OK(m[0] == 8 && m[7] == 1, "le64_put");
	T_OK(le64_get(m) == 0x0102030405060708u && le32_get(m) == 0x05060708u && le16_get(m) == 0x0708, "and back");
}

int main(void)
{
	bounds();
	integers();
	json_strings();
	utf8();
	endian();
	return tap_done();
}
