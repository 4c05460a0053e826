/* rest.h - memory given back when a long piece of work is done that is not soon done again. */
#pragma once
/* rest_trim - unmap the code that ran last (it stays in the page cache, and comes back page by page as it is called) and return the heap's free
 * pages.  Opening a store goes once through most of SQLite; a store at rest needs a tenth of it. Any thread. */
void rest_trim(void);
