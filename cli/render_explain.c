// SPDX-License-Identifier: MIT
/* Answers as text, from their document alone. */
#include <inttypes.h>

#include "explain.h"
#include "render.h"

static void put_sentence(struct out *o, const char *text)
{
	_cleanup_free_ char *line = NULL;
	size_t n = strlen(text);

	if (asprintf(&line, "%s%s", text, n && strchr(".?", text[n - 1]) ? "" : ".") < 0)
		return;
	out_pad(o, 2);
	out_wrap(o, STYLE_NONE, line);
	out_newline(o);
}

static void put_row(struct out *o, json_object *row, bool runs)
{
	json_object *ids = doc_at(row, "runs");
	double median, low, high;
	int64_t size = 0, threads = 0, n = 0;

	doc_integer(row, "size", &size);
	doc_integer(row, "threads", &threads);
	doc_integer(row, "n", &n);
	out_pad(o, 4);
	out_text(o, STYLE_DIM, "%s, %s x %" PRId64 ", %s, %s: %s", doc_text(row, "mode"), figure_size(size).s,
		threads, doc_text(row, "workload"), doc_text(row, "path"), doc_text(row, "measure"));
	if (doc_number(row, "median", &median))
		out_text(o, STYLE_DIM, " %.4g %s", median, doc_text(row, "unit"));
	if (doc_number(row, "low", &low) && doc_number(row, "high", &high))
		out_text(o, STYLE_DIM, " (%.4g to %.4g)", low, high);
	out_text(o, STYLE_DIM, ", %" PRId64 " run%s", n, n == 1 ? "" : "s");
	out_newline(o);
	for (size_t i = 0; runs && i < doc_length(ids); i++) {
		out_pad(o, 6);
		out_line(o, STYLE_DIM, "%s", json_object_get_string(json_object_array_get_idx(ids, i)));
	}
}

static void put_answer(struct out *o, json_object *answer, bool runs)
{
	json_object *sentences = doc_at(answer, "sentences"), *rows = doc_at(answer, "rests_on");
	size_t n = doc_length(rows);

	out_line(o, STYLE_BOLD, "%s", doc_text(answer, "question"));
	for (size_t i = 0; i < doc_length(sentences); i++)
		put_sentence(o, json_object_get_string(json_object_array_get_idx(sentences, i)));
	if (n && !runs) {
		out_pad(o, 2);
		out_line(o, STYLE_DIM, "(rests on %zu figure%s: --runs lists them)", n, n == 1 ? "" : "s");
	}
	for (size_t i = 0; runs && i < n; i++)
		put_row(o, json_object_array_get_idx(rows, i), runs);
	out_newline(o);
}

void render_explain(struct out *o, json_object *document, bool runs)
{
	json_object *answers = doc_at(document, "answers"), *source = doc_at(document, "source");
	int64_t cells = 0, n = 0, failed = 0;

	doc_integer(source, "cells", &cells);
	doc_integer(source, "runs", &n);
	doc_integer(source, "failed_runs", &failed);
	for (size_t i = 0; i < doc_length(answers); i++)
		put_answer(o, json_object_array_get_idx(answers, i), runs);
	out_line(o, STYLE_DIM,
		"%s %s: %" PRId64 " cells, %" PRId64 " runs, %" PRId64 " failed; kernel %s, %s",
		doc_text(source, "kind"), doc_text(source, "id"), cells, n, failed,
		doc_text(source, "kernel"), doc_text(source, "cpu"));
}
