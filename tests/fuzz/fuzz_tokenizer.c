/* fuzz_tokenizer.c - libFuzzer target: any bytes as text, and any bytes as tokenizer.json.
 *     tests/fuzz/run.py --only tokenizer [--seconds N] */
#include <stdlib.h>
#include <string.h>
#include "base/mem.h"
#include "embed/wordpiece.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

static const char head[] =
        "{\"added_tokens\":[{\"id\":4,\"content\":\"[MASK]\"},{\"id\":3,\"content\":\"[M\"}],\"normalizer\":{\"type\":"
        "\"BertNormalizer\","
        "\"lowercase\":true},\"pre_tokenizer\":{\"type\":\"BertPreTokenizer\"},\"model\":{\"type\":\"WordPiece\","
        "\"max_input_chars_per_word\":20,\"vocab\":";
static const char vocab[] = "{\"[PAD]\":0,\"[UNK]\":1,\"[CLS]\":2,\"[SEP]\":3,\"[MASK]\":4,\"a\":5,\"##a\":6,\"##b\":7,"
                            "\"ab\":8,\"##ba\":9,\"e\":10,\"\xc3\xa9\":11,"
                            "\"\xe6\x97\xa5\":12,\"i\":13}}}";

static void encode(const struct wordpiece *w, const char *p, size_t n)
{
	uint32_t ids[300], some[7];
	memset(some, 0xff, sizeof some);
	uint32_t k = wordpiece_encode(w, p, n, ids, 300), j = wordpiece_encode(w, p, n, some, 6);
	if (k > 300 || j != (k < 6 ? k : 6) || memcmp(ids, some, j * 4) || some[6] != UINT32_MAX)
		abort();
	for (uint32_t i = 0; i < k; i++)
		if (ids[i] >= wordpiece_info(w).vocab_n)
			abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	struct wordpiece *w = NULL;
	struct vx_errinfo e = {0};
	static char text[70000];
	if (n < 2 || n > 60000)
		return 0;
	uint8_t what = p[0];
	p++;
	n--;
	size_t m = 0;
	if (what % 3) {
		memcpy(text, head, m = sizeof head - 1);
		if (what % 3 == 1) { /* the vocabulary is the input */
			memcpy(text + m, p, n);
			memcpy(text + m + n, "}}", 2);
			m += n + 2;
		} else {
			memcpy(text + m, vocab, sizeof vocab - 1);
			m += sizeof vocab - 1;
		}
	} else {
		memcpy(text, p, n);
		m = n;
	}
	int rc = wordpiece_parse(text, m, &w, &e);
	if (rc < 0 && (what % 3 == 2 || memchr(e.detail, 0, sizeof e.detail) == NULL))
		abort();
	if (rc >= 0) {
		encode(w, (const char *)p, n);
		wordpiece_free(w);
	}
	if (mem_used_all())
		abort();
	return 0;
}
