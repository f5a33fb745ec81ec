// SPDX-License-Identifier: MIT
/* What several renderers share. */
#include "render.h"

void render_label(struct out *o, const char *label)
{
	out_text(o, STYLE_DIM, "%s", label);
	out_pad(o, LABEL_WIDTH);
}

void reasons_add(json_object *reasons, const char *reason, const char *name)
{
	_cleanup_free_ char *joined = NULL;
	const char *before;
	json_object *names;

	/* "name: why" would make a reason of its own of each name */
	if (reason && strncmp(reason, name, strlen(name)) == 0 &&
		strncmp(reason + strlen(name), ": ", 2) == 0)
		reason += strlen(name) + 2;
	reason = reason && *reason ? reason : "no reason given";
	names = json_object_object_get(reasons, reason);
	before = names ? json_object_get_string(names) : NULL;
	if (asprintf(&joined, "%s%s%s", before ? before : "", before ? ", " : "", name) < 0) {
		joined = NULL;
		return;
	}
	json_object_object_add(reasons, reason, json_object_new_string(joined));
}

void render_reasons(struct out *o, json_object *reasons, const char *what)
{
	json_object_object_foreach(reasons, reason, names)
	{
		_cleanup_free_ char *text = NULL;

		if (asprintf(&text, "%s: %s: %s", json_object_get_string(names), what, reason) < 0) {
			text = NULL;
			continue;
		}
		out_pad(o, LABEL_WIDTH);
		out_wrap(o, STYLE_DIM, text);
		out_newline(o);
	}
}

json_object *ledger_site(json_object *ledger, const char *site)
{
	json_object *sites = doc_at(ledger, "sites");

	for (size_t i = 0; i < doc_length(sites); i++) {
		json_object *row = json_object_array_get_idx(sites, i);
		const char *name = doc_string(row, "site");

		if (name && str_eq(name, site))
			return row;
	}
	return NULL;
}

json_object *result_copies(json_object *result)
{
	static const char *const places[] = {"ledger.copies_per_byte", "copies.copies_per_byte", "copies"};

	for (size_t i = 0; i < ARRAY_SIZE(places); i++) {
		json_object *o = doc_at(result, places[i]);

		if (json_object_is_type(o, json_type_object))
			return o;
	}
	return NULL;
}

/* Sites whose callers say why a copy happened that nobody asked for. */
static const char *const late_sites[] = {"tx_deferred_copy", "skb_copy"};

const char *caller_cause(json_object *caller)
{
	const char *cause = doc_string(caller, "cause");

	return cause && *cause ? cause : "cause not known";
}

void render_causes(struct out *o, json_object *doc)
{
	for (size_t s = 0; s < ARRAY_SIZE(late_sites); s++) {
		json_object *callers = doc_at(ledger_site(doc, late_sites[s]), "callers");

		for (size_t i = 0; i < doc_length(callers); i++) {
			json_object *caller = json_object_array_get_idx(callers, i);
			const char *kind = doc_string(caller, "device_kind");
			double bytes;

			if (!doc_number(caller, "bytes", &bytes))
				continue;
			out_text(o, STYLE_NOTE, "%s %s: %s", late_sites[s], figure_bytes(bytes).s,
				caller_cause(caller));
			out_text(o, STYLE_DIM, " (%s%s%s)", doc_text(caller, "evidence"),
				kind ? ", device " : "", kind ? kind : "");
			out_newline(o);
		}
	}
}
