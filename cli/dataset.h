/* SPDX-License-Identifier: MIT */
/*
 * What an analysis rests on: result documents, gathered into cells that ran the same thing. They come from
 * the daemon's store or from files, never from anywhere else.
 *
 * A source is
 *   ID, "last"    a sweep, or a run; a unique beginning is enough. last: the newest sweep
 *   label:TEXT    every run with this label
 *   FILE, "-"     result documents one after the other, as 'run --json' and 'export --jsonl' print them
 * and may end with ":name=value,...": only runs whose spec has these values, as in
 * "last:mode=one-copy,size=64K" or "last:path=netns:SERVER,CLIENT".
 */
#pragma once

#include "cli.h"
#include "measure.h"

#define ESTIMATE_LEVEL 0.95
#define ESTIMATE_RESAMPLES 2000U

struct cell {
	json_object *spec; /* of its first run; its runs differ in the label only; borrowed */
	const char *mode, *path, *workload;
	int64_t size, threads;
	json_object **runs; /* documents of state "done", oldest first; borrowed */
	size_t n_runs;
	size_t failures;
	const char *failure; /* the first one's reason; NULL: none */
};

struct dataset {
	char *source;          /* as it was asked for */
	const char *id, *kind; /* of the sweep or run; kind: "sweep", "run", "label" or "file" */
	uint64_t seed;         /* of the sweep, else 1: for what is resampled */
	json_object *sweep;    /* GetSweep's reply; NULL: the source is no sweep */
	struct cell *cells;    /* by path, workload, mode, size, threads, in this order */
	size_t n_cells;
	json_object *documents; /* array of all of them, failed ones too; owned, as is all above */
	json_object *filter;    /* {name: value} that was asked for */
};

/* Faults: those of the daemon, "no_such_file", "bad_file", "no_runs" and "usage". */
int dataset_open(struct cli *cli, const char *source, struct dataset **ret, struct fault *reterr);
struct dataset *dataset_free(struct dataset *d); /* NULL is allowed */
DEFINE_CLEANUP(struct dataset *, dataset_free)

/* The first document that was measured; NULL: none was. Its host and path stand for all of the dataset. */
json_object *dataset_example(const struct dataset *d);

/*
 * Whether the cells differ only in what dataset_cell() tells apart, and in how long they ran where that
 * differs too. "usage": they do not, as the runs of one label may; names the parameter and how to select. Who
 * compares cells with one another by their place asks this first.
 */
int dataset_check_alike(const struct dataset *d, struct fault *reterr);

/* The cell with these values; NULL: none. Of several the first: see dataset_check_alike(). */
const struct cell *dataset_cell(const struct dataset *d, const char *path, const char *workload,
	const char *mode, int64_t size, int64_t threads);

/* A median over a cell's runs, and its interval: see stats_bootstrap_median_interval(). */
struct estimate {
	size_t n;           /* runs that have the figure; 0: it is unknown */
	const char *reason; /* why n is less than the cell's runs, borrowed; NULL: it is not */
	double median;      /* NaN if n is 0 */
	double low, high;   /* NaN if n is less than 2 */
	double coverage;    /* how often such an interval holds the true median; 0 if there is none */
};
struct estimate cell_estimate(const struct cell *c, const struct measure *m, uint64_t seed);

/* The figure of each run that has it; the caller frees *ret. Returns their number or -ENOMEM. *ret_reason as
 * in struct estimate. */
ssize_t cell_values(const struct cell *c, const struct measure *m, double **ret, const char **ret_reason);
