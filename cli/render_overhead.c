// SPDX-License-Identifier: MIT
/* An overhead measurement as text: what was measured, a row a measure, what was left out, and one sentence.
 */
#include "dataset.h"
#include "overhead.h"
#include "render.h"
#include "table.h"

static void render_header(struct out *o, json_object *document)
{
	const char *tier = doc_string(document, "tier");
	double size, threads;
	int64_t asked = 0, ms = 0;

	out_text(o, STYLE_BOLD, "%s", doc_text(document, "spec.mode"));
	if (doc_number(document, "spec.size", &size))
		out_text(o, STYLE_NONE, ", messages of %s", figure_size(whole(size)).s);
	if (doc_number(document, "spec.threads", &threads))
		out_text(o, STYLE_NONE, ", %.0f thread%s", threads, threads == 1 ? "" : "s");
	if (doc_string(document, "spec.workload"))
		out_text(o, STYLE_NONE, ", %s over %s: ", doc_text(document, "spec.workload"),
			doc_text(document, "spec.path"));
	out_text(o, STYLE_NONE, "ledger on");
	if (tier)
		out_text(o, STYLE_NONE, " (%s)", tier);
	out_line(o, STYLE_NONE, " against off");
	doc_integer(document, "pairs_asked", &asked);
	doc_integer(document, "slice_ms", &ms);
	out_line(o, STYLE_DIM, "%s pair%s of runs of %s, in turns; label \"%s\"", figure_count(asked).s,
		asked == 1 ? "" : "s", figure_duration((double)ms * 1e6).s, doc_text(document, "label"));
	out_newline(o);
}

static void measure_row(struct table *t, json_object *m)
{
	double on, off, ratio, low, high, coverage;
	int64_t pairs = 0;

	table_cell(t, STYLE_NONE, "%s (%s)", doc_text(m, "title"), doc_text(m, "unit"));
	if (!doc_number(m, "on", &on) || !doc_number(m, "off", &off) || !doc_number(m, "ratio", &ratio)) {
		for (int i = 0; i < 3; i++)
			table_cell(t, STYLE_NONE, UNKNOWN);
		table_cell(t, STYLE_DIM, "%s", doc_text(m, "reason"));
		table_end_row(t);
		return;
	}
	table_cell(t, STYLE_NONE, "%.4g", on);
	table_cell(t, STYLE_NONE, "%.4g", off);
	table_cell(t, STYLE_BOLD, "%.3f", ratio);
	doc_integer(m, "pairs", &pairs);
	if (doc_number(m, "low", &low) && doc_number(m, "high", &high) &&
		doc_number(m, "coverage", &coverage))
		table_cell(t, STYLE_NONE, "%.3f to %.3f (%.0f %%), %s pairs", low, high, 100 * coverage,
			figure_count(pairs).s);
	else
		table_cell(t, STYLE_NONE, UNKNOWN);
}

static void render_measures(struct out *o, json_object *document)
{
	static const struct column columns[] = {
		{"median", false}, {"on", true}, {"off", true}, {"on/off", true}, {"interval", false}};
	_cleanup_(table_freep) struct table *t = table_new(columns, ARRAY_SIZE(columns));
	json_object *measures_ = doc_at(document, "measures");

	for (size_t i = 0; i < doc_length(measures_); i++)
		measure_row(t, json_object_array_get_idx(measures_, i));
	table_print(t, o, 0);
	out_newline(o);
}

static void render_left_out(struct out *o, json_object *document)
{
	json_object *pairs = doc_at(document, "pairs");

	for (size_t i = 0; i < doc_length(pairs); i++) {
		json_object *pair = json_object_array_get_idx(pairs, i);

		if (!doc_string(pair, "left_out"))
			continue;
		out_text(o, STYLE_NOTE, "pair %zu is left out:", i + 1);
		out_text(o, STYLE_NONE, " ");
		out_wrap(o, STYLE_NONE, doc_text(pair, "left_out"));
		out_newline(o);
	}
}

static void render_notes(struct out *o, json_object *notes)
{
	for (size_t i = 0; i < doc_length(notes); i++) {
		out_text(o, STYLE_NOTE, "note: ");
		out_wrap(o, STYLE_NONE, json_object_get_string(json_object_array_get_idx(notes, i)));
		out_newline(o);
	}
}

static const struct state_words {
	const char *state, *words;
} state_words[] = {
	{"done", ""},
	{"interrupted", "interrupted: "},
	{"given_up", "given up after 3 pairs without a ratio: "},
	{"failed", "ended early: "},
};

/* With few pairs the interval is their range, which holds the median less often than it should to decide. */
static bool is_sure(json_object *m)
{
	double coverage;

	return doc_number(m, "coverage", &coverage) && coverage >= ESTIMATE_LEVEL;
}

/* Gone through the throughput, in percent of what there is without the ledger; below 0: gained. */
static int put_loss(FILE *f, json_object *m)
{
	double ratio, low, high;
	int64_t pairs;

	if (!doc_number(m, "ratio", &ratio))
		return fprintf(f, "what the ledger costs is not known");
	if (!is_sure(m) && doc_integer(m, "pairs", &pairs))
		fprintf(f, "not sure, with %s pair%s: ", figure_count(pairs).s, pairs == 1 ? "" : "s");
	if (!doc_number(m, "low", &low) || !doc_number(m, "high", &high))
		return fprintf(f, "with the ledger the throughput was %.1f %% of that without", 100 * ratio);
	if (high < 1)
		return fprintf(f, "the ledger takes %.1f %% of the throughput (%.1f %% to %.1f %%)",
			100 * (1 - ratio), 100 * (1 - high), 100 * (1 - low));
	if (low > 1)
		return fprintf(f,
			"with the ledger the throughput is higher by %.1f %% (%.1f %% to %.1f %%), which is "
			"no "
			"cost of the ledger's",
			100 * (ratio - 1), 100 * (low - 1), 100 * (high - 1));
	return fprintf(f,
		"no cost of the ledger is seen in the throughput: %+.1f %% with it (%+.1f %% to %+.1f %%)",
		100 * (ratio - 1), 100 * (low - 1), 100 * (high - 1));
}

/* The other measures, behind the throughput. */
static void put_others(FILE *f, json_object *measures_)
{
	for (size_t i = 1; i < doc_length(measures_); i++) {
		json_object *m = json_object_array_get_idx(measures_, i);
		double ratio, low, high;

		if (doc_number(m, "ratio", &ratio) && doc_number(m, "low", &low) &&
			doc_number(m, "high", &high))
			fprintf(f, "; %s %+.1f %% (%+.1f %% to %+.1f %%%s)", doc_text(m, "title"),
				100 * (ratio - 1), 100 * (low - 1), 100 * (high - 1),
				is_sure(m) ? "" : ", not sure");
	}
}

char *overhead_sentence(json_object *document)
{
	const char *state = doc_text(document, "state");
	int64_t unbalanced = 0;
	char *text = NULL;
	size_t size;
	FILE *f = open_memstream(&text, &size);

	if (!f)
		return NULL;
	for (size_t i = 0; i < ARRAY_SIZE(state_words); i++)
		if (str_eq(state_words[i].state, state))
			fputs(state_words[i].words, f);
	put_loss(f, json_object_array_get_idx(doc_at(document, "measures"), 0));
	put_others(f, doc_at(document, "measures"));
	if (doc_integer(document, "unbalanced", &unbalanced) && unbalanced)
		fprintf(f, "; the books of %s run%s do not balance", figure_count(unbalanced).s,
			unbalanced == 1 ? "" : "s");
	return fclose(f) == 0 ? text : NULL;
}

static enum style sentence_style(json_object *document)
{
	if (overhead_status(document) != STATUS_OK)
		return STYLE_BAD;
	return is_sure(json_object_array_get_idx(doc_at(document, "measures"), 0)) ? STYLE_BOLD : STYLE_NONE;
}

void render_overhead(struct out *o, json_object *document)
{
	_cleanup_free_ char *sentence = overhead_sentence(document);

	render_header(o, document);
	render_measures(o, document);
	render_left_out(o, document);
	render_notes(o, doc_at(document, "notes"));
	out_wrap(o, sentence_style(document), sentence ? sentence : "out of memory");
	out_newline(o);
}
