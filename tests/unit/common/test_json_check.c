// SPDX-License-Identifier: MIT
/* What json_check() lets through, what it refuses, and where it says the flaw is. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "json_check.h"
#include "macro.h"
#include "utf8.h"

#define DEPTH 8
#define VALUES 256

static int check(const char *text, struct json_flaw *flaw)
{
	return json_check(text, strlen(text), DEPTH, VALUES, flaw);
}

static void accepts_json(void **state)
{
	static const char *const good[] = {
		"{}",
		"[]",
		" \t\r\n{ \"a\" : [ 1 , 2 ] } \n",
		"0",
		"-0",
		"-1.5e-3",
		"1E+2",
		"9223372036854775807",
		"-9223372036854775808",
		"1.7976931348623157e308",
		"-1.7976931348623157e308",
		"0.00000000000000000000000000000000000000017976931348623157e347",
		"179769313486231570000000000000000000000.0e270",
		"0e999999999999999999999",
		"0.0e400",
		"1e-400",
		"true",
		"false",
		"null",
		"\"\"",
		"\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u00e9\"",
		"\"\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\"",
		"\"\\ud83d\\ude00\"",
		"\"\x7f\"",
		"{\"a\":1,\"b\":{\"a\":1},\"c\":{\"a\":1}}",
		"{\"\":1,\"a\":2,\"A\":3}",
		"[[[[[[[[]]]]]]]]",
	};

	for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
		struct json_flaw flaw = {.reason = "none"};

		if (check(good[i], &flaw) != 0)
			fail_msg("%s: refused at %zu: %s", good[i], flaw.offset, flaw.reason);
	}
}

static void refuses_what_is_none(void **state)
{
	static const struct {
		const char *text;
		int error;
		size_t offset;
	} bad[] = {
		{"", -EBADMSG, 0},
		{"   ", -EBADMSG, 3},
		{"{", -EBADMSG, 1},
		{"{]", -EBADMSG, 1},
		{"[1,]", -EBADMSG, 3},
		{"[,1]", -EBADMSG, 1},
		{"[1 2]", -EBADMSG, 3},
		{"{\"a\"}", -EBADMSG, 4},
		{"{\"a\":}", -EBADMSG, 5},
		{"{\"a\":1,}", -EBADMSG, 7},
		{"{a:1}", -EBADMSG, 1},
		{"{'a':1}", -EBADMSG, 1},
		{"{\"a\":1} x", -EBADMSG, 8},
		{"{} {}", -EBADMSG, 3},
		{"NaN", -EBADMSG, 0},
		{"Infinity", -EBADMSG, 0},
		{"-Infinity", -EBADMSG, 1},
		{"nul", -EBADMSG, 0},
		{"TRUE", -EBADMSG, 0},
		{"truex", -EBADMSG, 4},
		{"01", -EBADMSG, 1},
		{"-01", -EBADMSG, 2},
		{"+1", -EBADMSG, 0},
		{".5", -EBADMSG, 0},
		{"1.", -EBADMSG, 2},
		{"1e", -EBADMSG, 2},
		{"1e+", -EBADMSG, 3},
		{"1e+-1", -EBADMSG, 3},
		{"-", -EBADMSG, 1},
		{"0x10", -EBADMSG, 1},
		{"/* */ 1", -EBADMSG, 0},
		{"9223372036854775808", -ERANGE, 0},
		{"[-9223372036854775809]", -ERANGE, 1},
		{"12345678901234567890", -ERANGE, 0},
		{"1e400", -ERANGE, 0},
		{"-1e309", -ERANGE, 0},
		{"1.7976931348623158e308", -ERANGE, 0},
		{"0.1e999999999999999999999999", -ERANGE, 0},
		{"\"a", -EBADMSG, 2},
		{"\"a\\", -EBADMSG, 2},
		{"\"\\x\"", -EBADMSG, 1},
		{"\"\\u12\"", -EBADMSG, 1},
		{"\"\\u0000\"", -EBADMSG, 1},
		{"\"\\ud800\"", -EBADMSG, 1},
		{"\"\\udc00\"", -EBADMSG, 1},
		{"\"\\ud800\\u0041\"", -EBADMSG, 1},
		{"\"\n\"", -EBADMSG, 1},
		{"\"\x1b[31m\"", -EBADMSG, 1},
		{"\"\x80\"", -EBADMSG, 1},
		{"\"\xc0\xaf\"", -EBADMSG, 1},
		{"\"\xe0\x80\xaf\"", -EBADMSG, 1},
		{"\"\xed\xa0\x80\"", -EBADMSG, 1},
		{"\"\xf4\x90\x80\x80\"", -EBADMSG, 1},
		{"\"\xf8\x88\x80\x80\x80\"", -EBADMSG, 1},
		{"\"\xc3\"", -EBADMSG, 1},
		{"\xef\xbb\xbf{}", -EBADMSG, 0},
		{"{\"a\":1,\"a\":2}", -EEXIST, 7},
		{"{\"a\":1,\"\\u0061\":2}", -EEXIST, 7},
		{"{\"x\":{\"\xc3\xa9\":1,\"\\u00E9\":2}}", -EEXIST, 13},
		{"{\"\":1,\"\":2}", -EEXIST, 6},
		{"[[[[[[[[[]]]]]]]]]", -EOVERFLOW, 8},
		{"{\"a\":[{\"a\":[{\"a\":[{\"a\":[{}]}]}]}]}", -EOVERFLOW, 24},
	};

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		struct json_flaw flaw = {.offset = 9999, .reason = "none"};
		int r = check(bad[i].text, &flaw);

		if (r != bad[i].error || flaw.offset != bad[i].offset)
			fail_msg("%s: %d at %zu (%s), not %d at %zu", bad[i].text, r, flaw.offset,
				flaw.reason, bad[i].error, bad[i].offset);
	}
}

static void refuses_a_nul_byte(void **state)
{
	struct json_flaw flaw;

	assert_int_equal(json_check("{}\0", 3, DEPTH, VALUES, &flaw), -EBADMSG);
	assert_int_equal(flaw.offset, 2);
	assert_int_equal(json_check("\"a\0b\"", 5, DEPTH, VALUES, &flaw), -EBADMSG);
	assert_int_equal(flaw.offset, 2);
	assert_int_equal(json_check("{\0}", 3, DEPTH, VALUES, NULL), -EBADMSG);
}

static void reads_no_further_than_told(void **state)
{
	static const char text[] = "{\"a\":\"bcd\",\"e\":-12.5e1}";

	for (size_t n = 0; n < sizeof(text) - 1; n++) {
		/* on the heap, so that a sanitizer sees a read beyond the end */
		_cleanup_free_ char *copy = malloc(n ? n : 1);

		assert_non_null(copy);
		memcpy(copy, text, n);
		assert_int_equal(json_check(copy, n, DEPTH, VALUES, NULL), -EBADMSG);
	}
	assert_int_equal(check(text, NULL), 0);
}

/* n times "item" with ',' between, in brackets. */
static char *repeat(const char *item, size_t n, char open, char close)
{
	size_t len = strlen(item), at = 0;
	char *s = malloc(n * (len + 1) + 3);

	assert_non_null(s);
	s[at++] = open;
	for (size_t i = 0; i < n; i++) {
		if (i)
			s[at++] = ',';
		memcpy(s + at, item, len);
		at += len;
	}
	s[at++] = close;
	s[at] = 0;
	return s;
}

static void counts_values(void **state)
{
	_cleanup_free_ char *fits = repeat("1", VALUES - 1, '[', ']');
	_cleanup_free_ char *over = repeat("1", VALUES, '[', ']');
	_cleanup_free_ char *bomb = repeat("{}", 100000, '[', ']');
	struct json_flaw flaw;

	assert_int_equal(check(fits, &flaw), 0);
	assert_int_equal(check(over, &flaw), -E2BIG);
	assert_int_equal(flaw.offset, strlen(over) - 2);
	assert_int_equal(check(bomb, &flaw), -E2BIG);
	assert_in_range(flaw.offset, 0, 3 * VALUES + 3);
}

static void counts_open_members(void **state)
{
	char *s, *at;

	for (unsigned int n = JSON_CHECK_MEMBERS; n <= JSON_CHECK_MEMBERS + 1; n++) {
		at = s = malloc(n * 16 + 3);
		assert_non_null(s);
		*at++ = '{';
		for (unsigned int i = 0; i < n; i++)
			at += sprintf(at, "%s\"%u\":0", i ? "," : "", i);
		strcpy(at, "}");
		assert_int_equal(
			json_check(s, strlen(s), DEPTH, 100000, NULL), n > JSON_CHECK_MEMBERS ? -E2BIG : 0);
		free(s);
	}
	/* closed objects give their places back */
	s = repeat("{\"a\":0,\"b\":0}", JSON_CHECK_MEMBERS, '[', ']');
	assert_int_equal(json_check(s, strlen(s), DEPTH, 100000, NULL), 0);
	free(s);
}

static void survives_brackets(void **state)
{
	size_t n = 1 << 20;
	char *s = malloc(n + 1);

	assert_non_null(s);
	memset(s, '[', n);
	s[n] = 0;
	assert_int_equal(json_check(s, n, DEPTH, VALUES, NULL), -EOVERFLOW);
	/* also where a caller asks for more than there is */
	assert_int_equal(json_check(s, n, 1000000, 10000000, NULL), -EOVERFLOW);
	s[JSON_CHECK_DEPTH] = ']';
	assert_int_equal(json_check(s, JSON_CHECK_DEPTH + 1, 1000000, 10000000, NULL), -EBADMSG);
	free(s);
}

static void cleans_text(void **state)
{
	char out[16];

	assert_string_equal(utf8_clean(out, sizeof(out), "plain \xc3\xa9"), "plain \xc3\xa9");
	assert_string_equal(utf8_clean(out, sizeof(out), "\x1b[31m\n\x7f\xff"), "?[31m???");
	assert_string_equal(utf8_clean(out, sizeof(out),
				    "\xc2\x9b"
				    "31m"),
		"?31m");
	assert_string_equal(utf8_clean(out, sizeof(out), "123456789012345"), "123456789012345");
	assert_string_equal(utf8_clean(out, sizeof(out), "1234567890123456"), "123456789012...");
	assert_string_equal(utf8_clean(out, sizeof(out),
				    "12345678901\xc3\xa9"
				    "56789"),
		"12345678901...");
	assert_true(utf8_printable("a\xe2\x82\xac"));
	assert_false(utf8_printable("a\xe2\x80\xae"));
	assert_false(utf8_printable("a\tb"));
	assert_false(utf8_printable("\xc3"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(accepts_json),
		cmocka_unit_test(refuses_what_is_none),
		cmocka_unit_test(refuses_a_nul_byte),
		cmocka_unit_test(reads_no_further_than_told),
		cmocka_unit_test(counts_values),
		cmocka_unit_test(counts_open_members),
		cmocka_unit_test(survives_brackets),
		cmocka_unit_test(cleans_text),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
