// SPDX-License-Identifier: MIT
/* The parameter check, each fault with what it tells people and programs. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "jsonx.h"
#include "member.h"
#include "utf8.h"

struct target {
	bool flag;
	uint32_t small;
	uint64_t large;
	char word[8], text[16], lower[8];
	json_object *object;
};

static const char *known_word(size_t i)
{
	static const char *const words[] = {"one", "two", "three", NULL};

	return words[i];
}

static int also_numbered(const char *s)
{
	return s[0] == '#';
}

static bool valid_lower(const char *s)
{
	return s[strspn(s, "abc")] == 0;
}

#define F(f) .name = #f, MEMBER_FIELD(struct target, f)

static const struct member table[] = {
	{F(flag), .type = MEMBER_BOOL},
	{F(small), .type = MEMBER_UINT, .min = 1, .max = 1000},
	{F(large), .type = MEMBER_UINT, .min = 0, .max = INT64_MAX},
	{F(word), .type = MEMBER_STRING, .min = 1, .max = 7, .known = known_word, .also = also_numbered},
	{F(text), .type = MEMBER_STRING, .min = 0, .max = 15},
	{F(lower), .type = MEMBER_STRING, .min = 0, .max = 7, .valid = valid_lower, .form = "of a, b and c"},
	{F(object), .type = MEMBER_OBJECT},
	{},
};

static const struct member needy[] = {
	{F(small), .type = MEMBER_UINT, .required = true, .min = 1, .max = 1000},
	{},
};

static json_object *parse(const char *text)
{
	json_object *obj = json_tokener_parse(text);

	assert_non_null(obj);
	return obj;
}

static void fills_what_is_given(void **state)
{
	_cleanup_json_ json_object *obj =
		parse("{\"flag\":true,\"small\":1000,\"large\":9223372036854775807,\"word\":\"two\",\"text\":"
		      "\"123456789012345\",\"lower\":\"abc\",\"object\":{\"x\":1}}");
	struct target t = {0};
	struct fault fault;

	assert_int_equal(members_parse(table, obj, &t, &fault), 0);
	assert_true(t.flag);
	assert_int_equal(t.small, 1000);
	assert_int_equal(t.large, INT64_MAX);
	assert_string_equal(t.word, "two");
	assert_string_equal(t.text, "123456789012345");
	assert_string_equal(t.lower, "abc");
	assert_int_equal(json_object_get_int(json_at(t.object, "x")), 1);
}

static void keeps_what_is_absent(void **state)
{
	_cleanup_json_ json_object *obj = parse("{\"small\":null,\"text\":null}");
	struct target t = {.small = 7, .text = "seven"};

	assert_int_equal(members_parse(table, NULL, &t, NULL), 0);
	assert_int_equal(members_parse(table, obj, &t, NULL), 0);
	assert_int_equal(t.small, 7);
	assert_string_equal(t.text, "seven");
}

static void names_each_fault(void **state)
{
	static const struct {
		const char *json, *code, *field, *says;
	} cases[] = {
		{"{\"nope\":1}", "unknown_member", "nope", "small"},
		{"{\"no\\u001b[31mpe\":1}", "unknown_member", "no?[31mpe", "no?[31mpe"},
		{"{\"flag\":1}", "wrong_type", "flag", "boolean"},
		{"{\"flag\":\"true\"}", "wrong_type", "flag", "boolean"},
		{"{\"small\":1.0}", "wrong_type", "small", "integer"},
		{"{\"small\":\"1\"}", "wrong_type", "small", "integer"},
		{"{\"small\":true}", "wrong_type", "small", "integer"},
		{"{\"small\":[]}", "wrong_type", "small", "integer"},
		{"{\"word\":1}", "wrong_type", "word", "string"},
		{"{\"object\":[]}", "wrong_type", "object", "object"},
		{"{\"small\":0}", "out_of_range", "small", "from 1 to 1000, not 0"},
		{"{\"small\":1001}", "out_of_range", "small", "not 1001"},
		{"{\"small\":-1}", "out_of_range", "small", "not -1"},
		{"{\"small\":4294967297}", "out_of_range", "small", "not 4294967297"},
		{"{\"large\":-9223372036854775808}", "out_of_range", "large", "-9223372036854775808"},
		{"{\"word\":\"four\"}", "unknown_name", "word", "one, two or three, not \"four\""},
		{"{\"word\":\"\"}", "unknown_name", "word", "one, two or three"},
		{"{\"word\":\"#1234567\"}", "out_of_range", "word", "7 characters"},
		{"{\"word\":\"two\\u0000\"}", "invalid_request", "word", "printable"},
		{"{\"text\":\"1234567890123456\"}", "out_of_range", "text", "not 16"},
		{"{\"text\":\"12345678901\xe2\x82\xac\xe2\x82\xac\"}", "invalid_request", "text",
			"less than 16 bytes"},
		{"{\"text\":\"a\\nb\"}", "invalid_request", "text", "\"a?b\""},
		{"{\"text\":\"\\u001b[2J\"}", "invalid_request", "text", "\"?[2J\""},
		{"{\"text\":\"\\u009b2J\"}", "invalid_request", "text", "\"?2J\""},
		{"{\"lower\":\"abd\"}", "invalid_request", "lower", "of a, b and c, not \"abd\""},
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		_cleanup_json_ json_object *obj = parse(cases[i].json);
		struct target t = {0};
		struct fault fault = {0};

		assert_true(members_parse(table, obj, &t, &fault) < 0);
		if (!str_eq(fault.code, cases[i].code) || !str_eq(fault.field, cases[i].field) ||
			!strstr(fault.text, cases[i].says))
			fail_msg("%s: %s, %s: %s", cases[i].json, fault.code, fault.field, fault.text);
		assert_true(utf8_printable(fault.text));
	}
}

static void misses_what_is_required(void **state)
{
	static const char *const without[] = {"{}", "{\"small\":null}"};
	struct target t;
	struct fault fault = {0};

	for (size_t i = 0; i < ARRAY_SIZE(without); i++) {
		_cleanup_json_ json_object *obj = parse(without[i]);

		assert_true(members_parse(needy, obj, &t, &fault) < 0);
		assert_string_equal(fault.code, "missing_member");
		assert_string_equal(fault.field, "small");
	}
	assert_true(members_parse(needy, NULL, &t, &fault) < 0);
	assert_string_equal(fault.code, "missing_member");
}

static void gives_details(void **state)
{
	static const struct {
		const char *json, *details;
	} cases[] = {
		{"{\"small\":0}", "{\"value\":\"0\",\"min\":1,\"max\":1000}"},
		{"{\"word\":\"x\\ny\"}", "{}"}, /* a control byte: the name is not looked up */
		{"{\"word\":\"xy\"}", "{\"value\":\"xy\",\"known\":[\"one\",\"two\",\"three\"]}"},
		{"{\"flag\":0}", "{\"expected\":\"boolean\"}"},
		{"{\"small\":1.5}", "{\"expected\":\"integer\"}"},
		{"{\"nope\":0}", "{}"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		_cleanup_json_ json_object *obj = parse(cases[i].json), *details = NULL;
		struct target t;
		struct fault fault;

		assert_true(members_parse(table, obj, &t, &fault) < 0);
		details = members_details(table, obj, &fault);
		assert_string_equal(
			json_object_to_json_string_ext(details, JSON_C_TO_STRING_PLAIN), cases[i].details);
	}
}

/* What is echoed stays short and is cut between characters, so that a message is always UTF-8. */
static void cuts_long_values(void **state)
{
	char json[4200] = "{\"text\":\"";
	struct target t;
	struct fault fault;
	json_object *obj;

	for (int i = 0; i < 1000; i++)
		strcat(json, "\xe2\x82\xac");
	strcat(json, "\"}");
	obj = parse(json);
	assert_true(members_parse(table, obj, &t, &fault) < 0);
	assert_string_equal(fault.code, "out_of_range");
	assert_non_null(strstr(fault.text, "not 1000"));
	assert_non_null(strstr(fault.text, "..."));
	assert_true(utf8_printable(fault.text));
	json_drop(obj);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(fills_what_is_given),
		cmocka_unit_test(keeps_what_is_absent),
		cmocka_unit_test(names_each_fault),
		cmocka_unit_test(misses_what_is_required),
		cmocka_unit_test(gives_details),
		cmocka_unit_test(cuts_long_values),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
