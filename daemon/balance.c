// SPDX-License-Identifier: MIT
/* The ledger's equations as a table: each side is a sum of terms, and an equation is served when all its
 * terms are. */
#include "balance.h"

enum term_kind { TERM_END, TERM_SITE, TERM_COUNTER, TERM_APP };

struct term {
	enum term_kind kind;
	unsigned int id; /* enum copy_site, enum account_counter, or the offset in struct app_totals */
	enum copy_site
		serves; /* a counter or an app figure is known when this site is served; SITE_MAX: always */
};

#define SITE(s)                                                                                              \
	{                                                                                                    \
		TERM_SITE, SITE_##s, SITE_##s                                                                \
	}
#define COUNTED(c, s)                                                                                        \
	{                                                                                                    \
		TERM_COUNTER, COUNTER_##c, SITE_##s                                                          \
	}
#define APP(f)                                                                                               \
	{                                                                                                    \
		TERM_APP, offsetof(struct app_totals, f), SITE_MAX                                           \
	}

enum condition { ALWAYS, RUN, BOTH_SIDES, WATCH, LOCAL_PATH, OTHER_PATH, ACKED };

/* The sides of a watch may differ while calls are under way: a site is booked when the byte moves, what a
 * call returned when it ends. */
enum relation { EQUAL, UNBOUND, EQUAL_OR_RIGHT_AHEAD, EQUAL_AT_REST };

static const struct rule {
	const char *name, *text;
	enum condition when;
	enum relation relation;
	struct term left[4], right[4];
} rules[] = {
	{"accepted", "bytes that send calls returned to the lanes = bytes that the kernel accepted", RUN,
		EQUAL, {APP(sent)}, {COUNTED(ACCEPTED, TX_COPY)}},
	{"sent", "accepted = tx_copy + tx_pin + tx_splice", ALWAYS, EQUAL_OR_RIGHT_AHEAD,
		{COUNTED(ACCEPTED, TX_COPY)}, {SITE(TX_COPY), SITE(TX_PIN), SITE(TX_SPLICE)}},
	{"completed", "tx_pin = completed as zero-copied + completed as copied", RUN, EQUAL, {SITE(TX_PIN)},
		{COUNTED(ZC_BYTES_ZERO, ZC_COMPLETE), COUNTED(ZC_BYTES_COPIED, ZC_COMPLETE)}},
	{"completed", "tx_pin = completed as zero-copied + completed as copied + outstanding", WATCH,
		EQUAL_AT_REST, {SITE(TX_PIN)},
		{COUNTED(ZC_BYTES_ZERO, ZC_COMPLETE), COUNTED(ZC_BYTES_COPIED, ZC_COMPLETE),
			APP(outstanding)}},
	{"deferred",
		"tx_deferred_copy + pinned but dropped on the way = completed as copied + retransmitted from "
		"pinned "
		"pages",
		LOCAL_PATH, EQUAL, {SITE(TX_DEFERRED_COPY), COUNTED(DROPPED_PINNED, ZC_COMPLETE)},
		{COUNTED(ZC_BYTES_COPIED, ZC_COMPLETE), COUNTED(RETRANSMITTED_PINNED, ZC_COMPLETE)}},
	{"deferred", "completed as copied, beside tx_deferred_copy + skb_copy", OTHER_PATH, UNBOUND,
		{COUNTED(ZC_BYTES_COPIED, ZC_COMPLETE)}, {SITE(TX_DEFERRED_COPY), SITE(SKB_COPY)}},
	{"received", "bytes that receive calls returned to the lanes = rx_copy + rx_map + rx_discard", RUN,
		EQUAL, {APP(received)}, {SITE(RX_COPY), SITE(RX_MAP), SITE(RX_DISCARD)}},
	{"received", "received + peeked = rx_copy + rx_map + rx_discard", WATCH, EQUAL_OR_RIGHT_AHEAD,
		{COUNTED(RECEIVED, RX_COPY), COUNTED(PEEKED, RX_COPY)},
		{SITE(RX_COPY), SITE(RX_MAP), SITE(RX_DISCARD)}},
	{"delivered", "tx_copy + tx_pin + tx_splice = bytes that receive calls returned", BOTH_SIDES, EQUAL,
		{SITE(TX_COPY), SITE(TX_PIN), SITE(TX_SPLICE)}, {COUNTED(RECEIVED, RX_COPY)}},
	{"acked", "accepted = payload acknowledged by the peer (tcp_info)", ACKED, EQUAL,
		{COUNTED(ACCEPTED, TX_COPY)}, {APP(acked)}},
};

static bool applies(const struct balance_input *in, enum condition when)
{
	const bool is[] = {true, !in->watch, !in->watch && !in->one_side, in->watch,
		!in->watch && in->local_path, !in->watch && !in->local_path,
		!in->watch && in->app.acked_known};

	return is[when];
}

static uint64_t term_value(const struct balance_input *in, const struct term *t)
{
	if (t->kind == TERM_SITE)
		return in->books->site[t->id].bytes;
	if (t->kind == TERM_COUNTER)
		return in->books->counter[t->id];
	return *(const uint64_t *)((const char *)&in->app + t->id);
}

/* Sums a side; the reason of the first term that is not served goes to *reason. */
static uint64_t sum(const struct balance_input *in, const struct term *terms, size_t n, const char **reason)
{
	uint64_t v = 0;

	for (size_t i = 0; i < n && terms[i].kind != TERM_END; i++) {
		enum copy_site s = terms[i].serves;

		if (s != SITE_MAX && in->site[s].evidence == EVIDENCE_UNAVAILABLE && !*reason)
			*reason = in->site[s].reason;
		v += term_value(in, &terms[i]);
	}
	return v;
}

/* With open sockets the sides of a watch may differ for a moment, or as long as a call waits, in one
 * direction. */
static bool under_way(const struct balance_input *in, const struct rule *rule, const struct equation *e)
{
	if (!in->watch || !in->open || e->left == e->right)
		return false;
	return rule->relation == EQUAL_AT_REST ||
	       (rule->relation == EQUAL_OR_RIGHT_AHEAD && e->left < e->right);
}

static uint64_t shortfall(uint64_t whole, uint64_t seen)
{
	return whole > seen ? whole - seen : 0;
}

static struct unseen unseen_in_watch(const struct balance_input *in)
{
	const uint64_t *c = in->books->counter;
	uint64_t pinned = in->books->site[SITE_TX_PIN].bytes;
	uint64_t seen = in->books->site[SITE_TX_DEFERRED_COPY].bytes + c[COUNTER_DROPPED_PINNED];
	uint64_t rest = shortfall(c[COUNTER_PINNED_LOCAL], seen);
	struct unseen u = {.retransmitted = c[COUNTER_RETRANSMITS_UNSEEN]};

	/* The counters are read before the sites: what had completed by then is all that was pinned by now.
	 */
	u.known = in->site[SITE_TX_DEFERRED_COPY].evidence != EVIDENCE_UNAVAILABLE &&
		  pinned == c[COUNTER_ZC_BYTES_ZERO] + c[COUNTER_ZC_BYTES_COPIED];
	if (!u.known)
		return u;
	u.cut_off = MIN(rest, c[COUNTER_PINNED_CUT_OFF]);
	u.path = rest - u.cut_off;
	return u;
}

static struct unseen unseen_in_run(const struct balance_input *in)
{
	const uint64_t *c = in->books->counter;
	uint64_t pinned = in->books->site[SITE_TX_PIN].bytes;
	bool local = in->local_path && in->site[SITE_TX_DEFERRED_COPY].evidence != EVIDENCE_UNAVAILABLE;
	struct unseen u = {.known = in->app.acked_known && pinned && pinned == c[COUNTER_ACCEPTED]};

	if (!u.known)
		return u;
	u.retransmitted = shortfall(in->app.tcp_retransmitted, c[COUNTER_RETRANSMITTED]);
	if (local)
		u.path = shortfall(in->app.tcp_sent,
			in->books->site[SITE_TX_DEFERRED_COPY].bytes + c[COUNTER_DROPPED_PINNED]);
	return u;
}

struct unseen balance_unseen(const struct balance_input *in)
{
	return in->watch ? unseen_in_watch(in) : unseen_in_run(in);
}

unsigned int balance_equations(const struct balance_input *in, struct equation *ret)
{
	struct unseen unseen = balance_unseen(in);
	unsigned int n = 0;

	for (size_t i = 0; i < ARRAY_SIZE(rules) && n < EQUATIONS_MAX; i++) {
		const struct rule *rule = &rules[i];
		struct equation *e = &ret[n];

		if (!applies(in, rule->when))
			continue;
		n++;
		*e = (struct equation){.rule = rule->name, .text = rule->text};
		e->left = sum(in, rule->left, ARRAY_SIZE(rule->left), &e->reason);
		e->right = sum(in, rule->right, ARRAY_SIZE(rule->right), &e->reason);
		if (rule->when == LOCAL_PATH && (unseen.path || unseen.retransmitted) && !e->reason)
			e->reason =
				"this kernel did not run the hooks of the path for every packet: see unseen";
		if (under_way(in, rule, e) && !e->reason)
			e->reason = "calls are under way: what they moved is returned when they end";
		/* Measured: with a packet tap 6,660,000 bytes were told copied and 6,304,520 were; on two
		 * joined e1000, Linux 7.3, io_uring told 940,272 copied and none was. */
		if (rule->relation == UNBOUND && !e->reason)
			e->reason = "on this path the code of a completion is not bound to what was copied: "
				    "it covers whole notifications, copied or not";
		e->served = !e->reason;
		e->holds = e->served && e->left == e->right;
	}
	return n;
}

bool balance_holds(const struct equation *e, unsigned int n)
{
	for (unsigned int i = 0; i < n; i++)
		if (e[i].served && !e[i].holds)
			return false;
	return true;
}

/*
 * In a watch no equation says what must have been copied on the way. Where all pinned bytes went to the
 * loopback device the books show it: each was seen copied, and told so.
 */
static bool proves_path(const struct balance_input *in)
{
	const uint64_t *c = in->books->counter;
	uint64_t pinned = in->books->site[SITE_TX_PIN].bytes;
	uint64_t seen = in->books->site[SITE_TX_DEFERRED_COPY].bytes + c[COUNTER_DROPPED_PINNED];

	return in->watch && balance_unseen(in).known && !c[COUNTER_RETRANSMITS_UNSEEN] &&
	       seen == c[COUNTER_PINNED_LOCAL] && seen == pinned + c[COUNTER_RETRANSMITTED_PINNED] &&
	       c[COUNTER_ZC_BYTES_COPIED] == pinned;
}

static bool proves(const struct balance_input *in, const struct equation *e, unsigned int n, const char *rule)
{
	if (str_eq(rule, "deferred") && proves_path(in))
		return true;
	for (unsigned int i = 0; i < n; i++)
		if (str_eq(e[i].rule, rule))
			return e[i].served && e[i].holds;
	return false;
}

bool balance_audits(const struct balance_input *in, const struct equation *e, unsigned int n,
	const char *const audit[HOOK_AUDITS])
{
	for (unsigned int i = 0; i < HOOK_AUDITS && audit[i]; i++)
		if (!proves(in, e, n, audit[i]))
			return false;
	return audit[0] != NULL;
}
