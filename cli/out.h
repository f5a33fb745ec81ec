/* SPDX-License-Identifier: MIT */
/*
 * Text for a person. Everything passes through text_clean(): what a daemon, a label or a file name holds
 * cannot steer a terminal, since control bytes only ever come from this file.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "macro.h"
#include "units.h"

enum style { STYLE_NONE, STYLE_BOLD, STYLE_DIM, STYLE_GOOD, STYLE_BAD, STYLE_NOTE };

struct out {
	FILE *f;
	bool color, utf8;
	unsigned int width;  /* columns of the terminal; 0: not a terminal, lines are as long as they are */
	bool clip;           /* cut lines at width instead of letting the terminal wrap them */
	unsigned int column; /* where the next character stands */
};

/* For a stream: colour, character set and width as its terminal, NO_COLOR, TERM and the locale say. */
struct out out_for(FILE *f);

/* Neither text can hold a line's end: a newline in it is shown as \x0a. */
void out_text(struct out *o, enum style style, const char *fmt, ...) _printf_(3, 4);
void out_line(struct out *o, enum style style, const char *fmt, ...) _printf_(3, 4);
void out_newline(struct out *o);
void out_pad(struct out *o, unsigned int column); /* spaces up to this column */

/* Words, broken at o->width, further lines indented to the column where the text began. No newline at the
 * end. */
void out_wrap(struct out *o, enum style style, const char *text);

/*
 * A copy that is safe to print, owned by the caller; NULL when out of memory. Control characters,
 * bidirectional overrides and broken UTF-8 become \xNN; without UTF-8 everything beyond ASCII becomes '?'.
 */
char *text_clean(const char *s, bool utf8);
unsigned int text_width(const char *clean); /* columns on a terminal */

/* Figures as text, by value: use .s within the same expression. Dot as decimal point whatever the locale. */
struct figure {
	char s[UNITS_TEXT + 16];
};

int64_t whole(double n); /* cut off behind the dot; what does not fit becomes the nearest that does */

struct figure figure_count(int64_t n);                   /* 5,120,000 */
struct figure figure_bytes(double bytes);                /* 5.1 GB */
struct figure figure_size(int64_t size);                 /* 64 KiB, 1000 B */
struct figure figure_mean_size(double size);             /* 32.8 KiB */
struct figure figure_rate(double gbps);                  /* 31.42 Gbit/s */
struct figure figure_duration(double ns);                /* 812 ns, 1.25 ms */
struct figure figure_big(double n);                      /* 812, 1.25 M, 3.40 G */
struct figure figure_percent(double part, double whole); /* 100 % only when all, 0 % only when none */
