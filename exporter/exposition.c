// SPDX-License-Identifier: MIT
/* OpenMetrics 1.0.0 and the Prometheus text format 0.0.4, which differ in heads, names and the end. */
#include <inttypes.h>
#include <math.h>
#include <stdbool.h>

#include "doc.h"
#include "exposition.h"
#include "utf8.h"

#define NAME_BYTES 128
#define VALUE_BYTES 256

static const struct {
	const char *name, *suffix, *text_name; /* text_name: what the older format calls it */
} types[] = {
	[FAMILY_GAUGE] = {"gauge", "", "gauge"},
	[FAMILY_COUNTER] = {"counter", "_total", "counter"},
	[FAMILY_INFO] = {"info", "_info", "gauge"},
};

const char *exposition_type(enum format format)
{
	static const char *const names[] = {
		[FORMAT_TEXT] = "text/plain; version=0.0.4; charset=utf-8",
		[FORMAT_OPENMETRICS] = "application/openmetrics-text; version=1.0.0; charset=utf-8",
	};

	return names[format];
}

void exposition_sample_name(const struct family *family, char *ret, size_t n)
{
	snprintf(ret, n, "%s%s", family->name, types[family->type].suffix);
}

/* Help and labels escape alike, but for the quote, which the older format leaves in a help. */
static void put_escaped(FILE *f, const char *text, bool quote)
{
	for (; *text; text++) {
		if (*text == '\\' || (quote && *text == '"'))
			fputc('\\', f);
		fputc(*text, f);
	}
}

static void begin(struct exposition *e, const struct family *family)
{
	bool openmetrics = e->format == FORMAT_OPENMETRICS;
	char name[NAME_BYTES];

	if (e->begun == family)
		return;
	e->begun = family;
	if (openmetrics)
		snprintf(name, sizeof(name), "%s", family->name);
	else
		exposition_sample_name(family, name, sizeof(name));
	fprintf(e->f, "# HELP %s ", name);
	put_escaped(e->f, family->help, openmetrics);
	fprintf(e->f, "\n# TYPE %s %s\n", name,
		openmetrics ? types[family->type].name : types[family->type].text_name);
	if (openmetrics && family->unit)
		fprintf(e->f, "# UNIT %s %s\n", name, family->unit);
}

static void put_labels(FILE *f, const struct label *labels)
{
	char clean[VALUE_BYTES];

	for (size_t i = 0; labels && i < LABELS_MAX && labels[i].name; i++) {
		fprintf(f, "%c%s=\"", i ? ',' : '{', labels[i].name);
		put_escaped(f, utf8_clean(clean, sizeof(clean), labels[i].value), true);
		fputc('"', f);
		if (i + 1 == LABELS_MAX || !labels[i + 1].name)
			fputc('}', f);
	}
}

static void put_text(
	struct exposition *e, const struct family *family, const struct label *labels, const char *value)
{
	char name[NAME_BYTES];

	begin(e, family);
	exposition_sample_name(family, name, sizeof(name));
	fputs(name, e->f);
	put_labels(e->f, labels);
	fprintf(e->f, " %s\n", value);
}

void exposition_put(
	struct exposition *e, const struct family *family, const struct label *labels, double value)
{
	char text[DOC_NUMBER];

	if (isfinite(value))
		put_text(e, family, labels, doc_format_number(text, value));
}

void exposition_put_json(struct exposition *e, const struct family *family, const struct label *labels,
	json_object *value, long double scale)
{
	char text[DOC_NUMBER];

	if (json_object_is_type(value, json_type_int) && scale == 1) { /* every digit of it */
		snprintf(text, sizeof(text), "%" PRId64, json_object_get_int64(value));
		put_text(e, family, labels, text);
	} else if (json_object_is_type(value, json_type_int)) {
		exposition_put(e, family, labels, (double)(json_object_get_int64(value) * scale));
	} else if (json_object_is_type(value, json_type_double)) {
		exposition_put(e, family, labels, (double)(json_object_get_double(value) * scale));
	} else if (json_object_is_type(value, json_type_boolean)) {
		exposition_put(e, family, labels, json_object_get_boolean(value));
	}
}

void exposition_end(struct exposition *e)
{
	if (e->format == FORMAT_OPENMETRICS)
		fputs("# EOF\n", e->f);
}
