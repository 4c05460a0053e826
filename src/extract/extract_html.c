/* extract_html.c - HTML by libxml2's push parser and its events: no tree, so the memory does not grow with the text.  Scripts, styles and
 * the like are left out; what makes a block ends a paragraph; headings become "# ".  The encoding is UTF-8 when the bytes are valid
 * UTF-8, else what the document says, else windows-1252 as browsers have it. */
#include <iconv.h>
#include <libxml/HTMLparser.h>
#include <libxml/parserInternals.h>
#include <string.h>
#include <strings.h>
#include "base/utf8.h"
#include "extract/extract.h"

struct html {
	unsigned skip, pre; /* depth of elements whose text is no text; of <pre> */
};

static bool among(const char *name, const char *const *list)
{
	for (; *list; list++)
		if (!strcasecmp(name, *list))
			return true;
	return false;
}
static const char *const skipped[] = {
        "script", "style", "noscript", "template", "svg", "math", "iframe", "object", "select", "canvas", NULL};
static const char *const blocks[] = {"p", "div", "section", "article", "header", "footer", "main", "nav", "aside", "ul",
        "ol", "dl", "table", "pre", "blockquote", "figure", "figcaption", "form", "fieldset", "address", "hr", "body",
        "title", NULL};
static const char *const lines[] = {"br", "li", "tr", "dt", "dd", "option", "caption", NULL};

static void on_start(void *u, const xmlChar *xname, const xmlChar **attr)
{
	struct html *h = u;
	const char *name = (const char *)xname;
	if (among(name, skipped))
		h->skip++;
	if (h->skip)
		return;
	if ((name[0] | 32) == 'h' && name[1] >= '1' && name[1] <= '6' && !name[2])
		out_heading((unsigned)(name[1] - '0'));
	else if (!strcasecmp(name, "title"))
		out_heading(1);
	else if (among(name, blocks))
		out_para();
	else if (among(name, lines))
		out_line();
	else if (!strcasecmp(name, "td") || !strcasecmp(name, "th"))
		out_text(" ", 1);
	if (!strcasecmp(name, "li"))
		out_text("- ", 2);
	if (!strcasecmp(name, "pre"))
		h->pre++;
	if (!strcasecmp(name, "img"))
		for (; attr && attr[0]; attr += 2)
			if (attr[1] && !strcasecmp((const char *)attr[0], "alt")) {
				out_text(" ", 1);
				out_text((const char *)attr[1], strlen((const char *)attr[1]));
				out_text(" ", 1);
			}
}

static void on_end(void *u, const xmlChar *xname)
{
	struct html *h = u;
	const char *name = (const char *)xname;
	if (h->skip) {
		h->skip -= among(name, skipped);
		return;
	}
	if (!strcasecmp(name, "pre") && h->pre)
		h->pre--;
	if (among(name, blocks) || ((name[0] | 32) == 'h' && name[1] >= '1' && name[1] <= '6' && !name[2]))
		out_para();
	else if (among(name, lines))
		out_line();
}

static void on_text(void *u, const xmlChar *p, int n)
{
	struct html *h = u;
	if (h->skip || n <= 0)
		return;
	if (h->pre)
		out_plain((const char *)p, (size_t)n);
	else
		out_text((const char *)p, (size_t)n);
}

static void on_nothing(void *u, const xmlChar *p, int n)
{
	(void)u, (void)p, (void)n;
}

static bool valid_utf8(const char *p, size_t n)
{
	for (size_t at = 0; at < n;) {
		uint32_t c;
		unsigned k = utf8_decode(p + at, n - at, &c);
		if (!k)
			return false;
		at += k;
	}
	return true;
}

/* <meta charset=…> or <meta http-equiv content="…charset=…"> in the first KiB */
static bool says_charset(const char *p, size_t n)
{
	static const char want[] = "charset=";
	n = n < 1024 ? n : 1024;
	for (size_t at = 0; at + sizeof want - 1 <= n; at++)
		if (!strncasecmp(p + at, want, sizeof want - 1))
			return true;
	return false;
}

enum extract_end html_some(const char *p, size_t n)
{
	htmlSAXHandler sax = {.startElement = on_start,
	        .endElement = on_end,
	        .characters = on_text,
	        .cdataBlock = on_nothing,
	        .ignorableWhitespace = on_text};
	struct html h = {0};
	xmlCharEncoding enc = valid_utf8(p, n) ? XML_CHAR_ENCODING_UTF8 : XML_CHAR_ENCODING_NONE;
	htmlParserCtxtPtr c = htmlCreatePushParserCtxt(&sax, &h, NULL, 0, NULL, enc);
	if (!c)
		return EXTRACT_no_memory;
	/* what the document says of valid UTF-8 is not asked for: the bytes have been looked at */
	int ignore = enc == XML_CHAR_ENCODING_UTF8 ? HTML_PARSE_IGNORE_ENC : 0;
	htmlCtxtUseOptions(
	        c, HTML_PARSE_NOERROR | HTML_PARSE_NOWARNING | HTML_PARSE_NONET | HTML_PARSE_COMPACT | ignore);
	if (!ignore && !says_charset(p, n)) {
		xmlCharEncodingHandlerPtr w = xmlFindCharEncodingHandler("WINDOWS-1252");
		if (w)
			xmlSwitchToEncoding(c, w);
	}
	/* the end of the input is told apart from its last bytes: a parser that has failed takes no more */
	for (size_t at = 0; at < n && !out_over();) {
		size_t k = n - at < 16384 ? n - at : 16384;
		htmlParseChunk(c, p + at, (int)k, 0);
		if (c->errNo == XML_ERR_NO_MEMORY) {
			htmlFreeParserCtxt(c);
			return EXTRACT_no_memory;
		}
		at += k;
	}
	htmlParseChunk(c, NULL, 0, 1);
	htmlFreeParserCtxt(c);
	return out_over() ? EXTRACT_too_large : EXTRACT_ok;
}

enum extract_end extract_html(const char *p, size_t n)
{
	return html_some(p, n);
}

void extract_html_prepare(void)
{
	/* character sets live in modules that must be loaded while files can still be opened; they stay open for good */
	static const char *const sets[] = {"WINDOWS-1252", "WINDOWS-1250", "WINDOWS-1251", "ISO-8859-2", "ISO-8859-15",
	        "KOI8-R", "SHIFT_JIS", "EUC-JP", "GB18030", "BIG5", "EUC-KR"};
	for (size_t i = 0; i < sizeof sets / sizeof *sets; i++) {
		(void)iconv_open("UTF-8", sets[i]); /* a set that is not installed is not read */
		(void)iconv_open(sets[i], "UTF-8");
	}
	xmlInitParser();
	(void)xmlFindCharEncodingHandler("WINDOWS-1252");
}
