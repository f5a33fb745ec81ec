/* SPDX-License-Identifier: MIT */
/*
 * A strict look at JSON text (RFC 8259) before any parser builds objects from it: a message that passes has
 * one value, bounded depth and size, no member twice, only valid UTF-8, and only numbers that int64 or double
 * can hold.
 */
#pragma once

#include <stddef.h>

#define JSON_CHECK_DEPTH 64U    /* nesting that can be asked for at most */
#define JSON_CHECK_MEMBERS 512U /* members of all objects that are open at one place */

struct json_flaw {
	size_t offset;      /* of the byte at fault */
	const char *reason; /* a static text: "a member twice" */
};

/*
 * Returns 0, or fills *reterr (NULL is allowed) and returns
 *   -EBADMSG   not JSON, not UTF-8, or a NUL (also as \u0000) or lone surrogate in a string
 *   -ERANGE    an integer that does not fit int64, or another number that does not fit a double
 *   -EEXIST    a member twice in one object (names compared after their escapes are resolved)
 *   -EOVERFLOW deeper than depth_max (which is at most JSON_CHECK_DEPTH)
 *   -E2BIG     more than values_max values, or more than JSON_CHECK_MEMBERS members
 * Takes no memory but about 10 KiB of stack; time is linear in len for a bounded number of members.
 */
int json_check(
	const char *text, size_t len, unsigned int depth_max, size_t values_max, struct json_flaw *reterr);
