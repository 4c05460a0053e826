/* fuzz_pdf.c - libFuzzer target: any bytes as PDF, by poppler, which is not instrumented: what is seen of it are bad frees, copies past the
 * end of a block, signals, hangs and memory without end.
 *     tests/fuzz/run.py --only pdf [--seconds N] */
#define VEXFS_POPPLER 1
#include "extract/extract.h"
#include "fuzz_extract.h"
#include "extract/extract_pdf.c"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	fuzz_prepare(extract_pdf_prepare);
	char *copy = malloc(n ? n : 1);
	memcpy(copy, p, n);
	fuzz_begin();
	fuzz_end(extract_pdf(copy, n));
	free(copy);
	return 0;
}
