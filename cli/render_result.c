// SPDX-License-Identifier: MIT
/* One run's result: what was asked, how fast it went, the ledger, what it cost, and one plain sentence. */
#include "cli.h"
#include "render.h"
#include "table.h"

#define SHARE_MIN 100 /* counts below which the share of user mode says nothing */

static void render_header(struct out *o, json_object *result)
{
	const char *label = doc_text(result, "spec.label");
	double size, fields, threads, duration;

	out_text(o, STYLE_BOLD, "%s", doc_text(result, "spec.mode"));
	if (doc_number(result, "spec.size", &size))
		out_text(o, STYLE_NONE, ", messages of %s", figure_size(whole(size)).s);
	if (doc_number(result, "spec.fields", &fields))
		out_text(o, STYLE_NONE, " in %.0f field%s", fields, fields == 1 ? "" : "s");
	if (doc_number(result, "spec.threads", &threads))
		out_text(o, STYLE_NONE, ", %.0f thread%s", threads, threads == 1 ? "" : "s");
	out_text(o, STYLE_NONE, ", %s over %s", doc_text(result, "spec.workload"),
		doc_text(result, "spec.path"));
	if (doc_number(result, "spec.duration_ms", &duration))
		out_text(o, STYLE_NONE, ", %s", figure_duration(duration * 1e6).s);
	out_newline(o);
	out_text(o, STYLE_DIM, "run %s", doc_text(result, "id"));
	if (*label)
		out_text(o, STYLE_DIM, ", \"%s\"", label);
	if (doc_string(result, "started"))
		out_text(o, STYLE_DIM, ", started %s", doc_text(result, "started"));
	out_newline(o);
}

static void render_throughput(struct out *o, json_object *result)
{
	double gbps, bytes, messages, ns;
	bool lasted = doc_number(result, "app.elapsed_ns", &ns) && ns > 0;
	const char *reason = doc_reason(result, "app.throughput_gbps");

	render_label(o, "throughput");
	if (doc_number(result, "app.throughput_gbps", &gbps))
		out_text(o, STYLE_BOLD, "%s", figure_rate(gbps).s);
	else
		out_text(o, STYLE_NONE, "unknown%s%s", reason ? ": " : "", reason ? reason : "");
	if (lasted && doc_number(result, "app.messages", &messages))
		out_text(o, STYLE_NONE, "   %s messages/s", figure_count(whole(messages * 1e9 / ns)).s);
	if (lasted && doc_number(result, "app.bytes_received", &bytes))
		out_text(o, STYLE_NONE, "   %s in %s", figure_bytes(bytes).s, figure_duration(ns).s);
	out_newline(o);
}

/* "p50 12.3 us   p99 ..." of a latency object, in the order of a quick look. */
static void render_latency(struct out *o, json_object *latency, const char *label, const char *note)
{
	static const struct {
		const char *member, *name;
	} figures[] = {{"mean", "mean"}, {"p50", "p50"}, {"p99", "p99"}, {"max", "max"}};
	const char *sep = "", *reason = doc_string(latency, "reason");
	double us;

	render_label(o, label);
	for (size_t i = 0; i < ARRAY_SIZE(figures); i++) {
		if (!doc_number(latency, figures[i].member, &us))
			continue;
		out_text(o, STYLE_NONE, "%s%s %s", sep, figures[i].name, figure_duration(us * 1e3).s);
		sep = "   ";
	}
	if (!*sep)
		out_wrap(o, STYLE_NONE, reason ? reason : "not measured");
	else if (note)
		out_text(o, STYLE_DIM, "   (%s)", note);
	out_newline(o);
}

static void render_latencies(struct out *o, json_object *result)
{
	bool stream = str_eq(doc_text(result, "spec.workload"), "stream");
	json_object *latency = doc_at(result, "app.latency_us"),
		    *round_trip = doc_at(result, "app.round_trip_us");
	const char *reason = doc_reason(result, "app.latency_us");
	double us;

	if (!json_object_is_type(latency, json_type_object)) {
		render_label(o, "latency");
		out_wrap(o, STYLE_NONE, reason ? reason : "not measured");
		out_newline(o);
	} else {
		render_latency(o, latency, "latency", stream ? "waiting in socket buffers included" : NULL);
	}
	if (doc_number(round_trip, "p50", &us))
		render_latency(o, round_trip, "round trip", NULL);
}

/* What the kernel told the application: the second opinion beside the ledger. */
static void render_zerocopy(struct out *o, json_object *result)
{
	json_object *z = doc_at(result, "zerocopy");
	double sends, clean, copied, enobufs;

	if (!doc_number(z, "sends", &sends) || sends == 0)
		return;
	render_label(o, "zero-copy");
	out_text(o, STYLE_NONE, "%s sends", figure_count(whole(sends)).s);
	if (doc_number(z, "completed_zero_copied", &clean) && doc_number(z, "completed_copied", &copied))
		out_text(o, STYLE_NONE, "; completions say %s zero-copied, %s copied",
			figure_count(whole(clean)).s, figure_count(whole(copied)).s);
	if (doc_number(z, "enobufs", &enobufs))
		out_text(o, STYLE_NONE, "; ENOBUFS %s", figure_count(whole(enobufs)).s);
	out_newline(o);
}

static struct figure figure_event(double n)
{
	return n < 1e7 ? figure_count(whole(n)) : figure_big(n);
}

/* Events that are measured rather than counted. */
static const struct event_unit {
	const char *event, *title;
	struct figure (*format)(double value);
} event_units[] =
	{
		{"task_clock_ns", "task_clock", figure_duration},
},
  counted = {NULL, NULL, figure_event};

static const struct event_unit *event_unit(const char *event)
{
	for (size_t i = 0; i < ARRAY_SIZE(event_units); i++)
		if (str_eq(event, event_units[i].event))
			return &event_units[i];
	return &counted;
}

static void perf_cell(struct table *t, json_object *side, const char *event)
{
	json_object *e = json_object_object_get(side, event);
	double value, user;

	if (!doc_number(e, "", &value)) {
		table_cell(t, STYLE_NONE, UNKNOWN);
		table_cell(t, STYLE_NONE, "%s", "");
		return;
	}
	table_cell(t, STYLE_NONE, "%s%s", event_unit(event)->format(value).s,
		doc_flag(e, "scaled") == 1 ? " (scaled)" : "");
	if (value >= SHARE_MIN && doc_number(e, "user", &user))
		table_cell(t, STYLE_DIM, "%.0f %% user", 100 * user / value);
	else
		table_cell(t, STYLE_NONE, "%s", "");
}

/* One event: a row if either side has it, else its name under the reason. */
static void perf_event(
	struct table *t, json_object *sender, json_object *receiver, const char *event, json_object *missing)
{
	json_object *s = json_object_object_get(sender, event), *r = json_object_object_get(receiver, event);
	const char *reason = doc_string(s, "reason");
	double value;

	if (!doc_number(s, "", &value) && !doc_number(r, "", &value)) {
		reasons_add(missing, reason ? reason : doc_string(r, "reason"), event);
		return;
	}
	table_cell(t, STYLE_NONE, "%s", event_unit(event)->title ? event_unit(event)->title : event);
	perf_cell(t, sender, event);
	perf_cell(t, receiver, event);
}

void render_perf(struct out *o, json_object *result)
{
	static const struct column columns[] = {
		{"counter", false}, {"sender", true}, {"", true}, {"receiver", true}, {"", true}};
	json_object *sender = doc_at(result, "perf.sender"), *receiver = doc_at(result, "perf.receiver");
	_cleanup_json_ json_object *missing = json_object_new_object();
	_cleanup_(table_freep) struct table *t = table_new(columns, ARRAY_SIZE(columns));
	const char *reason = doc_reason(result, "perf");
	json_object *events =
		json_object_is_type(sender, json_type_object) && json_object_object_length(sender) ? sender
												   : receiver;

	if (!json_object_is_type(events, json_type_object) || json_object_object_length(events) == 0) {
		render_label(o, "counters");
		out_wrap(o, STYLE_DIM, reason && *reason ? reason : "none");
		out_newline(o);
		return;
	}
	json_object_object_foreach(events, event, value)
	{
		(void)value;
		perf_event(t, sender, receiver, event, missing);
	}
	if (table_rows(t) > 0)
		table_print(t, o, 0);
	render_reasons(o, missing, "not counted");
}

/* A member of "derived" and how it reads. */
static const struct derived_figure {
	const char *member, *unit;
} derived_figures[] = {
	{"cpu_ns_per_byte", "ns of CPU"},
	{"cycles_per_byte", "cycles"},
	{"instructions_per_byte", "instructions"},
	{"cache_misses_per_byte", "cache misses"},
	{"llc_misses_per_byte", "last-level misses"},
};

static void render_derived(struct out *o, json_object *result)
{
	const char *sep = "";
	double value;

	for (size_t i = 0; i < ARRAY_SIZE(derived_figures); i++) {
		const struct derived_figure *d = &derived_figures[i];

		if (!doc_number(doc_at(result, "derived"), d->member, &value))
			continue;
		if (!*sep)
			render_label(o, "per byte");
		out_text(o, STYLE_NONE, "%s%.3g %s", sep, value, d->unit);
		sep = ", ";
	}
	if (*sep)
		out_newline(o);
}

/* What the ledger's own programs took, where the kernel timed them. */
static void render_hooks(struct out *o, json_object *result)
{
	json_object *instrument = doc_at(result, "instrument");
	double runs, ns, cpu, share;

	if (!doc_number(instrument, "hook_runs", &runs) || !doc_number(instrument, "hook_ns", &ns))
		return;
	render_label(o, "hooks");
	out_text(o, STYLE_NONE, "%s runs of %zu hooks took %s", figure_count(whole(runs)).s,
		doc_length(doc_at(instrument, "hooks")), figure_duration(ns).s);
	if (doc_number(instrument, "hook_share", &share) && doc_number(instrument, "load_cpu_ns", &cpu))
		out_text(o, STYLE_NONE, ", %s of the load's CPU time", figure_percent(ns, cpu).s);
	else
		out_text(o, STYLE_DIM, " (timed for a part of the run)");
	out_newline(o);
}

static void render_warnings(struct out *o, json_object *result)
{
	json_object *warnings = doc_at(result, "warnings");

	for (size_t i = 0; i < doc_length(warnings); i++) {
		json_object *row = json_object_array_get_idx(warnings, i);
		const char *message = doc_string(row, "message");

		if (!message && json_object_is_type(row, json_type_string))
			message = json_object_get_string(row);
		out_text(o, STYLE_NOTE, "warning:");
		out_text(o, STYLE_NONE, " ");
		out_wrap(o, STYLE_NONE, message ? message : doc_text(row, "code"));
		out_newline(o);
	}
}

static void render_measured(struct out *o, json_object *result)
{
	render_throughput(o, result);
	render_latencies(o, result);
	out_newline(o);
	render_ledger(o, result);
	if (doc_length(doc_at(result, "ledger.balance"))) {
		out_newline(o);
		render_balance(o, doc_at(result, "ledger"));
	}
	out_newline(o);
	render_zerocopy(o, result);
	render_derived(o, result);
	render_hooks(o, result);
	render_perf(o, result);
}

/* A run that failed before its first byte has only zeros to show. */
static bool moved_something(json_object *result)
{
	double bytes;

	if (!json_object_is_type(doc_at(result, "app"), json_type_object))
		return false;
	return str_eq(doc_text(result, "state"), "done") ||
	       !doc_number(result, "app.whole_life.bytes_received", &bytes) || bytes > 0;
}

void render_result(struct out *o, json_object *result)
{
	_cleanup_free_ char *sentence = result_sentence(result);
	int status = result_status(result);

	render_header(o, result);
	out_newline(o);
	if (moved_something(result)) {
		render_measured(o, result);
		out_newline(o);
	}
	render_warnings(o, result);
	out_wrap(o, status == STATUS_OK ? STYLE_BOLD : STYLE_BAD, sentence ? sentence : "out of memory");
	out_newline(o);
}
