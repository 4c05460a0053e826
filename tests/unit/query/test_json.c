/* test_json - the parser against Python's: every document of the corpus is accepted or refused as there, strings and numbers are
 * equal to the bit, truncations never read past the end, and errors say where. */
#include "tap.h"

#include "query/json.h"

static size_t unhex(const char *h, size_t n, char *out)
{
	for (size_t i = 0; i + 1 < n; i += 2) {
		unsigned v;
		sscanf(h + i, "%2x", &v);
		out[i / 2] = (char)v;
	}
	return n / 2;
}

static bool valid(const char *doc, size_t n)
{
	char *copy = malloc(n ? n : 1); /* exactly as long: a sanitizer sees a read past it */
	struct js j;
	memcpy(copy, doc, n);
	js_init(&j, copy, n, NULL);
	bool good = js_raw(&j, false, NULL, NULL) == 0 && js_end(&j) == 0;
	if (good && memcmp(copy, doc, n)) {
		printf("# js_raw changed the text\n");
		good = false;
	}
	free(copy);
	return good;
}

static int string_as(const char *doc, size_t n, const char *want, size_t want_n)
{
	char *copy = malloc(n);
	struct js j;
	const char *s;
	size_t sn;
	memcpy(copy, doc, n);
	js_init(&j, copy, n, NULL);
	int good = js_str(&j, &s, &sn) == 0 && js_end(&j) == 0 && sn == want_n && !memcmp(s, want, sn) && !s[sn];
	free(copy);
	return good;
}

static int number_as(const char *doc, size_t n, const char *bits)
{
	char *copy = malloc(n);
	struct js j;
	double d;
	memcpy(copy, doc, n);
	js_init(&j, copy, n, NULL);
	int good = js_num(&j, &d) == 0 && js_end(&j) == 0 && !memcmp(&d, bits, 8);
	free(copy);
	return good;
}

static void corpus(const char *path)
{
	FILE *f = fopen(path, "r");
	if (!T_OK(f, "corpus %s opens", path))
		return;
	char *line = NULL;
	size_t cap = 0;
	long docs = 0, good = 0, bad = 0, strings = 0, numbers = 0, wrong = 0;
	for (ssize_t n; (n = getline(&line, &cap, f)) > 0;) {
		if (line[0] == '#') {
			printf("%s", line);
			continue;
		}
		while (n && (line[n - 1] == '\n'))
			line[--n] = 0;
		char *h = line + 2, *sp = strchr(h, ' ');
		size_t hn = sp ? (size_t)(sp - h) : strlen(h);
		char *doc = malloc(hn / 2 + 1), *want = malloc(strlen(h) / 2 + 1);
		size_t dn = unhex(h, hn, doc), wn = sp ? unhex(sp + 1, strlen(sp + 1), want) : 0;
		int ok;
		if (line[0] == 'S') {
			ok = string_as(doc, dn, want, wn);
			strings++;
		} else if (line[0] == 'N') {
			ok = number_as(doc, dn, want);
			numbers++;
		} else {
			ok = valid(doc, dn) == (line[0] == 'V');
			*(line[0] == 'V' ? &good : &bad) += 1;
		}
		docs++;
		if (!ok && wrong++ < 10)
			printf("# differs: %.300s\n", line);
		free(doc);
		free(want);
	}
	free(line);
	fclose(f);
	T_OK(docs > 20000 && good > 3000 && bad > 3000, "%ld documents: %ld valid, %ld not, %ld strings, %ld numbers",
	        docs, good, bad, strings, numbers);
	T_EQ(wrong, 0, "differences from Python");
}

static void truncated(void)
{
	static const char doc[] = "{\"a\":[1,-2.5e3,{\"b\":\"\\u00e9\\ud83d\\ude00x\"}],\"c\":true,\"d\":null}";
	size_t n = sizeof doc - 1;
	int accepted = 0;
	for (size_t i = 0; i < n; i++)
		accepted += valid(doc, i);
	T_EQ(accepted, 0, "prefixes of a document accepted");
	T_OK(valid(doc, n), "the whole is");
}

static void position(const char *doc, int code, int64_t at)
{
	struct vx_errinfo e = {.position = -1};
	struct js j;
	char copy[256];
	strcpy(copy, doc);
	js_init(&j, copy, strlen(copy), &e);
	int rc = js_raw(&j, false, NULL, NULL);
	if (rc == 0)
		rc = js_end(&j);
	T_OK(rc == code && e.code == code && e.position == at, "%s: %s at %lld, want %s at %lld", doc, err_name(rc),
	        (long long)e.position, err_name(code), (long long)at);
}

static void floats(void)
{
	struct arena a;
	struct js j;
	const float *v;
	uint32_t n;
	arena_init(&a, MEM_query, 1 << 20);
	char doc[] = " [ 1 , -0.1,3.4028234663852886e38 , 1e-45 ]x";
	struct vx_errinfo e = {0};
	js_init(&j, doc, sizeof doc - 1, &e);
	T_EQ(js_f32s(&j, &a, 10, &v, &n), 0, "four floats");
	T_EQ(n, 4, "count");
	T_OK(n == 4 && v[0] == 1.0f && v[1] == -0.1f && v[2] == 3.40282346638528860e38f && v[3] == 1.4e-45f, "values");
	char big[] = "[1,2,1e39]";
	e = (struct vx_errinfo){0};
	js_init(&j, big, sizeof big - 1, &e);
	T_EQ(js_f32s(&j, &a, 10, &v, &n), -VX_ERR_not_finite, "beyond f32");
	T_EQ(e.position, 5, "its position");
	char none[] = "[]", many[] = "[1,2,3]", text[] = "[1,\"2\"]";
	js_init(&j, none, 2, NULL);
	T_EQ(js_f32s(&j, &a, 10, &v, &n), -VX_ERR_dim_range, "no number");
	js_init(&j, many, 7, NULL);
	T_EQ(js_f32s(&j, &a, 2, &v, &n), -VX_ERR_dim_range, "too many numbers");
	js_init(&j, text, 7, NULL);
	T_EQ(js_f32s(&j, &a, 2, &v, &n), -VX_ERR_bad_value, "a string among them");
	arena_done(&a);
}

int main(int argc, char **argv)
{
	if (argc > 1)
		corpus(argv[1]);
	truncated();
	position("{\"a\":1,}", -VX_ERR_json_syntax, 7);
	position("[1,2", -VX_ERR_json_syntax, 4);
	position("[tru]", -VX_ERR_json_syntax, 1);
	position("[1]x", -VX_ERR_json_syntax, 3);
	position("\"a\\q\"", -VX_ERR_json_syntax, 2);
	position("[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]", -VX_ERR_json_depth, 16);
	floats();
	return tap_done();
}
