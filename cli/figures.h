/* SPDX-License-Identifier: MIT */
/*
 * Figures of a dataset, drawn by gnuplot from measured values only. What the machine does not count is said
 * in the figure, which shows the CPU time instead. Each figure's data is a table of its own, with the ids of
 * the runs behind each row.
 */
#pragma once

#include "dataset.h"

struct figure_kind {
	const char *name; /* also the files' */
	const char *title;
};

size_t figure_kinds(void);
const struct figure_kind *figure_kind(size_t i);

/* Which cells a figure is of. */
struct figure_place {
	const char *path, *workload;
	int64_t threads, size;
};

/*
 * The path and workload of the i-th pair that the data has; false: not so many. threads and size: what was
 * asked for, 0: 4 threads and 1024 B if the data has them, else the nearest that it has.
 */
bool figure_place(const struct dataset *d, size_t i, int64_t threads, int64_t size, struct figure_place *ret);

/* Whether the data has these at all; else *reterr lists what there is. */
int figure_check(const struct dataset *d, int64_t threads, int64_t size, struct fault *reterr);

enum figure_format { FIGURE_SVG, FIGURE_PNG };

/*
 * Draws into a file. -ENODATA: there is nothing to draw at this place (the fault says why). Other faults:
 * gnuplot_run()'s.
 */
int figure_draw(const struct dataset *d, size_t kind, const struct figure_place *at,
	enum figure_format format, const char *file, struct fault *reterr);

/* Writes the figure's values as tab-separated text. -ENODATA as above. */
int figure_table(const struct dataset *d, size_t kind, const struct figure_place *at, FILE *f);
