/* extract_zip.c - documents that are ZIP archives, by libarchive from memory: DOCX, PPTX, OpenDocument text and slides, EPUB.
 *
 * The archive's names say what it is.  Parts are unpacked one at a time into one buffer; how much is unpacked in all is limited, which is
 * what ends a zip bomb.  The order of parts is the document's: a pass over the archive for each part, for archives are small. */
#include <archive.h>
#include <archive_entry.h>
#include <libxml/parser.h>
#include <stdlib.h>
#include <string.h>
#include "base/mem.h"
#include "base/sbuf.h"
#include "extract/extract.h"

#define PARTS_MAX  4096u
#define NAME_MAX_Z 512u

struct zip {
	const char *p;
	size_t n;
	uint64_t unpacked;
	bool encrypted, too_large, no_memory;
};
struct part {
	char *p;
	size_t n, cap;
};

static struct archive *open_zip(const struct zip *z)
{
	struct archive *a = archive_read_new();
	if (a && (archive_read_support_format_zip_seekable(a) != ARCHIVE_OK ||
	                 archive_read_open_memory(a, z->p, z->n) != ARCHIVE_OK)) {
		archive_read_free(a);
		return NULL;
	}
	return a;
}

static bool unpack(struct zip *z, struct archive *a, struct part *ret)
{
	for (;;) {
		if (ret->n == ret->cap) {
			size_t cap = ret->cap ? ret->cap * 2 : 65536;
			char *q = mem_realloc(MEM_text, ret->p, cap);
			if (!q)
				return !(z->no_memory = true);
			ret->p = q;
			ret->cap = cap;
		}
		la_ssize_t k = archive_read_data(a, ret->p + ret->n, ret->cap - ret->n);
		if (k < 0)
			return false;
		if (!k)
			return true;
		ret->n += (size_t)k;
		z->unpacked += (uint64_t)k;
		if (z->unpacked > EXTRACT_UNZIP_MAX)
			return !(z->too_large = true);
	}
}

/* the part of that name; ret->p is reused. false: not there, or it cannot be unpacked */
static bool part_named(struct zip *z, const char *name, struct part *ret)
{
	struct archive *a = open_zip(z);
	struct archive_entry *e;
	bool found = false;
	ret->n = 0;
	for (unsigned i = 0; a && i < 65536 && archive_read_next_header(a, &e) == ARCHIVE_OK; i++) {
		const char *path = archive_entry_pathname(e);
		if (!path || strcmp(path, name))
			continue;
		if (archive_entry_is_encrypted(e))
			z->encrypted = true;
		else
			found = unpack(z, a, ret);
		break;
	}
	archive_read_free(a);
	return found;
}

static enum extract_end why(const struct zip *z, enum extract_end dflt)
{
	return z->encrypted   ? EXTRACT_encrypted
	       : z->too_large ? EXTRACT_too_large
	       : z->no_memory ? EXTRACT_no_memory
	                      : dflt;
}

/* ---- EPUB: container.xml names the package, whose spine names the chapters -------------------------------------------------------------- */
struct epub {
	char package[NAME_MAX_Z];
	char *id[PARTS_MAX], *href[PARTS_MAX], *spine[PARTS_MAX];
	unsigned items, spines;
};

static char *copy_attr(const xmlChar **a, int n, const char *name)
{
	for (int i = 0; i < n; i++) {
		size_t k = (size_t)(a[5 * i + 4] - a[5 * i + 3]);
		if (strcmp((const char *)a[5 * i], name) || k >= NAME_MAX_Z)
			continue;
		char *s = mem_alloc(MEM_text, k + 1);
		if (s) {
			memcpy(s, a[5 * i + 3], k);
			s[k] = 0;
		}
		return s;
	}
	return NULL;
}

static void on_package(void *u, const xmlChar *name, const xmlChar *prefix, const xmlChar *uri, int nn,
        const xmlChar **ns, int n, int dflt, const xmlChar **attr)
{
	struct epub *b = u;
	(void)prefix, (void)uri, (void)nn, (void)ns, (void)dflt;
	if (!strcmp((const char *)name, "rootfile") && !b->package[0]) {
		char *s = copy_attr(attr, n, "full-path");
		if (s)
			memcpy(b->package, s, strlen(s) + 1);
		mem_free(MEM_text, s);
	} else if (!strcmp((const char *)name, "item") && b->items < PARTS_MAX) {
		b->id[b->items] = copy_attr(attr, n, "id");
		b->href[b->items] = copy_attr(attr, n, "href");
		b->items++;
	} else if (!strcmp((const char *)name, "itemref") && b->spines < PARTS_MAX) {
		b->spine[b->spines++] = copy_attr(attr, n, "idref");
	}
}

static bool parse_package(struct epub *b, const struct part *t)
{
	xmlSAXHandler sax = {.initialized = XML_SAX2_MAGIC, .startElementNs = on_package};
	xmlParserCtxtPtr c = xmlCreatePushParserCtxt(&sax, b, NULL, 0, NULL);
	if (!c)
		return false;
	xmlCtxtUseOptions(c, XML_PARSE_NONET | XML_PARSE_NOERROR | XML_PARSE_NOWARNING);
	int bad = t->n > INT32_MAX || xmlParseChunk(c, t->p, (int)t->n, 1);
	xmlFreeParserCtxt(c);
	return !bad;
}

/* %20 and the like in a manifest's href; relative to the package's folder */
static bool chapter_name(const struct epub *b, const char *href, char ret[NAME_MAX_Z])
{
	const char *slash = strrchr(b->package, '/');
	size_t n = slash ? (size_t)(slash - b->package) + 1 : 0;
	memcpy(ret, b->package, n);
	for (; *href && *href != '#'; href++) {
		unsigned char c = (unsigned char)*href;
		if (c == '%' && href[1] && href[2]) {
			char hex[3] = {href[1], href[2], 0}, *end;
			unsigned long v = strtoul(hex, &end, 16);
			if (!*end) {
				c = (unsigned char)v;
				href += 2;
			}
		}
		if (n + 1 >= NAME_MAX_Z || !c)
			return false;
		ret[n++] = (char)c;
	}
	ret[n] = 0;
	return true;
}

static void epub_done(struct epub *b)
{
	for (unsigned i = 0; i < b->items; i++) {
		mem_free(MEM_text, b->id[i]);
		mem_free(MEM_text, b->href[i]);
	}
	for (unsigned i = 0; i < b->spines; i++)
		mem_free(MEM_text, b->spine[i]);
	memset(b, 0, sizeof *b);
}

static enum extract_end epub_read(struct zip *z, struct part *t, struct epub *b)
{
	char name[NAME_MAX_Z];
	unsigned read = 0;
	if (!part_named(z, "META-INF/container.xml", t) || !parse_package(b, t) || !part_named(z, b->package, t) ||
	        !parse_package(b, t))
		return why(z, EXTRACT_damaged);
	for (unsigned s = 0; s < b->spines; s++) {
		for (unsigned i = 0; b->spine[s] && i < b->items; i++) {
			if (!b->id[i] || !b->href[i] || strcmp(b->id[i], b->spine[s]))
				continue;
			if (chapter_name(b, b->href[i], name) && part_named(z, name, t)) {
				enum extract_end e = html_some(t->p, t->n);
				if (e != EXTRACT_ok)
					return e;
				out_para();
				read++;
			}
			break;
		}
		if (z->too_large || z->no_memory)
			break;
	}
	return read && !z->too_large && !z->no_memory ? EXTRACT_ok : why(z, EXTRACT_damaged);
}

static enum extract_end epub(struct zip *z, struct part *t)
{
	static struct epub b; /* 96 KB of pointers */
	enum extract_end e = epub_read(z, t, &b);
	epub_done(&b);
	return e;
}

/* ---- the others ------------------------------------------------------------------------------------------------------------------------ */
static enum extract_end word(struct zip *z, struct part *t)
{
	static const char *const more[] = {"word/footnotes.xml", "word/endnotes.xml", "word/comments.xml"};
	if (!part_named(z, "word/document.xml", t))
		return why(z, EXTRACT_damaged);
	enum extract_end e = office_xml(t->p, t->n, OFFICE_word);
	for (size_t i = 0; i < 3 && e == EXTRACT_ok; i++) {
		out_para();
		if (part_named(z, more[i], t))
			e = office_xml(t->p, t->n, OFFICE_word);
	}
	return e;
}

static enum extract_end slides(struct zip *z, struct part *t)
{
	enum extract_end e = EXTRACT_damaged;
	for (unsigned i = 1; i < PARTS_MAX; i++) {
		char name[64];
		struct sbuf b;
		sbuf_fixed(&b, name, sizeof name);
		sb_str(&b, "ppt/slides/slide");
		sb_u64(&b, i);
		sb_str(&b, ".xml");
		if (!part_named(z, sbuf_cstr(&b), t))
			return why(z, i > 1 ? EXTRACT_ok : EXTRACT_damaged);
		out_para();
		e = office_xml(t->p, t->n, OFFICE_slides);
		if (e != EXTRACT_ok)
			return e;
	}
	return e;
}

enum extract_end extract_zip(const char *p, size_t n)
{
	struct zip z = {.p = p, .n = n};
	struct part t = {0};
	bool docx = false, pptx = false, odf = false, container = false;
	struct archive *a = open_zip(&z);
	struct archive_entry *e;
	if (!a)
		return EXTRACT_damaged;
	for (unsigned i = 0; i < 65536 && archive_read_next_header(a, &e) == ARCHIVE_OK; i++) {
		const char *name = archive_entry_pathname(e);
		if (!name)
			continue;
		docx |= !strcmp(name, "word/document.xml");
		pptx |= !strncmp(name, "ppt/slides/slide", 16);
		odf |= !strcmp(name, "content.xml");
		container |= !strcmp(name, "META-INF/container.xml");
		if (archive_entry_is_encrypted(e))
			z.encrypted = true;
	}
	archive_read_free(a);
	if (z.encrypted)
		return EXTRACT_encrypted;
	enum extract_end end = docx                                ? word(&z, &t)
	                       : container                         ? epub(&z, &t)
	                       : pptx                              ? slides(&z, &t)
	                       : !odf                              ? EXTRACT_unknown
	                       : part_named(&z, "content.xml", &t) ? office_xml(t.p, t.n, OFFICE_open)
	                                                           : why(&z, EXTRACT_damaged);
	mem_free(MEM_text, t.p);
	return end;
}
