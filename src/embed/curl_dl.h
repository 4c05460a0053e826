/* curl_dl.h - private to embed/: libcurl, loaded when an endpoint or a model's address is first used and not before.
 *
 * Linked in, it takes thirty libraries (TLS, Kerberos, LDAP) into every daemon: 1.5 MB of relocated pages and 20 MB of address space for
 * what most never use.  Its functions are called by their own names, which stand for pointers here. */
#pragma once
#define CURL_DISABLE_TYPECHECK
#include <curl/curl.h>
#undef curl_easy_setopt
#undef curl_easy_getinfo

struct emb_curl {
	__typeof__(&curl_easy_cleanup) easy_cleanup;
	__typeof__(&curl_easy_getinfo) easy_getinfo;
	__typeof__(&curl_easy_init) easy_init;
	__typeof__(&curl_easy_perform) easy_perform;
	__typeof__(&curl_easy_setopt) easy_setopt;
	__typeof__(&curl_easy_strerror) easy_strerror;
	__typeof__(&curl_free) free;
	__typeof__(&curl_global_init) global_init;
	__typeof__(&curl_slist_append) slist_append;
	__typeof__(&curl_slist_free_all) slist_free_all;
	__typeof__(&curl_url) url;
	__typeof__(&curl_url_cleanup) url_cleanup;
	__typeof__(&curl_url_get) url_get;
	__typeof__(&curl_url_set) url_set;
};
extern struct emb_curl emb_curl;

#define curl_easy_cleanup   emb_curl.easy_cleanup
#define curl_easy_getinfo   emb_curl.easy_getinfo
#define curl_easy_init      emb_curl.easy_init
#define curl_easy_perform   emb_curl.easy_perform
#define curl_easy_setopt    emb_curl.easy_setopt
#define curl_easy_strerror  emb_curl.easy_strerror
#define curl_free           emb_curl.free
#define curl_slist_append   emb_curl.slist_append
#define curl_slist_free_all emb_curl.slist_free_all
#define curl_url            emb_curl.url
#define curl_url_cleanup    emb_curl.url_cleanup
#define curl_url_get        emb_curl.url_get
#define curl_url_set        emb_curl.url_set
