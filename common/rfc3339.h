/* SPDX-License-Identifier: MIT */
/* Moments as RFC 3339 text and as nanoseconds since 1970 (UTC). */
#pragma once

#include <stdint.h>

#define RFC3339_TEXT 32 /* bytes that rfc3339_format() needs at most */

/* "2026-01-31T23:59:59.123456Z"; microseconds, rounded down. Returns buf. */
char *rfc3339_format(char buf[RFC3339_TEXT], int64_t ns);

/* A whole date and time with its zone, "Z" or "+01:00"; the fraction is optional. -EINVAL if it is none; *ret
 * is untouched then. */
int rfc3339_parse(const char *s, int64_t *ret);
