// SPDX-License-Identifier: MIT
/* Reads and writes RFC 3339 moments. */
#include <ctype.h>
#include <errno.h>
#include <string.h>
#include <stdio.h>
#include <time.h>

#include "rfc3339.h"

#define NS_PER_S 1000000000LL

char *rfc3339_format(char buf[RFC3339_TEXT], int64_t ns)
{
	time_t s = ns / NS_PER_S;
	struct tm tm;

	gmtime_r(&s, &tm);
	snprintf(buf, RFC3339_TEXT, "%04u-%02u-%02uT%02u:%02u:%02u.%06uZ", (tm.tm_year + 1900) % 10000U,
		(tm.tm_mon + 1) % 100U, tm.tm_mday % 100U, tm.tm_hour % 100U, tm.tm_min % 100U,
		tm.tm_sec % 100U, (unsigned int)(ns % NS_PER_S / 1000));
	return buf;
}

/* ".123456789" in ns; *s is moved behind it. Digits beyond the ninth are dropped. */
static int fraction(const char **s, int64_t *ret)
{
	int64_t ns = 0, unit = NS_PER_S;

	if (**s != '.')
		return 0;
	if (!isdigit((unsigned char)*++*s))
		return -EINVAL;
	for (; isdigit((unsigned char)**s); ++*s) {
		unit /= 10;
		ns += unit * (**s - '0');
	}
	*ret = ns;
	return 0;
}

/* "Z" or an offset from UTC, in seconds; nothing may follow. */
static int zone(const char *s, int64_t *ret)
{
	unsigned int h, m;
	int used = 0;

	if ((*s == 'Z' || *s == 'z') && !s[1])
		return 0;
	if ((*s != '+' && *s != '-') || !isdigit((unsigned char)s[1]) || strlen(s) != 6 ||
		sscanf(s + 1, "%2u:%2u%n", &h, &m, &used) != 2 || used != 5 || h > 23 || m > 59)
		return -EINVAL;
	*ret = (*s == '-' ? -1 : 1) * (int64_t)(h * 3600 + m * 60);
	return 0;
}

int rfc3339_parse(const char *s, int64_t *ret)
{
	int64_t ns = 0, offset = 0;
	struct tm tm = {0};
	const char *rest = strptime(s, "%Y-%m-%dT%H:%M:%S", &tm);

	if (!rest || rest - s != 19 || fraction(&rest, &ns) < 0 || zone(rest, &offset) < 0)
		return -EINVAL;
	if (tm.tm_year < 70 || tm.tm_year > 300)
		return -EINVAL;
	*ret = ((int64_t)timegm(&tm) - offset) * NS_PER_S + ns;
	return 0;
}
