// SPDX-License-Identifier: MIT
/* Reads the media ranges of RFC 9110 as far as two formats need it. */
#include <stdbool.h>
#include <strings.h>

#include "accept.h"
#include "macro.h"

#define QUALITY_MAX 1000 /* q=1 */

struct range {
	const char *type; /* up to a ';' or a ',' */
	size_t n;
	int quality;
	bool other_version; /* of the format, than the one that is spoken here */
};

static const char *skip_blanks(const char *p)
{
	return p + strspn(p, " \t");
}

static bool is(const char *p, size_t n, const char *name)
{
	return n == strlen(name) && strncasecmp(p, name, n) == 0;
}

/* "0.75" as 750: at most three digits behind the dot count. */
static int quality(const char *p)
{
	int q = *p == '1' ? QUALITY_MAX : 0, digit = 100;

	if (q || *p != '0' || p[1] != '.')
		return q;
	for (p += 2; *p >= '0' && *p <= '9'; p++, digit /= 10)
		q += (*p - '0') * digit;
	return q;
}

static bool spoken_version(const char *p)
{
	size_t n;

	p += *p == '"';
	n = strcspn(p, "\"; \t,");
	return is(p, n, "1.0.0");
}

/* One of "; name=value"; returns where the next one begins. */
static const char *take_parameter(const char *p, struct range *r)
{
	size_t n;

	p = skip_blanks(p + 1);
	n = strcspn(p, "=;,");
	if (p[n] == '=' && is(p, n, "q"))
		r->quality = quality(p + n + 1);
	else if (p[n] == '=' && is(p, n, "version"))
		r->other_version = !spoken_version(p + n + 1);
	return p + strcspn(p, ";,");
}

/* Returns where the next range begins, or its end. */
static const char *take_range(const char *p, struct range *ret)
{
	struct range r = {.quality = QUALITY_MAX};

	p = skip_blanks(p);
	r.type = p;
	r.n = strcspn(p, "; \t,");
	for (p += strcspn(p, ";,"); *p == ';';)
		p = take_parameter(p, &r);
	*ret = r;
	return p + (*p == ',');
}

enum format accept_format(const char *accept)
{
	int openmetrics = 0, text = 0;
	struct range r;

	for (const char *p = accept ? accept : ""; *p;) {
		p = take_range(p, &r);
		if (is(r.type, r.n, "application/openmetrics-text") && !r.other_version)
			openmetrics = MAX(openmetrics, r.quality);
		else if (is(r.type, r.n, "text/plain") || is(r.type, r.n, "text/*") || is(r.type, r.n, "*/*"))
			text = MAX(text, r.quality);
	}
	return openmetrics > 0 && openmetrics >= text ? FORMAT_OPENMETRICS : FORMAT_TEXT;
}
