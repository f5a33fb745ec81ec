/* SPDX-License-Identifier: MIT */
/* Writes families of samples in either format. A family without a sample leaves no line. */
#pragma once

#include <json.h>
#include <stdio.h>

#include "accept.h"

enum family_type { FAMILY_GAUGE, FAMILY_COUNTER, FAMILY_INFO };

struct family {
	const char *name; /* whole, without "_total" and "_info" */
	enum family_type type;
	const char *unit; /* the name's end behind '_'; NULL: none */
	const char *help;
};

struct exposition {
	FILE *f;
	enum format format;
	const struct family *begun; /* its head is written */
};

struct label {
	const char *name, *value; /* value: any text; what is not printable becomes '?' */
};
#define LABELS_MAX 4

/* The content type of a format. */
const char *exposition_type(enum format format);

/* What the samples of a family are called. */
void exposition_sample_name(const struct family *family, char *ret, size_t n);

/* labels: up to LABELS_MAX, ended by a NULL name; NULL: none. Numbers that are not finite are left out. */
void exposition_put(
	struct exposition *e, const struct family *family, const struct label *labels, double value);
/* value times scale. A number that is no number (null: not known) is left out. */
void exposition_put_json(struct exposition *e, const struct family *family, const struct label *labels,
	json_object *value, long double scale);
void exposition_end(struct exposition *e);
