// SPDX-License-Identifier: MIT
/* Cleaning of text, widths, wrapping, tables, figures and JSON on the way to a terminal. */
#include "samples.h"
#include "table.h"

static void assert_clean(const char *s, bool utf8, const char *expected)
{
	_cleanup_free_ char *clean = text_clean(s, utf8);

	assert_string_equal(clean, expected);
}

static void cleaning(void **state)
{
	assert_clean("plain \xc3\xa9", true, "plain \xc3\xa9");
	assert_clean("plain \xc3\xa9", false, "plain ?");
	assert_clean("\x1b[31m\t\x7f", true, "\\x1b[31m\\x09\\x7f");
	assert_clean("\xc2\x9b"
		     "31m",
		true, "\\xc2\\x9b31m");
	assert_clean("\xe2\x80\xae", true, "\\xe2\\x80\\xae");
	assert_clean("a\xff\xc3", true, "a\\xff\\xc3");
	assert_clean("\xc0\xaf", true, "\\xc0\\xaf");
	assert_clean("", true, "");
}

static void widths(void **state)
{
	assert_int_equal(text_width("abc"), 3);
	assert_int_equal(text_width("\xc3\xa9\xc3\xa9"), 2);
	assert_int_equal(text_width("\xe4\xb8\xad\xe6\x96\x87"), 4);
	assert_int_equal(text_width("e\xcc\x81"), 1);
}

/* Runs write on a stream of this width and compares what came out. */
static void assert_written(unsigned int width, bool clip, void (*write)(struct out *o), const char *expected)
{
	char *text = NULL;
	size_t size;
	struct out o = {.f = open_memstream(&text, &size), .utf8 = true, .width = width, .clip = clip};

	write(&o);
	fclose(o.f);
	assert_string_equal(text, expected);
	free(text);
}

static void write_words(struct out *o)
{
	out_text(o, STYLE_NONE, "ab: ");
	out_wrap(o, STYLE_NONE, "the quick brown fox jumps over tx_pin 12,345 dogs");
}

static void write_wide(struct out *o)
{
	out_text(o, STYLE_NONE, "abc\xe4\xb8\xad\xe6\x96\x87");
	out_text(o, STYLE_NONE, "more");
}

static void wrapping(void **state)
{
	assert_written(0, false, write_words, "ab: the quick brown fox jumps over tx_pin 12,345 dogs");
	assert_written(40, false, write_words, "ab: the quick brown fox jumps over\n    tx_pin 12,345 dogs");
	assert_written(41, false, write_words, "ab: the quick brown fox jumps over\n    tx_pin 12,345 dogs");
	assert_written(10, false, write_words, "ab: the quick brown fox jumps over tx_pin 12,345 dogs");
}

static void clipping(void **state)
{
	assert_written(10, true, write_words, "ab: the qu");
	assert_written(6, true, write_wide, "abc\xe4\xb8\xad");
}

static void write_table(struct out *o)
{
	static const struct column columns[] = {{"name", false}, {"n", true}, {"", false}, {"text", false}};
	struct table *t = table_new(columns, ARRAY_SIZE(columns));

	table_cell(t, STYLE_NONE, "%s", "\xc3\xa9");
	table_cell(t, STYLE_NONE, "%d", 1234);
	table_cell(t, STYLE_NONE, "%s", "");
	table_cell(t, STYLE_NONE, "%s", "x\ny");
	table_cell(t, STYLE_NONE, "%s", "longer name");
	table_cell(t, STYLE_NONE, "%d", 5);
	table_end_row(t);
	assert_int_equal(table_rows(t), 2);
	assert_int_equal(table_print(t, o, 1), 0);
	table_free(t);
}

static void tables(void **state)
{
	assert_written(0, false, write_table,
		" name            n  text\n"
		" \xc3\xa9            1234  x\\x0ay\n"
		" longer name     5\n");
}

static void write_styles(struct out *o)
{
	out_line(o, STYLE_BAD, "no\x1b");
	o->color = true;
	out_line(o, STYLE_BAD, "no\x1b");
	out_line(o, STYLE_NONE, "plain");
}

static void colour_only_when_asked(void **state)
{
	assert_written(0, false, write_styles, "no\\x1b\n\x1b[1;31mno\\x1b\x1b[0m\nplain\n");
}

static void figures(void **state)
{
	assert_string_equal(figure_count(0).s, "0");
	assert_string_equal(figure_count(999).s, "999");
	assert_string_equal(figure_count(5120000).s, "5,120,000");
	assert_string_equal(figure_count(-1024).s, "-1,024");
	assert_string_equal(figure_count(INT64_MIN).s, "-9,223,372,036,854,775,808");
	assert_string_equal(figure_size(65536).s, "64 KiB");
	assert_string_equal(figure_size(1000).s, "1000 B");
	assert_string_equal(figure_mean_size(33554.0).s, "32.8 KiB");
	assert_string_equal(figure_rate(31.419).s, "31.42 Gbit/s");
	assert_string_equal(figure_rate(0.0042).s, "4.2 Mbit/s");
	assert_string_equal(figure_big(12345).s, "12.3 k");
	assert_string_equal(figure_big(999999999).s, "1.00 G");
	assert_string_equal(figure_percent(1, 1).s, "100 %");
	assert_string_equal(figure_percent(0, 1).s, "0 %");
	assert_string_equal(figure_percent(999999, 1000000).s, "over 99.99 %");
	assert_string_equal(figure_percent(1, 1000000).s, "under 0.01 %");
	assert_string_equal(figure_percent(995, 1000).s, "99.50 %");
	assert_int_equal(whole(1e300), INT64_MAX);
}

static void assert_json(const char *in, const char *expected)
{
	_cleanup_json_ json_object *o = json_tokener_parse(in);
	_cleanup_free_ char *text = NULL;
	size_t size;
	FILE *f = open_memstream(&text, &size);

	assert_int_equal(doc_print(f, o, false), 0);
	fclose(f);
	assert_string_equal(text, expected);
}

static void json_is_readable_and_exact(void **state)
{
	assert_json("{\"a\":0.10000000000000001,\"b\":[2.0,1e300,0.30000000000000004]}",
		"{\"a\":0.1,\"b\":[2.0,1e+300,0.30000000000000004]}\n");
	assert_json("{\"n\":9007199254740993,\"u\":18446744073709551615,\"x\":null}",
		"{\"n\":9007199254740993,\"u\":18446744073709551615,\"x\":null}\n");
}

static void json_cannot_steer_a_terminal(void **state)
{
	assert_json("{\"a\":\"\\u001b\\u007f\\u009b/\"}", "{\"a\":\"\\u001b\\u007f\\u009b/\"}\n");
}

static void unknown_members_are_unknown(void **state)
{
	_cleanup_json_ json_object *o =
		json_tokener_parse("{\"n\":{\"value\":null,\"reason\":\"r\"},\"s\":\"1\",\"z\":0,"
				   "\"v\":{\"value\":2.5},\"l\":null,\"l_reason\":\"off\"}");
	double d = -1;
	int64_t i = -1;

	assert_false(doc_number(o, "n", &d));
	assert_false(doc_number(o, "s", &d));
	assert_false(doc_number(o, "none.at.all", &d));
	assert_false(doc_integer(o, "v", &i));
	assert_true(d == -1 && i == -1);
	assert_true(doc_number(o, "v", &d) && d == 2.5);
	assert_true(doc_integer(o, "z", &i) && i == 0);
	assert_string_equal(doc_reason(o, "n"), "r");
	assert_string_equal(doc_reason(o, "l"), "off");
	assert_null(doc_reason(o, "z"));
	assert_int_equal(doc_flag(o, "z"), -1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(cleaning),
		cmocka_unit_test(widths),
		cmocka_unit_test(wrapping),
		cmocka_unit_test(clipping),
		cmocka_unit_test(tables),
		cmocka_unit_test(colour_only_when_asked),
		cmocka_unit_test(figures),
		cmocka_unit_test(json_is_readable_and_exact),
		cmocka_unit_test(json_cannot_steer_a_terminal),
		cmocka_unit_test(unknown_members_are_unknown),
	};

	return cmocka_run_group_tests(tests, use_utf8, NULL);
}
