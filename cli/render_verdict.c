// SPDX-License-Identifier: MIT
/* A result in one plain sentence, and as an exit status. */
#include "cli.h"
#include "render.h"

/* How each copying site reads in "each delivered byte was copied ...". */
static const struct site_words {
	const char *site, *words;
} site_words[] = {
	{"app_pack", "packed"},
	{"tx_copy", "user to kernel"},
	{"tx_deferred_copy", "copied after all"},
	{"skb_copy", "moved inside the kernel"},
	{"rx_copy", "kernel to user"},
};

int result_status(json_object *result)
{
	if (!str_eq(doc_text(result, "state"), "done"))
		return STATUS_FAILED;
	return doc_flag(result, "ledger.balanced") == 0 ? STATUS_UNBALANCED : STATUS_OK;
}

static void put_copies(FILE *f, json_object *result)
{
	json_object *copies = result_copies(result);
	const char *reason = doc_reason(copies, "total"), *sep = ": ";
	double total, share;

	if (!doc_number(copies, "total", &total)) {
		reason = reason ? reason : doc_reason(result, "ledger");
		fprintf(f, "its copies were not counted%s%s", reason ? ": " : "", reason ? reason : "");
		return;
	}
	fprintf(f, "each delivered byte was copied %s%.2f times",
		doc_flag(copies, "lower_bound") == 1 ? "at least " : "", total);
	for (size_t i = 0; i < ARRAY_SIZE(site_words); i++) {
		if (!doc_number(copies, site_words[i].site, &share) || share <= 0)
			continue;
		fprintf(f, "%s%s %.2f", sep, site_words[i].words, share);
		sep = ", ";
	}
}

/* Bytes of a site, or else what the document says elsewhere; false: neither is known. */
static bool site_bytes(json_object *result, const char *site, const char *else_path, double *ret)
{
	return doc_number(ledger_site(doc_at(result, "ledger"), site), "bytes", ret) ||
	       doc_number(result, else_path, ret);
}

static void put_cause(FILE *f, json_object *result)
{
	const char *cause = doc_string(result, "zerocopy.cause");

	if (cause && *cause)
		fprintf(f, ": %s%s", cause,
			str_eq(doc_text(result, "zerocopy.cause_evidence"), "derived") ? " (derived)" : "");
}

static void put_zero_copied(FILE *f, json_object *result)
{
	double pinned;

	fputs("zero-copy: ", f);
	if (site_bytes(result, "tx_pin", "zerocopy.bytes_zero_copied", &pinned))
		fprintf(f, "the sender's %s left without a copy; ", figure_bytes(pinned).s);
	put_copies(f, result);
}

static double bytes_at(json_object *result, const char *site)
{
	double v = 0;

	doc_number(ledger_site(doc_at(result, "ledger"), site), "bytes", &v);
	return v;
}

bool late_bytes(json_object *result, struct late *ret)
{
	double share, asked;

	if (!doc_number(result, "zerocopy.copied_share", &share) ||
		!doc_number(result, "zerocopy.bytes", &asked) || asked <= 0)
		return false;
	*ret = (struct late){.asked = asked, .copied = share * asked};
	if (!doc_at(result, "ledger"))
		return true;
	ret->deferred = bytes_at(result, "tx_deferred_copy");
	ret->unpinned = MAX(asked - bytes_at(result, "tx_pin"), 0.0);
	ret->moved = MAX(ret->copied - ret->deferred - ret->unpinned, 0.0);
	return true;
}

const char *late_site(const struct late *l)
{
	if (l->deferred + l->moved + l->unpinned <= 0)
		return NULL;
	if (l->deferred >= MAX(l->moved, l->unpinned))
		return "tx_deferred_copy";
	return l->moved >= l->unpinned ? "skb_copy" : "tx_copy";
}

/* The site is named where it is not the one that "after all" stands for. */
static void put_copied(FILE *f, json_object *result)
{
	const char *site = NULL;
	struct late l;

	fputs("zero-copy asked, ", f);
	if (late_bytes(result, &l)) {
		fprintf(f, "%s of %s", figure_percent(l.copied, l.asked).s, figure_bytes(l.asked).s);
		site = late_site(&l);
	} else {
		fputs("some of it", f);
	}
	fputs(" copied after all", f);
	if (site && !str_eq(site, "tx_deferred_copy"))
		fprintf(f, " by %s", site);
	put_cause(f, result);
}

static void put_none(FILE *f, json_object *result)
{
	fputs("zero-copy asked, but no page was pinned", f);
	put_cause(f, result);
	fputs("; ", f);
	put_copies(f, result);
}

static const struct verdict {
	const char *name;
	void (*put)(FILE *f, json_object *result);
} verdicts[] = {
	{"zero-copied", put_zero_copied},
	{"copied", put_copied},
	{"mixed", put_copied},
	{"none", put_none},
};

static bool asks_zero_copy(const char *mode)
{
	static const char *const modes[] = {"zero-copy", "uring-send-zc"};

	for (size_t i = 0; i < ARRAY_SIZE(modes); i++)
		if (str_eq(mode, modes[i]))
			return true;
	return false;
}

static void put_outcome(FILE *f, json_object *result)
{
	const char *verdict = doc_text(result, "zerocopy.verdict");

	if (asks_zero_copy(doc_text(result, "spec.mode")))
		for (size_t i = 0; i < ARRAY_SIZE(verdicts); i++)
			if (str_eq(verdict, verdicts[i].name)) {
				verdicts[i].put(f, result);
				return;
			}
	fprintf(f, "%s: ", doc_text(result, "spec.mode"));
	put_copies(f, result);
}

/* "; the books do not balance: sent is off by -1,024 bytes" */
static void put_imbalance(FILE *f, json_object *result)
{
	json_object *balance = doc_at(result, "ledger.balance");
	const char *sep = ": ";
	int64_t difference;

	if (doc_flag(result, "ledger.balanced") != 0)
		return;
	fputs("; the books do not balance", f);
	for (size_t i = 0; i < doc_length(balance); i++) {
		json_object *row = json_object_array_get_idx(balance, i);

		if (doc_flag(row, "holds") != 0 || !doc_integer(row, "difference", &difference))
			continue;
		fprintf(f, "%s'%s' is off by %s bytes", sep, doc_text(row, "rule"),
			figure_count(difference).s);
		sep = ", ";
	}
}

char *result_sentence(json_object *result)
{
	const char *state = doc_text(result, "state"), *message = doc_string(result, "error.message");
	char *sentence = NULL;
	double ns;
	size_t size;
	FILE *f = open_memstream(&sentence, &size);

	if (!f)
		return NULL;
	if (str_eq(state, "done")) {
		put_outcome(f, result);
	} else {
		fprintf(f, "%s", *state ? state : "unfinished");
		if (doc_number(result, "app.elapsed_ns", &ns) && ns > 0)
			fprintf(f, " after %s", figure_duration(ns).s);
		if (message)
			fprintf(f, ": %s", message);
		if (doc_number(result_copies(result), "total", &ns)) {
			fputs("; until then: ", f);
			put_outcome(f, result);
		}
	}
	put_imbalance(f, result);
	fclose(f);
	return sentence;
}
