/* fuzz_zip.c - libFuzzer target: office documents.  The first byte chooses how the rest is taken: as an archive as it is; as one part's XML;
 * as an EPUB's package; or as the parts of a sound archive that is packed around them here, since no mutation finds a checksum.
 *     tests/fuzz/run.py --only zip [--seconds N] */
#include "extract/extract.h"
#include "fuzz_extract.h"
#include "extract/extract_html.c"
#define on_start office_on_start
#define on_end   office_on_end
#define on_text  office_on_text
#include "extract/office_xml.c"
#include "extract/extract_zip.c"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

static uint32_t crc(const uint8_t *p, size_t n)
{
	uint32_t c = ~0u;
	for (size_t i = 0; i < n; i++) {
		c ^= p[i];
		for (int k = 0; k < 8; k++)
			c = c & 1 ? c >> 1 ^ 0xedb88320u : c >> 1;
	}
	return ~c;
}

struct pack {
	uint8_t *p;
	size_t n;
};
static void put2(struct pack *z, unsigned v)
{
	z->p[z->n++] = (uint8_t)v;
	z->p[z->n++] = (uint8_t)(v >> 8);
}
static void put4(struct pack *z, uint32_t v)
{
	put2(z, v & 0xffff);
	put2(z, v >> 16);
}
static void part(struct pack *z, const char *name, const uint8_t *p, size_t n, bool central, uint32_t at)
{
	put4(z, central ? 0x02014b50 : 0x04034b50);
	if (central)
		put2(z, 20);
	put2(z, 20);
	put2(z, 0); /* flags */
	put2(z, 0); /* stored */
	put4(z, 0);
	put4(z, crc(p, n));
	put4(z, (uint32_t)n);
	put4(z, (uint32_t)n);
	put2(z, (unsigned)strlen(name));
	put2(z, 0);
	if (central) {
		put2(z, 0);
		put2(z, 0);
		put2(z, 0);
		put4(z, 0);
		put4(z, at);
	}
	memcpy(z->p + z->n, name, strlen(name));
	z->n += strlen(name);
	if (!central) {
		memcpy(z->p + z->n, p, n);
		z->n += n;
	}
}

/* parts are told apart by a byte 0xff that names the next */
static enum extract_end packed(const uint8_t *p, size_t n)
{
	static const char *const names[] = {"word/document.xml", "word/footnotes.xml", "content.xml",
	        "META-INF/container.xml", "O/p.opf", "O/a b.xhtml", "ppt/slides/slide1.xml", "ppt/slides/slide2.xml"};
	struct pack z = {malloc(2 * n + 8192), 0};
	struct {
		const char *name;
		const uint8_t *p;
		size_t n;
		uint32_t at;
	} part_of[16];
	unsigned k = 0;
	while (n > 1 && k < 16) {
		const uint8_t *e = memchr(p + 1, 0xff, n - 1);
		size_t len = e ? (size_t)(e - p) - 1 : n - 1;
		part_of[k].name = names[p[0] & 7];
		part_of[k].p = p + 1;
		part_of[k].n = len;
		part_of[k].at = (uint32_t)z.n;
		part(&z, part_of[k].name, p + 1, len, false, 0);
		k++;
		n -= e ? len + 2 : n;
		p += len + 2;
	}
	size_t dir = z.n;
	for (unsigned i = 0; i < k; i++)
		part(&z, part_of[i].name, part_of[i].p, part_of[i].n, true, part_of[i].at);
	size_t dir_n = z.n - dir;
	put4(&z, 0x06054b50);
	put2(&z, 0);
	put2(&z, 0);
	put2(&z, k);
	put2(&z, k);
	put4(&z, (uint32_t)dir_n);
	put4(&z, (uint32_t)dir);
	put2(&z, 0);
	char *exact = malloc(z.n);
	memcpy(exact, z.p, z.n);
	enum extract_end e = extract_zip(exact, z.n);
	free(exact);
	free(z.p);
	return e;
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	fuzz_prepare(extract_html_prepare);
	if (!n)
		return 0;
	unsigned how = p[0];
	n--;
	char *copy = malloc(n ? n : 1);
	memcpy(copy, p + 1, n);
	fuzz_begin();
	enum extract_end end = how == 'w'   ? office_xml(copy, n, OFFICE_word)
	                       : how == 's' ? office_xml(copy, n, OFFICE_slides)
	                       : how == 'o' ? office_xml(copy, n, OFFICE_open)
	                       : how == 'p' ? packed((const uint8_t *)copy, n)
	                                    : extract_zip(copy, n);
	fuzz_end(end);
	free(copy);
	return 0;
}
