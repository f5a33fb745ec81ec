// SPDX-License-Identifier: MIT
/* Draws a text over the one before. */
#include <errno.h>
#include <sys/ioctl.h>

#include "live.h"

/* Cuts the text behind this many lines; how many it has. */
static unsigned int cut_lines(char *text, unsigned int most)
{
	unsigned int n = 0;

	for (; *text && n < most; text++)
		n += *text == '\n';
	*text = '\0';
	return n;
}

/* Lines that can be drawn over, the cursor standing below the last; the width as it is now. A line that the
 * terminal breaks would be two of them; nothing draws over the last text. */
static unsigned int fit(struct out *o, int fd, bool last)
{
	struct winsize ws;

	o->clip = o->width > 0 && !last;
	if (!o->width || ioctl(fd, TIOCGWINSZ, &ws) < 0)
		return UINT32_MAX;
	o->width = ws.ws_col ? ws.ws_col : o->width;
	return ws.ws_row > 1 ? ws.ws_row - 1U : UINT32_MAX;
}

int live_draw(struct live *l, void (*render)(struct out *o, void *userdata), void *userdata, bool last)
{
	_cleanup_free_ char *text = NULL;
	struct out o = *l->out;
	FILE *f = o.f;
	unsigned int most = fit(&o, fileno(f), last);
	size_t size;

	o.f = open_memstream(&text, &size);
	if (!o.f)
		return -ENOMEM;
	render(&o, userdata);
	if (fclose(o.f) != 0)
		return -ENOMEM;
	if (l->lines && o.width)
		fprintf(f, "\x1b[%uA\x1b[J", l->lines);
	else if (l->drawn)
		fputc('\n', f);
	l->lines = cut_lines(text, last ? UINT32_MAX : most);
	l->drawn = true;
	fputs(text, f);
	return fflush(f) == 0 ? 0 : -errno;
}
