// SPDX-License-Identifier: MIT
/* The text of a request's parameters: what passes the scan is one JSON value that the parser takes too, and
 * what a check accepts, it accepts again in its own words. */
#include <assert.h>

#include "jsonx.h"
#include "json_check.h"
#include "limit.h"
#include "spec.h"
#include "sweep.h"
#include "fuzz.h"

static void check_fault(const struct fault *f, int r)
{
	assert(r < 0 && f->error < 0 && f->code[0] && f->text[0]);
}

static void check_spec(json_object *o)
{
	struct spec spec, again;
	struct fault fault = {};
	int r = spec_parse(o, &spec, &fault);

	if (r < 0) {
		check_fault(&fault, r);
		json_object_put(spec_details(o, &fault));
		return;
	}
	o = spec_to_json(&spec);
	assert(spec_parse(o, &again, &fault) == 0);
	assert(again.size == spec.size && again.threads == spec.threads && str_eq(again.label, spec.label));
	json_object_put(o);
}

static void check_sweep(json_object *o)
{
	_cleanup_free_ struct sweep_plan *plan = calloc(1, sizeof(*plan)), *again = calloc(1, sizeof(*again));
	json_object *details = NULL;
	struct fault fault = {};
	int r = sweep_plan_parse(o, plan, &fault, &details);

	if (r < 0) {
		check_fault(&fault, r);
	} else {
		o = sweep_plan_to_json(plan);
		assert(sweep_plan_parse(o, again, &fault, &details) == 0);
		assert(sweep_plan_cells(again) == sweep_plan_cells(plan));
		json_object_put(o);
	}
	json_object_put(details);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_free_ char *text = malloc(size + 1);
	struct json_flaw flaw = {};
	json_object *o;
	int r;

	memcpy(text, data, size);
	text[size] = '\0';
	r = json_check(text, size, LIMIT_DEPTH, LIMIT_VALUES, &flaw);
	if (r < 0) {
		assert(flaw.reason && flaw.offset <= size);
		return 0;
	}
	o = json_tokener_parse(text);
	/* "null" is a value too, and the parser's NULL */
	if (json_object_is_type(o, json_type_object)) {
		check_spec(o);
		check_sweep(o);
	}
	json_object_put(o);
	return 0;
}
