// SPDX-License-Identifier: MIT
/* One document of two results: what left one host is what came to the other, and copies a byte over both. */
#include <string.h>

#include "pair.h"

static void put(json_object *o, const char *name, json_object *value)
{
	json_object_object_add(o, name, value);
}

static json_object *borrowed(json_object *o, const char *path)
{
	json_object *value = doc_at(o, path);

	return value ? json_object_get(value) : NULL;
}

static json_object *unknown(const char *reason)
{
	json_object *o = json_object_new_object();

	put(o, "value", NULL);
	put(o, "reason", json_object_new_string(reason));
	return o;
}

static bool is_done(json_object *result)
{
	return result && str_eq(doc_text(result, "state"), "done");
}

/* Bytes of the ledger's sites of one side: "tx" or "rx" and not a copy made again. */
static bool booked(json_object *result, const char *const *names, int64_t *ret)
{
	json_object *sites = doc_at(result, "ledger.sites");
	int64_t sum = 0, bytes;
	bool any = false;

	for (size_t i = 0; i < doc_length(sites); i++) {
		json_object *site = json_object_array_get_idx(sites, i);

		for (size_t k = 0; names[k]; k++) {
			if (!str_eq(doc_text(site, "site"), names[k]))
				continue;
			if (!doc_integer(site, "bytes", &bytes))
				return false;
			sum += bytes;
			any = true;
		}
	}
	*ret = sum;
	return any;
}

static json_object *equation(const char *rule, const char *text, bool served, int64_t left, int64_t right)
{
	json_object *o = json_object_new_object();

	put(o, "rule", json_object_new_string(rule));
	put(o, "text", json_object_new_string(text));
	put(o, "left", served ? json_object_new_int64(left) : NULL);
	put(o, "right", served ? json_object_new_int64(right) : NULL);
	put(o, "difference", served ? json_object_new_int64(left - right) : NULL);
	put(o, "holds", served ? json_object_new_boolean(left == right) : NULL);
	put(o, "reason", served ? NULL : json_object_new_string("not both hosts' ledgers show these sites"));
	return o;
}

static const char *const tx_sites[] = {"tx_copy", "tx_pin", "tx_splice", NULL};
static const char *const rx_sites[] = {"rx_copy", "rx_map", "rx_discard", NULL};

/* One way: what the lanes say, and what the kernels' copy sites say. */
static void add_way(json_object *a, json_object *from, json_object *to, const char *const rules[2],
	const char *const texts[2])
{
	int64_t left = 0, right = 0;
	bool served;

	served = doc_integer(from, "app.whole_life.bytes_sent", &left) &&
		 doc_integer(to, "app.whole_life.bytes_received", &right);
	json_object_array_add(a, equation(rules[0], texts[0], served, left, right));
	served = booked(from, tx_sites, &left) && booked(to, rx_sites, &right);
	json_object_array_add(a, equation(rules[1], texts[1], served, left, right));
}

static json_object *equations(json_object *sender, json_object *receiver)
{
	static const char *const there[] = {"delivered", "delivered_sites"}, *const back[] = {"answered",
										     "answered_sites"};
	static const char *const there_texts[] = {
		"bytes that the sender's lanes sent = bytes that the receiver's lanes received",
		"tx_copy + tx_pin + tx_splice on the sender's host = rx_copy + rx_map + rx_discard on the "
		"receiver's"};
	static const char *const back_texts[] = {
		"bytes that the receiver's lanes sent back = bytes that the sender's lanes received",
		"tx_copy + tx_pin + tx_splice on the receiver's host = rx_copy + rx_map + rx_discard on the "
		"sender's"};
	json_object *a = json_object_new_array();

	add_way(a, sender, receiver, there, there_texts);
	add_way(a, receiver, sender, back, back_texts);
	return a;
}

static bool all_hold(json_object *balance)
{
	for (size_t i = 0; i < doc_length(balance); i++)
		if (doc_flag(json_object_array_get_idx(balance, i), "holds") == 0)
			return false;
	return true;
}

/* A site's copies happen on either host; a site that one of them does not see leaves a lower bound. */
static json_object *copies(json_object *sender, json_object *receiver, double delivered)
{
	json_object *o = json_object_new_object(), *per_site = doc_at(sender, "ledger.copies_per_byte");
	bool lower = doc_flag(sender, "ledger.copies_per_byte.lower_bound") != 0 ||
		     doc_flag(receiver, "ledger.copies_per_byte.lower_bound") != 0;
	double total = 0;

	json_object_object_foreach(per_site, site, value)
	{
		const char *const name[] = {site, NULL};
		int64_t here, there;

		(void)value;
		if (str_eq(site, "total") || str_eq(site, "lower_bound"))
			continue;
		if (!booked(sender, name, &here) || !booked(receiver, name, &there)) {
			put(o, site, NULL);
			lower = true;
			continue;
		}
		total += (double)(here + there);
		put(o, site, json_object_new_double((double)(here + there) / delivered));
	}
	put(o, "total", json_object_new_double(total / delivered));
	put(o, "lower_bound", json_object_new_boolean(lower));
	return o;
}

static bool has_ledger(json_object *result)
{
	return json_object_is_type(doc_at(result, "ledger"), json_type_object);
}

static json_object *merged(json_object *sender, json_object *receiver)
{
	json_object *o = json_object_new_object(), *balance = equations(sender, receiver);
	bool ledgers = has_ledger(sender) && has_ledger(receiver), balanced;
	double here = 0, there = 0;

	doc_number(sender, "app.whole_life.bytes_received", &here);
	doc_number(receiver, "app.whole_life.bytes_received", &there);
	/* each ledger that is there must balance; that one is not there is no failure, as in a run of one
	 * host */
	balanced = all_hold(balance) && doc_flag(sender, "ledger.balanced") != 0 &&
		   doc_flag(receiver, "ledger.balanced") != 0;
	put(o, "covers",
		json_object_new_string(
			"equations and copies: the whole life of the connections on both hosts; rates "
			"and latency: the window of the host that is named"));
	put(o, "delivered", json_object_new_int64((int64_t)(here + there)));
	put(o, "balance", balance);
	put(o, "balanced", json_object_new_boolean(balanced));
	put(o, "exact",
		json_object_new_boolean(balanced && ledgers && doc_flag(sender, "ledger.exact") == 1 &&
					doc_flag(receiver, "ledger.exact") == 1));
	put(o, "copies_per_byte",
		ledgers && here + there > 0 ? copies(sender, receiver, here + there)
					    : unknown("not both hosts have a ledger and delivered bytes"));
	put(o, "throughput_gbps", borrowed(receiver, "app.throughput_gbps"));
	put(o, "throughput_window", json_object_new_string("receiver"));
	put(o, "latency_us", borrowed(receiver, "app.latency_us"));
	put(o, "round_trip_us", borrowed(sender, "app.round_trip_us"));
	put(o, "clock", borrowed(sender, "pair.clock"));
	return o;
}

static const char *state_of(json_object *sender, json_object *receiver)
{
	if (is_done(sender) && is_done(receiver))
		return "done";
	if (sender && receiver && str_eq(doc_text(sender, "state"), "cancelled") &&
		!str_eq(doc_text(receiver, "state"), "failed"))
		return "cancelled";
	return "failed";
}

json_object *pair_merge(json_object *sender, json_object *receiver)
{
	const char *state = state_of(sender, receiver);
	json_object *o = json_object_new_object();
	bool both = sender && receiver && doc_at(sender, "app") && doc_at(receiver, "app");

	put(o, "schema", json_object_new_string(PAIR_SCHEMA));
	put(o, "id", sender ? borrowed(sender, "pair.id") : borrowed(receiver, "pair.id"));
	put(o, "state", json_object_new_string(state));
	put(o, "merged", both && !str_eq(state, "failed") ? merged(sender, receiver) : NULL);
	put(o, "sender", sender ? json_object_get(sender) : NULL);
	put(o, "receiver", receiver ? json_object_get(receiver) : NULL);
	return o;
}

int pair_status(json_object *pair)
{
	if (!str_eq(doc_text(pair, "state"), "done") || !doc_at(pair, "merged"))
		return STATUS_FAILED;
	return doc_flag(pair, "merged.balanced") == 1 ? STATUS_OK : STATUS_UNBALANCED;
}
