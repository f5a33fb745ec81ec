// SPDX-License-Identifier: MIT
/* Decodes UTF-8 strictly and cleans text for people. */
#include <errno.h>
#include <string.h>

#include "macro.h"
#include "utf8.h"

/* RFC 3629, section 3: the first byte tells the length; min is the smallest value that needs that length. */
static const struct {
	uint8_t mask, lead, length;
	uint32_t min;
} forms[] = {
	{0x80, 0x00, 1, 0},
	{0xe0, 0xc0, 2, 0x80},
	{0xf0, 0xe0, 3, 0x800},
	{0xf8, 0xf0, 4, 0x10000},
};

static int follow(const unsigned char *s, unsigned int form, uint32_t *ret)
{
	uint32_t c = s[0] & (uint8_t)~forms[form].mask;

	for (unsigned int i = 1; i < forms[form].length; i++) {
		if ((s[i] & 0xc0) != 0x80)
			return -EILSEQ;
		c = c << 6 | (s[i] & 0x3f);
	}
	if (c < forms[form].min || c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff))
		return -EILSEQ;
	*ret = c;
	return forms[form].length;
}

int utf8_next(const char *s, size_t len, uint32_t *ret)
{
	const unsigned char *u = (const unsigned char *)s;

	for (unsigned int i = 0; i < ARRAY_SIZE(forms); i++)
		if ((u[0] & forms[i].mask) == forms[i].lead)
			return len < forms[i].length ? -EILSEQ : follow(u, i, ret);
	return -EILSEQ;
}

bool utf8_printable_char(uint32_t c)
{
	static const struct {
		uint32_t first, last;
	} hidden[] = {
		{0x00, 0x1f},       /* C0 */
		{0x7f, 0x9f},       /* DEL and C1: 0x9b is another CSI */
		{0x200e, 0x200f},   /* direction marks */
		{0x2028, 0x202e},   /* separators, embeddings and overrides */
		{0x2066, 0x2069},   /* isolates */
		{0xfeff, 0xfeff},   /* byte order mark */
		{0xfff9, 0xfffb},   /* interlinear annotations */
		{0xe0000, 0xe007f}, /* tags */
	};

	for (unsigned int i = 0; i < ARRAY_SIZE(hidden); i++)
		if (c >= hidden[i].first && c <= hidden[i].last)
			return false;
	return true;
}

size_t utf8_length(const char *s)
{
	size_t left = strlen(s), n = 0;

	while (left > 0) {
		uint32_t c;
		int r = utf8_next(s, left, &c);
		size_t step = r > 0 ? r : 1;

		s += step;
		left -= step;
		n++;
	}
	return n;
}

bool utf8_printable(const char *s)
{
	size_t left = strlen(s);

	while (left > 0) {
		uint32_t c;
		int r = utf8_next(s, left, &c);

		if (r < 0 || !utf8_printable_char(c))
			return false;
		s += r;
		left -= r;
	}
	return true;
}

char *utf8_clean(char *dst, size_t n, const char *src)
{
	size_t left = strlen(src), used = 0, mark = 0;

	while (left > 0) {
		uint32_t c;
		int r = utf8_next(src, left, &c);
		bool keep = r > 0 && utf8_printable_char(c);
		size_t step = r > 0 ? r : 1, put = keep ? step : 1;

		if (used + put >= n) {
			memcpy(dst + mark, "...", 4);
			return dst;
		}
		if (keep)
			memcpy(dst + used, src, put);
		else
			dst[used] = '?';
		used += put;
		if (used + 4 <= n)
			mark = used;
		src += step;
		left -= step;
	}
	dst[used] = 0;
	return dst;
}
