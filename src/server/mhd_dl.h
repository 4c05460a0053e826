/* mhd_dl.h - private to server/: libmicrohttpd, loaded when HTTP is asked for and not before.
 *
 * Linked in, it takes GnuTLS and what that needs into every daemon: seven libraries for what most never switch on.  As embed/curl_dl.h. */
#pragma once
#include <microhttpd.h>

struct http_mhd {
	__typeof__(&MHD_add_response_header) add_response_header;
	__typeof__(&MHD_create_response_from_buffer_with_free_callback) create_response_from_buffer_with_free_callback;
	__typeof__(&MHD_destroy_response) destroy_response;
	__typeof__(&MHD_get_connection_info) get_connection_info;
	__typeof__(&MHD_lookup_connection_value) lookup_connection_value;
	__typeof__(&MHD_queue_response) queue_response;
	__typeof__(&MHD_resume_connection) resume_connection;
	__typeof__(&MHD_run) run;
	__typeof__(&MHD_run_wait) run_wait;
	__typeof__(&MHD_start_daemon) start_daemon;
	__typeof__(&MHD_stop_daemon) stop_daemon;
	__typeof__(&MHD_suspend_connection) suspend_connection;
};
extern struct http_mhd http_mhd;
int http_mhd_load(void); /* 0 or -ENOENT; before any call */

#define MHD_add_response_header                            http_mhd.add_response_header
#define MHD_create_response_from_buffer_with_free_callback http_mhd.create_response_from_buffer_with_free_callback
#define MHD_destroy_response                               http_mhd.destroy_response
#define MHD_get_connection_info                            http_mhd.get_connection_info
#define MHD_lookup_connection_value                        http_mhd.lookup_connection_value
#define MHD_queue_response                                 http_mhd.queue_response
#define MHD_resume_connection                              http_mhd.resume_connection
#define MHD_run                                            http_mhd.run
#define MHD_run_wait                                       http_mhd.run_wait
#define MHD_start_daemon                                   http_mhd.start_daemon
#define MHD_stop_daemon                                    http_mhd.stop_daemon
#define MHD_suspend_connection                             http_mhd.suspend_connection
