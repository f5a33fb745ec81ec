/* SPDX-License-Identifier: MIT */
/* Sizes and durations as people write and read them. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#define UNITS_TEXT 32 /* bytes that any of the units_format_* functions needs at most */

/*
 * Parse the whole of s; *ret is untouched on failure. -EINVAL: not of this form (empty, sign, space, unknown
 *unit); -ERANGE: of this form, but it does not fit. size: digits and an optional K, M or G (1024^n, either
 *case), with or without "B" or "iB" behind: "64K", "1MiB", "100" duration: digits with an optional decimal
 *fraction and an optional ms, s, m or h; a bare number is seconds: "1.5s". Finer than a millisecond is
 *rounded to the nearest.
 */
int units_parse_size(const char *s, uint64_t *ret);
int units_parse_duration_ms(const char *s, uint64_t *ret);

/* Each writes into buf (n bytes, UNITS_TEXT is enough) and returns buf. */
char *units_format_size(char *buf, size_t n, uint64_t size);   /* parses back to the same: "64K", "1500" */
char *units_format_bytes(char *buf, size_t n, uint64_t bytes); /* decimal, for people: "5.1 GB", "640 B" */
char *units_format_duration(char *buf, size_t n, uint64_t ns); /* for people: "812 ns", "1.25 ms", "5.00 s" */
