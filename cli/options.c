// SPDX-License-Identifier: MIT
/* Parses command lines by tables of options. */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>

#include "options.h"
#include "table.h"
#include "units.h"

#define OPTIONS_MAX 48
#define LONG_BASE 256 /* above every letter */

char *opt_part(char **rest)
{
	char *part = *rest, *comma = part ? strchr(part, ',') : NULL, *value;

	if (!part)
		return NULL;
	value = strchr(part, '=');
	value = value && (!comma || value < comma) ? value + 1 : part;
	if (comma && strncmp(value, "netns:", 6) == 0)
		comma = strchr(comma + 1, ',');
	if (comma)
		*comma++ = '\0';
	*rest = comma;
	return part;
}

int opt_integer(const char *arg, json_object **ret, struct fault *reterr)
{
	int64_t value;
	char *end;

	errno = 0;
	value = strtoll(arg, &end, 10);
	if (errno == ERANGE)
		return fault_set(
			reterr, -ERANGE, "usage", "", "takes a number that fits into 64 bits, not '%s'", arg);
	if (end == arg || *end || strspn(arg, "-0123456789") != strlen(arg))
		return fault_set(reterr, -EINVAL, "usage", "", "takes a whole number, not '%s'", arg);
	*ret = json_object_new_int64(value);
	return *ret ? 0 : -ENOMEM;
}

static int from_units(const char *arg, int (*parse)(const char *s, uint64_t *ret), const char *form,
	json_object **ret, struct fault *reterr)
{
	uint64_t value;
	int r;

	r = parse(arg, &value);
	if (r == 0 && value > INT64_MAX)
		r = -ERANGE;
	if (r == -ERANGE)
		return fault_set(reterr, r, "usage", "", "cannot be as large as '%s'", arg);
	if (r < 0)
		return fault_set(reterr, r, "usage", "", "takes %s, not '%s'", form, arg);
	*ret = json_object_new_int64((int64_t)value);
	return *ret ? 0 : -ENOMEM;
}

int opt_size(const char *arg, json_object **ret, struct fault *reterr)
{
	return from_units(arg, units_parse_size, "bytes with or without K, M or G behind (64K)", ret, reterr);
}

int opt_duration(const char *arg, json_object **ret, struct fault *reterr)
{
	return from_units(
		arg, units_parse_duration_ms, "a time with ms, s, m or h behind (500ms)", ret, reterr);
}

int opt_ipv6(const char *arg, json_object **ret, struct fault *reterr)
{
	*ret = json_object_new_int(6);
	return *ret ? 0 : -ENOMEM;
}

int opt_false(const char *arg, json_object **ret, struct fault *reterr)
{
	*ret = json_object_new_boolean(false);
	return *ret ? 0 : -ENOMEM;
}

static int opt_default(const struct opt *opt, const char *arg, json_object **ret)
{
	*ret = opt->arg ? json_object_new_string(arg) : json_object_new_boolean(true);
	return *ret ? 0 : -ENOMEM;
}

static const char *opt_member(const struct opt *opt)
{
	return opt->member ? opt->member : opt->name;
}

/* getopt's two notations of the same rows. */
struct getopt_rows {
	const struct opt *opt[OPTIONS_MAX];
	struct option longs[OPTIONS_MAX + 1];
	char shorts[2 + 2 * OPTIONS_MAX + 1];
	size_t n;
};

static void getopt_rows_fill(
	struct getopt_rows *g, const struct opt *const tables[OPTION_TABLES], bool in_order)
{
	char *p = g->shorts;

	*g = (struct getopt_rows){};
	if (in_order)
		*p++ = '+';
	*p++ = ':'; /* a missing argument is told apart from an unknown option */
	for (size_t t = 0; t < OPTION_TABLES; t++)
		for (const struct opt *o = tables[t]; o && o->name && g->n < OPTIONS_MAX; o++) {
			g->longs[g->n] = (struct option){o->name, o->arg ? required_argument : no_argument,
				NULL, LONG_BASE + (int)g->n};
			g->opt[g->n++] = o;
			if (o->letter)
				*p++ = o->letter;
			if (o->letter && o->arg)
				*p++ = ':';
		}
	*p = '\0';
}

static const struct opt *getopt_rows_find(const struct getopt_rows *g, int c)
{
	if (c >= LONG_BASE && (size_t)(c - LONG_BASE) < g->n)
		return g->opt[c - LONG_BASE];
	for (size_t i = 0; i < g->n; i++)
		if (c && g->opt[i]->letter == c)
			return g->opt[i];
	return NULL;
}

static int refused(const struct getopt_rows *g, int c, char *const *argv, struct fault *reterr)
{
	const struct opt *o = getopt_rows_find(g, optopt);

	if (c == ':')
		return fault_set(
			reterr, -EINVAL, "usage", "", "'--%s' needs an argument: %s", o->name, o->arg);
	if (o)
		return fault_set(reterr, -EINVAL, "usage", "", "'--%s' takes no argument", o->name);
	if (optopt)
		return fault_set(reterr, -EINVAL, "usage", "", "unknown option '-%c'", optopt);
	return fault_set(reterr, -EINVAL, "usage", "", "unknown option '%s'", argv[optind - 1]);
}

static int take(const struct opt *o, const char *arg, struct opt_values *v, struct fault *reterr)
{
	json_object *value = NULL;
	struct fault why = {};
	int r;

	r = o->parse ? o->parse(arg, &value, &why) : opt_default(o, arg, &value);
	if (r == -ENOMEM)
		return fault_set(reterr, r, "memory", "", "out of memory");
	if (r < 0)
		return fault_set(reterr, r, "usage", o->name, "'--%s' %s", o->name, why.text);
	json_object_object_add(o->flags & OPT_LOCAL ? v->local : v->request, opt_member(o), value);
	return 0;
}

int options_parse(int argc, char **argv, const struct opt *const tables[OPTION_TABLES], bool in_order,
	struct opt_values *ret, struct fault *reterr)
{
	_cleanup_options_ struct opt_values v = {json_object_new_object(), json_object_new_object(), NULL, 0};
	struct getopt_rows g;
	int c, r;

	if (!v.request || !v.local)
		return fault_set(reterr, -ENOMEM, "memory", "", "out of memory");
	getopt_rows_fill(&g, tables, in_order);
	optind = 0; /* GNU: begin anew, whoever parsed before */
	opterr = 0;
	while ((c = getopt_long(argc, argv, g.shorts, g.longs, NULL)) != -1) {
		const struct opt *o = getopt_rows_find(&g, c);

		if (c == '?' || c == ':' || !o)
			return refused(&g, c, argv, reterr);
		r = take(o, optarg, &v, reterr);
		if (r < 0)
			return r;
	}
	v.operands = argv + optind;
	v.n_operands = argc - optind;
	*ret = v;
	v = (struct opt_values){};
	return 0;
}

int options_require(const struct opt *table, const struct opt_values *values, struct fault *reterr)
{
	for (const struct opt *o = table; o && o->name; o++) {
		json_object *from = o->flags & OPT_LOCAL ? values->local : values->request;

		if (o->flags & OPT_REQUIRED && !doc_at(from, opt_member(o)))
			return fault_set(reterr, -EINVAL, "usage", o->name, "'--%s %s' is needed: %s",
				o->name, o->arg, o->help);
	}
	return 0;
}

void options_free(struct opt_values *values)
{
	json_object_put(values->request);
	json_object_put(values->local);
	*values = (struct opt_values){};
}

void options_help(struct out *o, const struct opt *table)
{
	static const struct column columns[] = {{NULL, false}, {NULL, false}};
	_cleanup_(table_freep) struct table *t = table_new(columns, ARRAY_SIZE(columns));

	for (; table && table->name; table++) {
		char letter[8] = "    ";

		if (table->letter)
			snprintf(letter, sizeof(letter), "-%c, ", table->letter);
		table_cell(t, STYLE_NONE, "%s--%s%s%s", letter, table->name, table->arg ? " " : "",
			table->arg ? table->arg : "");
		table_cell(t, STYLE_NONE, "%s", table->help);
	}
	table_print(t, o, 2);
}
