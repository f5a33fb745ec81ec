/* SPDX-License-Identifier: MIT */
/* A text that is drawn anew again and again: in place on a terminal, one after the other elsewhere. */
#pragma once

#include "out.h"

struct live {
	struct out *out;
	unsigned int lines; /* that stand on the terminal */
	bool drawn;
};

/*
 * Draws what render() writes over the text before. On a terminal lines are clipped at its width of this
 * moment, and the text at its height, but for the last one, which is whole: what has scrolled away cannot be
 * drawn over, and need not be then.
 * Negative errno.
 */
int live_draw(struct live *l, void (*render)(struct out *o, void *userdata), void *userdata, bool last);
