/* fuzz_html.c - libFuzzer target: any bytes as HTML, by libxml2 and our events.
 *     tests/fuzz/run.py --only html [--seconds N] */
#include "extract/extract.h"
#include "fuzz_extract.h"
#include "extract/extract_html.c"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	fuzz_prepare(extract_html_prepare);
	char *copy = malloc(n ? n : 1); /* of its very size: a byte too far is seen */
	memcpy(copy, p, n);
	fuzz_begin();
	fuzz_end(extract_html(copy, n));
	free(copy);
	return 0;
}
