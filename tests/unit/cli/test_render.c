// SPDX-License-Identifier: MIT
/* Results as text: the ledger, the sentence and the exit status, and that nothing unknown turns into a
 * figure. */
#include "samples.h"

static char *shown(json_object *result)
{
	return rendered(render_result, result);
}

static void zero_copy_copied_after_all(void **state)
{
	_cleanup_json_ json_object *o = sample();
	_cleanup_free_ char *text = shown(o);

	assert_has(
		text, "zero-copy, messages of 64 KiB in 8 fields, 4 threads, stream over loopback, 5.00 s\n");
	assert_has(text, "31.41 Gbit/s");
	assert_has(text, "10,000 messages/s");
	assert_has(text, "p99 1.25 ms");
	assert_has(text, "tx_deferred_copy  5.1 MB      1.00    80  62.5 KiB  skb_copy_ubufs\n");
	assert_has(text, "tx_copy              0 B      0.00     0         -  derived: tcp_sendmsg_locked\n");
	assert_has(text, "copies per byte  2.00 = tx_deferred_copy 1.00 + rx_copy 1.00\n");
	assert_has(text, "nothing at: app_pack, skb_copy\n");
	assert_has(text, "not visible here: rx_map: no such function\n");
	assert_has(text, "80 sends; completions say 0 zero-copied, 80 copied; ENOBUFS 3\n");
	assert_has(text,
		"\nzero-copy asked, 100 % of 5.1 MB copied after all: the path loops to a local socket\n");
	assert_int_equal(result_status(o), STATUS_OK);
}

static void equations(void **state)
{
	_cleanup_json_ json_object *o = sample();
	_cleanup_free_ char *text = shown(o);

	assert_has(text, "accepted  ok           bytes returned 5,120,000 = bytes accepted 5,120,000\n");
	assert_has(text, "sent      ok           accepted 5,120,000 = tx_copy 0 + tx_pin 5,120,000\n");
	assert_has(text, "received  unavailable  rx_map cannot be seen\n");
	assert_has(text, "books: balanced, exact (2 of 3 equations can be checked here)\n");
}

static void counters_group_their_reasons(void **state)
{
	_cleanup_json_ json_object *o = sample();
	_cleanup_free_ char *text = shown(o);

	assert_has(text, "task_clock        2.50 ms   1.50 ms\n");
	assert_has(text, "context_switches    1,234         0\n");
	assert_has(text, "cycles, instructions: not counted: no PMU\n");
	assert_has(text, "per byte      0.781 ns of CPU\n");
}

static void the_hooks_cost_where_it_was_timed(void **state)
{
	_cleanup_json_ json_object *o = sample();
	_cleanup_free_ char *text = shown(o), *timed = NULL, *in_part = NULL;

	assert_lacks(text, "hooks  ");
	change(o, "instrument",
		"{\"hooks\":[{},{},{}],\"hook_runs\":12345,\"hook_ns\":2500000,\"load_cpu_ns\":50000000,"
		"\"hook_share\":0.05}");
	timed = shown(o);
	assert_has(
		timed, "hooks         12,345 runs of 3 hooks took 2.50 ms, 5.00 % of the load's CPU time\n");
	change(o, "instrument.hook_share", "{\"value\":null,\"reason\":\"a watch\"}");
	in_part = shown(o);
	assert_has(in_part, "hooks took 2.50 ms (timed for a part of the run)\n");
}

static void unbalanced_books(void **state)
{
	_cleanup_json_ json_object *o = sample();
	_cleanup_free_ char *text = NULL;

	change(o, "ledger.balance",
		"[" EQUATION(
			"sent", "accepted = tx_copy + tx_pin", "5121024", "5120000", "1024", "false") "]");
	change(o, "ledger.balanced", "false");
	change(o, "ledger.exact", "false");
	change(o, "ledger.gap", "{\"tx\":1024,\"rx\":0}");
	change(o, "ledger.misses", "[{\"program\":\"site_TX_PIN\",\"misses\":88}]");
	text = shown(o);
	assert_has(text,
		"sent  DIFFERS  accepted 5,121,024 = tx_copy 0 + tx_pin 5,120,000   difference 1,024\n");
	assert_has(text, "books: they do NOT balance, not exact");
	assert_has(text, "gap: 1,024 bytes sent and 0 received");
	assert_has(text, "the kernel skipped site_TX_PIN 88 times");
	assert_has(text, "; the books do not balance: 'sent' is off by 1,024 bytes\n");
	assert_int_equal(result_status(o), STATUS_UNBALANCED);
}

static void two_copy_names_each_copy(void **state)
{
	_cleanup_json_ json_object *o = sample();
	_cleanup_free_ char *sentence = NULL;

	change(o, "spec.mode", "\"two-copy\"");
	change(o, "zerocopy.verdict", "\"none\"");
	change(o, "ledger.copies_per_byte",
		"{\"app_pack\":1.0,\"tx_copy\":1.0,\"tx_deferred_copy\":0.0,\"rx_copy\":1.0,\"total\":3.0}");
	sentence = result_sentence(o);
	assert_string_equal(sentence,
		"two-copy: each delivered byte was copied 3.00 times: packed 1.00, user to "
		"kernel 1.00, kernel to user 1.00");
}

static void a_site_that_is_not_seen_makes_a_lower_bound(void **state)
{
	_cleanup_json_ json_object *o = sample();
	_cleanup_free_ char *sentence = NULL, *text = NULL;

	change(o, "spec.mode", "\"one-copy\"");
	change(o, "ledger.copies_per_byte",
		"{\"tx_copy\":1.0,\"skb_copy\":null,\"rx_copy\":1.0,\"total\":2.0,"
		"\"lower_bound\":true}");
	sentence = result_sentence(o);
	text = shown(o);
	assert_has(sentence, "was copied at least 2.00 times");
	assert_has(text, "a lower bound");
}

static void really_zero_copied(void **state)
{
	_cleanup_json_ json_object *o = sample();
	_cleanup_free_ char *sentence = NULL;

	change(o, "zerocopy.verdict", "\"zero-copied\"");
	change(o, "ledger.copies_per_byte", "{\"tx_deferred_copy\":0.0,\"rx_copy\":1.0,\"total\":1.0}");
	sentence = result_sentence(o);
	assert_string_equal(sentence,
		"zero-copy: the sender's 5.1 MB left without a copy; each delivered byte was "
		"copied 1.00 times: kernel to user 1.00");
}

static void a_mixed_run_is_not_rounded_to_all(void **state)
{
	_cleanup_json_ json_object *o = sample();
	_cleanup_free_ char *sentence = NULL;

	change(o, "zerocopy.verdict", "\"mixed\"");
	change(o, "zerocopy.copied_share", "0.99999");
	sentence = result_sentence(o);
	assert_has(sentence, "over 99.99 % of 5.1 MB copied after all");
}

static void put_site(json_object *o, const char *site, int64_t bytes)
{
	json_object_object_add(ledger_site(doc_at(o, "ledger"), site), "bytes", json_object_new_int64(bytes));
}

/* A device without scatter-gather copies pinned pages into one buffer, and tells nobody that they were
 * pinned. */
static void what_copied_after_all_is_named(void **state)
{
	_cleanup_json_ json_object *o = sample();
	_cleanup_free_ char *moved = NULL, *unpinned = NULL, *partly = NULL, *unknown = NULL;

	change(o, "zerocopy.cause", "\"device without scatter-gather\"");
	put_site(o, "tx_deferred_copy", 0);
	put_site(o, "skb_copy", 5120000);
	moved = result_sentence(o);
	assert_string_equal(moved, "zero-copy asked, 100 % of 5.1 MB copied after all by skb_copy: device "
				   "without scatter-gather");
	put_site(o, "skb_copy", 0);
	put_site(o, "tx_pin", 0);
	unpinned = result_sentence(o);
	assert_has(unpinned, "100 % of 5.1 MB copied after all by tx_copy: ");
	put_site(o, "tx_pin", 5120000);
	put_site(o, "skb_copy", 9000000); /* of these a full receive queue merged most */
	put_site(o, "tx_deferred_copy", 1000000);
	change(o, "zerocopy.copied_share", "0.25");
	partly = result_sentence(o);
	assert_has(partly, "zero-copy asked, 25 % of 5.1 MB copied after all: ");
	change(o, "zerocopy.copied_share", "null");
	unknown = result_sentence(o);
	assert_has(unknown, "zero-copy asked, some of it copied after all: ");
}

static void no_verdict_without_the_sites(void **state)
{
	_cleanup_json_ json_object *o = sample();
	_cleanup_free_ char *sentence = NULL;

	change(o, "ledger", "null");
	change(o, "ledger_reason", "\"the ledger was off\"");
	change(o, "zerocopy", "{\"verdict\":\"none\",\"cause\":null}");
	sentence = result_sentence(o);
	assert_string_equal(sentence,
		"zero-copy asked, but no page was pinned; its copies were not counted: the "
		"ledger was off");
}

static void ledger_off(void **state)
{
	_cleanup_json_ json_object *o = sample();
	_cleanup_free_ char *text = NULL;

	change(o, "ledger", "null");
	change(o, "ledger_reason", "\"the ledger was off\"");
	text = shown(o);
	assert_has(text, "ledger        the ledger was off\n");
	assert_lacks(text, "books:");
	assert_lacks(text, "copies per byte");
	assert_int_equal(result_status(o), STATUS_OK);
}

static void failed_run(void **state)
{
	_cleanup_json_ json_object *o = sample();
	_cleanup_free_ char *text = NULL;

	change(o, "state", "\"failed\"");
	change(o, "error",
		"{\"code\":\"child_killed\",\"message\":\"the load generator was killed by SIGKILL\"}");
	change(o, "ledger", "null");
	text = shown(o);
	assert_has(text, "31.41 Gbit/s");
	assert_has(text, "\nfailed after 5.00 s: the load generator was killed by SIGKILL\n");
	assert_int_equal(result_status(o), STATUS_FAILED);
}

static void failed_before_the_first_byte(void **state)
{
	_cleanup_json_ json_object *o = sample();
	_cleanup_free_ char *text = NULL;

	change(o, "state", "\"failed\"");
	change(o, "error", "{\"message\":\"no user namespaces\"}");
	change(o, "app", "{\"elapsed_ns\":0,\"whole_life\":{\"bytes_received\":0}}");
	change(o, "ledger", "null");
	text = shown(o);
	assert_has(text, "\nfailed: no user namespaces\n");
	assert_lacks(text, "throughput");
}

static void cancelled_run_tells_what_it_has(void **state)
{
	_cleanup_json_ json_object *o = sample();
	_cleanup_free_ char *sentence = NULL;

	change(o, "state", "\"cancelled\"");
	sentence = result_sentence(o);
	assert_has(sentence, "cancelled after 5.00 s; until then: zero-copy asked, 100 % of 5.1 MB");
	assert_int_equal(result_status(o), STATUS_FAILED);
}

/* Every scalar of the document, at any depth. */
static void nullify(json_object *o)
{
	for (size_t i = 0; i < doc_length(o); i++) {
		json_object *item = json_object_array_get_idx(o, i);

		if (json_object_is_type(item, json_type_object) || doc_length(item))
			nullify(item);
		else
			json_object_array_put_idx(o, i, NULL);
	}
	if (!json_object_is_type(o, json_type_object))
		return;
	json_object_object_foreach(o, key, value)
	{
		if (json_object_is_type(value, json_type_object) ||
			json_object_is_type(value, json_type_array))
			nullify(value);
		else
			json_object_object_add(o, key, NULL);
	}
}

static void nothing_known_gives_no_figure(void **state)
{
	_cleanup_json_ json_object *o = sample();
	_cleanup_free_ char *text = NULL;

	nullify(o);
	text = shown(o);
	assert_null(strpbrk(text, "0123456789"));
	assert_int_equal(result_status(o), STATUS_FAILED);
}

static void an_empty_document_is_survived(void **state)
{
	_cleanup_json_ json_object *empty = json_object_new_object();
	_cleanup_free_ char *text = shown(empty), *list = rendered(render_list, empty),
			    *info = rendered(render_info, empty);

	assert_null(strpbrk(text, "0123456789"));
	assert_string_equal(list, "no runs\n");
	assert_has(info, "copyledgerd");
}

static void figures_of_any_size_are_survived(void **state)
{
	_cleanup_json_ json_object *o = sample();
	_cleanup_free_ char *text = NULL;

	change(o, "app.messages", "1e300");
	change(o, "app.elapsed_ns", "-1e300");
	change(o, "app.throughput_gbps", "1e308");
	change(o, "spec.size", "-1e30");
	change(o, "perf.sender.context_switches.value", "1e200");
	text = shown(o);
	assert_has(text, "throughput");
}

static void hostile_strings_steer_nothing(void **state)
{
	static const char hostile[] = "\"\\u001b[2J\\u0007\\n\\u009b31m\\u202e\\u200f%s%n x\"";
	static const char *const paths[] = {"id", "started", "state", "spec.label", "spec.mode", "spec.path",
		"zerocopy.cause", "ledger.copies_per_byte.total", "error", "ledger.doubts"};
	_cleanup_json_ json_object *o = sample();
	_cleanup_free_ char *text = NULL, *name = strdup("\x1b[31m"), *label = NULL;

	for (size_t i = 0; i < ARRAY_SIZE(paths); i++)
		change(o, paths[i], hostile);
	change(o, "error", "{\"message\":\"\\u001b]0;t\\u0007\"}");
	change(o, "warnings", "[{\"message\":\"\\u001b[1m\\r\"}]");
	json_object_object_add(doc_at(o, "perf.sender"), name, json_tokener_parse("{\"value\":1}"));
	json_object_object_add(doc_at(o, "ledger.copies_per_byte"), name, json_object_new_double(1.5));
	text = shown(o);
	for (const char *p = text; *p; p++)
		if (((unsigned char)*p < 0x20 && *p != '\n') || *p == 0x7f)
			fail_msg("byte %#x at %td", (unsigned char)*p, p - text);
	assert_lacks(text, "\xc2\x9b");
	assert_lacks(text, "\xe2\x80\xae");
	assert_has(text, "\\x1b[2J\\x07\\x0a");
}

static void a_label_cannot_make_lines(void **state)
{
	_cleanup_json_ json_object *plain = sample(), *broken = sample();
	_cleanup_free_ char *a = NULL, *b = NULL;
	size_t lines[2] = {};

	change(plain, "spec.label", "\"x\"");
	change(broken, "spec.label", "\"x\\n\\r\\u2028y\\u0085z\"");
	a = shown(plain);
	b = shown(broken);
	for (const char *p = a; *p; p++)
		lines[0] += *p == '\n';
	for (const char *p = b; *p; p++)
		lines[1] += *p == '\n';
	assert_int_equal(lines[0], lines[1]);
}

static char *traced(json_object *trace, json_object *previous)
{
	char *text = NULL;
	size_t size;
	struct out out = {.f = open_memstream(&text, &size), .utf8 = true};

	render_trace(&out, trace, previous);
	fclose(out.f);
	return text;
}

static json_object *trace_of(int64_t ms, int64_t bytes)
{
	json_object *o = json_object_new_object(), *sites = json_object_new_array(), *row;

	row = json_tokener_parse(SITE_ROW("rx_copy", "rx", "copy", "10", "0", "observed", "\"h\"", "null"));
	json_object_object_add(row, "bytes", json_object_new_int64(bytes));
	json_object_object_add(row, "bytes_per_hit_log2", json_tokener_parse("[0,0,0,4,0,8,8]"));
	json_object_array_add(sites, row);
	json_object_array_add(sites,
		json_tokener_parse(SITE_ROW("tx_pin", "tx", "pin", "0", "0", "observed", "\"h\"", "null")));
	json_object_array_add(sites, json_tokener_parse(SITE_ROW("rx_map", "rx", "map", "null", "null",
					     "unavailable", "null", "\"r\"")));
	json_object_object_add(o, "id", json_object_new_string("run-1"));
	json_object_object_add(o, "state", json_object_new_string("measuring"));
	json_object_object_add(o, "elapsed_ms", json_object_new_int64(ms));
	json_object_object_add(o, "sites", sites);
	json_object_object_add(o, "delivered", json_object_new_int64(bytes));
	return o;
}

static void trace_rates_are_differences(void **state)
{
	_cleanup_json_ json_object *first = trace_of(1000, 4000000), *second = trace_of(3000, 10000000);
	_cleanup_free_ char *alone = traced(first, NULL), *then = traced(second, first);

	assert_has(alone, "rx_copy  4.0 MB/s  4.0 MB");
	assert_has(then, "rx_copy  3.0 MB/s  10.0 MB");
	assert_has(then, "8 B \xe2\x96\x84 \xe2\x96\x88\xe2\x96\x88 128 B");
	assert_has(then, "nothing at: tx_pin\nnot visible here: rx_map\n");
}

/* The cause stands under the sites, and what is not seen but concluded says so. */
static void causes_are_told_and_marked(void **state)
{
	_cleanup_json_ json_object *o = sample(), *trace = trace_of(1000, 4000000);
	json_object *row = ledger_site(doc_at(o, "ledger"), "tx_deferred_copy");
	_cleanup_free_ char *text = NULL, *live = NULL, *sentence = NULL;
	static const char callers[] =
		"[{\"cause\":\"looped to a local socket\",\"evidence\":\"derived\",\"device_kind\":"
		"\"loopback\",\"hits\":2,\"bytes\":3000000,\"stack\":[]},"
		"{\"cause\":null,\"evidence\":\"derived\",\"device_kind\":null,\"hits\":1,\"bytes\":5,"
		"\"stack\":[]}]";
	static const char told[] =
		"tx_deferred_copy 3.0 MB: looped to a local socket (derived, device loopback)\n"
		"tx_deferred_copy 5 B: cause not known (derived)\n";

	json_object_object_add(row, "callers", json_tokener_parse(callers));
	json_object_array_add(doc_at(trace, "sites"), json_object_get(row));
	text = shown(o);
	live = traced(trace, NULL);
	assert_has(text, told);
	assert_has(live, told);

	change(o, "zerocopy.cause_evidence", "\"derived\"");
	sentence = result_sentence(o);
	assert_has(sentence, "copied after all: the path loops to a local socket (derived)");
}

static void trace_without_utf8_is_ascii(void **state)
{
	_cleanup_json_ json_object *trace = trace_of(1000, 4000000);
	_cleanup_free_ char *text = NULL;
	size_t size;
	struct out out = {.f = open_memstream(&text, &size), .utf8 = false};

	render_trace(&out, trace, NULL);
	fclose(out.f);
	assert_has(text, "8 B 4.88 128 B");
}

static void list_shows_unknown_as_such(void **state)
{
	_cleanup_json_ json_object *o = json_tokener_parse(
		"{\"runs\":[{\"id\":\"r2\",\"state\":\"queued\",\"started\":\"\",\"label\":\"l\",\"mode\":"
		"\"one-copy\","
		"\"workload\":\"rr\",\"path\":\"veth\",\"size\":100,\"threads\":2,\"throughput_gbps\":null,"
		"\"copies_per_byte\":null,\"verdict\":null,\"balanced\":null,\"exact\":null},"
		"{\"id\":\"r1\",\"state\":\"done\",\"started\":\"2026-01-31T12:00:00.5Z\",\"label\":\"\","
		"\"mode\":\"zero-copy\",\"workload\":\"stream\",\"path\":\"loopback\",\"size\":65536,"
		"\"threads\":1,"
		"\"throughput_gbps\":10.0,\"copies_per_byte\":2.0,\"verdict\":\"copied\",\"balanced\":true,"
		"\"exact\":false}]}");
	_cleanup_free_ char *text = rendered(render_list, o);

	assert_has(text, "veth       100 B        2       -         -  -        -         l\n");
	assert_has(text, "64 KiB        1   10.00      2.00  copied   balanced\n");
}

static void render_probe_short(struct out *o, json_object *reply)
{
	render_probe(o, reply, false);
}

static void probe_groups_by_reason(void **state)
{
	_cleanup_json_ json_object *o = json_tokener_parse(
		"{\"sites\":[{\"site\":\"rx_map\",\"side\":\"rx\",\"kind\":\"map\",\"meaning\":\"m\","
		"\"evidence\":\"unavailable\",\"hook\":null,\"reason\":\"EPERM\"}],"
		"\"hooks\":[{\"program\":\"a\",\"available\":false,\"reason\":\"a: load: EPERM\"},"
		"{\"program\":\"b\",\"available\":false,\"reason\":\"b: load: EPERM\"}],"
		"\"modes\":[{\"name\":\"one-copy\",\"summary\":\"s\",\"available\":true,\"reason\":null}],"
		"\"events\":[{\"name\":\"cycles\",\"available\":false,\"reason\":\"ENOENT\",\"needs\":\"a "
		"PMU\"},"
		"{\"name\":\"instructions\",\"available\":false,\"reason\":\"ENOENT\",\"needs\":\"a PMU\"},"
		"{\"name\":\"page_faults\",\"available\":true}],\"summary\":[\"one sentence\"]}");
	_cleanup_free_ char *text = rendered(render_probe_short, o);

	assert_has(text, "rx_map     rx    map   unavailable  EPERM\n");
	assert_has(text, "perf events   page_faults\n");
	assert_has(text, "cycles, instructions: not counted: ENOENT\n");
	assert_has(text, "cycles, instructions: needed: a PMU\n");
	assert_has(text, "a, b: cannot attach: load: EPERM\n");
	assert_has(text, "one sentence\n");
}

#define DEVICE(name, flag, taps)                                                                             \
	"{\"device\":\"" name "\",\"kind\":null,\"driver\":\"e1000\",\"qdisc\":\"fq_codel\",\"mtu\":1500,"   \
	"\"sg\":" flag ",\"tso\":true,\"gso\":true,\"gro\":true,\"tx_csum\":" flag ",\"taps\":" taps "}"

static void a_path_and_its_verdict(void **state)
{
	_cleanup_json_ json_object *o = json_tokener_parse(
		"{\"name\":\"netns:a,b\",\"sender\":" DEVICE("eth0", "true", "1") ",\"receiver\":" DEVICE(
			"eth1", "null", "null") ",\"forces_copy\":false,\"forces_copy_reason\":null,"
						"\"hints\":[\"a tap\"]}");
	_cleanup_free_ char *free_of_it = rendered(render_path, o), *forced = NULL, *unknown = NULL;

	assert_has(free_of_it,
		"sender    eth0    -     e1000   fq_codel  1,500     1  yes  yes      yes  yes  yes\n");
	assert_has(free_of_it,
		"receiver  eth1    -     e1000   fq_codel  1,500     -  -    -        yes  yes  yes\n");
	assert_has(free_of_it, "nothing on this path forces a copy for MSG_ZEROCOPY\na tap\n");
	change(o, "forces_copy", "true");
	change(o, "forces_copy_reason", "\"checksum in software: so\"");
	forced = rendered(render_path, o);
	assert_has(forced, "this path forces a copy for MSG_ZEROCOPY: checksum in software: so\n");
	change(o, "forces_copy", "null");
	unknown = rendered(render_path, o);
	assert_has(unknown, "is not known: checksum");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(zero_copy_copied_after_all),
		cmocka_unit_test(equations),
		cmocka_unit_test(counters_group_their_reasons),
		cmocka_unit_test(the_hooks_cost_where_it_was_timed),
		cmocka_unit_test(unbalanced_books),
		cmocka_unit_test(two_copy_names_each_copy),
		cmocka_unit_test(a_site_that_is_not_seen_makes_a_lower_bound),
		cmocka_unit_test(really_zero_copied),
		cmocka_unit_test(a_mixed_run_is_not_rounded_to_all),
		cmocka_unit_test(what_copied_after_all_is_named),
		cmocka_unit_test(no_verdict_without_the_sites),
		cmocka_unit_test(ledger_off),
		cmocka_unit_test(failed_run),
		cmocka_unit_test(failed_before_the_first_byte),
		cmocka_unit_test(cancelled_run_tells_what_it_has),
		cmocka_unit_test(nothing_known_gives_no_figure),
		cmocka_unit_test(an_empty_document_is_survived),
		cmocka_unit_test(figures_of_any_size_are_survived),
		cmocka_unit_test(hostile_strings_steer_nothing),
		cmocka_unit_test(a_label_cannot_make_lines),
		cmocka_unit_test(trace_rates_are_differences),
		cmocka_unit_test(causes_are_told_and_marked),
		cmocka_unit_test(trace_without_utf8_is_ascii),
		cmocka_unit_test(list_shows_unknown_as_such),
		cmocka_unit_test(probe_groups_by_reason),
		cmocka_unit_test(a_path_and_its_verdict),
	};

	return cmocka_run_group_tests(tests, use_utf8, NULL);
}
