/* SPDX-License-Identifier: MIT */
/* Asks the daemon for its totals, and bears it when that does not answer. */
#pragma once

#include <json.h>
#include <stdint.h>

#include "fault.h"

enum outcome {
	SCRAPE_OK,
	SCRAPE_UNREACHABLE,
	SCRAPE_TIMEOUT,
	SCRAPE_REFUSED,
	SCRAPE_BAD_REPLY,
	SCRAPE_OUTCOMES
};
extern const char *const outcome_names[SCRAPE_OUTCOMES];

#define SCRAPE_TIMEOUT_MS 2000
#define SCRAPE_REPLY_MAX (1U << 20) /* bytes; a whole one has some 5,000 */

/* What one scrape found, and all since the exporter started. */
struct scrape {
	json_object *totals; /* the reply of GetTotals; NULL: there is none */
	double seconds;
	uint64_t count[SCRAPE_OUTCOMES]; /* of scrapes until now, this one included */
};

/*
 * One that asks. Scrapes that come while a daemon hangs wait for each other: those within a second of a
 * time-out share it.
 */
struct scraper {
	const char *socket;
	uint64_t count[SCRAPE_OUTCOMES];
	enum outcome last;
	uint64_t last_ns; /* CLOCK_MONOTONIC, when it came out so */
	void (*changed)(enum outcome outcome,
		const struct fault *fault); /* the outcome is another one; NULL: nobody asks */
};

/* *ret is the caller's to release. */
void scraper_scrape(struct scraper *s, struct scrape *ret);
void scrape_release(struct scrape *s);
#define _cleanup_scrape_ __attribute__((cleanup(scrape_release)))
