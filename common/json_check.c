// SPDX-License-Identifier: MIT
/* Recursive descent over JSON text; builds nothing. */
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "json_check.h"
#include "macro.h"
#include "utf8.h"

struct key {
	const char *text; /* after the opening quote, known to be valid */
	uint32_t hash;
};

struct scan {
	const char *start, *p, *end;
	unsigned int depth, depth_max;
	size_t values, values_max, keys;
	struct json_flaw flaw;
	struct key key[JSON_CHECK_MEMBERS];
};

static int value(struct scan *s);

static int flaw_at(struct scan *s, const char *where, int error, const char *reason)
{
	s->flaw.offset = where - s->start;
	s->flaw.reason = reason;
	return error;
}

static int flaw(struct scan *s, const char *reason)
{
	return flaw_at(s, s->p, -EBADMSG, reason);
}

/* The byte at p, or -1 at the end. */
static int peek(const struct scan *s)
{
	return s->p < s->end ? (unsigned char)*s->p : -1;
}

static bool accept(struct scan *s, char c)
{
	if (peek(s) != c)
		return false;
	s->p++;
	return true;
}

static void space(struct scan *s)
{
	while (s->p < s->end && (*s->p == ' ' || *s->p == '\t' || *s->p == '\n' || *s->p == '\r'))
		s->p++;
}

static int hex_digit(int c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Four hexadecimal digits at p, or -1. */
static int32_t hex4(const char **p, const char *end)
{
	int32_t v = 0;

	if (end - *p < 4)
		return -1;
	for (int i = 0; i < 4; i++) {
		int d = hex_digit((unsigned char)(*p)[i]);

		if (d < 0)
			return -1;
		v = v << 4 | d;
	}
	*p += 4;
	return v;
}

/* What follows "\u": one unit, or a pair of surrogates. Returns NULL or the reason why it is none. */
static const char *unicode_escape(const char **p, const char *end, uint32_t *ret)
{
	int32_t high = hex4(p, end), low;

	if (high < 0)
		return "\\u needs four hexadecimal digits";
	if (high == 0)
		return "a NUL in a string";
	*ret = high;
	if (high < 0xd800 || high > 0xdfff)
		return NULL;
	if (high > 0xdbff || end - *p < 2 || (*p)[0] != '\\' || (*p)[1] != 'u')
		return "a lone surrogate in a string";
	*p += 2;
	low = hex4(p, end);
	if (low < 0xdc00 || low > 0xdfff)
		return "a lone surrogate in a string";
	*ret = 0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00);
	return NULL;
}

static const char *escape(const char **p, const char *end, uint32_t *ret)
{
	static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
	const char *at;
	char c;

	if (*p == end)
		return "a string without an end";
	c = *(*p)++;
	if (c == 'u')
		return unicode_escape(p, end, ret);
	at = c ? strchr(from, c) : NULL;
	if (!at)
		return "an unknown escape in a string";
	*ret = to[at - from];
	return NULL;
}

/* One character of a string, its escape resolved. Returns NULL or the reason why it is none. */
static const char *character(const char **p, const char *end, uint32_t *ret)
{
	int r;

	if ((unsigned char)**p < 0x20)
		return "a control byte in a string";
	if (**p == '\\') {
		(*p)++;
		return escape(p, end, ret);
	}
	r = utf8_next(*p, end - *p, ret);
	if (r < 0)
		return "a string that is not UTF-8";
	*p += r;
	return NULL;
}

static int string(struct scan *s, uint32_t *ret_hash)
{
	uint32_t hash = 2166136261U, c; /* FNV-1a, over characters */

	if (!accept(s, '"'))
		return flaw(s, "a string must follow");
	while (s->p < s->end && *s->p != '"') {
		const char *at = s->p, *reason = character(&s->p, s->end, &c);

		if (reason)
			return flaw_at(s, at, -EBADMSG, reason);
		hash = (hash ^ c) * 16777619U;
	}
	if (!accept(s, '"'))
		return flaw(s, "a string without an end");
	*ret_hash = hash;
	return 0;
}

/* Compares two strings that are known to be valid; both end with a quote before end. */
static bool same_key(const char *a, const char *b, const char *end)
{
	while (*a != '"' && *b != '"') {
		uint32_t ca = 0, cb = 0;

		character(&a, end, &ca);
		character(&b, end, &cb);
		if (ca != cb)
			return false;
	}
	return *a == *b;
}

/* Reads a member's name; base is the index of the object's first key. */
static int key(struct scan *s, size_t base)
{
	const char *at = s->p;
	uint32_t hash;
	int r;

	if (peek(s) != '"')
		return flaw(s, "a member's name must follow");
	r = string(s, &hash);
	if (r < 0)
		return r;
	for (size_t i = base; i < s->keys; i++)
		if (s->key[i].hash == hash && same_key(s->key[i].text, at + 1, s->end))
			return flaw_at(s, at, -EEXIST, "a member twice");
	if (s->keys == JSON_CHECK_MEMBERS)
		return flaw_at(s, at, -E2BIG, "too many members");
	s->key[s->keys++] = (struct key){.text = at + 1, .hash = hash};
	return 0;
}

static int member(struct scan *s, size_t base)
{
	int r = key(s, base);

	if (r < 0)
		return r;
	space(s);
	if (!accept(s, ':'))
		return flaw(s, "a ':' must follow a member's name");
	return value(s);
}

static int members(struct scan *s)
{
	size_t base = s->keys;
	int r;

	space(s);
	if (accept(s, '}'))
		return 0;
	for (;;) {
		space(s);
		r = member(s, base);
		if (r < 0)
			return r;
		if (accept(s, '}'))
			break;
		if (!accept(s, ','))
			return flaw(s, "a ',' or '}' must follow");
	}
	s->keys = base;
	return 0;
}

static int elements(struct scan *s)
{
	int r;

	space(s);
	if (accept(s, ']'))
		return 0;
	for (;;) {
		r = value(s);
		if (r < 0)
			return r;
		if (accept(s, ']'))
			return 0;
		if (!accept(s, ','))
			return flaw(s, "a ',' or ']' must follow");
	}
}

static int container(struct scan *s, int (*content)(struct scan *s))
{
	int r;

	if (s->depth == s->depth_max)
		return flaw_at(s, s->p, -EOVERFLOW, "nested too deeply");
	s->depth++;
	s->p++;
	r = content(s);
	s->depth--;
	return r;
}

static int literal(struct scan *s, const char *word)
{
	size_t n = strlen(word);

	if ((size_t)(s->end - s->p) < n || memcmp(s->p, word, n) != 0)
		return flaw(s, "not a JSON value");
	s->p += n;
	return 0;
}

static bool is_digit(int c)
{
	return c >= '0' && c <= '9';
}

static bool digits(struct scan *s)
{
	if (!is_digit(peek(s)))
		return false;
	while (is_digit(peek(s)))
		s->p++;
	return true;
}

/* The digits at p, up to end, as an int64. */
static bool fits_int64(const char *p, const char *end, bool negative)
{
	uint64_t v = 0, max = (uint64_t)INT64_MAX + negative;

	for (; p < end; p++) {
		unsigned int d = *p - '0';

		if (v > (max - d) / 10)
			return false;
		v = v * 10 + d;
	}
	return true;
}

/* An exponent, cut at +-1,000,000: far beyond any double, and safe to add to a length. */
static long exponent(const char *p, const char *end)
{
	bool negative = p < end && *p == '-';
	long e = 0;

	if (p < end && (*p == '-' || *p == '+'))
		p++;
	for (; p < end; p++)
		e = MIN(e * 10 + (*p - '0'), 1000000L);
	return negative ? -e : e;
}

/*
 * Whether digits with a fraction or an exponent stay below DBL_MAX = 1.7976931348623157e308, told from the
 * decimal digits alone, so that no locale matters. What differs from it in the 18th digit or later is taken
 * as fitting.
 */
static bool fits_double(const char *p, const char *mantissa_end, long e)
{
	long point =
		0; /* digits before the point, from the first that is not 0 on; negative: zeros after it */
	uint64_t head = 0; /* the first 17 of them */
	unsigned int n = 0;
	bool fraction = false;

	for (; p < mantissa_end; p++) {
		if (*p == '.') {
			fraction = true;
			continue;
		}
		if (n > 0 || *p != '0') {
			if (n < 17)
				head = head * 10 + (*p - '0');
			n++;
			point += !fraction;
		} else {
			point -= fraction;
		}
	}
	if (n == 0)
		return true;
	for (; n < 17; n++)
		head *= 10;
	return point + e < 309 || (point + e == 309 && head <= 17976931348623157ULL);
}

/* The grammar of section 6; *ret_mantissa_end is where the exponent's 'e' stands, or the number's end. */
static int number_shape(struct scan *s, bool *ret_integer, const char **ret_mantissa_end)
{
	bool integer = true;

	if (!accept(s, '0') && !digits(s))
		return flaw(s, "not a JSON value");
	if (is_digit(peek(s)))
		return flaw(s, "a number with a leading zero");
	if (accept(s, '.')) {
		integer = false;
		if (!digits(s))
			return flaw(s, "a digit must follow the point of a number");
	}
	*ret_mantissa_end = s->p;
	if (peek(s) == 'e' || peek(s) == 'E') {
		integer = false;
		s->p++;
		if (!accept(s, '+'))
			accept(s, '-');
		if (!digits(s))
			return flaw(s, "a digit must follow the exponent of a number");
	}
	*ret_integer = integer;
	return 0;
}

static int number(struct scan *s)
{
	const char *at = s->p, *first, *mantissa_end;
	bool negative = accept(s, '-'), integer;
	int r;

	first = s->p;
	r = number_shape(s, &integer, &mantissa_end);
	if (r < 0)
		return r;
	if (integer && !fits_int64(first, s->p, negative))
		return flaw_at(s, at, -ERANGE, "an integer that does not fit 64 bits");
	if (!integer && !fits_double(first, mantissa_end, exponent(MIN(mantissa_end + 1, s->p), s->p)))
		return flaw_at(s, at, -ERANGE, "a number that does not fit a double");
	return 0;
}

static int bare_value(struct scan *s)
{
	uint32_t hash;

	switch (peek(s)) {
	case '{':
		return container(s, members);
	case '[':
		return container(s, elements);
	case '"':
		return string(s, &hash);
	case 't':
		return literal(s, "true");
	case 'f':
		return literal(s, "false");
	case 'n':
		return literal(s, "null");
	case -1:
		return flaw(s, "a value must follow");
	default:
		return number(s);
	}
}

/* A value with the space around it. */
static int value(struct scan *s)
{
	int r;

	space(s);
	if (s->values++ == s->values_max)
		return flaw_at(s, s->p, -E2BIG, "too many values");
	r = bare_value(s);
	if (r < 0)
		return r;
	space(s);
	return 0;
}

int json_check(
	const char *text, size_t len, unsigned int depth_max, size_t values_max, struct json_flaw *reterr)
{
	struct scan s;
	int r;

	s.start = s.p = text;
	s.end = text + len;
	s.depth = 0;
	s.depth_max = MIN(depth_max, JSON_CHECK_DEPTH);
	s.values = s.keys = 0;
	s.values_max = values_max;
	r = value(&s);
	if (r == 0 && s.p < s.end)
		r = flaw(&s, "something after the value");
	if (r < 0 && reterr)
		*reterr = s.flaw;
	return r;
}
