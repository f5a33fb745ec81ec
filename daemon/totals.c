// SPDX-License-Identifier: MIT
/* Adds up what the documents of runs and watches say. */
#include "totals.h"

#include "jsonx.h"
#include "ledger.h"

static const char *text_at(json_object *o, const char *path)
{
	json_object *text = json_at(o, path);

	return json_object_is_type(text, json_type_string) ? json_object_get_string(text) : "";
}

/* False: the figure is not known. */
static bool add_at(uint64_t *sum, json_object *o, const char *path)
{
	json_object *n = json_at(o, path);

	if (!json_object_is_type(n, json_type_int))
		return false;
	*sum += json_object_get_uint64(n);
	return true;
}

static bool says_no(json_object *o, const char *path)
{
	json_object *b = json_at(o, path);

	return json_object_is_type(b, json_type_boolean) && !json_object_get_boolean(b);
}

static void add_site(struct account *a, json_object *row)
{
	const char *name = text_at(row, "site");

	for (enum copy_site s = 0; s < SITE_MAX; s++)
		if (str_eq(site_rows[s].name, name)) {
			a->site[s].known |= add_at(&a->site[s].bytes, row, "bytes");
			a->site[s].counted |= add_at(&a->site[s].hits, row, "hits");
		}
}

void account_add_books(struct account *a, json_object *ledger, json_object *instrument)
{
	json_object *sites = json_at(ledger, "sites");
	size_t n = json_object_is_type(sites, json_type_array) ? json_object_array_length(sites) : 0;

	for (size_t i = 0; i < n; i++)
		add_site(a, json_object_array_get_idx(sites, i));
	add_at(&a->delivered, ledger, "delivered");
	a->timed |= add_at(&a->hook_runs, instrument, "hook_runs");
	add_at(&a->hook_ns, instrument, "hook_ns");
}

static void add_zerocopy(struct account *a, json_object *o, const char *const paths[ZC_TOTALS])
{
	for (size_t i = 0; i < ZC_TOTALS; i++)
		add_at(&a->zerocopy[i], o, paths[i]);
}

void account_add_completions(struct account *a, json_object *ledger)
{
	static const char *const paths[ZC_TOTALS] = {
		[ZC_SENDS_ZERO] = "counters/zc_sends_zero_copied",
		[ZC_SENDS_COPIED] = "counters/zc_sends_copied",
		[ZC_BYTES_ZERO] = "counters/zc_bytes_zero_copied",
		[ZC_BYTES_COPIED] = "counters/zc_bytes_copied",
	};

	add_zerocopy(a, ledger, paths);
}

void account_close(struct account *a, json_object *ledger)
{
	a->closed++;
	a->unbalanced += says_no(ledger, "balanced");
	a->inexact += says_no(ledger, "exact");
}

void totals_add_run(struct totals *t, json_object *document)
{
	static const char *const told[ZC_TOTALS] = {
		/* what the application was */
		[ZC_SENDS_ZERO] = "zerocopy/completed_zero_copied",
		[ZC_SENDS_COPIED] = "zerocopy/completed_copied",
		[ZC_BYTES_ZERO] = "zerocopy/bytes_zero_copied",
		[ZC_BYTES_COPIED] = "zerocopy/bytes_copied",
	};
	const char *state = text_at(document, "state");
	json_object *ledger = json_at(document, "ledger");
	bool failed = str_eq(state, "failed");

	t->done += str_eq(state, "done");
	t->failed += failed;
	t->cancelled += str_eq(state, "cancelled");
	if (!json_at(document, "app"))
		return; /* it has not moved a byte */
	t->without_ledger += !ledger;
	account_add_books(&t->runs, ledger, json_at(document, "instrument"));
	add_zerocopy(&t->runs, document, told);
	if (ledger && !failed) /* books that were cut off need not balance */
		account_close(&t->runs, ledger);
}

static void add_to(uint64_t *v, uint64_t other)
{
	*v += other;
}

static void raise_to(uint64_t *v, uint64_t other)
{
	*v = MAX(*v, other);
}

static void combine(struct account *a, const struct account *b, void (*into)(uint64_t *v, uint64_t other))
{
	into(&a->closed, b->closed);
	into(&a->unbalanced, b->unbalanced);
	into(&a->inexact, b->inexact);
	into(&a->delivered, b->delivered);
	for (size_t s = 0; s < SITE_MAX; s++) {
		a->site[s].known |= b->site[s].known;
		a->site[s].counted |= b->site[s].counted;
		into(&a->site[s].bytes, b->site[s].bytes);
		into(&a->site[s].hits, b->site[s].hits);
	}
	for (size_t i = 0; i < ZC_TOTALS; i++)
		into(&a->zerocopy[i], b->zerocopy[i]);
	a->timed |= b->timed;
	into(&a->hook_runs, b->hook_runs);
	into(&a->hook_ns, b->hook_ns);
}

void account_add(struct account *sum, const struct account *part)
{
	combine(sum, part, add_to);
}

void account_raise(struct account *a, const struct account *to)
{
	combine(a, to, raise_to);
}

static int add_if(json_object *o, const char *name, bool known, uint64_t v)
{
	return known ? json_add_u64(o, name, v) : json_add_null(o, name);
}

static json_object *sites_json(const struct account *a)
{
	_cleanup_json_ json_object *sites = json_object_new_array();

	for (size_t s = 0; sites && s < SITE_MAX; s++) {
		const struct site_total *site = &a->site[s];
		json_object *row = json_object_new_object();

		if (json_push(sites, row) < 0 || json_add_str(row, "site", site_rows[s].name) < 0 ||
			json_add_str(row, "kind", site_rows[s].kind) < 0 ||
			add_if(row, "bytes", site->known, site->bytes) < 0 ||
			add_if(row, "hits", site->counted, site->hits) < 0)
			return NULL;
	}
	return TAKE_PTR(sites);
}

static json_object *zerocopy_json(const struct account *a)
{
	static const char *const names[ZC_TOTALS] = {
		[ZC_SENDS_ZERO] = "sends_zero_copied",
		[ZC_SENDS_COPIED] = "sends_copied",
		[ZC_BYTES_ZERO] = "bytes_zero_copied",
		[ZC_BYTES_COPIED] = "bytes_copied",
	};
	_cleanup_json_ json_object *o = json_object_new_object();

	for (size_t i = 0; o && i < ZC_TOTALS; i++)
		if (json_add_u64(o, names[i], a->zerocopy[i]) < 0)
			return NULL;
	return TAKE_PTR(o);
}

json_object *account_json(const char *name, const struct account *a)
{
	_cleanup_json_ json_object *o = json_object_new_object();

	if (!o || json_add_str(o, "account", name) < 0 || json_add_u64(o, "closed", a->closed) < 0 ||
		json_add_u64(o, "unbalanced", a->unbalanced) < 0 ||
		json_add_u64(o, "inexact", a->inexact) < 0 ||
		json_add_u64(o, "delivered", a->delivered) < 0 || json_add(o, "sites", sites_json(a)) < 0 ||
		json_add(o, "zerocopy", zerocopy_json(a)) < 0 ||
		add_if(o, "hook_runs", a->timed, a->hook_runs) < 0 ||
		add_if(o, "hook_ns", a->timed, a->hook_ns) < 0)
		return NULL;
	return TAKE_PTR(o);
}
