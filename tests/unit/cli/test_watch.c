// SPDX-License-Identifier: MIT
/* A watch's document as text, and what stands on a terminal that is redrawn. */
#include "live.h"
#include "samples.h"

#define VIEW(pid, comm, local, remote, late)                                                                 \
	"{\"pid\":" pid ",\"uid\":0,\"comm\":\"" comm "\",\"local\":" local ",\"remote\":" remote            \
	",\"sockets_seen\":2,\"sockets_open\":1,\"sent\":5000000,\"received\":250000,\"sent_per_s\":"        \
	"2500000.0,"                                                                                         \
	"\"received_per_s\":125000.0,\"copies_per_byte\":1.25,\"share_pinned\":0.5,\"share_spliced\":0.25,"  \
	"\"share_copied_after_all\":" late ",\"sites\":{}}"
#define CALLER(cause, bytes)                                                                                 \
	"{\"cause\":\"" cause                                                                                \
	"\",\"evidence\":\"derived\",\"device_kind\":\"veth\",\"hits\":2,\"bytes\":" bytes ",\"stack\":[]}"

static const char watched[] =
	"{\"schema\":\"copyledger/watch/"
	"1\",\"started\":\"2026-01-31T12:00:00Z\",\"elapsed_ms\":2000,\"interval_ms\":1000,"
	"\"filter\":{\"all\":false,\"pid\":0,\"port\":80,\"cgroup\":\"web\",\"netns\":\"\",\"uid\":null,"
	"\"by\":\"process\"},"
	"\"sockets\":{\"seen\":20000,\"open\":1,\"closed\":19999},"
	"\"ledger\":{\"sites\":[{\"site\":\"tx_deferred_copy\",\"kind\":\"copy\",\"bytes\":2500000,"
	"\"callers\":[" CALLER("looped to a local socket",
		"2500000") "]}],\"copies_per_byte\":{\"total\":1.25,\"lower_bound\":true},"
			   "\"balance\":[" EQUATION("sent", "accepted = tx_copy + tx_pin", "5000000",
				   "5000000", "0",
				   "true") "],"
					   "\"equations_served\":1,\"gap\":{\"tx\":0,\"rx\":0},\"misses\":[],"
					   "\"counters\":{\"accepted_bytes\":5000000,\"received_bytes\":"
					   "250000},"
					   "\"balanced\":true,\"exact\":true,\"doubts\":[]},"
					   "\"views\":[" VIEW("4711", "nginx", "null", "null",
						   "1.0") "],\"views_left_out\":3,"
							  "\"instrument\":{\"hooks\":[{},{},{}],\"hook_ns\":"
							  "20000000},\"map_bytes_max\":27900000}";

static json_object *document(void)
{
	json_object *o = json_tokener_parse(watched);

	assert_non_null(o);
	return o;
}

static char *shown(json_object *watch, json_object *previous, bool last)
{
	char *text = NULL;
	size_t size;
	struct out out = {.f = open_memstream(&text, &size), .utf8 = true};

	render_watch(&out, watch, previous, last);
	fclose(out.f);
	return text;
}

static void a_view_of_a_process(void **state)
{
	_cleanup_json_ json_object *o = document(), *before = document();
	_cleanup_free_ char *text = NULL;

	change(before, "elapsed_ms", "1000");
	change(before, "ledger.counters.accepted_bytes", "2000000");
	text = shown(o, before, false);
	assert_has(text, "watching port 80, cgroup web  2.0 s\n");
	assert_has(text, "sockets 20,000 seen, 1 open  sent 5.0 MB (3.0 MB/s)  received 250.0 kB (0 B/s)\n");
	assert_has(text, "copies per byte 1.25  exact\n");
	assert_has(text, "3 hooks: 20.0 ms, 1.00 % of one CPU  maps at most 27.9 MB\n");
	assert_has(text,
		" pid  comm   open    sent/s  received/s  copies/B  pinned  spliced  after all  cause\n");
	assert_has(text, "4711  nginx     1  2.5 MB/s  125.0 kB/s      1.25    50 %     25 %      100 %  "
			 "looped to a local "
			 "socket\n");
	assert_has(text, "and 3 more, in the totals\n");
	assert_has(text, "tx_deferred_copy 2.5 MB: looped to a local socket (derived, device veth)\n");
	assert_lacks(text, "books");
}

static void the_last_view_has_sums_and_the_balance(void **state)
{
	_cleanup_json_ json_object *o = document(), *before = document();
	_cleanup_free_ char *text = shown(o, before, true);

	assert_has(text, "sent 5.0 MB (2.5 MB/s)"); /* over the whole watch */
	assert_has(text, "open    sent  received");
	assert_has(text, "1  5.0 MB  250.0 kB");
	assert_has(text, "sent  ok  accepted 5,000,000 = tx_copy + tx_pin 5,000,000\n");
	assert_has(text, "books: balanced, exact\n");
	assert_int_equal(watch_status(o), STATUS_OK);
}

static void a_view_of_a_socket_names_both_ends(void **state)
{
	_cleanup_json_ json_object *o = document();
	_cleanup_free_ char *text = NULL;

	change(o, "filter.by", "\"socket\"");
	change(o, "views", "[" VIEW("7", "curl", "\"10.0.0.1:5000\"", "\"[::1]:80\"", "null") "]");
	text = shown(o, NULL, false);
	assert_has(text, "local, remote");
	assert_has(text, "7  curl  10.0.0.1:5000 → [::1]:80     1");
	assert_has(text, "25 %          -\n"); /* nothing was pinned, so there is no cause */
}

static void with_several_causes_none_is_said_of_a_row(void **state)
{
	_cleanup_json_ json_object *o = document();
	_cleanup_free_ char *text = NULL;

	change(o, "ledger.sites",
		"[{\"site\":\"tx_deferred_copy\",\"bytes\":5,\"callers\":[" CALLER(
			"looped to a local socket", "4") "," CALLER("packet tap or capture", "1") "]}]");
	text = shown(o, NULL, false);
	assert_has(text, "100 %  several causes, see below\n");
	assert_has(text, "tx_deferred_copy 4 B: looped to a local socket");
	assert_has(text, "tx_deferred_copy 1 B: packet tap or capture");
}

static void doubts_stand_in_the_head(void **state)
{
	_cleanup_json_ json_object *o = document();
	_cleanup_free_ char *text = NULL;

	change(o, "ledger.exact", "false");
	change(o, "ledger.balanced", "false");
	change(o, "ledger.doubts", "[\"an equation does not hold\",\"a full map\"]");
	change(o, "instrument.hook_ns", "{\"value\":null,\"reason\":\"not measured\"}");
	text = shown(o, NULL, false);
	assert_has(text, "not exact: an equation does not hold; a full map\n");
	assert_has(text, "3 hooks: cost not known (not measured)");
	assert_int_equal(watch_status(o), STATUS_UNBALANCED);
}

static void nothing_seen_yet(void **state)
{
	_cleanup_json_ json_object *o = document(), *empty = json_object_new_object();
	_cleanup_free_ char *text = NULL, *none = NULL;

	change(o, "views", "[]");
	change(o, "ledger.copies_per_byte.total", "null");
	change(o, "filter.port", "0");
	change(o, "filter.cgroup", "\"\"");
	change(o, "filter.uid", "1000");
	text = shown(o, NULL, false);
	assert_has(text, "watching everything, of uid 1000");
	assert_has(text, "copies per byte -  exact\n");
	assert_has(text, "no call on such a socket yet\n");
	none = shown(empty, NULL, true); /* a document without a member is no figure of 0 */
	assert_lacks(none, "0 seen");
	assert_lacks(none, "0.00");
}

static void a_name_cannot_steer_the_terminal(void **state)
{
	_cleanup_json_ json_object *o = document();
	_cleanup_free_ char *text = NULL;

	change(o, "views", "[" VIEW("7", "\\u001b[2J\\n\\u202e", "null", "null", "null") "]");
	text = shown(o, NULL, true);
	assert_null(strchr(text, '\x1b'));
	assert_has(text, "\\x1b[2J\\x0a\\xe2\\x80\\xae");
}

static void put_lines(struct out *o, void *userdata)
{
	for (int i = 0; i < *(int *)userdata; i++)
		out_line(o, STYLE_NONE, "line %d", i);
}

static void elsewhere_views_are_appended(void **state)
{
	_cleanup_free_ char *text = NULL;
	size_t size;
	struct out out = {.f = open_memstream(&text, &size), .utf8 = true};
	struct live live = {.out = &out};
	int one = 1, two = 2;

	assert_int_equal(live_draw(&live, put_lines, &two, false), 0);
	assert_int_equal(live_draw(&live, put_lines, &one, true), 0);
	fclose(out.f);
	assert_string_equal(text, "line 0\nline 1\n\nline 0\n");
}

/* A stream that claims to be a terminal, whose size cannot be asked. */
static void on_a_terminal_a_view_covers_the_one_before_and_the_last_is_whole(void **state)
{
	_cleanup_free_ char *text = NULL;
	size_t size;
	struct out out = {.f = open_memstream(&text, &size), .utf8 = true, .width = 4};
	struct live live = {.out = &out};
	int one = 1, two = 2;

	live_draw(&live, put_lines, &two, false);
	live_draw(&live, put_lines, &one, true);
	fclose(out.f);
	assert_string_equal(text, "line\nline\n\x1b[2A\x1b[Jline 0\n");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_view_of_a_process),
		cmocka_unit_test(the_last_view_has_sums_and_the_balance),
		cmocka_unit_test(a_view_of_a_socket_names_both_ends),
		cmocka_unit_test(with_several_causes_none_is_said_of_a_row),
		cmocka_unit_test(doubts_stand_in_the_head),
		cmocka_unit_test(nothing_seen_yet),
		cmocka_unit_test(a_name_cannot_steer_the_terminal),
		cmocka_unit_test(elsewhere_views_are_appended),
		cmocka_unit_test(on_a_terminal_a_view_covers_the_one_before_and_the_last_is_whole),
	};

	return cmocka_run_group_tests(tests, use_utf8, NULL);
}
