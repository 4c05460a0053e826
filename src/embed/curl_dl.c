/* curl_dl.c - loading libcurl.  By its soname: the interface is that of the headers this was compiled with.  It is never unloaded: TLS
 * libraries leave handlers behind. */
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <string.h>
#include "base/log.h"
#include "embed/curl_dl.h"
#include "embed/embed_int.h"

struct emb_curl emb_curl;
static int loaded = -ENOENT;

static void load(void)
{
	void *lib = dlopen("libcurl.so.4", RTLD_NOW | RTLD_LOCAL), *sym[sizeof emb_curl / sizeof(void *)];
	static const char *const names[] = {/* struct emb_curl's, in its order */
	        "curl_easy_cleanup", "curl_easy_getinfo", "curl_easy_init", "curl_easy_perform", "curl_easy_setopt",
	        "curl_easy_strerror", "curl_free", "curl_global_init", "curl_slist_append", "curl_slist_free_all",
	        "curl_url", "curl_url_cleanup", "curl_url_get", "curl_url_set"};
	_Static_assert(sizeof names == sizeof emb_curl, "a name for each pointer");
	if (!lib) {
		log_msg(LOGL_warn, "libcurl.so.4 cannot be loaded: no embedding endpoint, no fetching of models");
		return;
	}
	for (size_t i = 0; i < sizeof names / sizeof *names; i++)
		if (!(sym[i] = dlsym(lib, names[i])))
			return;
	memcpy(&emb_curl, sym, sizeof emb_curl);
	if (emb_curl.global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK)
		loaded = 0;
}

int emb_curl_init(struct vx_errinfo *reterr)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	pthread_once(&once, load);
	return loaded < 0 ? emb_fail(reterr, loaded, "libcurl (package libcurl4) cannot be loaded", NULL) : 0;
}
