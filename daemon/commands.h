/* SPDX-License-Identifier: MIT */
/*
 * The methods of the control interface as a table, from the text of a request to the objects of its replies.
 * No socket is needed: the unit tests and the fuzzer come in here.
 */
#pragma once

#include <json.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "macro.h"

struct manager;
struct call; /* a request that is being answered */

enum access {
	ACCESS_READ = 1 << 0,
	ACCESS_RUN = 1 << 1,
};

/*
 * Takes a reply, a whole Varlink message that is borrowed; NULL: there was no memory for it. final: it was
 * the last one, and the call is gone when this function has returned. May not start another call and may not
 * free this one.
 */
typedef void (*call_reply_fn)(json_object *message, bool final, void *userdata);

/*
 * Handles one request of a peer with that access and uid, len bytes without a NUL. Replies come at once or
 * later from the event loop. Returns the call that still waits for replies, or NULL when the last reply was
 * given (or none is due: oneway).
 */
struct call *call_begin(struct manager *m, unsigned int access, uid_t uid, const char *text, size_t len,
	call_reply_fn reply, void *userdata);
/* Forgets a call: nothing more is replied. What it started goes on. NULL is allowed. */
struct call *call_abandon(struct call *c);
DEFINE_CLEANUP(struct call *, call_abandon)

/* The message of error LimitExceeded; the caller owns it. NULL without memory. */
json_object *limit_error(const char *limit, uint64_t value, uint64_t max, const char *text);

/* Name and one-line summary of the i-th method; false after the last. */
bool command_describe(size_t i, const char **ret_method, const char **ret_summary);
