/* ingest_doc.c - documents: which parser or command a file wants, its text through the sandboxed child and into chunks.
 *
 * What the child is given is the open file that was hashed; what it makes of it goes through the chunker like a text file.  A file whose ending
 * is in the table of external commands (-o filters=FILE) goes to its command, whatever it holds. */
#include <fcntl.h>
#include <string.h>

#include "engine/ingest_priv.h"
#include "text/text_filters.h"

struct doc {
	struct engine *e;
	bool able; /* the helper was found */
	struct text_filters *filters;
	char *helper; /* its path */
};

static int read_filters(struct doc *d, const char *path)
{
	struct os *os = d->e->os;
	struct stat st;
	unsigned line = 0;
	char *p = mem_alloc(MEM_engine, TEXT_FILTERS_FILE_MAX);
	if (!p)
		return -ENOMEM;
	int fd = os_openat(os, AT_FDCWD, path, O_RDONLY | O_CLOEXEC, 0);
	int rc = fd < 0 ? fd : os_fstat(os, fd, &st);
	/* it names programs that are run: nobody else may have written it */
	if (rc >= 0 && ((st.st_mode & 022) || (st.st_uid && st.st_uid != d->e->euid)))
		rc = -EPERM;
	ssize_t n = rc >= 0 ? os_pread(os, fd, p, TEXT_FILTERS_FILE_MAX, 0) : rc;
	if (n >= (ssize_t)TEXT_FILTERS_FILE_MAX)
		n = -E2BIG;
	rc = n < 0 ? (int)n : text_filters_new(p, (size_t)n, &d->filters, &line);
	if (fd >= 0)
		(void)os_close(os, fd); /* read only */
	mem_free(MEM_engine, p);
	return rc;
}

int doc_new(struct engine *e, struct doc **ret)
{
	struct doc *d = mem_zalloc(MEM_engine, sizeof(*d));
	if (!d)
		return -ENOMEM;
	d->e = e;
	d->helper = mem_alloc(MEM_engine, CONF_PATH_MAX);
	d->able = d->helper && text_extract_find(e->os, d->helper, CONF_PATH_MAX) >= 0;
	if (!d->able)
		log_msg(LOGL_warn,
		        "engine: vexfs-extract is not installed: documents other than plain text are not indexed");
	int rc = e->cfg.filters ? read_filters(d, e->cfg.filters) : 0;
	if (rc < 0)
		log_rc(LOGL_error, "engine: the table of filter commands is not used", rc);
	*ret = d;
	return 0;
}
void doc_free(struct doc *d)
{
	if (d) {
		text_filters_free(d->filters);
		mem_free(MEM_engine, d->helper);
	}
	mem_free(MEM_engine, d);
}

enum text_format doc_format(const struct doc *d, const void *head, size_t n, bool whole_file, const char *name)
{
	enum text_format f = text_format_of(head, n, whole_file, name);
	if (!d->able) /* HTML is text as well */
		return f == TEXT_FORMAT_html && text_sniff(head, n, whole_file) ? TEXT_FORMAT_plain
		       : f == TEXT_FORMAT_plain                                 ? f
		                                                                : TEXT_FORMAT_none;
	return n && text_filters_find(d->filters, name) ? TEXT_FORMAT_command : f;
}

struct doc_text {
	struct text_chunker *c;
	int (*emit)(void *u, const struct text_chunk *ch);
	void *u;
};
static int doc_take(void *u, const void *p, size_t n)
{
	struct doc_text *t = u;
	return text_feed(t->c, p, n, false, t->emit, t->u);
}
bool doc_reason(int rc)
{
	return rc == -VX_ERR_doc_damaged || rc == -VX_ERR_doc_encrypted || rc == -VX_ERR_doc_too_large ||
	       rc == -VX_ERR_doc_parser || rc == -VX_ERR_deadline || rc == -VX_ERR_text_too_large;
}
int doc_read(struct doc *d, int fd, enum text_format format, const char *name,
        int (*emit)(void *u, const struct text_chunk *ch), void *u)
{
	struct doc_text t = {.emit = emit, .u = u};
	struct vx_errinfo err = {0};
	const struct text_extract_cfg cfg = {.os = d->e->os,
	        .helper = d->helper,
	        .cancel = &d->e->stopping,
	        .command = format == TEXT_FORMAT_command ? text_filters_find(d->filters, name) : NULL};
	VX_TRY(text_chunker_new(format == TEXT_FORMAT_command ? "" : "a.md", &t.c)); /* what comes out has headings */
	int rc = text_extract(&cfg, fd, format, doc_take, &t, &err);
	if (rc >= 0)
		rc = text_feed(t.c, NULL, 0, true, emit, u);
	text_chunker_free(t.c);
	if (rc == -VX_ERR_cancelled)
		return -VX_ERR_shutting_down;
	if (rc == -VX_ERR_component_off && format == TEXT_FORMAT_command)
		return -VX_ERR_doc_parser; /* that command is not installed; others may be */
	return rc;
}
