/* Words and pieces: the normaliser's rules one by one, WordPiece on a small vocabulary, tokenizers that are refused. */
#include "model_files.h"
#include "base/mem.h"
#include "embed/bert_words.h"
#include "embed/wordpiece.h"

static char joined[4096];
static int join(void *u, const char *w, uint32_t len, uint32_t chars)
{
	(void)u;
	size_t n = strlen(joined);
	if (n)
		joined[n++] = '|';
	if (!len)
		n += (size_t)sprintf(joined + n, "<%u>", chars);
	memcpy(joined + n, w, len);
	joined[n + len] = 0;
	return 0;
}
static void words_are(const struct bert_words_cfg *c, const char *text, const char *want)
{
	joined[0] = 0;
	bert_words(c, text, strlen(text), 100, join, NULL);
	T_STR(joined, want, "words");
}

static void test_words(void)
{
	static const struct bert_words_cfg uncased = {true, true, true, true}, cased = {true, true, false, false},
	                                   accents = {true, true, false, true};
	words_are(&uncased, "Hello,  World!", "hello|,|world|!");
	words_are(&uncased, "na\u00efve \u00c5NGSTR\u00d6M caf\u00e9", "naive|angstrom|cafe");
	words_are(&cased, "na\u00efve \u00c5NG", "na\u00efve|\u00c5NG");
	words_are(&accents, "\u00c5NG \u0130x", "\u00e5ng|i\u0307x");
	words_are(&uncased, "e\u0301 \u0130", "e|i");
	words_are(&uncased, "\u65e5\u672c\u8a9e ok", "\u65e5|\u672c|\u8a9e|ok");
	words_are(&uncased, "\ud55c\uad6d", "\u1112\u1161\u11ab\u1100\u116e\u11a8");
	words_are(&uncased,
	        "a\u200bb\u00adc\ufeff \x07"
	        "d",
	        "abc|d");
	words_are(&uncased, "a\u00a0b\u3000c\u2003d\te\r\nf", "a|b|c|d|e|f");
	words_are(&uncased, "don't\u2014stop\u2026 \u00a1x", "don|'|t|\u2014|stop|\u2026|\u00a1|x");
	words_are(&uncased, "1+1=2 ^ $5 ~", "1|+|1|=|2|^|$|5|~");
	words_are(&uncased, "\u037e", ";");
	words_are(&uncased, "x\xff\xfe y\xc3", "x|y");
	words_are(&uncased, "", "");
	char longer[400];
	memset(longer, 'z', 100);
	strcpy(longer + 100, " z");
	joined[0] = 0;
	bert_words(&uncased, longer, strlen(longer), 100, join, NULL);
	T_EQ(strlen(joined), 102, "a word of 100 characters is kept");
	memset(longer, 'z', 101);
	joined[0] = 0;
	longer[101] = 0;
	bert_words(&uncased, longer, 101, 100, join, NULL);
	T_STR(joined, "<101>", "one of 101 is not");
}

#define JSON(vocab, norm, extra)                                                                                       \
	"{\"added_tokens\":[{\"id\":4,\"content\":\"[MASK]\"}],\"normalizer\":" norm                                   \
	",\"pre_tokenizer\":{\"type\":\"BertPreTokenizer\"}," extra                                                    \
	"\"model\":{\"type\":\"WordPiece\",\"unk_token\":\"[UNK]\","                                                   \
	"\"continuing_subword_prefix\":\"##\",\"max_input_chars_per_word\":100,\"vocab\":" vocab "}}"
#define NORM                                                                                                           \
	"{\"type\":\"BertNormalizer\",\"clean_text\":true,\"handle_chinese_chars\":true,\"strip_accents\":null,"       \
	"\"lowercase\":true}"
#define VOCAB                                                                                                          \
	"{\"[PAD]\":0,\"[UNK]\":1,\"[CLS]\":2,\"[SEP]\":3,\"[MASK]\":4,\"un\":5,\"##aff\":6,\"##able\":7,\"aff\":8,"   \
	"\"able\":9,\"##a\":10,\"a\":11,"                                                                              \
	"\"\u00e9t\u00e9\":12,\"ete\":13,\",\":14,\"##\":15,\"#\":16,\"\u65e5\":17}"

static void ids_are(const struct wordpiece *w, const char *text, const char *want)
{
	uint32_t ids[64], n = wordpiece_encode(w, text, strlen(text), ids, 64);
	char got[400] = "";
	for (uint32_t i = 0; i < n; i++)
		sprintf(got + strlen(got), "%s%u", i ? " " : "", ids[i]);
	char what[80];
	snprintf(what, sizeof what, "ids of \"%.40s\"", text);
	T_STR(got, want, what);
}

static void test_pieces(void)
{
	struct wordpiece *w;
	struct vx_errinfo e = {0};
	T_EQ(wordpiece_parse(JSON(VOCAB, NORM, ""), strlen(JSON(VOCAB, NORM, "")), &w, &e), 0, "parse");
	struct wordpiece_info i = wordpiece_info(w);
	T_OK(i.vocab_n == 18 && i.cls == 2 && i.sep == 3 && i.unk == 1 && i.pad == 0, "special ids");
	ids_are(w, "unaffable", "5 6 7");
	ids_are(w, "UNAFFABLE, able", "5 6 7 14 9");
	ids_are(w, "una unb a", "5 10 1 11");
	ids_are(w, "\u00e9t\u00e9", "13");
	ids_are(w, "aff[MASK]a [mask]", "8 4 11 1 1 1");
	ids_are(w, "\u65e5\u65e5", "17 17");
	ids_are(w, "##", "16 16");
	ids_are(w, "", "");
	ids_are(w, "[MASK]", "4");
	uint32_t ids[4] = {99, 99, 99, 99};
	T_EQ(wordpiece_encode(w, "unaffable a a a", 15, ids, 2), 2, "stops when full");
	T_OK(ids[0] == 5 && ids[1] == 6 && ids[2] == 99, "and writes no more");
	/* far more text than is wanted: only its beginning is looked at */
	size_t n = 64u << 20;
	char *big = malloc(n);
	memset(big, ' ', n);
	memcpy(big, "a a a a ", 8);
	T_EQ(wordpiece_encode(w, big, n, ids, 4), 4, "the first four of 64 MiB");
	/* a piece of 64 KiB ends between words */
	for (size_t k = 0; k < 300000; k += 10)
		memcpy(big + k, "unaffable ", 10);
	uint32_t *many = malloc(100000 * sizeof *many);
	uint32_t got = wordpiece_encode(w, big, 300000, many, 100000), bad = 0;
	for (uint32_t k = 0; k < got; k++)
		bad += many[k] != 5 + k % 3;
	T_OK(got == 90000 && !bad, "%u ids of 30000 words, %u wrong", got, bad);
	free(many);
	free(big);
	wordpiece_free(w);
}

static void test_refused(void)
{
	static const struct {
		const char *text;
		int want;
	} c[] = {
	        {"", -VX_ERR_json_syntax},
	        {"[]", -VX_ERR_bad_format},
	        {"{}", -VX_ERR_bad_format},
	        {JSON("[]", NORM, ""), -VX_ERR_bad_format},
	        {JSON("{}", NORM, ""), -VX_ERR_bad_format},
	        {JSON("{\"a\":-1}", NORM, ""), -VX_ERR_bad_format},
	        {JSON("{\"a\":1.5}", NORM, ""), -VX_ERR_bad_format},
	        {JSON("{\"a\":1048576}", NORM, ""), -VX_ERR_bad_format},
	        {JSON("{\"a\":1,\"b\":1}", NORM, ""), -VX_ERR_bad_format},
	        {JSON(VOCAB, "null", ""), -VX_ERR_bad_format},
	        {JSON(VOCAB, "{\"type\":\"NFKC\"}", ""), -VX_ERR_bad_format},
	        {"{\"normalizer\":" NORM
	         ",\"pre_tokenizer\":{\"type\":\"BertPreTokenizer\"},\"model\":{\"type\":\"Unigram\",\"vocab\":[]}}",
	                -VX_ERR_bad_format},
	        {"{\"normalizer\":" NORM
	         ",\"pre_tokenizer\":{\"type\":\"ByteLevel\"},\"model\":{\"type\":\"WordPiece\",\"vocab\":{\"a\":0}}}",
	                -VX_ERR_bad_format},
	        {"{\"normalizer\":" NORM ",\"pre_tokenizer\":{\"type\":\"BertPreTokenizer\"},\"model\":{\"type\":"
	         "\"WordPiece\",\"vocab\":{\"a\":0},"
	         "\"max_input_chars_per_word\":100000}}",
	                -VX_ERR_bad_value},
	        /* ids with holes are fine: models have them */
	        {JSON("{\"a\":70000}", NORM, ""), 0},
	};
	for (size_t i = 0; i < sizeof c / sizeof *c; i++) {
		struct wordpiece *w = NULL;
		struct vx_errinfo e = {0};
		int rc = wordpiece_parse(c[i].text, strlen(c[i].text), &w, &e);
		T_OK(rc == c[i].want, "%.60s: %s (%s)", c[i].text, err_name(rc), e.detail);
		wordpiece_free(w);
	}
}

static void test_files(void)
{
	struct mf_dir d = mf_dir_new();
	struct wordpiece *w = NULL;
	struct vx_errinfo e = {0};
	T_EQ(wordpiece_load(os_real(), d.fd, &w, &e), -ENOENT, "neither file");
	mf_text(&d, "vocab.txt", "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nun\r\n##aff\n##able\n\u00e9t\u00e9\nA");
	T_EQ(wordpiece_load(os_real(), d.fd, &w, &e), 0, "vocab.txt");
	T_EQ(wordpiece_info(w).vocab_n, 10, "lines");
	ids_are(w, "Unaffable A [SEP]", "5 6 7 1 3");
	wordpiece_free(w);
	mf_text(&d, "tokenizer_config.json", "{\"do_lower_case\":false}");
	T_EQ(wordpiece_load(os_real(), d.fd, &w, &e), 0, "vocab.txt, cased");
	ids_are(w, "unaffable A \u00e9t\u00e9", "5 6 7 9 8");
	wordpiece_free(w);
	mf_text(&d, "tokenizer_config.json", "{");
	T_EQ(wordpiece_load(os_real(), d.fd, &w, &e), -VX_ERR_json_syntax, "a broken tokenizer_config.json");
	mf_text(&d, "tokenizer.json", JSON(VOCAB, NORM, ""));
	T_EQ(wordpiece_load(os_real(), d.fd, &w, &e), 0, "tokenizer.json comes first");
	wordpiece_free(w);
	for (int64_t n = 1, rc = -ENOMEM; rc == -ENOMEM; n++) {
		mem_fail_after(n);
		w = NULL;
		rc = wordpiece_load(os_real(), d.fd, &w, &e);
		mem_fail_after(-1);
		if (rc >= 0)
			T_OK(n > 4, "out of memory at each of %d allocations", (int)n - 1);
		else if (rc != -ENOMEM)
			T_OK(0, "allocation %d failed: %s", (int)n, err_name((int)rc));
		wordpiece_free(w);
	}
	mf_dir_done(&d);
}

int main(void)
{
	test_words();
	test_pieces();
	test_refused();
	test_files();
	T_EQ(mem_used(MEM_text), 0, "nothing left");
	return tap_done();
}
