/* SPDX-License-Identifier: MIT */
/* Sizes and durations as people write and read them. */
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <strings.h>

#include "macro.h"
#include "units.h"

struct unit {
	const char *name;
	uint64_t factor;
};

static const struct unit size_units[] = {
	{"", 1},
	{"B", 1},
	{"K", 1ULL << 10},
	{"M", 1ULL << 20},
	{"G", 1ULL << 30},
	{"KB", 1ULL << 10},
	{"MB", 1ULL << 20},
	{"GB", 1ULL << 30},
	{"KiB", 1ULL << 10},
	{"MiB", 1ULL << 20},
	{"GiB", 1ULL << 30},
};

static const struct unit duration_units[] = {
	{"", 1000},
	{"ms", 1},
	{"s", 1000},
	{"m", 60 * 1000},
	{"h", 3600 * 1000},
};

static const struct unit *unit_find(const struct unit *units, size_t n, const char *name)
{
	for (size_t i = 0; i < n; i++)
		if (strcasecmp(units[i].name, name) == 0)
			return &units[i];
	return NULL;
}

/* Digits, at least one; *s is moved behind them. A value that does not fit is remembered in *overflow. */
static int parse_digits(const char **s, uint64_t *ret, int *overflow)
{
	uint64_t value = 0;

	if (!isdigit((unsigned char)**s))
		return -EINVAL;
	for (; isdigit((unsigned char)**s); (*s)++)
		if (__builtin_mul_overflow(value, 10, &value) ||
			__builtin_add_overflow(value, (uint64_t)(**s - '0'), &value))
			*overflow = 1;
	*ret = value;
	return 0;
}

int units_parse_size(const char *s, uint64_t *ret)
{
	const struct unit *unit;
	int overflow = 0, r;
	uint64_t value;

	r = parse_digits(&s, &value, &overflow);
	if (r < 0)
		return r;
	unit = unit_find(size_units, ARRAY_SIZE(size_units), s);
	if (!unit)
		return -EINVAL;
	if (overflow || __builtin_mul_overflow(value, unit->factor, &value))
		return -ERANGE;
	*ret = value;
	return 0;
}

/* ".5" and the like: the fraction in billionths; digits beyond the ninth do not count. */
static int parse_fraction(const char **s, uint64_t *ret)
{
	uint64_t value = 0, place = 100000000;

	if (!isdigit((unsigned char)**s))
		return -EINVAL;
	for (; isdigit((unsigned char)**s); (*s)++, place /= 10)
		value += place * (uint64_t)(**s - '0');
	*ret = value;
	return 0;
}

int units_parse_duration_ms(const char *s, uint64_t *ret)
{
	uint64_t value, billionths = 0;
	const struct unit *unit;
	int overflow = 0, r;

	r = parse_digits(&s, &value, &overflow);
	if (r < 0)
		return r;
	if (*s == '.') {
		s++;
		r = parse_fraction(&s, &billionths);
		if (r < 0)
			return r;
	}
	unit = unit_find(duration_units, ARRAY_SIZE(duration_units), s);
	if (!unit)
		return -EINVAL;
	billionths = (billionths * unit->factor + 500000000) / 1000000000;
	if (overflow || __builtin_mul_overflow(value, unit->factor, &value) ||
		__builtin_add_overflow(value, billionths, &value))
		return -ERANGE;
	*ret = value;
	return 0;
}

char *units_format_size(char *buf, size_t n, uint64_t size)
{
	static const struct unit units[] = {{"G", 1ULL << 30}, {"M", 1ULL << 20}, {"K", 1ULL << 10}};

	for (size_t i = 0; i < ARRAY_SIZE(units); i++)
		if (size && size % units[i].factor == 0) {
			snprintf(buf, n, "%" PRIu64 "%s", size / units[i].factor, units[i].name);
			return buf;
		}
	snprintf(buf, n, "%" PRIu64, size);
	return buf;
}

/* 999.95 is where one decimal would round up: "1.0 MB", never "1000.0 kB". */
char *units_format_bytes(char *buf, size_t n, uint64_t bytes)
{
	static const char *const names[] = {"kB", "MB", "GB", "TB", "PB", "EB"};
	double value = (double)bytes / 1000;
	size_t i = 0;

	if (bytes < 1000) {
		snprintf(buf, n, "%" PRIu64 " B", bytes);
		return buf;
	}
	for (; value >= 999.95 && i + 1 < ARRAY_SIZE(names); i++)
		value /= 1000;
	snprintf(buf, n, "%.1f %s", value, names[i]);
	return buf;
}

char *units_format_duration(char *buf, size_t n, uint64_t ns)
{
	static const char *const names[] = {"us", "ms", "s"};
	double value = (double)ns / 1000;
	size_t i = 0;

	if (ns < 1000) {
		snprintf(buf, n, "%" PRIu64 " ns", ns);
		return buf;
	}
	for (; value >= 999.5 && i + 1 < ARRAY_SIZE(names); i++)
		value /= 1000;
	snprintf(buf, n, value < 9.995 ? "%.2f %s" : value < 99.95 ? "%.1f %s" : "%.0f %s", value, names[i]);
	return buf;
}
