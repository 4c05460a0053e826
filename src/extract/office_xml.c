/* office_xml.c - the text of office documents' XML by libxml2's events, names without their prefixes: Word's and PowerPoint's p, t, tab, br
 * (ECMA-376, parts 1 and 4), OpenDocument's p, h, tab, line-break, s (OASIS ODF 1.3).  Entities that the document defines itself are not expanded. */
#include <libxml/parser.h>
#include <stdlib.h>
#include <string.h>
#include "extract/extract.h"

struct office {
	enum office_kind kind;
	unsigned in_text; /* depth of elements whose characters are text */
	unsigned skip;
};

static bool is(const xmlChar *name, const char *what)
{
	return !strcmp((const char *)name, what);
}

/* SAX2 gives five pointers an attribute: name, prefix, URI, value, end */
static size_t value_of(int n, const xmlChar **a, const char *name, const char **ret)
{
	for (int i = 0; i < n; i++) {
		if (is(a[5 * i], name)) {
			*ret = (const char *)a[5 * i + 3];
			return (size_t)(a[5 * i + 4] - a[5 * i + 3]);
		}
	}
	return 0;
}

static void start_office(struct office *o, const xmlChar *name, int n, const xmlChar **attr)
{
	const char *v;
	size_t k;
	if (is(name, "t")) {
		o->in_text++;
	} else if (is(name, "p")) {
		out_para();
	} else if (is(name, "tab")) {
		out_text(" ", 1);
	} else if (is(name, "br") || is(name, "cr")) {
		out_line();
	} else if (is(name, "pStyle") && (k = value_of(n, attr, "val", &v))) {
		if (k == 8 && !strncasecmp(v, "Heading", 7) && v[7] >= '1' && v[7] <= '9')
			out_heading((unsigned)(v[7] - '0'));
		else if (k == 5 && !strncasecmp(v, "Title", 5))
			out_heading(1);
	}
}

static void start_open(struct office *o, const xmlChar *name, int n, const xmlChar **attr)
{
	const char *v;
	if (is(name, "tracked-changes"))
		o->skip++;
	if (o->skip)
		return;
	if (is(name, "h")) {
		size_t k = value_of(n, attr, "outline-level", &v);
		out_heading(k == 1 && *v >= '1' && *v <= '9' ? (unsigned)(*v - '0') : 1);
		o->in_text++;
	} else if (is(name, "p")) {
		out_para();
		o->in_text++;
	} else if (is(name, "tab") || is(name, "s")) {
		out_text(" ", 1);
	} else if (is(name, "line-break")) {
		out_line();
	}
}

static void on_start(void *u, const xmlChar *name, const xmlChar *prefix, const xmlChar *uri, int nn,
        const xmlChar **ns, int n, int dflt, const xmlChar **attr)
{
	struct office *o = u;
	(void)prefix, (void)uri, (void)nn, (void)ns, (void)dflt;
	if (o->kind == OFFICE_open)
		start_open(o, name, n, attr);
	else
		start_office(o, name, n, attr);
}

static void on_end(void *u, const xmlChar *name, const xmlChar *prefix, const xmlChar *uri)
{
	struct office *o = u;
	(void)prefix, (void)uri;
	if (o->kind == OFFICE_open) {
		if (is(name, "tracked-changes") && o->skip)
			o->skip--;
		else if (!o->skip && (is(name, "p") || is(name, "h"))) {
			o->in_text -= o->in_text > 0;
			out_para();
		}
		return;
	}
	if (is(name, "t"))
		o->in_text -= o->in_text > 0;
	else if (is(name, "p"))
		out_para();
	else if (is(name, "tc"))
		out_text(" ", 1);
}

static void on_text(void *u, const xmlChar *p, int n)
{
	struct office *o = u;
	if (o->in_text && !o->skip && n > 0)
		out_text((const char *)p, (size_t)n);
}

enum extract_end office_xml(const char *p, size_t n, enum office_kind kind)
{
	xmlSAXHandler sax = {.initialized = XML_SAX2_MAGIC,
	        .startElementNs = on_start,
	        .endElementNs = on_end,
	        .characters = on_text,
	        .ignorableWhitespace = on_text,
	        .cdataBlock = on_text};
	struct office o = {.kind = kind};
	xmlParserCtxtPtr c = xmlCreatePushParserCtxt(&sax, &o, NULL, 0, NULL);
	if (!c)
		return EXTRACT_no_memory;
	xmlCtxtUseOptions(c, XML_PARSE_NONET | XML_PARSE_NOERROR | XML_PARSE_NOWARNING);
	int bad = 0;
	for (size_t at = 0; at < n && !bad && !out_over();) {
		size_t k = n - at < 16384 ? n - at : 16384;
		bad = xmlParseChunk(c, p + at, (int)k, 0);
		at += k;
	}
	if (!bad)
		bad = xmlParseChunk(c, NULL, 0, 1);
	bool good = c->wellFormed;
	bool memory = c->errNo == XML_ERR_NO_MEMORY;
	xmlFreeParserCtxt(c);
	return out_over()     ? EXTRACT_too_large
	       : memory       ? EXTRACT_no_memory
	       : bad || !good ? EXTRACT_damaged
	                      : EXTRACT_ok;
}
