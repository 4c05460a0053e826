/* extract_pdf.c - PDF by poppler: the text of each page in reading order, a blank line between pages. */
#include "extract/extract.h"
#ifdef VEXFS_POPPLER
#include <poppler.h>
#include <string.h>

#define PAGES_MAX 20000

enum extract_end extract_pdf(const char *p, size_t n)
{
	GError *err = NULL;
	GBytes *bytes = g_bytes_new_static(p, n);
	PopplerDocument *d = poppler_document_new_from_bytes(bytes, NULL, &err);
	g_bytes_unref(bytes);
	if (!d) {
		bool locked = g_error_matches(err, POPPLER_ERROR, POPPLER_ERROR_ENCRYPTED);
		g_clear_error(&err);
		return locked ? EXTRACT_encrypted : EXTRACT_damaged;
	}
	int pages = poppler_document_get_n_pages(d);
	if (pages > PAGES_MAX)
		return EXTRACT_too_large;
	for (int i = 0; i < pages && !out_over(); i++) {
		PopplerPage *page = poppler_document_get_page(d, i);
		char *text = page ? poppler_page_get_text(page) : NULL;
		if (text) {
			out_para();
			/* line ends stay: the chunker likes them */
			for (char *at = text, *e; *at; at = *e ? e + 1 : e) {
				e = strchrnul(at, '\n');
				out_text(at, (size_t)(e - at));
				if (e == at)
					out_para();
				out_line();
			}
		}
		g_free(text);
		if (page)
			g_object_unref(page);
	}
	g_object_unref(d);
	return out_over() ? EXTRACT_too_large : EXTRACT_ok;
}

void extract_pdf_prepare(void)
{
	/* a document that is none: types are registered and global tables are built while files can still be opened */
	GBytes *bytes = g_bytes_new_static("%PDF-1.4\n", 9);
	PopplerDocument *d = poppler_document_new_from_bytes(bytes, NULL, NULL);
	if (d)
		g_object_unref(d);
	g_bytes_unref(bytes);
}
#else
enum extract_end extract_pdf(const char *p, size_t n)
{
	(void)p, (void)n;
	return EXTRACT_unknown; /* built without poppler */
}

void extract_pdf_prepare(void)
{
}
#endif
