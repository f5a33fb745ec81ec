/* SPDX-License-Identifier: MIT */
/* One HTML file of a dataset that needs nothing else: words, flow of bytes, figures, tables, and all its
 * documents. */
#pragma once

#include "dataset.h"

/* Writes it. no_figures: NULL, or filled (n bytes) with why there are none, as without gnuplot; the report
 * says so too and is whole otherwise. -ENOMEM, or what the stream came to. */
int report_write(const struct dataset *d, FILE *f, char *ret_no_figures, size_t n);

/* What stands inside a script element: no '<', '>' or '&', and no end of a line that only JavaScript knows.
 */
void report_json(FILE *f, const char *json);
/* Text between tags, or in an attribute. */
void report_text(FILE *f, const char *text);
