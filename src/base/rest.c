/* rest.c - the pages of programs and libraries that nobody writes to are dropped from this process's tables, segment by segment. */
#include "base/rest.h"

#include <link.h>
#include <malloc.h>
#include <stdint.h>
#include <sys/mman.h>
#include <unistd.h>

static int drop(struct dl_phdr_info *i, size_t n, void *u)
{
	(void)n;
	uintptr_t page = *(const uintptr_t *)u;
	for (unsigned k = 0; k < i->dlpi_phnum; k++) {
		const ElfW(Phdr) *p = &i->dlpi_phdr[k];
		if (p->p_type != PT_LOAD || (p->p_flags & PF_W))
			continue;
		uintptr_t from = (i->dlpi_addr + p->p_vaddr) & ~(page - 1),
		          to = (i->dlpi_addr + p->p_vaddr + p->p_memsz + page - 1) & ~(page - 1);
		(void)madvise(
		        (void *)from, to - from, MADV_DONTNEED); /* private and unwritten: read again from the file */
	}
	return 0;
}

void rest_trim(void)
{
	uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
	(void)dl_iterate_phdr(drop, &page);
	(void)malloc_trim(0);
}
