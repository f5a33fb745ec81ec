// SPDX-License-Identifier: MIT
/* Which format a header Accept asks for. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "accept.h"
#include "macro.h"

#define OM "application/openmetrics-text"

static const struct {
	const char *accept;
	enum format format;
} cases[] = {
	{NULL, FORMAT_TEXT},
	{"", FORMAT_TEXT},
	{"*/*", FORMAT_TEXT},
	{"text/html,application/xhtml+xml,*/*;q=0.8", FORMAT_TEXT},
	{OM, FORMAT_OPENMETRICS},
	{OM "; version=1.0.0", FORMAT_OPENMETRICS},
	{OM ";version=\"1.0.0\"; charset=utf-8", FORMAT_OPENMETRICS},
	{"APPLICATION/OpenMetrics-Text", FORMAT_OPENMETRICS},
	/* what Prometheus sends */
	{OM ";version=1.0.0," OM ";version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
		FORMAT_OPENMETRICS},
	{OM ";version=0.0.1,text/plain;version=0.0.4;q=0.5,*/*;q=0.1", FORMAT_TEXT},
	{OM ";version=2.0.0", FORMAT_TEXT},
	{OM ";q=0", FORMAT_TEXT},
	{OM ";q=0.000", FORMAT_TEXT},
	{OM ";q=0.5, text/plain", FORMAT_TEXT},
	{OM ";q=0.5, text/plain;q=0.501", FORMAT_TEXT},
	{OM ";q=0.501, text/plain;q=0.5", FORMAT_OPENMETRICS},
	{"text/plain;q=0.9 , " OM " ; q=1.0", FORMAT_OPENMETRICS},
	{OM ", */*", FORMAT_OPENMETRICS},
	{"text/*, " OM ";q=0.9", FORMAT_TEXT},
	{"application/openmetrics-text2", FORMAT_TEXT},
	{"application/openmetrics", FORMAT_TEXT},
	{",,,;;;===,q=1,;q=", FORMAT_TEXT},
	{OM ";", FORMAT_OPENMETRICS},
	{OM ";q", FORMAT_OPENMETRICS},
	{OM ";q=x", FORMAT_TEXT},
	{OM ";q=0.99999999999999999999", FORMAT_OPENMETRICS},
	{OM ";version=", FORMAT_TEXT},
};

static void chooses(void **state)
{
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		if (accept_format(cases[i].accept) != cases[i].format)
			fail_msg("Accept: %s", cases[i].accept ? cases[i].accept : "(none)");
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(chooses)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
