/* SPDX-License-Identifier: MIT */
/* Where a figure of the host block comes from: a row names its place in the document, its file and the
 * function that reads it. */
#pragma once

#include <json.h>
#include <stdbool.h>

#define HOST_REASON 320

struct host_source {
	const char *path; /* place in the document: "cpu/microcode" */
	/* The figure, owned by the caller; NULL: absent, and reason (HOST_REASON bytes) says why, or is ""
	 * for want of memory. */
	json_object *(*get)(const struct host_source *src, char *reason);
	const char *file;
	const char
		*key; /* what of the file: the start of a line, a flag's name, a column, a number of words */
	const char *hint; /* added to the reason when the figure is absent: what that usually means; NULL:
			     nothing */
	bool moves;       /* changes by itself (load, time): host_changes() leaves it out */
};

/* host_file.c: figures that are the text of one file. */
json_object *host_text(const struct host_source *src, char *reason);    /* the whole file, one line */
json_object *host_int(const struct host_source *src, char *reason);     /* one integer, decimal */
json_object *host_numbers(const struct host_source *src, char *reason); /* integers or decimals: an array */
json_object *host_words(const struct host_source *src, char *reason);   /* an array of strings */
json_object *host_bool(const struct host_source *src, char *reason);    /* 0 or 1 */
json_object *host_not(const struct host_source *src, char *reason);     /* 0 or 1, reversed */
json_object *host_choice(const struct host_source *src, char *reason);  /* "always [madvise] never" */
json_object *host_count(const struct host_source *src, char *reason);   /* how many "0-3,8" names */
json_object *host_field(const struct host_source *src, char *reason);   /* text after "key:" */
json_object *host_field_int(
	const struct host_source *src, char *reason); /* integer after "key:"; with kB: in bytes */
json_object *host_flag(
	const struct host_source *src, char *reason); /* whether the line "flags" holds the word key */
json_object *host_caps(
	const struct host_source *src, char *reason); /* hexadecimal mask after "key:", as names */
json_object *host_pressure(const struct host_source *src, char *reason); /* the line "some" of a PSI file */
json_object *host_column(
	const struct host_source *src, char *reason); /* integer in column key of the first line */
json_object *host_directory(const struct host_source *src, char *reason); /* {name of a file: its text} */
json_object *host_same(const struct host_source *src,
	char *reason); /* the text of all files of a glob, "a, b" where they differ */
json_object *host_cgroup(
	const struct host_source *src, char *reason); /* tightest limit of file up the cgroup tree */

/* host_bpf.c: programs of others that may run on the measured path. */
json_object *host_bpf_programs(const struct host_source *src, char *reason);
