// SPDX-License-Identifier: MIT
/* What a report and a figure do with text that somebody else chose. */
#include "gnuplot.h"
#include "report.h"
#include "samples.h"

static char *written(void (*write)(FILE *f, const char *text), const char *text)
{
	char *out = NULL;
	size_t size;
	FILE *f = open_memstream(&out, &size);

	assert_non_null(f);
	write(f, text);
	fclose(f);
	return out;
}

static void check(void (*write)(FILE *f, const char *text), const char *text, const char *expected)
{
	_cleanup_free_ char *out = written(write, text);

	assert_string_equal(out, expected);
}

static void a_script_element_is_not_left(void **state)
{
	check(report_json, "{\"a\":\"</script><!--&\"}",
		"{\"a\":\"\\u003c/script\\u003e\\u003c!--\\u0026\"}");
	check(report_json,
		"\"a\xe2\x80\xa8"
		"b\xe2\x80\xa9"
		"c\xe2\x80\xa6\"",
		"\"a\\u2028b\\u2029c\xe2\x80\xa6\"");
}

static void text_is_no_markup(void **state)
{
	check(report_text, "<b a=\"1\" b='2'>&", "&#60;b a=&#34;1&#34; b=&#39;2&#39;&#62;&#38;");
	check(report_text, "\x1b[31m", "\\x1b[31m");
}

static void a_string_of_gnuplot_ends_where_it_ends(void **state)
{
	check(gnuplot_string, "a 'b' `c` $d \\", "'a ''b'' `c` $d \\'");
	check(gnuplot_string, "a\nset output", "'a\\x0aset output'");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_script_element_is_not_left),
		cmocka_unit_test(text_is_no_markup),
		cmocka_unit_test(a_string_of_gnuplot_ends_where_it_ends),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
