/* SPDX-License-Identifier: MIT */
/* A table whose columns are as wide as their widest cell, counted in characters of the terminal. */
#pragma once

#include <stddef.h>

#include "out.h"

struct column {
	const char *title; /* NULL in all columns: no title line */
	bool right;        /* figures stand at the right edge */
};

struct table;

/* columns must outlive the table. NULL when out of memory; every function below takes NULL and then does
 * nothing. */
struct table *table_new(const struct column *columns, size_t n);
struct table *table_free(struct table *t);
DEFINE_CLEANUP(struct table *, table_free)

/* The next cell, from left to right; a cell behind the last column begins a new row. */
void table_cell(struct table *t, enum style style, const char *fmt, ...) _printf_(3, 4);
void table_end_row(struct table *t); /* the rest of the row stays empty */

size_t table_rows(const struct table *t);

/* The last column wraps at the terminal's width if it is flush left. -ENOMEM if a cell was lost. */
int table_print(const struct table *t, struct out *o, unsigned int indent);
