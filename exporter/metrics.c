// SPDX-License-Identifier: MIT
/* What is exported, and where in the daemon's reply it stands. */
#include "doc.h"
#include "limit.h"
#include "macro.h"
#include "metrics.h"

#define NS (1e-9L)
#define MS (1e-3L)
#define ROWS_MAX 32U /* accounts, sites, watches: the daemon has fewer */
#define WORD_BYTES 24

struct metric {
	struct family family;
	void (*put)(struct exposition *e, const struct metric *m, const struct scrape *s);
	const char *member; /* in the reply, or in a row of it */
	long double scale;  /* from the reply's unit; 0 stands for 1 */
	const char *labels; /* their names, as the document has them */
	const char *values; /* members that each give a sample, by the last label */
};

static long double scale_of(const struct metric *m)
{
	return m->scale != 0 ? m->scale : 1;
}

static void put_json(
	struct exposition *e, const struct metric *m, const struct label *labels, json_object *value)
{
	exposition_put_json(e, &m->family, labels, value, scale_of(m));
}

/* ---- of the exporter itself ---- */

static void put_up(struct exposition *e, const struct metric *m, const struct scrape *s)
{
	exposition_put(e, &m->family, NULL, s->totals ? 1 : 0);
}

static void put_duration(struct exposition *e, const struct metric *m, const struct scrape *s)
{
	exposition_put(e, &m->family, NULL, s->seconds);
}

static void put_outcomes(struct exposition *e, const struct metric *m, const struct scrape *s)
{
	for (size_t i = 0; i < SCRAPE_OUTCOMES; i++) {
		const struct label labels[] = {{m->labels, outcome_names[i]}, {}};

		exposition_put(e, &m->family, labels, (double)s->count[i]);
	}
}

static void put_exporter(struct exposition *e, const struct metric *m, const struct scrape *s)
{
	static const struct label labels[] = {{"version", COPYLEDGER_VERSION}, {}};

	exposition_put(e, &m->family, labels, 1);
}

/* ---- of the daemon ---- */

static void put_build(struct exposition *e, const struct metric *m, const struct scrape *s)
{
	const struct label labels[] = {
		{"version", doc_text(s->totals, "version")}, {"kernel", doc_text(s->totals, "kernel")}, {}};

	if (s->totals)
		exposition_put(e, &m->family, labels, 1);
}

static void put_one(struct exposition *e, const struct metric *m, const struct scrape *s)
{
	put_json(e, m, NULL, doc_at(s->totals, m->member));
}

static void put_length(struct exposition *e, const struct metric *m, const struct scrape *s)
{
	if (s->totals)
		exposition_put(e, &m->family, NULL, (double)doc_length(doc_at(s->totals, m->member)));
}

/* The next of words parted by blanks; returns what is behind it, NULL after the last. */
static const char *next_word(const char *p, char ret[WORD_BYTES])
{
	size_t n = strcspn(p, " ");

	if (!n)
		return NULL;
	snprintf(ret, WORD_BYTES, "%.*s", (int)n, p);
	return p + n + (p[n] == ' ');
}

/* A sample for each of m->values that member's object has. */
static void put_values(struct exposition *e, const struct metric *m, const struct scrape *s)
{
	char word[WORD_BYTES], path[2 * WORD_BYTES];

	for (const char *p = m->values; (p = next_word(p, word));) {
		const struct label labels[] = {{m->labels, word}, {}};

		snprintf(path, sizeof(path), "%s.%s", m->member, word);
		put_json(e, m, labels, doc_at(s->totals, path));
	}
}

static size_t rows(json_object *array)
{
	return MIN(doc_length(array), ROWS_MAX);
}

static void put_accounts(struct exposition *e, const struct metric *m, const struct scrape *s)
{
	json_object *accounts = doc_at(s->totals, "accounts");

	for (size_t i = 0; i < rows(accounts); i++) {
		json_object *a = json_object_array_get_idx(accounts, i);
		const struct label labels[] = {{"account", doc_text(a, "account")}, {}};

		put_json(e, m, labels, doc_at(a, m->member));
	}
}

static void put_sites_of(struct exposition *e, const struct metric *m, json_object *account)
{
	json_object *sites = doc_at(account, "sites");

	for (size_t i = 0; i < rows(sites); i++) {
		json_object *site = json_object_array_get_idx(sites, i);
		const struct label labels[] = {{"account", doc_text(account, "account")},
			{"site", doc_text(site, "site")}, {"kind", doc_text(site, "kind")}, {}};

		put_json(e, m, labels, doc_at(site, m->member));
	}
}

static void put_sites(struct exposition *e, const struct metric *m, const struct scrape *s)
{
	json_object *accounts = doc_at(s->totals, "accounts");

	for (size_t i = 0; i < rows(accounts); i++)
		put_sites_of(e, m, json_object_array_get_idx(accounts, i));
}

/* member is the beginning of the names in "zerocopy". */
static void put_completions_of(struct exposition *e, const struct metric *m, json_object *account)
{
	char word[WORD_BYTES], path[2 * WORD_BYTES];

	for (const char *p = m->values; (p = next_word(p, word));) {
		const struct label labels[] = {
			{"account", doc_text(account, "account")}, {"completed", word}, {}};

		snprintf(path, sizeof(path), "zerocopy.%s_%s", m->member, word);
		put_json(e, m, labels, doc_at(account, path));
	}
}

static void put_completions(struct exposition *e, const struct metric *m, const struct scrape *s)
{
	json_object *accounts = doc_at(s->totals, "accounts");

	for (size_t i = 0; i < rows(accounts); i++)
		put_completions_of(e, m, json_object_array_get_idx(accounts, i));
}

static void put_watches(struct exposition *e, const struct metric *m, const struct scrape *s)
{
	json_object *watches = doc_at(s->totals, "watches");
	char place[WORD_BYTES];
	int64_t n;

	for (size_t i = 0; i < MIN(doc_length(watches), LIMIT_WATCHES); i++) {
		json_object *watch = json_object_array_get_idx(watches, i);
		const struct label labels[] = {{"watch", place}, {}};

		if (!doc_integer(watch, "watch", &n))
			continue;
		snprintf(place, sizeof(place), "%d", (int)n);
		put_json(e, m, labels, doc_at(watch, m->member));
	}
}

/* ---- the table ---- */

#define METRIC(t, n, u, h, f, ...)                                                                           \
	{                                                                                                    \
		.family = {.name = "copyledger_" n, .type = FAMILY_##t, .unit = u, .help = h}, .put = f,     \
		__VA_ARGS__                                                                                  \
	}

static const struct metric metrics[] = {
	METRIC(GAUGE, "up", NULL, "Whether the daemon answered this scrape; 0: all else of it is missing.",
		put_up),
	METRIC(INFO, "build", NULL, "The daemon's version and the kernel that it runs on.", put_build,
		.labels = "version, kernel"),
	METRIC(GAUGE, "start_time_seconds", "seconds",
		"When the daemon started, since 1970: its counters count from there.", put_one, "started_ns",
		NS),
	METRIC(GAUGE, "runs", NULL, "Runs that wait and that measure.", put_values, "runs", .labels = "state",
		.values = "queued running"),
	METRIC(GAUGE, "queued_runs_max", NULL, "Runs that may wait.", put_one, "limits.run_queue"),
	METRIC(COUNTER, "ended_runs", NULL, "Runs that ended.", put_values, "runs", .labels = "outcome",
		.values = "done failed cancelled"),
	METRIC(COUNTER, "runs_without_ledger", NULL,
		"Runs that moved bytes without a ledger: it was off, or not to be had.", put_one,
		"runs_without_ledger"),
	METRIC(GAUGE, "sweeps", NULL, "Sweeps that wait and that measure.", put_values, "sweeps",
		.labels = "state", .values = "queued running"),
	METRIC(COUNTER, "ended_sweeps", NULL, "Sweeps that ended.", put_values, "sweeps", .labels = "outcome",
		.values = "done cancelled interrupted"),
	METRIC(COUNTER, "delivered_bytes", "bytes",
		"Payload that the ledgers are kept of: delivered by runs that ended, sent or received by "
		"what is "
		"watched.",
		put_accounts, "delivered", .labels = "account"),
	METRIC(COUNTER, "site_bytes", "bytes",
		"Payload booked at a site; at those of the kind copy it was copied there.", put_sites,
		"bytes", .labels = "account, site, kind"),
	METRIC(COUNTER, "site_hits", NULL, "How often a site was passed.", put_sites, "hits",
		.labels = "account, site, kind"),
	METRIC(COUNTER, "zerocopy_sends", NULL, "MSG_ZEROCOPY sends that completed, as the completion said.",
		put_completions, "sends", .labels = "account, completed", .values = "zero_copied copied"),
	METRIC(COUNTER, "zerocopy_bytes", "bytes", "Payload of MSG_ZEROCOPY sends that completed.",
		put_completions, "bytes", .labels = "account, completed", .values = "zero_copied copied"),
	METRIC(COUNTER, "closed_books", NULL, "Ledgers that were closed in order: of runs, and of watches.",
		put_accounts, "closed", .labels = "account"),
	METRIC(COUNTER, "unbalanced_books", NULL, "Closed ledgers of which an equation does not hold.",
		put_accounts, "unbalanced", .labels = "account"),
	METRIC(COUNTER, "inexact_books", NULL, "Closed ledgers that may have missed bytes, and say so.",
		put_accounts, "inexact", .labels = "account"),
	METRIC(COUNTER, "hook_runs", NULL,
		"Runs of the ledger's BPF programs, as far as the kernel counts them.", put_accounts,
		"hook_runs", .labels = "account"),
	METRIC(COUNTER, "hook_seconds", "seconds",
		"Time in the ledger's BPF programs, as far as the kernel measures it.", put_accounts,
		"hook_ns", NS, .labels = "account"),
	METRIC(GAUGE, "watches", NULL, "Watches that go on.", put_length, "watches"),
	METRIC(GAUGE, "watches_max", NULL, "Watches that may go on at once.", put_one, "limits.watches"),
	METRIC(GAUGE, "watch_copies_per_byte", NULL,
		"Copies of each byte that the watched sockets sent or received, since the watch began.",
		put_watches, "copies_per_byte", .labels = "watch"),
	METRIC(GAUGE, "watch_copies_lower_bound", NULL,
		"Whether the kernel may have copied more: not every site is seen, as on the tracepoint tier.",
		put_watches, "lower_bound", .labels = "watch"),
	METRIC(GAUGE, "watch_delivered_bytes", "bytes",
		"Payload that the watched sockets sent or received, since the watch began.", put_watches,
		"delivered", .labels = "watch"),
	METRIC(GAUGE, "watch_open_sockets", NULL, "Watched sockets that are open.", put_watches,
		"sockets_open", .labels = "watch"),
	METRIC(GAUGE, "watch_duration_seconds", "seconds", "How long the watch has gone on.", put_watches,
		"elapsed_ms", MS, .labels = "watch"),
	METRIC(GAUGE, "watch_balanced", NULL, "Whether every equation of the watch's ledger holds.",
		put_watches, "balanced", .labels = "watch"),
	METRIC(GAUGE, "watch_exact", NULL, "Whether the watch's ledger has missed nothing.", put_watches,
		"exact", .labels = "watch"),
	METRIC(GAUGE, "stored_results", NULL, "Results that the daemon keeps.", put_one, "stored"),
	METRIC(GAUGE, "stored_results_max", NULL, "Results that it keeps at most: then the oldest make room.",
		put_one, "limits.results_max"),
	METRIC(GAUGE, "store_persistent", NULL,
		"Whether results are kept on disk; 0: the last few in memory.", put_one, "stored_on_disk"),
	METRIC(COUNTER, "results_not_stored", NULL, "Results that the disk refused.", put_one,
		"runs_not_stored"),
	METRIC(GAUGE, "clients", NULL, "Clients of the control socket, the exporter among them.", put_one,
		"clients"),
	METRIC(GAUGE, "clients_max", NULL, "Clients that the control socket serves at once.", put_one,
		"limits.clients"),
	METRIC(INFO, "exporter_build", NULL, "The exporter's version.", put_exporter, .labels = "version"),
	METRIC(COUNTER, "exporter_scrapes", NULL, "Scrapes, by what became of the call to the daemon.",
		put_outcomes, .labels = "outcome"),
	METRIC(GAUGE, "exporter_scrape_duration_seconds", "seconds",
		"How long the daemon took for this scrape.", put_duration),
};

void metrics_write(struct exposition *e, const struct scrape *s)
{
	for (size_t i = 0; i < ARRAY_SIZE(metrics); i++)
		metrics[i].put(e, &metrics[i], s);
	exposition_end(e);
}

void metrics_document(FILE *f)
{
	static const char *const types[] = {
		[FAMILY_GAUGE] = "gauge", [FAMILY_COUNTER] = "counter", [FAMILY_INFO] = "info"};
	char name[128];

	fputs("| metric | type | labels | meaning |\n| --- | --- | --- | --- |\n", f);
	for (size_t i = 0; i < ARRAY_SIZE(metrics); i++) {
		const struct metric *m = &metrics[i];

		exposition_sample_name(&m->family, name, sizeof(name));
		fprintf(f, "| `%s` | %s | %s | %s |\n", name, types[m->family.type],
			m->labels ? m->labels : "", m->family.help);
	}
}
