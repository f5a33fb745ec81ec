// SPDX-License-Identifier: MIT
/* The ledger's equations: which are asked, when one holds, and when it cannot be served. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "balance.h"

static const struct site_status observed = {EVIDENCE_OBSERVED, "hook", NULL};
static const struct site_status unavailable = {EVIDENCE_UNAVAILABLE, NULL, "no hook"};

/* A zero-copy run over loopback: 1000 bytes pinned, each copied on delivery, 200 of them sent twice, 50 lost
 * on the way and sent again. */
static struct balance_input zerocopy_input(struct books *b)
{
	struct balance_input in = {.books = b,
		.local_path = true,
		.app = {.sent = 1000,
			.received = 1000,
			.acked = 1000,
			.acked_known = true,
			.tcp_sent = 1250,
			.tcp_retransmitted = 250}};

	memset(b, 0, sizeof(*b));
	b->counter[COUNTER_ACCEPTED] = 1000;
	b->counter[COUNTER_RECEIVED] = 1000;
	b->counter[COUNTER_ZC_BYTES_COPIED] = 1000;
	b->counter[COUNTER_RETRANSMITTED] = 250;
	b->counter[COUNTER_RETRANSMITTED_PINNED] = 250;
	b->counter[COUNTER_DROPPED_PINNED] = 50;
	b->site[SITE_TX_PIN].bytes = 1000;
	b->site[SITE_TX_DEFERRED_COPY].bytes = 1200;
	b->site[SITE_RX_COPY].bytes = 1000;
	for (size_t i = 0; i < SITE_MAX; i++)
		in.site[i] = observed;
	return in;
}

static const struct equation *find(const struct equation *e, unsigned int n, const char *rule)
{
	for (unsigned int i = 0; i < n; i++)
		if (str_eq(e[i].rule, rule))
			return &e[i];
	fail_msg("no equation '%s'", rule);
	return NULL;
}

static void test_balanced(void **state)
{
	static const char *const rules[] = {
		"accepted", "sent", "completed", "deferred", "received", "delivered", "acked"};
	struct books b;
	struct balance_input in = zerocopy_input(&b);
	struct equation e[EQUATIONS_MAX];
	unsigned int n = balance_equations(&in, e);

	assert_int_equal(n, ARRAY_SIZE(rules));
	for (size_t i = 0; i < ARRAY_SIZE(rules); i++)
		assert_true(find(e, n, rules[i])->holds);
	assert_true(balance_holds(e, n));
}

/* One byte at any of the places breaks exactly the equations that name it. */
static void test_each_byte_counts(void **state)
{
	static const struct {
		size_t offset;
		const char *broken[3];
	} places[] = {
		{offsetof(struct books, counter[COUNTER_ACCEPTED]), {"accepted", "sent", "acked"}},
		{offsetof(struct books, site[SITE_TX_COPY].bytes), {"sent", "delivered"}},
		{offsetof(struct books, site[SITE_TX_PIN].bytes), {"sent", "completed", "delivered"}},
		{offsetof(struct books, counter[COUNTER_ZC_BYTES_ZERO]), {"completed"}},
		{offsetof(struct books, counter[COUNTER_ZC_BYTES_COPIED]), {"completed", "deferred"}},
		{offsetof(struct books, site[SITE_TX_DEFERRED_COPY].bytes), {"deferred"}},
		{offsetof(struct books, counter[COUNTER_RETRANSMITTED_PINNED]), {"deferred"}},
		{offsetof(struct books, counter[COUNTER_DROPPED_PINNED]), {"deferred"}},
		{offsetof(struct books, site[SITE_RX_COPY].bytes), {"received"}},
		{offsetof(struct books, site[SITE_RX_DISCARD].bytes), {"received"}},
		{offsetof(struct books, counter[COUNTER_RECEIVED]), {"delivered"}},
	};

	for (size_t p = 0; p < ARRAY_SIZE(places); p++) {
		struct books b;
		struct balance_input in = zerocopy_input(&b);
		struct equation e[EQUATIONS_MAX];
		unsigned int n, broken = 0, expected = 0;

		++*(__u64 *)((char *)&b + places[p].offset);
		n = balance_equations(&in, e);
		for (size_t i = 0; i < 3 && places[p].broken[i]; i++, expected++)
			assert_false(find(e, n, places[p].broken[i])->holds);
		for (unsigned int i = 0; i < n; i++)
			broken += !e[i].holds;
		assert_int_equal(broken, expected);
		assert_false(balance_holds(e, n));
	}
}

static void test_unavailable_is_not_balanced_by_zero(void **state)
{
	struct books b;
	struct balance_input in = zerocopy_input(&b);
	struct equation e[EQUATIONS_MAX];
	unsigned int n;

	in.site[SITE_ZC_COMPLETE] = unavailable;
	n = balance_equations(&in, e);
	assert_false(find(e, n, "completed")->served);
	assert_false(find(e, n, "completed")->holds);
	assert_string_equal(find(e, n, "completed")->reason, "no hook");
	assert_false(find(e, n, "deferred")->served);
	assert_true(find(e, n, "sent")->holds);
	assert_true(balance_holds(e, n));
}

/* Where the receiver is elsewhere, what the completions say proves nothing either way. */
static void test_other_path_has_no_deferred_equation(void **state)
{
	struct books b;
	struct balance_input in = zerocopy_input(&b);
	struct equation e[EQUATIONS_MAX];
	unsigned int n;

	in.local_path = false;
	b.site[SITE_TX_DEFERRED_COPY].bytes = 0;
	n = balance_equations(&in, e);
	assert_false(find(e, n, "deferred")->served);
	assert_non_null(find(e, n, "deferred")->reason);
	assert_true(balance_holds(e, n));
}

static void test_acked_only_when_known(void **state)
{
	struct books b;
	struct balance_input in = zerocopy_input(&b);
	struct equation e[EQUATIONS_MAX];
	unsigned int n;

	in.app.acked_known = false;
	n = balance_equations(&in, e);
	for (unsigned int i = 0; i < n; i++)
		assert_string_not_equal(e[i].rule, "acked");
}

static void test_a_miss_is_audited_only_by_equations_that_hold(void **state)
{
	static const char *const none[HOOK_AUDITS] = {}, *const completed[HOOK_AUDITS] = {"completed"},
				 *const both[HOOK_AUDITS] = {"completed", "deferred"},
				 *const unknown[HOOK_AUDITS] = {"no such rule"};
	struct books b;
	struct balance_input in = zerocopy_input(&b);
	struct equation e[EQUATIONS_MAX];
	unsigned int n = balance_equations(&in, e);

	assert_false(balance_audits(&in, e, n, none));
	assert_false(balance_audits(&in, e, n, unknown));
	assert_true(balance_audits(&in, e, n, completed));
	assert_true(balance_audits(&in, e, n, both));

	b.site[SITE_TX_DEFERRED_COPY].bytes++;
	n = balance_equations(&in, e);
	assert_true(balance_audits(&in, e, n, completed));
	assert_false(balance_audits(&in, e, n, both));

	in.site[SITE_ZC_COMPLETE] = unavailable;
	n = balance_equations(&in, e);
	assert_false(balance_audits(&in, e, n, completed));
}

/* TCP says that it sent more than the hooks of the path saw: the equation that rests on them cannot be
 * served. */
static void test_what_hooks_did_not_see(void **state)
{
	struct books b;
	struct balance_input in = zerocopy_input(&b);
	struct equation e[EQUATIONS_MAX];
	unsigned int n;

	assert_int_equal(balance_unseen(&in).path, 0);
	b.site[SITE_TX_DEFERRED_COPY].bytes -= 100;
	assert_int_equal(balance_unseen(&in).path, 100);
	n = balance_equations(&in, e);
	assert_false(find(e, n, "deferred")->served);
	assert_true(balance_holds(e, n));

	/* More than TCP sent is not unseen but wrong. */
	b.site[SITE_TX_DEFERRED_COPY].bytes += 101;
	assert_int_equal(balance_unseen(&in).path, 0);
	n = balance_equations(&in, e);
	assert_true(find(e, n, "deferred")->served);
	assert_false(balance_holds(e, n));

	b.site[SITE_TX_DEFERRED_COPY].bytes--;
	b.counter[COUNTER_RETRANSMITTED] -= 10;
	assert_int_equal(balance_unseen(&in).retransmitted, 10);

	b.site[SITE_TX_PIN].bytes--;
	assert_false(balance_unseen(&in).known);
}

static void test_what_is_not_served_audits_nothing(void **state)
{
	static const char *const deferred[HOOK_AUDITS] = {"deferred"};
	struct books b;
	struct balance_input in = zerocopy_input(&b);
	struct equation e[EQUATIONS_MAX];
	unsigned int n;

	in.local_path = false;
	n = balance_equations(&in, e);
	assert_true(balance_holds(e, n));
	assert_false(balance_audits(&in, e, n, deferred));
}

/* Two ends of a connection under watch: 700 bytes sent and received, 300 more moved by a call that is not
 * over. */
static struct balance_input watched_input(struct books *b)
{
	struct balance_input in = {.books = b, .watch = true, .open = true};

	memset(b, 0, sizeof(*b));
	b->counter[COUNTER_ACCEPTED] = 700;
	b->counter[COUNTER_RECEIVED] = 700;
	b->site[SITE_TX_COPY].bytes = 1000;
	b->site[SITE_RX_COPY].bytes = 700;
	for (size_t i = 0; i < SITE_MAX; i++)
		in.site[i] = observed;
	return in;
}

static void test_a_watched_call_under_way(void **state)
{
	struct books b;
	struct balance_input in = watched_input(&b);
	struct equation e[EQUATIONS_MAX];
	unsigned int n = balance_equations(&in, e);

	assert_int_equal(n, 3);
	assert_false(find(e, n, "sent")->served);
	assert_non_null(strstr(find(e, n, "sent")->reason, "under way"));
	assert_true(find(e, n, "received")->holds);
	assert_true(balance_holds(e, n));
	assert_false(balance_audits(&in, e, n, (const char *const[HOOK_AUDITS]){"sent"}));
}

static void test_a_watched_difference_when_all_sockets_have_ended(void **state)
{
	struct books b;
	struct balance_input in = watched_input(&b);
	struct equation e[EQUATIONS_MAX];
	unsigned int n;

	in.open = false;
	n = balance_equations(&in, e);
	assert_true(find(e, n, "sent")->served);
	assert_false(find(e, n, "sent")->holds);
	assert_false(balance_holds(e, n));
}

/* What a call returned must stand at a site, whatever is under way. */
static void test_a_watched_byte_that_no_site_booked(void **state)
{
	struct books b;
	struct balance_input in = watched_input(&b);
	struct equation e[EQUATIONS_MAX];
	unsigned int n;

	b.site[SITE_TX_COPY].bytes = 699;
	n = balance_equations(&in, e);
	assert_true(find(e, n, "sent")->served);
	assert_false(find(e, n, "sent")->holds);
	b.site[SITE_TX_COPY].bytes = 700;
	b.site[SITE_RX_COPY].bytes = 699;
	n = balance_equations(&in, e);
	assert_false(balance_holds(e, n));
}

static void test_watched_completions_may_be_outstanding(void **state)
{
	struct books b;
	struct balance_input in = watched_input(&b);
	struct equation e[EQUATIONS_MAX];
	unsigned int n;

	b.site[SITE_TX_COPY].bytes = 300;
	b.site[SITE_TX_PIN].bytes = 400;
	b.counter[COUNTER_ZC_BYTES_COPIED] = 250;
	in.app.outstanding = 150;
	n = balance_equations(&in, e);
	assert_true(find(e, n, "completed")->holds);
	in.app.outstanding = 0;
	in.open = false;
	n = balance_equations(&in, e);
	assert_false(find(e, n, "completed")->holds);
}

/* A watched sender pinned 400 bytes over the loopback device, of which a softirq hid copies. */
static struct balance_input watched_zerocopy(struct books *b)
{
	struct balance_input in = watched_input(b);

	b->site[SITE_TX_COPY].bytes = 300;
	b->site[SITE_TX_PIN].bytes = 400;
	b->site[SITE_TX_DEFERRED_COPY].bytes = 450;
	b->counter[COUNTER_ZC_BYTES_COPIED] = 400;
	b->counter[COUNTER_PINNED_LOCAL] = 500;
	b->counter[COUNTER_DROPPED_PINNED] = 50;
	return in;
}

static void test_what_a_watch_did_not_see_of_the_path(void **state)
{
	struct books b;
	struct balance_input in = watched_zerocopy(&b);

	assert_true(balance_unseen(&in).known);
	assert_int_equal(balance_unseen(&in).path, 0);
	b.site[SITE_TX_DEFERRED_COPY].bytes = 420;
	assert_int_equal(balance_unseen(&in).path, 30);

	/* A connection that was cut off may not have sent its last bytes: nobody can tell. */
	b.counter[COUNTER_PINNED_CUT_OFF] = 20;
	assert_int_equal(balance_unseen(&in).cut_off, 20);
	assert_int_equal(balance_unseen(&in).path, 10);
	b.counter[COUNTER_PINNED_CUT_OFF] = 400;
	assert_int_equal(balance_unseen(&in).cut_off, 30);
	assert_int_equal(balance_unseen(&in).path, 0);

	b.counter[COUNTER_RETRANSMITS_UNSEEN] = 7;
	assert_int_equal(balance_unseen(&in).retransmitted, 7);
}

/* A run of a program that was skipped has lost nothing where each pinned byte was seen copied, and told so.
 */
static void test_what_audits_the_path_in_a_watch(void **state)
{
	static const char *const both[HOOK_AUDITS] = {"completed", "deferred"};
	struct books b;
	struct balance_input in = watched_zerocopy(&b);
	struct equation e[EQUATIONS_MAX];
	unsigned int n = balance_equations(&in, e);

	assert_false(balance_audits(&in, e, n, both)); /* 100 more than was pinned, and none was sent again */
	b.counter[COUNTER_RETRANSMITTED_PINNED] = 100;
	assert_true(balance_audits(&in, e, n, both));
	b.site[SITE_TX_DEFERRED_COPY].bytes--;
	assert_false(balance_audits(&in, e, n, both));
	b.site[SITE_TX_DEFERRED_COPY].bytes++;
	b.counter[COUNTER_ZC_BYTES_COPIED]--;
	b.counter[COUNTER_ZC_BYTES_ZERO]++;
	assert_false(balance_audits(&in, e, n, both));

	/* Where nothing was pinned there is nothing to lose. */
	in = watched_input(&b);
	n = balance_equations(&in, e);
	assert_true(balance_audits(&in, e, n, both));
}

static void test_a_watch_asks_when_all_has_completed(void **state)
{
	struct books b;
	struct balance_input in = watched_zerocopy(&b);

	b.site[SITE_TX_DEFERRED_COPY].bytes = 0;
	b.counter[COUNTER_ZC_BYTES_COPIED]--;
	assert_false(balance_unseen(&in).known);
	assert_int_equal(balance_unseen(&in).path, 0);
	b.counter[COUNTER_ZC_BYTES_ZERO]++;
	assert_true(balance_unseen(&in).known);
	in.site[SITE_TX_DEFERRED_COPY] = unavailable;
	assert_false(balance_unseen(&in).known);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_balanced),
		cmocka_unit_test(test_each_byte_counts),
		cmocka_unit_test(test_unavailable_is_not_balanced_by_zero),
		cmocka_unit_test(test_other_path_has_no_deferred_equation),
		cmocka_unit_test(test_acked_only_when_known),
		cmocka_unit_test(test_a_miss_is_audited_only_by_equations_that_hold),
		cmocka_unit_test(test_what_is_not_served_audits_nothing),
		cmocka_unit_test(test_what_hooks_did_not_see),
		cmocka_unit_test(test_a_watched_call_under_way),
		cmocka_unit_test(test_a_watched_difference_when_all_sockets_have_ended),
		cmocka_unit_test(test_a_watched_byte_that_no_site_booked),
		cmocka_unit_test(test_watched_completions_may_be_outstanding),
		cmocka_unit_test(test_what_a_watch_did_not_see_of_the_path),
		cmocka_unit_test(test_what_audits_the_path_in_a_watch),
		cmocka_unit_test(test_a_watch_asks_when_all_has_completed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
