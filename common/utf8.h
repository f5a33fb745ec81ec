/* SPDX-License-Identifier: MIT */
/* UTF-8 as RFC 3629 has it, and what of it may be shown on a terminal or written into a log. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define UTF8_MAX 4 /* bytes of a character at most */

/*
 * Decodes the character at s, of which len > 0 bytes may be read. Returns its length in bytes, or -EILSEQ for
 * what is no UTF-8: a stray or missing continuation byte, an overlong form, a surrogate, a value over
 * U+10FFFF.
 */
int utf8_next(const char *s, size_t len, uint32_t *ret);

/* False for control characters (C0, DEL, C1), line and paragraph separators and marks that turn the direction
 * of text. */
bool utf8_printable_char(uint32_t c);

/* Characters of a text; a byte that is no UTF-8 counts as one. */
size_t utf8_length(const char *s);

/* True if s is UTF-8 and each of its characters is printable. */
bool utf8_printable(const char *s);

/*
 * Copies s into dst of n >= 4 bytes, ended, with '?' for each byte that is not UTF-8 or not printable. What
 * does not fit is cut between characters and "..." marks the cut. Returns dst. src and dst may not overlap.
 */
char *utf8_clean(char *dst, size_t n, const char *src);
