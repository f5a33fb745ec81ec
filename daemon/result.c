// SPDX-License-Identifier: MIT
/* The result document, block by block. */
#include "result.h"

#include <errno.h>
#include <inttypes.h>

#include "host.h"
#include "cause.h"
#include "jsonx.h"
#include "path.h"
#include "rfc3339.h"

#define NS_PER_S 1000000000ULL

/* ---- sums ---- */

static uint64_t word_sum(const struct lg_shm *shm, uint32_t lanes, size_t offset, bool window)
{
	bool ended = window && __atomic_load_n(&shm->end_ns, __ATOMIC_ACQUIRE);
	uint64_t v = 0;

	for (uint32_t i = 0; i < lanes; i++)
		for (int s = 0; s < LG_SIDES; s++) {
			const struct lg_side *side = &shm->lane[i].side[s];
			const char *now = (const char *)(ended ? &side->at_end : &side->now);
			uint64_t n = __atomic_load_n((const uint64_t *)(now + offset), __ATOMIC_RELAXED);

			v += window ? n - *(const uint64_t *)((const char *)&side->at_start + offset) : n;
		}
	return v;
}

struct lg_counts result_counts(const struct lg_shm *shm, uint32_t lanes, bool window)
{
	struct lg_counts c;

	for (size_t o = 0; o < sizeof(c); o += sizeof(uint64_t))
		*(uint64_t *)((char *)&c + o) = word_sum(shm, lanes, o, window);
	return c;
}

static struct lg_counts life_counts(const struct run_facts *f)
{
	return result_counts(f->shm, f->spec->threads, false);
}

static struct lg_counts window_counts(const struct run_facts *f)
{
	return f->before_window ? (struct lg_counts){} : result_counts(f->shm, f->spec->threads, true);
}

static uint64_t elapsed_ns(const struct run_facts *f)
{
	uint64_t end;

	if (!f->shm || !f->shm->start_ns || f->before_window)
		return 0;
	end = f->shm->end_ns ? f->shm->end_ns : f->window_end_ns;
	return end > f->shm->start_ns ? end - f->shm->start_ns : 0;
}

static bool has_side(const struct run_facts *f, uint32_t side)
{
	return lg_role_has(f->spec->pair.role, side);
}

/* Of a run of two hosts each has one side, which in the workload rr both sends and receives. */
static uint64_t crossed(const struct run_facts *f, const struct lg_counts *c)
{
	return f->spec->pair.role == LG_ROLE_BOTH ? c->bytes_received : c->bytes_sent + c->bytes_received;
}

/* tcpi_bytes_acked counts the SYN of the side that connected, and the FIN, as a byte each (RFC 4898 has
 * neither). */
static struct app_totals app_totals(const struct run_facts *f)
{
	const struct lg_shm *shm = f->shm;
	struct lg_counts c = life_counts(f);
	struct app_totals t = {.sent = c.bytes_sent,
		.received = c.bytes_received,
		.acked_known = true,
		.pack_copies = c.pack_copies,
		.pack_bytes = c.pack_bytes};

	for (uint32_t i = 0; i < f->spec->threads; i++)
		for (int s = 0; s < LG_SIDES; s++) {
			const struct lg_side *side = &shm->lane[i].side[s];

			if (!has_side(f, s))
				continue;
			uint64_t control = side->tcp.bytes_acked - side->now.bytes_sent;

			t.tcp_sent += side->tcp.bytes_sent;
			t.tcp_retransmitted += side->tcp.bytes_retrans;
			t.acked_known &= side->tcp.valid;
			t.acked += side->tcp.bytes_acked - (control <= 2 ? control : 0);
		}
	return t;
}

/* ---- app ---- */

static json_object *latency_json(const struct hist *h)
{
	static const struct {
		const char *name;
		double q;
	} quantiles[] = {{"p50", 0.5}, {"p90", 0.9}, {"p99", 0.99}, {"p99_9", 0.999}};
	json_object *o = json_object_new_object(), *buckets = json_object_new_array();

	json_add_double(o, "mean", hist_mean(h) / 1e3);
	for (size_t i = 0; i < ARRAY_SIZE(quantiles); i++)
		json_add_double(o, quantiles[i].name, hist_quantile(h, quantiles[i].q) / 1e3);
	json_add_double(o, "max", h->max / 1e3);
	json_add_u64(o, "samples", h->count);
	for (unsigned int i = 0; i < HIST_BUCKETS; i++) {
		json_object *b;

		if (!h->bucket[i])
			continue;
		b = json_object_new_object();
		json_add_u64(b, "low_ns", hist_bucket_low(i));
		json_add_u64(b, "high_ns", hist_bucket_high(i));
		json_add_u64(b, "count", h->bucket[i]);
		json_push(buckets, b);
	}
	json_add(o, "buckets", buckets);
	return o;
}

static const char no_window[] = "the run ended before its measured window began";

static void add_latency(json_object *app, const struct run_facts *f)
{
	const struct lg_shm *shm = f->shm;
	_cleanup_free_ struct hist *one_way = calloc(1, sizeof(*one_way)), *rtt = calloc(1, sizeof(*rtt));

	if (!one_way || !rtt)
		return;
	for (uint32_t i = 0; i < f->spec->threads; i++)
		for (int s = 0; s < LG_SIDES; s++) {
			hist_add(one_way, &shm->lane[i].side[s].latency);
			hist_add(rtt, &shm->lane[i].side[s].round_trip);
		}
	if (f->before_window)
		json_add_null_reason(app, "latency_us", "%s", no_window);
	else if (shm->unseen)
		json_add_null_reason(app, "latency_us", "the receiver discards the bytes: no stamp is read");
	else if (f->spec->pair.role != LG_ROLE_BOTH && f->spec->size >= 16 && !shm->clocks.shared)
		json_add_null_reason(app, "latency_us",
			"the stamps are from another host's clock: one way cannot be told from an offset");
	else if (!shm->latency_valid)
		json_add_null_reason(
			app, "latency_us", "messages under 16 bytes are too short to carry a stamp");
	else if (!one_way->count)
		json_add_null_reason(app, "latency_us", "no message was received in the measured window");
	else
		json_add(app, "latency_us", latency_json(one_way));
	json_add_str(app, "latency_is",
		str_eq(f->spec->workload, "stream") ? "one way, from the start of a message's send to the "
						      "end of its receive; it includes queueing in the "
						      "socket buffers"
						    : "one way, from the start of a message's send to the "
						      "end of its receive, in both directions");
	if (f->before_window)
		json_add_null_reason(app, "round_trip_us", "%s", no_window);
	else if (rtt->count)
		json_add(app, "round_trip_us", latency_json(rtt));
	else
		json_add_null_reason(app, "round_trip_us", "only the workload rr has round trips");
}

static json_object *app_json(const struct run_facts *f)
{
	json_object *o = json_object_new_object(), *life = json_object_new_object();
	struct lg_counts w = window_counts(f), l = life_counts(f);
	static const char *const covered[] = {"the measured window",
		"the measured window of the sender's host", "the measured window of the receiver's host"};
	bool only_sends = f->spec->pair.role == LG_ROLE_SENDER && str_eq(f->spec->workload, "stream");
	uint64_t ns = elapsed_ns(f);

	json_add_str(o, "covers", covered[f->spec->pair.role]);
	json_add_u64(o, "elapsed_ns", ns);
	json_add_u64(o, "messages", only_sends ? w.messages_sent : w.messages_received);
	json_add_u64(o, "bytes_sent", w.bytes_sent);
	json_add_u64(o, "bytes_received", w.bytes_received);
	json_add_u64(o, "send_calls", w.send_calls);
	json_add_u64(o, "recv_calls", w.recv_calls);
	if (ns && !only_sends) {
		json_add_double(o, "throughput_gbps", w.bytes_received * 8.0 / ns);
		json_add_double(o, "messages_per_s", w.messages_received * 1e9 / ns);
	} else {
		json_add_null(o, "throughput_gbps");
		json_add_null(o, "messages_per_s");
	}
	json_add_u64(o, "fields", f->shm->fields);
	json_add_u64(o, "ring", f->shm->ring);
	if (f->shm->huge_bytes != UINT64_MAX)
		json_add_u64(o, "huge_page_bytes", f->shm->huge_bytes);
	else
		json_add_null_reason(o, "huge_page_bytes", "/proc/self/smaps_rollup does not say");
	json_add_i64(o, "sender_nice", f->shm->lane[0].side[LG_SENDER].nice);
	json_add_str(o, "clock", f->shm->clock);
	if (f->connect_ns)
		json_add_u64(o, "start_to_window_ns", f->connect_ns);
	else
		json_add_null(o, "start_to_window_ns");
	add_latency(o, f);
	json_add_u64(life, "messages", only_sends ? l.messages_sent : l.messages_received);
	json_add_u64(life, "bytes_sent", l.bytes_sent);
	json_add_u64(life, "bytes_received", l.bytes_received);
	json_add(o, "whole_life", life);
	return o;
}

/* ---- ledger ---- */

/* Packing is counted by the lanes: each message packs its fields, so its histogram follows from the lengths
 * of the fields. */
static struct cell pack_cell(const struct run_facts *f)
{
	struct lg_counts c = life_counts(f);
	struct cell cell = {.hits = c.pack_copies, .bytes = c.pack_bytes};
	uint64_t even, last, fields = MIN(f->spec->fields, f->spec->size);

	if (!c.pack_copies || !fields)
		return cell;
	even = f->spec->size / fields;
	last = even + f->spec->size % fields;
	cell.log2[even ? 63 - __builtin_clzll(even) : 0] += c.pack_copies - c.pack_copies / fields;
	cell.log2[last ? MIN(63 - __builtin_clzll(last), CELL_BUCKETS - 1) : 0] += c.pack_copies / fields;
	return cell;
}

static struct cell site_cell(const struct run_facts *f, enum copy_site s)
{
	if (s != SITE_APP_PACK)
		return f->books->site[s];
	return f->shm ? pack_cell(f) : (struct cell){};
}

#define CALLERS_SHOWN 8 /* of a site, most bytes first */

/* Call paths of one cause at one kind of device are one row; its stack is that of the most bytes. */
struct caller_row {
	const struct call_path *path;
	struct cause cause;
	uint64_t hits, bytes;
};

static bool same_caller(const struct caller_row *row, const struct call_path *path, struct cause cause)
{
	return row->cause.text == cause.text && row->cause.from_stack == cause.from_stack &&
	       str_eq(row->path->kind, path->kind);
}

static size_t merge_callers(const struct run_facts *f, enum copy_site s, struct caller_row *rows)
{
	size_t n = 0;

	for (int i = 0; i < f->n_paths; i++) {
		const struct call_path *path = &f->paths[i];
		struct cause cause = cause_of(path);
		size_t k = 0;

		if (path->site != s)
			continue;
		while (k < n && !same_caller(&rows[k], path, cause))
			k++;
		if (k == CALLERS_SHOWN)
			continue;
		if (k == n)
			rows[n++] = (struct caller_row){path, cause, 0, 0};
		rows[k].hits += path->hits;
		rows[k].bytes += path->bytes;
	}
	return n;
}

static json_object *caller_json(const struct caller_row *row, enum evidence site_evidence)
{
	const struct call_path *path = row->path;
	json_object *o = json_object_new_object(), *stack = json_object_new_array();

	json_add_str(o, "cause", row->cause.text);
	json_add_str(o, "evidence", evidence_names[row->cause.from_stack ? site_evidence : EVIDENCE_DERIVED]);
	json_add_str(o, "device_kind", path->kind[0] ? path->kind : NULL);
	json_add_u64(o, "hits", row->hits);
	json_add_u64(o, "bytes", row->bytes);
	for (size_t i = 0; path->stack_known && i < STACK_DEPTH && path->stack[i][0]; i++)
		json_push(stack, json_object_new_string(path->stack[i]));
	json_add(o, "stack", stack);
	return o;
}

static json_object *callers_json(const struct run_facts *f, enum copy_site s)
{
	struct caller_row rows[CALLERS_SHOWN];
	size_t n = merge_callers(f, s, rows);
	json_object *a = json_object_new_array();

	for (size_t i = 0; i < n; i++)
		json_push(a, caller_json(&rows[i], f->site[s].evidence));
	return a;
}

static json_object *site_json(const struct run_facts *f, enum copy_site s)
{
	const struct site_row *row = &site_rows[s];
	const struct site_status *st = &f->site[s];
	struct cell c = site_cell(f, s);
	json_object *o = json_object_new_object(), *h = json_object_new_array();
	int last = CELL_BUCKETS;

	json_add_str(o, "site", row->name);
	json_add_str(o, "side", row->side);
	json_add_str(o, "kind", row->kind);
	json_add_str(o, "meaning", row->meaning);
	if (st->evidence == EVIDENCE_UNAVAILABLE) {
		json_add_null(o, "hits");
		json_add_null(o, "bytes");
	} else {
		/* A remainder has bytes, but says nothing of how often. */
		if (c.bytes && !c.hits)
			json_add_null(o, "hits");
		else
			json_add_u64(o, "hits", c.hits);
		json_add_u64(o, "bytes", c.bytes);
		while (last && !c.log2[last - 1])
			last--;
		for (int i = 0; i < last; i++)
			json_push(h, json_object_new_uint64(c.log2[i]));
	}
	json_add(o, "bytes_per_hit_log2", h);
	json_add_str(o, "evidence", evidence_names[st->evidence]);
	json_add_str(o, "hook", st->hook);
	json_add_str(o, "reason", st->reason);
	json_add(o, "callers", callers_json(f, s));
	return o;
}

static bool is_copy(enum copy_site s)
{
	return str_eq(site_rows[s].kind, "copy");
}

/* Packet sockets on the path's devices where no hook sees what is copied for them. */
static uint64_t unseen_taps(const struct run_facts *f)
{
	uint64_t n = 0;

	if (!f->shm || f->site[SITE_SKB_COPY].evidence == EVIDENCE_OBSERVED)
		return 0;
	for (int s = 0; s < LG_SIDES; s++)
		n += (uint64_t)MAX(f->shm->device[s].taps, 0);
	return n;
}

/* Every site whose kind is copy, per delivered byte. What is not seen leaves the total a lower bound. */
static json_object *copies_json(const struct run_facts *f, uint64_t delivered, uint64_t unseen)
{
	json_object *o = json_object_new_object();
	uint64_t total = 0;
	bool watch = !f->shm;
	/* The paths of what is watched are not known, nor who takes packets there. */
	bool complete = !unseen && !unseen_taps(f) &&
			(!watch || f->site[SITE_SKB_COPY].evidence == EVIDENCE_OBSERVED);

	for (enum copy_site s = 0; s < SITE_MAX; s++) {
		struct cell c = site_cell(f, s);

		if (!is_copy(s))
			continue;
		if (f->site[s].evidence == EVIDENCE_UNAVAILABLE) {
			/* What a watched program copies by itself is its own. */
			complete &= watch && s == SITE_APP_PACK;
			json_add_null(o, site_rows[s].name);
			continue;
		}
		total += c.bytes;
		if (delivered)
			json_add_double(o, site_rows[s].name, (double)c.bytes / delivered);
		else
			json_add_null(o, site_rows[s].name);
	}
	if (delivered)
		json_add_double(o, "total", (double)total / delivered);
	else
		json_add_null(o, "total");
	json_add_bool(o, "lower_bound", !complete);
	return o;
}

static json_object *equation_json(const struct equation *e)
{
	json_object *o = json_object_new_object();

	json_add_str(o, "rule", e->rule);
	json_add_str(o, "text", e->text);
	if (e->served) {
		json_add_u64(o, "left", e->left);
		json_add_u64(o, "right", e->right);
		json_add_i64(o, "difference", (int64_t)(e->left - e->right));
		json_add_bool(o, "holds", e->holds);
	} else {
		json_add_null(o, "left");
		json_add_null(o, "right");
		json_add_null(o, "difference");
		json_add_null(o, "holds");
	}
	json_add_str(o, "reason", e->reason);
	return o;
}

/* Skipped runs of the programs. *ret_doubtful: those whose bytes no equation would show. */
static json_object *misses_json(const struct run_facts *f, const struct balance_input *in,
	const struct equation *e, unsigned int n, uint64_t *ret_doubtful)
{
	json_object *a = json_object_new_array();

	*ret_doubtful = 0;
	for (size_t i = 0; i < f->n_hooks; i++) {
		const struct hook_cost *h = &f->hooks[i];
		bool audited = balance_audits(in, e, n, h->audit);
		json_object *o, *by;

		if (!h->misses)
			continue;
		*ret_doubtful += audited ? 0 : h->misses;
		o = json_object_new_object();
		by = json_object_new_array();
		json_add_str(o, "program", h->program);
		json_add_u64(o, "misses", h->misses);
		for (size_t k = 0; audited && k < HOOK_AUDITS && h->audit[k]; k++)
			json_push(by, json_object_new_string(h->audit[k]));
		json_add(o, "audited_by", by);
		json_push(a, o);
	}
	return a;
}

/* Why the books may be off, as sentences; none: they are exact. */
static json_object *doubts_json(
	const struct run_facts *f, uint64_t doubtful, struct unseen unseen, bool balanced)
{
	const uint64_t *c = f->books->counter;
	const struct {
		uint64_t n;
		const char *text;
	} doubts[] = {
		{doubtful, "runs of programs were skipped whose bytes no equation would show: see misses"},
		{unseen.path + unseen.retransmitted,
			"bytes that TCP sent passed hooks that the kernel did not run: see unseen"},
		{unseen.cut_off, "pinned bytes of connections that were cut off were not seen copied: they "
				 "may not have "
				 "been sent"},
		{unseen_taps(f),
			"packet sockets took each packet of the path when the run began: what was copied for "
			"them is not seen without fentry"},
		{c[COUNTER_SOCKETS_LEFT], "sockets belong to an upper-layer protocol, as kernel TLS: from "
					  "then on their bytes are in no book"},
		{c[COUNTER_GAP_TX] + c[COUNTER_GAP_RX],
			"bytes moved sequence numbers that no call explains: see gap"},
		{c[COUNTER_ZC_LOST], "zero-copy sends could not be followed, the map was full: see zc_lost"},
		{c[COUNTER_UNSEEN],
			"sockets, views or call paths were left out, a map was full: see the counter unseen"},
		{f->sockets_registered - MIN(c[COUNTER_SOCKETS_CLOSED], f->sockets_registered),
			"sockets had not ended when the books were closed"},
		{!balanced, "equation or more does not hold"},
	};
	json_object *a = json_object_new_array();
	char text[160];

	for (size_t i = 0; i < ARRAY_SIZE(doubts); i++) {
		if (!doubts[i].n)
			continue;
		snprintf(text, sizeof(text), "%" PRIu64 " %s", doubts[i].n, doubts[i].text);
		json_push(a, json_object_new_string(text));
	}
	return a;
}

static json_object *counters_json(const struct books *b)
{
	static const char *const names[] = {
#define COUNTER(id, name, meaning) name,
#include "counters.def"
#undef COUNTER
	};
	json_object *o = json_object_new_object();

	for (size_t i = 0; i < COUNTER_MAX; i++)
		json_add_u64(o, names[i], b->counter[i]);
	return o;
}

static struct balance_input input_of(const struct run_facts *f)
{
	struct balance_input in = {.app = app_totals(f),
		.books = f->books,
		.local_path = path_is_local(f->spec->path),
		.one_side = f->spec->pair.role != LG_ROLE_BOTH};

	memcpy(in.site, f->site, sizeof(in.site));
	return in;
}

static json_object *unseen_json(struct unseen u, bool watch)
{
	const char *why =
		watch ? "not while pinned bytes are on their way: known when all have completed"
		      : "only where all accepted bytes were pinned, and every connection ended in order";
	json_object *o = json_object_new_object();

	if (u.known) {
		json_add_u64(o, "path_bytes", u.path);
		json_add_u64(o, "retransmitted_bytes", u.retransmitted);
	} else {
		json_add_null_reason(o, "path_bytes", "%s", why);
		json_add_null_reason(o, "retransmitted_bytes", "%s", why);
	}
	return o;
}

json_object *result_ledger(const struct run_facts *f, const struct balance_input *in, uint64_t crossed)
{
	struct unseen unseen = balance_unseen(in);
	json_object *o = json_object_new_object(), *sites = json_object_new_array(),
		    *balance = json_object_new_array();
	json_object *gap = json_object_new_object(), *misses, *doubts;
	struct equation e[EQUATIONS_MAX];
	unsigned int n, served = 0;
	uint64_t doubtful;
	bool balanced;

	n = balance_equations(in, e);
	balanced = balance_holds(e, n);
	json_add_str(o, "covers",
		in->watch
			? "the sockets from when the watch took them up; per byte that they sent or received"
		: in->one_side
			? "this host's side of the run's connections, their whole life; per byte that it "
			  "sent or received"
			: "the whole life of the run's connections; per delivered byte");
	json_add_str(o, "tier", f->tier);
	for (enum copy_site s = 0; s < SITE_MAX; s++)
		json_push(sites, site_json(f, s));
	json_add(o, "sites", sites);
	json_add(o, "copies_per_byte", copies_json(f, crossed, unseen.path));
	json_add_u64(o, "delivered", crossed);
	for (unsigned int i = 0; i < n; i++) {
		served += e[i].served;
		json_push(balance, equation_json(&e[i]));
	}
	json_add(o, "balance", balance);
	json_add_u64(o, "equations_served", served);
	json_add_u64(gap, "tx", f->books->counter[COUNTER_GAP_TX]);
	json_add_u64(gap, "rx", f->books->counter[COUNTER_GAP_RX]);
	json_add(o, "gap", gap);
	json_add(o, "unseen", unseen_json(unseen, in->watch));
	misses = misses_json(f, in, e, n, &doubtful);
	json_add(o, "misses", misses);
	json_add(o, "counters", counters_json(f->books));
	json_add_bool(o, "balanced", balanced);
	doubts = doubts_json(f, doubtful, unseen, balanced);
	json_add_bool(o, "exact", json_object_array_length(doubts) == 0);
	json_add(o, "doubts", doubts);
	return o;
}

/* ---- zero-copy ---- */

struct verdict {
	const char *verdict, *from;
	double copied_share; /* of what was sent; below 0: not known */
};

/* What the receive queue copied together is no copy of the sender's: its zero-copy was one all the same. */
static uint64_t copied_in_queue(const struct run_facts *f)
{
	uint64_t bytes = 0;

	for (int i = 0; i < f->n_paths; i++)
		if (f->paths[i].site == SITE_SKB_COPY && cause_of(&f->paths[i]).in_queue)
			bytes += f->paths[i].bytes;
	return bytes;
}

/* The ledger decides, since completions can say copied where nothing was, and zero-copied where all was. */
static struct verdict verdict_of(const struct run_facts *f, const struct lg_counts *c)
{
	struct verdict v = {"none", "the mode", -1};
	uint64_t pinned, copied, looked_at = c->bytes_sent;

	if (!c->zc_sends)
		return v;
	if (f->books && f->site[SITE_TX_DEFERRED_COPY].evidence != EVIDENCE_UNAVAILABLE &&
		f->site[SITE_TX_PIN].evidence != EVIDENCE_UNAVAILABLE) {
		uint64_t later = f->books->site[SITE_TX_DEFERRED_COPY].bytes +
				 f->books->site[SITE_SKB_COPY].bytes -
				 MIN(copied_in_queue(f), f->books->site[SITE_SKB_COPY].bytes);
		struct balance_input in = input_of(f);

		v.from = "the ledger";
		looked_at -= MIN(balance_unseen(&in).path, looked_at);
		pinned = f->books->site[SITE_TX_PIN].bytes;
		copied = MIN(c->bytes_sent - MIN(pinned, c->bytes_sent) + later, looked_at);
	} else {
		v.from = "the completions";
		copied = c->zc_bytes_copied;
	}
	if (!looked_at) { /* no hook of the path ran */
		v.from = "the completions";
		copied = c->zc_bytes_copied;
		looked_at = c->zc_bytes_done;
	}
	if (!looked_at)
		return (struct verdict){"none", "neither the ledger nor a completion: no byte was seen", -1};
	v.copied_share = (double)copied / looked_at;
	v.verdict = v.copied_share >= 0.999 ? "copied" : v.copied_share <= 0.001 ? "zero-copied" : "mixed";
	return v;
}

/* The cause of most of the bytes that were copied after all; of the path alone where no call path tells. */
static struct cause main_cause(const struct run_facts *f)
{
	for (int i = 0; i < f->n_paths; i++) {
		struct cause c = cause_of(&f->paths[i]);

		if (c.text && !c.in_queue)
			return c;
	}
	return (struct cause){.text = path_verdict(f->spec->path, f->shm->device).cause};
}

static json_object *zerocopy_json(const struct run_facts *f)
{
	struct lg_counts c = life_counts(f);
	struct verdict v = verdict_of(f, &c);
	bool copied = str_eq(v.verdict, "copied") || str_eq(v.verdict, "mixed");
	struct cause cause = copied ? main_cause(f) : (struct cause){};
	bool seen = cause.from_stack && f->site[SITE_TX_DEFERRED_COPY].evidence == EVIDENCE_OBSERVED;
	json_object *o = json_object_new_object();

	json_add_str(o, "covers", "the whole life of the run's connections, as the application was told");
	json_add_u64(o, "sends", c.zc_sends);
	json_add_u64(o, "completed_zero_copied", c.zc_done - c.zc_done_copied);
	json_add_u64(o, "completed_copied", c.zc_done_copied);
	json_add_u64(o, "bytes", c.zc_bytes);
	json_add_u64(o, "bytes_zero_copied", c.zc_bytes_done - c.zc_bytes_copied);
	json_add_u64(o, "bytes_copied", c.zc_bytes_copied);
	json_add_u64(o, "notifications", c.zc_notifications);
	json_add_u64(o, "enobufs", c.zc_enobufs);
	json_add_u64(o, "waits", c.zc_waits);
	json_add_str(o, "verdict", v.verdict);
	json_add_str(o, "verdict_from", v.from);
	if (v.copied_share >= 0)
		json_add_double(o, "copied_share", v.copied_share);
	else
		json_add_null(o, "copied_share");
	json_add_str(o, "cause", cause.text);
	json_add_str(o, "cause_evidence", cause.text ? seen ? "observed" : "derived" : NULL);
	return o;
}

/* ---- derived figures, instrument, lanes ---- */

static void add_per_byte(
	json_object *o, const char *name, const struct run_facts *f, const char *event, uint64_t bytes)
{
	double v;

	if (!f->perf)
		json_add_null_reason(o, name, "%s", f->no_perf);
	else if (perf_total(f->perf, event, &v) < 0)
		json_add_null_reason(o, name, "the event %s is not counted here: see perf", event);
	else if (!bytes)
		json_add_null_reason(o, name, "no byte was moved in the measured window");
	else
		json_add_double(o, name, v / bytes);
}

static json_object *derived_json(const struct run_facts *f)
{
	static const struct {
		const char *name, *event;
	} rows[] = {
		{"cycles_per_byte", "cycles"},
		{"instructions_per_byte", "instructions"},
		{"cpu_ns_per_byte", "task_clock_ns"},
		{"llc_misses_per_byte", "llc_misses"},
	};
	struct lg_counts w = window_counts(f);
	json_object *o = json_object_new_object();

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		add_per_byte(o, rows[i].name, f, rows[i].event, crossed(f, &w));
	return o;
}

static json_object *hook_json(const struct hook_cost *h, bool measured)
{
	json_object *o = json_object_new_object();

	json_add_str(o, "program", h->program);
	json_add_str(o, "attach", h->attach);
	json_add_u64(o, "misses", h->misses);
	if (measured) {
		json_add_u64(o, "runs", h->runs);
		json_add_u64(o, "run_ns", h->run_ns);
	} else {
		json_add_null(o, "runs");
		json_add_null(o, "run_ns");
	}
	return o;
}

static const char no_load_cpu[] = "the CPU time of the load generator could not be read";

static const char *cost_in_words(const struct run_facts *f, bool measured)
{
	if (!f->n_hooks)
		return "none";
	return measured
		       ? "the hooks run inside the measured calls; hook_ns is the time within them, the way "
			 "in and out "
			 "is not in it, and their timing costs two readings of a clock a hook more: compare "
			 "with "
			 "runs whose ledger is off, as 'copyledger run --overhead' does"
		       : "the hooks run inside the measured calls: compare with runs whose ledger is off, as "
			 "'copyledger run --overhead' does";
}

json_object *result_instrument(const struct run_facts *f)
{
	json_object *o = json_object_new_object(), *a = json_object_new_array();
	uint64_t runs = 0, ns = 0;
	bool measured;

	for (size_t i = 0; i < f->n_hooks; i++) {
		runs += f->hooks[i].runs;
		ns += f->hooks[i].run_ns;
	}
	measured = f->timed || runs; /* for a part of the time, if somebody else asked for it */
	for (size_t i = 0; i < f->n_hooks; i++)
		json_push(a, hook_json(&f->hooks[i], measured));
	json_add_u64(o, "sites_attached", f->n_hooks);
	json_add(o, "hooks", a);
	if (measured) {
		json_add_u64(o, "hook_runs", runs);
		json_add_u64(o, "hook_ns", ns);
	} else {
		json_add_null_reason(o, "hook_runs", "%s", f->no_times);
		json_add_null_reason(o, "hook_ns", "%s", f->no_times);
	}
	json_add_str(o, "overhead", cost_in_words(f, measured));
	return o;
}

/* Of a run: both figures are of the time from the ledger's opening to the end of the load generator. */
static json_object *run_instrument(const struct run_facts *f)
{
	json_object *o = result_instrument(f), *ns = json_at(o, "hook_ns");

	if (f->load_cpu_ns)
		json_add_u64(o, "load_cpu_ns", f->load_cpu_ns);
	else
		json_add_null_reason(o, "load_cpu_ns", "%s", f->n_hooks ? no_load_cpu : f->no_times);
	if (!json_object_is_type(ns, json_type_int))
		json_add_null_reason(o, "hook_share", "%s", f->no_times);
	else if (!f->timed)
		json_add_null_reason(o, "hook_share",
			"the hooks were timed for a part of the run only, while a watch or the sysctl "
			"kernel.bpf_stats_enabled had the kernel do it");
	else if (!f->load_cpu_ns)
		json_add_null_reason(o, "hook_share", "%s", no_load_cpu);
	else
		json_add_double(o, "hook_share", json_object_get_double(ns) / f->load_cpu_ns);
	return o;
}

static json_object *lane_json(const struct lg_shm *shm, uint32_t lane, int s)
{
	static const char *const roles[] = {"sender", "receiver"};
	const struct lg_side *side = &shm->lane[lane].side[s];
	json_object *o = json_object_new_object(), *tcp = json_object_new_object();

	json_add_u64(o, "lane", lane);
	json_add_str(o, "role", roles[s]);
	json_add_i64(o, "cpu", side->cpu);
	json_add_u64(o, "bytes", s == LG_SENDER ? side->now.bytes_sent : side->now.bytes_received);
	if (side->error)
		json_add_str(o, "error", side->error_text);
	if (side->tcp.valid) {
		json_add_u64(tcp, "mss", side->tcp.mss);
		json_add_u64(tcp, "bytes_acked", side->tcp.bytes_acked);
		json_add_u64(tcp, "bytes_retrans", side->tcp.bytes_retrans);
		json_add_u64(tcp, "total_retrans", side->tcp.total_retrans);
		json_add_u64(tcp, "rtt_us", side->tcp.rtt_us);
		json_add_u64(tcp, "sndbuf", side->tcp.sndbuf);
		json_add_u64(tcp, "rcvbuf", side->tcp.rcvbuf);
		json_add_str(tcp, "congestion", side->tcp.congestion);
		json_add(o, "tcp", tcp);
	} else {
		json_drop(tcp);
		json_add_null_reason(o, "tcp", "the connection did not come to its orderly end");
	}
	return o;
}

static json_object *lanes_json(const struct run_facts *f)
{
	json_object *a = json_object_new_array();

	for (uint32_t i = 0; i < f->spec->threads; i++)
		for (int s = 0; s < LG_SIDES; s++)
			if (has_side(f, s))
				json_push(a, lane_json(f->shm, i, s));
	return a;
}

/* ---- the document ---- */

static void add_time(json_object *o, const char *name, uint64_t ns)
{
	char text[RFC3339_TEXT];

	json_add_str(o, name, ns ? rfc3339_format(text, ns) : NULL);
}

static json_object *error_json(const struct run_facts *f)
{
	json_object *o = json_object_new_object();

	json_add_str(o, "code", f->fault->code);
	json_add_str(o, "message", f->fault->text);
	json_add_str(o, "signal", f->signal);
	return o;
}

static void add_host(json_object *o, const struct run_facts *f)
{
	json_object *changed =
		f->host_before && f->host_after ? host_changes(f->host_before, f->host_after) : NULL;

	json_object_object_add(o, "host", f->host_before ? json_object_get(f->host_before) : NULL);
	json_object_object_add(o, "host_changed", changed);
}

/* Between two hosts only the device of this one is known, and never what is behind it. */
static json_object *path_block(const struct run_facts *f)
{
	static const char *const sides[] = {"sender", "receiver"};
	json_object *o = path_json(f->spec->path, f->shm->device);
	uint32_t role = f->spec->pair.role;

	if (role == LG_ROLE_BOTH)
		return o;
	json_add_null(o, sides[role == LG_ROLE_SENDER ? LG_RECEIVER : LG_SENDER]);
	if (role == LG_ROLE_SENDER && path_verdict(f->spec->path, f->shm->device).forces)
		return o;
	json_add_null(o, "forces_copy");
	json_add_str(o, "forces_copy_reason",
		role == LG_ROLE_SENDER ? "where the path beyond the sender's device ends is not known here"
				       : "the sender's device is on the other host");
	return o;
}

/* The counters of the side that is here; the other one is in the peer's result. */
static json_object *perf_json(const struct run_facts *f)
{
	static const char *const sides[] = {"sender", "receiver"};
	json_object *o = perf_to_json(f->perf);

	for (int s = 0; s < LG_SIDES; s++)
		if (!has_side(f, s))
			json_add_null(o, sides[s]);
	return o;
}

static json_object *clock_json(const struct lg_shm *shm)
{
	json_object *o = json_object_new_object();

	json_add_bool(o, "shared", shm->clocks.shared);
	if (shm->clocks.measured) {
		json_add_i64(o, "offset_ns", shm->clocks.offset_ns);
		json_add_u64(o, "error_ns", shm->clocks.error_ns);
		return o;
	}
	json_add_null_reason(o, "offset_ns", "the sender's host measures it while it connects");
	json_add_null_reason(o, "error_ns", "the sender's host measures it while it connects");
	return o;
}

static json_object *pair_json(const struct run_facts *f)
{
	static const char *const roles[] = {"both", "sender", "receiver"};
	const struct pair *p = &f->spec->pair;
	json_object *o = json_object_new_object();

	json_add_str(o, "id", p->id[0] ? p->id : f->id);
	json_add_str(o, "role", roles[p->role]);
	json_add_str(o, "peer", p->role == LG_ROLE_SENDER ? p->address : NULL);
	if (f->shm)
		json_add(o, "clock", clock_json(f->shm));
	else
		json_add_null(o, "clock");
	return o;
}

static void add_measured(json_object *o, const struct run_facts *f)
{
	json_add(o, "app", app_json(f));
	if (f->books) {
		struct balance_input in = input_of(f);

		json_add(o, "ledger",
			result_ledger(f, &in, in.one_side ? in.app.sent + in.app.received : in.app.received));
	} else {
		json_add_null(o, "ledger");
		json_add_str(o, "ledger_reason", f->no_ledger);
	}
	json_add(o, "zerocopy", zerocopy_json(f));
	if (f->perf) {
		json_add(o, "perf", perf_json(f));
	} else {
		json_add_null(o, "perf");
		json_add_str(o, "perf_reason", f->no_perf);
	}
	json_add(o, "derived", derived_json(f));
	json_add(o, "instrument", run_instrument(f));
	json_add(o, "path", path_block(f));
	json_add(o, "lanes", lanes_json(f));
}

json_object *result_document(const struct run_facts *f)
{
	json_object *o = json_object_new_object();

	if (!o)
		return NULL;
	json_add_str(o, "schema", RESULT_SCHEMA);
	json_add_str(o, "id", f->id);
	add_time(o, "started", f->started_ns);
	add_time(o, "ended", f->ended_ns);
	json_add_str(o, "state", f->state);
	if (f->fault)
		json_add(o, "error", error_json(f));
	json_add(o, "spec", spec_to_json(f->spec));
	if (f->spec->pair.role != LG_ROLE_BOTH)
		json_add(o, "pair", pair_json(f));
	if (f->shm)
		add_measured(o, f);
	add_host(o, f);
	json_object_object_add(
		o, "warnings", f->warnings ? json_object_get(f->warnings) : json_object_new_array());
	return o;
}

json_object *result_trace(const struct run_facts *f, const char *state, uint64_t elapsed_ms)
{
	json_object *o = json_object_new_object(), *sites = json_object_new_array(), *copies, *total;
	uint64_t delivered = f->books->counter[COUNTER_RECEIVED];

	for (enum copy_site s = 0; s < SITE_MAX; s++)
		json_push(sites, site_json(f, s));
	json_add_str(o, "id", f->id);
	json_add_str(o, "state", state);
	json_add_u64(o, "elapsed_ms", elapsed_ms);
	json_add(o, "sites", sites);
	json_add_u64(o, "delivered", delivered);
	copies = copies_json(f, delivered, 0);
	if (json_object_object_get_ex(copies, "total", &total) && total)
		json_add_double(o, "copies_per_byte", json_object_get_double(total));
	else
		json_add_null(o, "copies_per_byte");
	json_drop(copies);
	return o;
}
