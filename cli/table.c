// SPDX-License-Identifier: MIT
/* Collects cells, then prints them aligned. */
#include <errno.h>
#include <stdarg.h>

#include "table.h"

#define GAP 2 /* columns between cells */

struct cell {
	char *text;
	enum style style;
};

struct table {
	const struct column *columns;
	size_t n_columns, n_cells, allocated;
	struct cell *cells; /* row after row */
	int error;
};

struct table *table_new(const struct column *columns, size_t n)
{
	struct table *t = calloc(1, sizeof(*t));

	if (!t)
		return NULL;
	t->columns = columns;
	t->n_columns = n;
	return t;
}

struct table *table_free(struct table *t)
{
	if (!t)
		return NULL;
	for (size_t i = 0; i < t->n_cells; i++)
		free(t->cells[i].text);
	free(t->cells);
	free(t);
	return NULL;
}

static int table_grow(struct table *t)
{
	size_t n = t->allocated ? 2 * t->allocated : 64;
	struct cell *cells;

	if (t->n_cells < t->allocated)
		return 0;
	cells = reallocarray(t->cells, n, sizeof(*cells));
	if (!cells)
		return -ENOMEM;
	t->cells = cells;
	t->allocated = n;
	return 0;
}

void table_cell(struct table *t, enum style style, const char *fmt, ...)
{
	char *text;
	va_list ap;
	int r;

	if (!t || t->error)
		return;
	t->error = table_grow(t);
	if (t->error)
		return;
	va_start(ap, fmt);
	r = vasprintf(&text, fmt, ap);
	va_end(ap);
	if (r < 0)
		t->error = -ENOMEM;
	else
		t->cells[t->n_cells++] = (struct cell){.text = text, .style = style};
}

void table_end_row(struct table *t)
{
	while (t && !t->error && t->n_cells % t->n_columns)
		table_cell(t, STYLE_NONE, "%s", "");
}

size_t table_rows(const struct table *t)
{
	return t ? t->n_cells / t->n_columns : 0;
}

static unsigned int shown_width(const struct out *o, const char *text)
{
	_cleanup_free_ char *clean = text_clean(text, o->utf8);

	return clean ? text_width(clean) : 0;
}

static unsigned int column_width(const struct table *t, const struct out *o, size_t column)
{
	unsigned int width = t->columns[column].title ? shown_width(o, t->columns[column].title) : 0;

	for (size_t i = column; i < t->n_cells; i += t->n_columns)
		width = MAX(width, shown_width(o, t->cells[i].text));
	return width;
}

/* From the start of a column to the next one's; an empty column takes no room. */
static unsigned int advance(unsigned int width)
{
	return width ? width + GAP : 0;
}

/* Whether anything stands at or behind this cell of its row: padding before nothing would be trailing blanks.
 */
static bool row_is_empty_from(const struct cell *cell, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (*cell[i].text)
			return false;
	return true;
}

static void print_row(const struct table *t, struct out *o, unsigned int indent, const struct cell *row,
	const unsigned int *widths)
{
	unsigned int at = indent;

	for (size_t i = 0; i < t->n_columns && !row_is_empty_from(&row[i], t->n_columns - i); i++) {
		unsigned int width = shown_width(o, row[i].text);

		out_pad(o, t->columns[i].right ? at + widths[i] - width : at);
		if (i + 1 == t->n_columns && !t->columns[i].right)
			out_wrap(o, row[i].style, row[i].text);
		else
			out_text(o, row[i].style, "%s", row[i].text);
		at += advance(widths[i]);
	}
	out_newline(o);
}

static void print_titles(
	const struct table *t, struct out *o, unsigned int indent, const unsigned int *widths)
{
	unsigned int at = indent;

	for (size_t i = 0; i < t->n_columns; i++) {
		const char *title = t->columns[i].title;

		at += i ? advance(widths[i - 1]) : 0;
		if (!title || !*title)
			continue;
		out_pad(o, t->columns[i].right ? at + widths[i] - shown_width(o, title) : at);
		out_text(o, STYLE_DIM, "%s", title);
	}
	out_newline(o);
}

int table_print(const struct table *t, struct out *o, unsigned int indent)
{
	_cleanup_free_ unsigned int *widths = NULL;
	bool titled = false;

	if (!t || t->error)
		return t ? t->error : -ENOMEM;
	widths = calloc(t->n_columns, sizeof(*widths));
	if (!widths)
		return -ENOMEM;
	for (size_t i = 0; i < t->n_columns; i++) {
		widths[i] = column_width(t, o, i);
		titled |= t->columns[i].title != NULL;
	}
	if (titled)
		print_titles(t, o, indent, widths);
	for (size_t i = 0; i + t->n_columns <= t->n_cells; i += t->n_columns)
		print_row(t, o, indent, &t->cells[i], widths);
	return 0;
}
