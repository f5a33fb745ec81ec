/* SPDX-License-Identifier: MIT */
/*
 * Options as rows of const tables. The same rows make the parser, the help text and the lists for manual and
 * completion, so that these cannot differ.
 */
#pragma once

#include "doc.h"
#include "fault.h"

enum opt_flags {
	OPT_REQUIRED = 1 << 0,
	OPT_LOCAL = 1 << 1, /* the value is for the command itself, not a parameter of the request */
};

struct opt {
	const char *name;
	char letter;        /* 0: none */
	const char *arg;    /* its name in the help; NULL: the option takes none */
	const char *member; /* where the value goes in the document; NULL: the option's own name */
	/* Turns arg into a value; *reterr without the option's name in it. NULL: the argument as a string, or
	 * true. */
	int (*parse)(const char *arg, json_object **ret, struct fault *reterr);
	unsigned int flags;
	const char *help;
};

int opt_integer(const char *arg, json_object **ret, struct fault *reterr);
int opt_size(const char *arg, json_object **ret, struct fault *reterr);     /* 64K: bytes */
int opt_duration(const char *arg, json_object **ret, struct fault *reterr); /* 1.5s: milliseconds */
int opt_ipv6(const char *arg, json_object **ret, struct fault *reterr);     /* a flag: 6 */
int opt_false(const char *arg, json_object **ret, struct fault *reterr);

/* Like strsep() at commas, but the one inside netns:SERVER,CLIENT ends no part, neither of a list nor behind
 * the '=' of a selection. */
char *opt_part(char **rest);

#define OPTION_TABLES 2

/* What a command line said. request and local are objects, owned; operands points into argv. */
struct opt_values {
	json_object *request, *local;
	char **operands;
	int n_operands;
};

/*
 * Parses argv[1] and on against tables (each ends with a NULL name; a table may be NULL). in_order: stop at
 * the first operand. On failure *ret is empty and *reterr has the sentence; OPT_REQUIRED is left to
 * options_require().
 */
int options_parse(int argc, char **argv, const struct opt *const tables[OPTION_TABLES], bool in_order,
	struct opt_values *ret, struct fault *reterr);
int options_require(const struct opt *table, const struct opt_values *values, struct fault *reterr);
void options_free(struct opt_values *values);
#define _cleanup_options_ _cleanup_(options_free)

/* "  -j, --json         what it does", one line an option, continued at the width. */
struct out;
void options_help(struct out *o, const struct opt *table);
