/* curl_dl.h - private to embed/: libcurl, loaded when an endpoint or a model's address is first used and not before.
 *
 * Linked in, it takes thirty libraries (TLS, Kerberos, LDAP) into every daemon: 1.5 MB of relocated pages and 20 MB of address space for
 * what most never use.  Its functions are called by their own names, which stand for pointers here. */
#pragma once
#define CURL_DISABLE_TYPECHECK
#include <curl/curl.h>
#undef curl_easy_setopt
#undef curl_easy_getinfo

#define EMB_CURL_EACH(F)                                                                                               \
	F(easy_cleanup)                                                                                                \
	F(easy_getinfo)                                                                                                \
	F(easy_init) F(easy_perform) F(easy_setopt) F(easy_strerror) F(free) F(global_init) F(slist_append)            \
	        F(slist_free_all) F(url) F(url_cleanup) F(url_get) F(url_set)

struct emb_curl {
#define EMB_CURL_MEMBER(name) __typeof__(&curl_##name) name;
	EMB_CURL_EACH(EMB_CURL_MEMBER)
#undef EMB_CURL_MEMBER
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
