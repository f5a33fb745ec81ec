/* SPDX-License-Identifier: MIT */
/*
 * What a message looks like, on the way out (its field buffers) and on the way in (a byte stream to be cut
 * and checked).
 *
 * A message is `fields` heap buffers of `size` bytes together, split evenly, the remainder in the last one.
 * Its first bytes are a header: sequence and stamp, each 64 bits little-endian, cut off at size bytes when
 * the message is shorter. The header may lie across several fields. Sequences begin at 0 and count a
 * connection's messages in one direction.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "hist.h"
#include "limit.h"

#define MESSAGE_HEADER 16
#define MESSAGE_LAST (UINT64_C(1) << 63) /* in a sequence: no more of this phase comes behind it */

/* A part of the header that lies in one field. */
struct message_piece {
	uint32_t field, at, from, len; /* at: offset in the field; from: offset in the header */
};

struct message_layout {
	size_t size;
	size_t len[LIMIT_FIELDS_MAX]; /* bytes of each field */
	uint32_t fields;              /* in use: min(asked, size) */
	uint32_t header;              /* bytes: min(size, MESSAGE_HEADER) */
	uint32_t pieces;
	uint64_t sequence_mask; /* the bits of a sequence that a message has room for */
	struct message_piece piece[MESSAGE_HEADER];
};

/* size and fields within their limits. */
void message_layout_init(struct message_layout *ret, uint64_t size, uint32_t fields);

static inline int message_has_stamp(const struct message_layout *l)
{
	return l->header == MESSAGE_HEADER;
}

/* --verify's pattern of the message `sequence`, from byte `offset` on. pattern_check: how many bytes are as
 * they should be. */
void pattern_fill(uint8_t *p, uint64_t sequence, size_t offset, size_t len);
size_t pattern_check(const uint8_t *p, uint64_t sequence, size_t offset, size_t len);

/* Buffers of `slots` messages: a field of one slot is stride[field] bytes behind the same field of the slot
 * before. */
struct outbox {
	const struct message_layout *layout;
	uint32_t slots;
	uint8_t *field[LIMIT_FIELDS_MAX]; /* of the first slot */
	size_t stride[LIMIT_FIELDS_MAX];
	uint8_t *block; /* all fields lie in it; NULL: each is a piece of the heap */
	/* of outbox_init_file() only: the memfd, all of it mapped, and the bytes from a message to the next
	 */
	uint8_t *map;
	size_t map_size, pitch;
	int fd;
};

/* Each field is a buffer of its own that holds this field of all slots; rings of at least 2 MiB lie in huge
 * pages where the kernel grants them. 0 or -ENOMEM. */
int outbox_init(struct outbox *o, const struct message_layout *layout, uint32_t slots);
/* A message is one piece of a memfd, its fields one behind the other. 0 or a negative errno. */
int outbox_init_file(struct outbox *o, const struct message_layout *layout, uint32_t slots);
void outbox_done(struct outbox *o); /* zeroed or half-made ones too */

static inline uint8_t *outbox_field(const struct outbox *o, uint32_t field, uint32_t slot)
{
	return o->field[field] + slot * o->stride[field];
}

/* Hot. The header is written after the pattern, over its first bytes. */
void outbox_header(const struct outbox *o, uint32_t slot, uint64_t sequence, uint64_t stamp);
void outbox_pattern(const struct outbox *o, uint32_t slot, uint64_t sequence);
/* The slot's bytes from offset on, at most max (> 0) of them; returns how many of iov[LIMIT_FIELDS_MAX] are
 * filled. */
uint32_t outbox_iov(const struct outbox *o, uint32_t slot, size_t offset, size_t max, struct iovec *iov);

/* What was wrong with an incoming message. */
struct inbox_error {
	uint64_t sequence;      /* the message that should have been there */
	uint64_t got, expected; /* its sequence, or the offset of a wrong byte (then both are that offset) */
	int in_payload;
};

/* Cuts a byte stream into messages, across the ends of calls. Single-threaded. */
struct inbox {
	const struct message_layout *layout;
	int verify;
	uint64_t sequence;              /* of the current message */
	size_t at;                      /* bytes of it that came with earlier calls */
	uint8_t header[MESSAGE_HEADER]; /* as far as it came */
	struct hist *latency;           /* NULL: none is recorded */
	struct inbox_error error;
	int marked; /* the sender is on another host: MESSAGE_LAST ends a phase */
	int ended;  /* such a message has come, perhaps in part */
};

void inbox_init(struct inbox *in, const struct message_layout *layout, int verify, struct hist *latency);

/* Hot. Takes n bytes that were there at the time `now` (a clock_stamp); returns how many messages they
 * completed, or -EBADMSG and in->error. */
int64_t inbox_take(struct inbox *in, const uint8_t *p, size_t n, uint64_t now);
/* Hot. Counts n bytes that nobody has seen; returns how many messages they completed. */
int64_t inbox_skip(struct inbox *in, size_t n);
