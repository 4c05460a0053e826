/* mhd_dl.c - loading libmicrohttpd.  By its soname: the interface is that of the headers this was compiled with. */
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <string.h>
#include "base/log.h"
#include "server/mhd_dl.h"

struct http_mhd http_mhd;
static int loaded = -ENOENT;

static void load(void)
{
	void *lib = dlopen("libmicrohttpd.so.12", RTLD_NOW | RTLD_LOCAL), *sym[sizeof http_mhd / sizeof(void *)];
	static const char *const names[] = {/* struct http_mhd's, in its order */
	        "MHD_add_response_header", "MHD_create_response_from_buffer_with_free_callback", "MHD_destroy_response",
	        "MHD_get_connection_info", "MHD_lookup_connection_value", "MHD_queue_response", "MHD_resume_connection",
	        "MHD_run", "MHD_run_wait", "MHD_start_daemon", "MHD_stop_daemon", "MHD_suspend_connection"};
	_Static_assert(sizeof names == sizeof http_mhd, "a name for each pointer");
	if (!lib) {
		log_msg(LOGL_error, "libmicrohttpd.so.12 cannot be loaded (package libmicrohttpd12): no HTTP");
		return;
	}
	for (size_t i = 0; i < sizeof names / sizeof *names; i++)
		if (!(sym[i] = dlsym(lib, names[i])))
			return;
	memcpy(&http_mhd, sym, sizeof http_mhd);
	loaded = 0;
}

int http_mhd_load(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	pthread_once(&once, load);
	return loaded;
}
