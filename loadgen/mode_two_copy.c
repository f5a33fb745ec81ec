/* SPDX-License-Identifier: MIT */
/* Two-copy: the fields are packed into one buffer, which send() hands to the kernel to be copied again. */
#include <sys/socket.h>

#include "lane.h"
#include "modes.h"

struct two_copy {
	uint8_t *packed; /* NULL with a single field: there is nothing to pack */
};

static int two_copy_open(struct lane *ln)
{
	struct two_copy *s = ln->state;
	void *p;

	if (!ln->out.layout || ln->layout->fields == 1)
		return 0;
	if (posix_memalign(&p, CACHE_LINE, ln->layout->size))
		return -ENOMEM;
	s->packed = memset(p, 0, ln->layout->size);
	return 0;
}

static void two_copy_close(struct lane *ln)
{
	struct two_copy *s = ln->state;

	free(s->packed);
	s->packed = NULL;
}

static void pack(struct lane *ln, uint8_t *to)
{
	const struct message_layout *l = ln->layout;

	for (uint32_t i = 0; i < l->fields; i++) {
		memcpy(to, outbox_field(&ln->out, i, ln->slot), l->len[i]);
		to += l->len[i];
	}
	COUNT(ln->side->now.pack_copies, l->fields);
	COUNT(ln->side->now.pack_bytes, l->size);
}

static ssize_t two_copy_send(struct lane *ln, size_t len)
{
	struct two_copy *s = ln->state;
	const uint8_t *p = s->packed ? s->packed : outbox_field(&ln->out, 0, ln->slot);
	ssize_t n;

	if (s->packed && !ln->sent)
		pack(ln, s->packed);
	n = send(ln->fd, p + ln->sent, len, MSG_NOSIGNAL);
	if (n >= 0)
		return n;
	ln->call = "send";
	return -errno;
}

const struct transfer_mode mode_two_copy = {
	.name = "two-copy",
	.summary = "fields packed into one buffer, then send(): a copy by the program and one by the kernel",
	.caps = MODE_PACKS,
	.state_size = sizeof(struct two_copy),
	.open = two_copy_open,
	.close = two_copy_close,
	.send = two_copy_send,
};
