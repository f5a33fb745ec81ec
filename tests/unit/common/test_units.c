/* SPDX-License-Identifier: MIT */
/* Sizes and durations: what is taken, what is refused, and what is written. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "macro.h"
#include "units.h"

#define UNTOUCHED 0x5a5a5a5a5a5aULL

struct row {
	const char *text;
	int r;
	uint64_t value;
};

static void assert_rows(int (*parse)(const char *, uint64_t *), const struct row *rows, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		uint64_t value = UNTOUCHED, expected = rows[i].r < 0 ? UNTOUCHED : rows[i].value;
		int r = parse(rows[i].text, &value);

		if (r != rows[i].r || value != expected)
			fail_msg("'%s': %d, %llu instead of %d, %llu", rows[i].text, r,
				(unsigned long long)value, rows[i].r, (unsigned long long)expected);
	}
}

static void test_sizes(void **state)
{
	static const struct row rows[] = {
		{"0", 0, 0},
		{"1", 0, 1},
		{"007", 0, 7},
		{"100B", 0, 100},
		{"1K", 0, 1024},
		{"64k", 0, 65536},
		{"1KB", 0, 1024},
		{"1KiB", 0, 1024},
		{"1kib", 0, 1024},
		{"3M", 0, 3 << 20},
		{"1MiB", 0, 1 << 20},
		{"2G", 0, 2ULL << 30},
		{"1GiB", 0, 1 << 30},
		{"18446744073709551615", 0, UINT64_MAX},
		{"17179869183G", 0, 17179869183ULL << 30},
	};

	assert_rows(units_parse_size, rows, ARRAY_SIZE(rows));
}

static void test_sizes_that_are_none(void **state)
{
	static const struct row rows[] = {
		{"", -EINVAL, 0},
		{" 1", -EINVAL, 0},
		{"1 ", -EINVAL, 0},
		{"1 K", -EINVAL, 0},
		{"-1", -EINVAL, 0},
		{"+1", -EINVAL, 0},
		{"K", -EINVAL, 0},
		{"1.5K", -EINVAL, 0},
		{"0x10", -EINVAL, 0},
		{"1T", -EINVAL, 0},
		{"1KK", -EINVAL, 0},
		{"1i", -EINVAL, 0},
		{"1iB", -EINVAL, 0},
		{"1Ki", -EINVAL, 0},
		{"1e3", -EINVAL, 0},
		{"nan", -EINVAL, 0},
		{"99999999999999999999x", -EINVAL, 0},
		{"18446744073709551616", -ERANGE, 0},
		{"99999999999999999999999", -ERANGE, 0},
		{"17179869184G", -ERANGE, 0},
		{"18014398509481984K", -ERANGE, 0},
	};

	assert_rows(units_parse_size, rows, ARRAY_SIZE(rows));
}

static void test_durations(void **state)
{
	static const struct row rows[] = {
		{"0", 0, 0},
		{"5", 0, 5000},
		{"5s", 0, 5000},
		{"1.5s", 0, 1500},
		{"1.5", 0, 1500},
		{"0.0005", 0, 1},
		{"0.0004", 0, 0},
		{"250ms", 0, 250},
		{"250MS", 0, 250},
		{"0.4ms", 0, 0},
		{"0.5ms", 0, 1},
		{"2m", 0, 120000},
		{"1.25m", 0, 75000},
		{"1h", 0, 3600000},
		{"0.1h", 0, 360000},
		{"0.123456789123456789h", 0, 444444},
		{"18446744073709551615ms", 0, UINT64_MAX},
	};

	assert_rows(units_parse_duration_ms, rows, ARRAY_SIZE(rows));
}

static void test_durations_that_are_none(void **state)
{
	static const struct row rows[] = {
		{"", -EINVAL, 0},
		{"s", -EINVAL, 0},
		{".5", -EINVAL, 0},
		{"1.", -EINVAL, 0},
		{"1.s", -EINVAL, 0},
		{"1..5", -EINVAL, 0},
		{"-1", -EINVAL, 0},
		{" 1s", -EINVAL, 0},
		{"1s ", -EINVAL, 0},
		{"1ns", -EINVAL, 0},
		{"1us", -EINVAL, 0},
		{"1d", -EINVAL, 0},
		{"1e3", -EINVAL, 0},
		{"1h30m", -EINVAL, 0},
		{"nan", -EINVAL, 0},
		{"inf", -EINVAL, 0},
		{"18446744073709551615", -ERANGE, 0},
		{"18446744073709551616ms", -ERANGE, 0},
		{"18446744073709551615.5ms", -ERANGE, 0},
		{"5124095576031h", -ERANGE, 0},
	};

	assert_rows(units_parse_duration_ms, rows, ARRAY_SIZE(rows));
}

struct text_row {
	uint64_t value;
	const char *text;
};

static void assert_texts(char *(*format)(char *, size_t, uint64_t), const struct text_row *rows, size_t n)
{
	char buf[UNITS_TEXT];

	for (size_t i = 0; i < n; i++) {
		assert_ptr_equal(format(buf, sizeof(buf), rows[i].value), buf);
		assert_string_equal(buf, rows[i].text);
	}
}

static void test_format_size(void **state)
{
	static const struct text_row rows[] = {
		{0, "0"},
		{1, "1"},
		{1000, "1000"},
		{1024, "1K"},
		{1536, "1536"},
		{65536, "64K"},
		{1 << 20, "1M"},
		{3ULL << 30, "3G"},
		{1ULL << 40, "1024G"},
		{UINT64_MAX, "18446744073709551615"},
	};
	char buf[UNITS_TEXT];
	uint64_t back;

	assert_texts(units_format_size, rows, ARRAY_SIZE(rows));
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		assert_int_equal(
			units_parse_size(units_format_size(buf, sizeof(buf), rows[i].value), &back), 0);
		assert_true(back == rows[i].value);
	}
}

static void test_format_bytes(void **state)
{
	static const struct text_row rows[] = {
		{0, "0 B"},
		{999, "999 B"},
		{1000, "1.0 kB"},
		{999949, "999.9 kB"},
		{999950, "1.0 MB"},
		{5100000000, "5.1 GB"},
		{1000000000000, "1.0 TB"},
		{UINT64_MAX, "18.4 EB"},
	};

	assert_texts(units_format_bytes, rows, ARRAY_SIZE(rows));
}

static void test_format_duration(void **state)
{
	static const struct text_row rows[] = {
		{0, "0 ns"},
		{999, "999 ns"},
		{1000, "1.00 us"},
		{9995, "10.0 us"},
		{12340, "12.3 us"},
		{250000, "250 us"},
		{999500, "1.00 ms"},
		{1250000, "1.25 ms"},
		{5000000000, "5.00 s"},
		{3600000000000, "3600 s"},
	};

	assert_texts(units_format_duration, rows, ARRAY_SIZE(rows));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sizes),
		cmocka_unit_test(test_sizes_that_are_none),
		cmocka_unit_test(test_durations),
		cmocka_unit_test(test_durations_that_are_none),
		cmocka_unit_test(test_format_size),
		cmocka_unit_test(test_format_bytes),
		cmocka_unit_test(test_format_duration),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
