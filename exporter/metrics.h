/* SPDX-License-Identifier: MIT */
/* The metrics as one table, which makes the exposition and the document that lists them. */
#pragma once

#include "exposition.h"
#include "scrape.h"

/* All that a scrape found. */
void metrics_write(struct exposition *e, const struct scrape *s);

/* The table of doc/metrics.md. */
void metrics_document(FILE *f);
