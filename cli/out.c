// SPDX-License-Identifier: MIT
/* Prints cleaned text, with styles where the stream takes them. */
#include <ctype.h>
#include <inttypes.h>
#include <langinfo.h>
#include <limits.h>
#include <stdarg.h>
#include <sys/ioctl.h>
#include <wchar.h>

#include "out.h"
#include "utf8.h"

#define WIDTH_DEFAULT 80 /* of a terminal that does not tell */
#define WRAP_MIN 24      /* columns below which wrapping makes a text worse */

static const char *const sgr[] = {
	[STYLE_NONE] = "",
	[STYLE_BOLD] = "\x1b[1m",
	[STYLE_DIM] = "\x1b[2m",
	[STYLE_GOOD] = "\x1b[32m",
	[STYLE_BAD] = "\x1b[1;31m",
	[STYLE_NOTE] = "\x1b[33m",
};

static unsigned int terminal_width(int fd)
{
	struct winsize ws;

	if (ioctl(fd, TIOCGWINSZ, &ws) < 0 || ws.ws_col == 0)
		return WIDTH_DEFAULT;
	return ws.ws_col;
}

struct out out_for(FILE *f)
{
	const char *term = getenv("TERM"), *no_color = getenv("NO_COLOR");
	bool tty = isatty(fileno(f));

	return (struct out){
		.f = f,
		.color = tty && term && !str_eq(term, "dumb") && !(no_color && *no_color),
		.utf8 = str_eq(nl_langinfo(CODESET), "UTF-8"),
		.width = tty ? terminal_width(fileno(f)) : 0,
	};
}

char *text_clean(const char *s, bool utf8)
{
	size_t left = strlen(s);
	char *clean = malloc(4 * left + 1), *p = clean;
	uint32_t c;
	int n;

	if (!clean)
		return NULL;
	for (; left > 0; s += n, left -= (size_t)n) {
		n = utf8_next(s, left, &c);
		if (n < 0 || !utf8_printable_char(c)) {
			n = n < 0 ? 1 : n;
			for (int i = 0; i < n; i++)
				p += sprintf(p, "\\x%02x", (unsigned char)s[i]);
		} else if (n > 1 && !utf8) {
			*p++ = '?';
		} else {
			p = mempcpy(p, s, (size_t)n);
		}
	}
	*p = '\0';
	return clean;
}

static unsigned int char_width(uint32_t c)
{
	int width = c < 0x80 ? 1 : wcwidth((wchar_t)c);

	return width >= 0 ? (unsigned int)width : 1;
}

/* Bytes of the start of a clean text that fit into this many columns. */
static size_t text_fitting(const char *clean, unsigned int columns, unsigned int *ret_width)
{
	size_t length = strlen(clean), at = 0;
	unsigned int width = 0;
	uint32_t c;
	int n;

	for (; at < length; at += (size_t)n) {
		n = utf8_next(clean + at, length - at, &c);
		if (n < 0 || width + char_width(c) > columns)
			break;
		width += char_width(c);
	}
	*ret_width = width;
	return at;
}

unsigned int text_width(const char *clean)
{
	unsigned int width;

	text_fitting(clean, UINT_MAX / 2, &width);
	return width;
}

static void put(struct out *o, enum style style, char *clean)
{
	unsigned int room = o->width > o->column ? o->width - o->column : 0, width;

	size_t fits = text_fitting(clean, o->clip && o->width ? room : UINT_MAX / 2, &width);

	o->column = clean[fits] ? o->width : o->column + width; /* behind a cut nothing follows */
	clean[fits] = '\0';
	if (o->color && style != STYLE_NONE && *clean)
		fprintf(o->f, "%s%s\x1b[0m", sgr[style], clean);
	else
		fputs(clean, o->f);
}

static void put_format(struct out *o, enum style style, const char *fmt, va_list ap)
{
	_cleanup_free_ char *raw = NULL, *clean = NULL;

	if (vasprintf(&raw, fmt, ap) < 0) {
		raw = NULL;
		return;
	}
	clean = text_clean(raw, o->utf8);
	if (clean)
		put(o, style, clean);
}

void out_text(struct out *o, enum style style, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	put_format(o, style, fmt, ap);
	va_end(ap);
}

void out_line(struct out *o, enum style style, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	put_format(o, style, fmt, ap);
	va_end(ap);
	out_newline(o);
}

void out_newline(struct out *o)
{
	fputc('\n', o->f);
	o->column = 0;
}

void out_pad(struct out *o, unsigned int column)
{
	if (column > o->column)
		out_text(o, STYLE_NONE, "%*s", (int)(column - o->column), "");
}

/* Bytes of the words at the start of text that fit into this many columns; one word at least. A figure stays
 * with the word before it. */
static size_t words_fitting(const char *text, unsigned int columns)
{
	unsigned int width;
	size_t fits = text_fitting(text, columns, &width), end = fits;

	if (!text[fits])
		return fits;
	while (end > 0 && (text[end] != ' ' || isdigit((unsigned char)text[end + 1])))
		end--;
	return end > 0 ? end : strcspn(text, " ");
}

void out_wrap(struct out *o, enum style style, const char *text)
{
	_cleanup_free_ char *clean = text_clean(text, o->utf8);
	unsigned int indent = o->column;

	if (!clean)
		return;
	if (o->width < indent + WRAP_MIN || o->clip) {
		put(o, style, clean);
		return;
	}
	for (char *p = clean; *p;) {
		size_t n = words_fitting(p, o->width - indent);
		char *next = p + n + strspn(p + n, " ");

		p[n] = '\0';
		put(o, style, p);
		p = next;
		if (*p) {
			out_newline(o);
			out_pad(o, indent);
		}
	}
}

int64_t whole(double n)
{
	return n >= 9.2e18 ? INT64_MAX : n <= -9.2e18 ? INT64_MIN : (int64_t)n;
}

struct figure figure_count(int64_t n)
{
	char digits[24];
	struct figure f;
	char *p = f.s;
	int len = snprintf(digits, sizeof(digits), "%" PRIu64, n < 0 ? -(uint64_t)n : (uint64_t)n);

	if (n < 0)
		*p++ = '-';
	for (int i = 0; i < len; i++) {
		if (i > 0 && (len - i) % 3 == 0)
			*p++ = ',';
		*p++ = digits[i];
	}
	*p = '\0';
	return f;
}

struct figure figure_bytes(double bytes)
{
	struct figure f;

	units_format_bytes(f.s, sizeof(f.s), (uint64_t)whole(MAX(bytes, 0)));
	return f;
}

struct figure figure_size(int64_t size)
{
	static const char *const names[] = {"B", "KiB", "MiB", "GiB"};
	struct figure f;
	size_t i = 0;

	for (; size && size % 1024 == 0 && i + 1 < ARRAY_SIZE(names); i++)
		size /= 1024;
	snprintf(f.s, sizeof(f.s), "%" PRId64 " %s", size, names[i]);
	return f;
}

struct figure figure_mean_size(double size)
{
	static const char *const names[] = {"B", "KiB", "MiB", "GiB"};
	struct figure f;
	size_t i = 0;

	for (; size >= 1023.95 && i + 1 < ARRAY_SIZE(names); i++)
		size /= 1024;
	snprintf(f.s, sizeof(f.s), "%.1f %s", size, names[i]);
	return f;
}

struct figure figure_rate(double gbps)
{
	struct figure f;

	if (gbps >= 1)
		snprintf(f.s, sizeof(f.s), gbps < 99.995 ? "%.2f Gbit/s" : "%.1f Gbit/s", gbps);
	else if (gbps * 1e3 >= 1)
		snprintf(f.s, sizeof(f.s), "%.1f Mbit/s", gbps * 1e3);
	else
		snprintf(f.s, sizeof(f.s), "%.1f kbit/s", gbps * 1e6);
	return f;
}

struct figure figure_duration(double ns)
{
	struct figure f;

	units_format_duration(f.s, sizeof(f.s), (uint64_t)whole(MAX(ns + 0.5, 0)));
	return f;
}

struct figure figure_big(double n)
{
	static const char *const names[] = {"", " k", " M", " G", " T", " P"};
	struct figure f;
	size_t i = 0;

	if (n >= 0 && n < 10000 && n == (double)(int64_t)n) {
		snprintf(f.s, sizeof(f.s), "%.0f", n);
		return f;
	}
	for (; n >= 999.5 && i + 1 < ARRAY_SIZE(names); i++)
		n /= 1000;
	snprintf(f.s, sizeof(f.s), n < 9.995 ? "%.2f%s" : n < 99.95 ? "%.1f%s" : "%.0f%s", n, names[i]);
	return f;
}

struct figure figure_percent(double part, double whole)
{
	double p = whole > 0 ? 100 * part / whole : 0;
	struct figure f;

	if (p > 0 && p < 0.01)
		snprintf(f.s, sizeof(f.s), "under 0.01 %%");
	else if (p > 99.99 && p < 100)
		snprintf(f.s, sizeof(f.s), "over 99.99 %%");
	else if (p == 0 || p == 100 || (p >= 10 && p < 99))
		snprintf(f.s, sizeof(f.s), "%.0f %%", p);
	else
		snprintf(f.s, sizeof(f.s), "%.2f %%", p);
	return f;
}
