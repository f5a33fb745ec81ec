// SPDX-License-Identifier: MIT
/* Draws the line of progress over itself. */
#include "progress.h"

#define BAR 24 /* columns */

struct progress progress_new(struct out *out)
{
	return (struct progress){.out = out};
}

static void begin_line(struct progress *p)
{
	fputs("\r\x1b[K", p->out->f);
	p->out->column = 0;
	p->shown = true;
}

static void put_bar(struct out *o, double done)
{
	char bar[BAR + 1];
	int full = (int)(MIN(MAX(done, 0), 1) * BAR);

	memset(bar, '-', BAR);
	memset(bar, '#', (size_t)full);
	bar[BAR] = '\0';
	out_text(o, STYLE_NONE, "[%s]", bar);
}

void progress_show(struct progress *p, json_object *progress)
{
	const char *state = doc_text(progress, "state");
	double elapsed, remaining, gbps, ahead;
	struct out *o = p->out;
	bool clip = o->clip;

	if (!o->width)
		return;
	o->clip = true;
	begin_line(p);
	if (p->before)
		out_text(o, STYLE_NONE, "%s  ", p->before);
	out_text(o, STYLE_BOLD, "%-10s", state);
	if (doc_number(progress, "position", &ahead) && ahead > 0)
		out_text(o, STYLE_NONE, " %.0f run%s ahead", ahead, ahead == 1 ? "" : "s");
	else if (doc_number(progress, "elapsed_ms", &elapsed) &&
		 doc_number(progress, "remaining_ms", &remaining) && elapsed + remaining > 0) {
		put_bar(o, elapsed / (elapsed + remaining));
		out_text(o, STYLE_NONE, " %.1f s left", remaining / 1e3);
	}
	if (doc_number(progress, "throughput_gbps", &gbps) && gbps > 0)
		out_text(o, STYLE_NONE, "  %s", figure_rate(gbps).s);
	fflush(o->f);
	o->clip = clip;
}

static void put_sweep(struct out *o, json_object *progress)
{
	double done = 0, expected = 0, remaining = 0, ahead = 0;

	if (doc_number(progress, "position", &ahead) && ahead > 0) {
		out_text(o, STYLE_NONE, "%.0f sweep%s ahead", ahead, ahead == 1 ? "" : "s");
		return;
	}
	doc_number(progress, "runs_done", &done);
	doc_number(progress, "runs_expected", &expected);
	doc_number(progress, "remaining_ms", &remaining);
	put_bar(o, expected > 0 ? done / expected : 0);
	out_text(o, STYLE_NONE, " run %.0f of at most %.0f, %s left", done + 1, expected,
		figure_duration(remaining * 1e6).s);
}

void progress_show_sweep(struct progress *p, json_object *progress)
{
	json_object *running = doc_at(progress, "running");
	int64_t size = 0, threads = 0;
	struct out *o = p->out;
	bool clip = o->clip;

	if (!o->width)
		return;
	o->clip = true;
	begin_line(p);
	put_sweep(o, progress);
	if (doc_integer(running, "size", &size) && doc_integer(running, "threads", &threads))
		out_text(o, STYLE_DIM, "  %s %s x %s", doc_text(running, "mode"), figure_size(size).s,
			figure_count(threads).s);
	fflush(o->f);
	o->clip = clip;
}

void progress_clear(struct progress *p)
{
	if (!p->shown)
		return;
	begin_line(p);
	fflush(p->out->f);
	p->shown = false;
}
