// SPDX-License-Identifier: MIT
/* What a path's devices say before a run: the first rule that applies, or that it is not known. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "jsonx.h"
#include "path.h"

#define WIRE                                                                                                 \
	{                                                                                                    \
		.name = "eth0", .driver = "e1000", .qdisc = "fq_codel", .mtu = 1500, .sg = 1, .tx_csum = 1   \
	}
#define VIRTUAL(k)                                                                                           \
	{                                                                                                    \
		.name = "v0", .kind = k, .sg = 1, .tx_csum = 1                                               \
	}

static void test_the_first_rule_decides(void **state)
{
	static const struct {
		const char *path;
		struct lg_device device[LG_SIDES];
		const char *cause; /* NULL: nothing forces a copy */
	} cases[] = {
		{"netns:a,b", {WIRE, WIRE}, NULL},
		{"loopback", {VIRTUAL("loopback"), VIRTUAL("loopback")}, "looped to a local socket"},
		{"netns:a,a", {VIRTUAL("loopback"), VIRTUAL("loopback")}, "looped to a local socket"},
		{"veth", {VIRTUAL("veth"), VIRTUAL("veth")}, "looped to a local socket"},
		{"netns:a,b", {VIRTUAL("veth"), VIRTUAL("veth")}, "looped to a local socket"},
		{"netns:a,b", {VIRTUAL("netkit"), VIRTUAL("veth")}, "looped to a local socket"},
		/* One end alone may be bridged to a wire. */
		{"netns:a,b", {VIRTUAL("veth"), WIRE}, NULL},
		{"netns:a,b", {{.name = "eth0", .sg = 0, .tx_csum = 0}, WIRE},
			"device without scatter-gather"},
		{"netns:a,b", {{.name = "eth0", .sg = 1, .tx_csum = 0}, WIRE}, "checksum in software"},
		/* The receiver's device sends only acknowledgements. */
		{"netns:a,b", {WIRE, {.name = "eth1"}}, NULL},
		{"netns:a,b", {{.name = "eth0", .sg = 1, .tx_csum = 1, .tso = 0, .gso = 0}, WIRE}, NULL},
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct path_verdict v = path_verdict(cases[i].path, cases[i].device);

		assert_true(v.known);
		assert_int_equal(v.forces, cases[i].cause != NULL);
		if (cases[i].cause && !str_eq(v.cause, cases[i].cause))
			fail_msg("case %zu: '%s', not '%s'", i, v.cause, cases[i].cause);
	}
}

static void test_a_device_that_does_not_tell(void **state)
{
	struct lg_device device[LG_SIDES] = {{.name = "x", .sg = -1, .tx_csum = 1, .taps = -1}, WIRE};
	_cleanup_json_ json_object *o = path_json("netns:a,b", device);

	assert_false(path_verdict("netns:a,b", device).known);
	assert_null(json_at(o, "forces_copy"));
	assert_non_null(strstr(json_object_get_string(json_at(o, "forces_copy_reason")), "does not tell"));
	assert_null(json_at(o, "sender/sg"));
	assert_null(json_at(o, "sender/taps"));
	assert_int_equal(json_object_array_length(json_at(o, "hints")), 1);
}

static void test_what_comes_and_goes_is_a_hint(void **state)
{
	struct lg_device device[LG_SIDES] = {WIRE, WIRE};
	_cleanup_json_ json_object *plain = path_json("netns:a,b", device), *o = NULL;
	json_object *hints;

	assert_int_equal(json_object_array_length(json_at(plain, "hints")), 0);
	assert_false(json_object_get_boolean(json_at(plain, "forces_copy")));
	assert_null(json_at(plain, "forces_copy_reason"));
	device[LG_RECEIVER].taps = 2;
	str_copy(device[LG_SENDER].qdisc, "netem");
	o = path_json("netns:a,b", device);
	hints = json_at(o, "hints");
	assert_int_equal(json_object_array_length(hints), 2);
	assert_non_null(strstr(
		json_object_get_string(json_object_array_get_idx(hints, 0)), "netem on the sender's eth0"));
	assert_non_null(strstr(json_object_get_string(json_object_array_get_idx(hints, 1)),
		"2 packet sockets on the receiver's"));
	assert_false(json_object_get_boolean(json_at(o, "forces_copy")));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_the_first_rule_decides),
		cmocka_unit_test(test_a_device_that_does_not_tell),
		cmocka_unit_test(test_what_comes_and_goes_is_a_hint),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
