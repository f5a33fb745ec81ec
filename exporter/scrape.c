// SPDX-License-Identifier: MIT
/* One call to the daemon, with bounds. */
#include <errno.h>

#include "client.h"
#include "clock.h"
#include "scrape.h"

#define SHARE_NS 1000000000ULL /* a time-out stands for the scrapes that waited behind it */

const char *const outcome_names[SCRAPE_OUTCOMES] = {
	[SCRAPE_OK] = "ok",
	[SCRAPE_UNREACHABLE] = "unreachable",
	[SCRAPE_TIMEOUT] = "timeout",
	[SCRAPE_REFUSED] = "refused",
	[SCRAPE_BAD_REPLY] = "bad_reply",
};

static int ask(const char *path, json_object **ret, struct fault *reterr)
{
	static const struct client_bounds bounds = {.ms = SCRAPE_TIMEOUT_MS, .reply = SCRAPE_REPLY_MAX};
	_cleanup_(client_freep) struct client *c = NULL;
	_cleanup_json_ json_object *totals = NULL;
	int64_t started;
	int r;

	r = client_connect_within(path, &bounds, &c, reterr);
	if (r == 0)
		r = client_call(c, "GetTotals", NULL, &totals, reterr);
	if (r < 0)
		return r;
	if (!doc_integer(totals, "started_ns", &started))
		return fault_set(reterr, -EBADMSG, "bad_reply", "", "the daemon's reply has no 'started_ns'");
	*ret = TAKE_PTR(totals);
	return 0;
}

static enum outcome outcome_of(int r)
{
	switch (r) {
	case 0:
		return SCRAPE_OK;
	case -ETIME:
		return SCRAPE_TIMEOUT;
	case -EREMOTEIO:
		return SCRAPE_REFUSED;
	case -EBADMSG:
		return SCRAPE_BAD_REPLY;
	default:
		return SCRAPE_UNREACHABLE;
	}
}

void scraper_scrape(struct scraper *s, struct scrape *ret)
{
	uint64_t begun = clock_now_ns();
	struct fault fault = {};
	enum outcome outcome = SCRAPE_TIMEOUT;

	*ret = (struct scrape){};
	if (s->last != SCRAPE_TIMEOUT || begun - s->last_ns > SHARE_NS) {
		outcome = outcome_of(ask(s->socket, &ret->totals, &fault));
		s->last_ns = clock_now_ns();
	}
	if (outcome != s->last && s->changed)
		s->changed(outcome, &fault);
	s->last = outcome;
	s->count[outcome]++;
	memcpy(ret->count, s->count, sizeof(ret->count));
	ret->seconds = (double)(clock_now_ns() - begun) / 1e9;
}

void scrape_release(struct scrape *s)
{
	json_object_put(s->totals);
	s->totals = NULL;
}
