/* extract_main.c - vexfs-extract KIND SECONDS: limits, the file into memory, the jail, the parser, an exit status (extract.h). */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/mem.h"
#include "extract/extract.h"

#define MEM_MAX (768ull << 20) /* address space: libraries take 250 MB of it without using it */

static char *read_input(size_t *ret_n)
{
	size_t n = 0, cap = 1 << 20;
	char *p = mem_alloc(MEM_text, cap);
	while (p) {
		if (n == cap) {
			char *q = cap > EXTRACT_INPUT_MAX ? NULL : mem_realloc(MEM_text, p, cap *= 2);
			if (!q)
				return NULL;
			p = q;
		}
		ssize_t k = read(0, p + n, cap - n); /* rule file-io: a program of its own, fd 0 is all it has */
		if (k < 0 && errno == EINTR)
			continue;
		if (k <= 0) {
			*ret_n = n;
			return k < 0 ? NULL : p;
		}
		n += (size_t)k;
	}
	return NULL;
}

int main(int argc, char **argv)
{
	enum extract_end end = EXTRACT_unknown;
	size_t n = 0;
	unsigned long seconds = argc >= 3 ? strtoul(argv[2], NULL, 10) : 0;
	if (seconds < 1 || seconds > 3600)
		return EXTRACT_unknown;
	if (argc > 3 && !strcmp(argv[1], "run"))
		return jail_run((unsigned)seconds, argv + 3);
	if (argc != 3)
		return EXTRACT_unknown;
	if (!jail_limits(MEM_MAX, (unsigned)seconds))
		return EXTRACT_no_jail;
	bool html = !strcmp(argv[1], "html"), pdf = !strcmp(argv[1], "pdf"), zip = !strcmp(argv[1], "zip");
	if (lseek(0, 0, SEEK_SET) < 0 && errno != ESPIPE)
		return EXTRACT_damaged;
	char *p = read_input(&n);
	if (!p)
		return EXTRACT_too_large;
	if (html || zip)
		extract_html_prepare();
	if (pdf)
		extract_pdf_prepare();
	if (!jail_enter())
		return EXTRACT_no_jail;
	if (html)
		end = extract_html(p, n);
	else if (zip)
		end = extract_zip(p, n);
	else if (pdf)
		end = extract_pdf(p, n);
	if (!out_end() && end == EXTRACT_ok)
		end = EXTRACT_damaged;
	_exit(end); /* rule exit: a program of its own; destructors of the libraries would only ask for what the jail denies */
}
