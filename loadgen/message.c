/* SPDX-License-Identifier: MIT */
/* Messages: their fields, header and check pattern on the way out, cutting and checking on the way in. */
#include <endian.h>
#include <errno.h>
#include <sys/mman.h>

#include "clock.h"
#include "macro.h"
#include "message.h"

#define PAGE 4096u
#define HUGE_PAGE (2u << 20) /* of x86-64, and of arm64 with pages of 4 KiB */

void message_layout_init(struct message_layout *ret, uint64_t size, uint32_t fields)
{
	struct message_layout l = {
		.size = size, .fields = MIN(fields, size), .header = MIN(size, MESSAGE_HEADER)};
	size_t each = size / l.fields, begin = 0;

	for (uint32_t i = 0; i < l.fields; i++) {
		l.len[i] = i + 1 < l.fields ? each : size - begin;
		if (begin < l.header)
			l.piece[l.pieces++] = (struct message_piece){
				.field = i, .from = begin, .len = MIN(l.len[i], l.header - begin)};
		begin += l.len[i];
	}
	l.sequence_mask = size >= 8 ? UINT64_MAX : (1ULL << (8 * size)) - 1;
	*ret = l;
}

/* The pattern is made of 64-bit little-endian words; odd factors, so that neighbours differ in every byte but
 * rarely. */
#define PATTERN_SEQUENCE 0x9e3779b97f4a7c15ULL
#define PATTERN_WORD 0xc2b2ae3d27d4eb4fULL

static inline uint64_t pattern_word(uint64_t sequence, size_t word)
{
	return (sequence + 1) * PATTERN_SEQUENCE + word * PATTERN_WORD;
}

static inline uint8_t pattern_byte(uint64_t sequence, size_t offset)
{
	return (uint8_t)(pattern_word(sequence, offset >> 3) >> (8 * (offset & 7)));
}

void pattern_fill(uint8_t *p, uint64_t sequence, size_t offset, size_t len)
{
	size_t end = offset + len;
	uint64_t word;

	for (; offset < end && (offset & 7); offset++)
		*p++ = pattern_byte(sequence, offset);
	for (word = pattern_word(sequence, offset >> 3); end - offset >= 8; offset += 8, p += 8) {
		uint64_t le = htole64(word);

		memcpy(p, &le, 8);
		word += PATTERN_WORD;
	}
	for (; offset < end; offset++)
		*p++ = pattern_byte(sequence, offset);
}

size_t pattern_check(const uint8_t *p, uint64_t sequence, size_t offset, size_t len)
{
	size_t i = 0;

	for (; i < len && ((offset + i) & 7); i++)
		if (p[i] != pattern_byte(sequence, offset + i))
			return i;
	for (; len - i >= 8; i += 8) {
		uint64_t le;

		memcpy(&le, p + i, 8);
		if (le != htole64(pattern_word(sequence, (offset + i) >> 3)))
			break;
	}
	for (; i < len; i++)
		if (p[i] != pattern_byte(sequence, offset + i))
			return i;
	return len;
}

static size_t alignment(size_t bytes)
{
	return bytes >= PAGE ? PAGE : CACHE_LINE;
}

static size_t align_up(size_t n, size_t to)
{
	return (n + to - 1) / to * to;
}

/*
 * A ring is in huge pages where the kernel has some: it takes its pages one by one for each send that pins
 * them, but those of a huge page at once. One message alone is sent again and again, and is small. What is
 * not a whole huge page stays in small ones, so that a ring takes no more memory than it needs.
 */
static int outbox_block(struct outbox *o)
{
	const struct message_layout *l = o->layout;
	size_t total = 0;

	for (uint32_t i = 0; i < l->fields; i++)
		total = align_up(total, alignment(l->len[i] * o->slots)) + l->len[i] * o->slots;
	if (o->slots < 2 || total < HUGE_PAGE)
		return 0;
	o->block = aligned_alloc(HUGE_PAGE, align_up(total, HUGE_PAGE));
	if (!o->block)
		return -ENOMEM;
	madvise(o->block, total / HUGE_PAGE * HUGE_PAGE, MADV_HUGEPAGE);
	return 0;
}

int outbox_init(struct outbox *o, const struct message_layout *layout, uint32_t slots)
{
	size_t at = 0;
	int r;

	*o = (struct outbox){.layout = layout, .slots = slots, .fd = -1};
	r = outbox_block(o);
	if (r < 0)
		return r;
	for (uint32_t i = 0; i < layout->fields; i++) {
		size_t bytes = layout->len[i] * slots;
		void *p;

		at = align_up(at, alignment(bytes));
		if (o->block)
			p = o->block + at;
		else if (posix_memalign(&p, alignment(bytes), bytes))
			return -ENOMEM;
		at += bytes;
		/* Touched here, so that no page fault and no shared zero page is measured. */
		memset(p, 'a' + (int)(i % 26), bytes);
		o->field[i] = p;
		o->stride[i] = layout->len[i];
	}
	return 0;
}

int outbox_init_file(struct outbox *o, const struct message_layout *layout, uint32_t slots)
{
	size_t pitch = layout->size, at = 0;

	/* Whole pages, so that a message begins with one, as the heap's larger buffers do. */
	if (pitch >= PAGE)
		pitch = align_up(pitch, PAGE);
	*o = (struct outbox){.layout = layout, .slots = slots, .pitch = pitch, .map_size = pitch * slots};
	o->fd = memfd_create("copyledger-messages", MFD_CLOEXEC);
	if (o->fd < 0 || ftruncate(o->fd, (off_t)o->map_size) < 0)
		return -errno;
	o->map = mmap(NULL, o->map_size, PROT_READ | PROT_WRITE, MAP_SHARED, o->fd, 0);
	if (o->map == MAP_FAILED) {
		o->map = NULL;
		return -ENOMEM;
	}
	/* A page that was never written is none of the file's. */
	memset(o->map, 'a', o->map_size);
	for (uint32_t i = 0; i < layout->fields; i++) {
		o->field[i] = o->map + at;
		o->stride[i] = pitch;
		at += layout->len[i];
	}
	return 0;
}

void outbox_done(struct outbox *o)
{
	for (uint32_t i = 0; i < LIMIT_FIELDS_MAX && !o->map && !o->block; i++)
		free(o->field[i]);
	free(o->block);
	if (o->map)
		munmap(o->map, o->map_size);
	if (o->pitch)
		close_fd(o->fd);
	*o = (struct outbox){};
}

void outbox_header(const struct outbox *o, uint32_t slot, uint64_t sequence, uint64_t stamp)
{
	const struct message_layout *l = o->layout;
	uint64_t header[2] = {htole64(sequence), htole64(stamp)};

	if (l->len[0] >= sizeof(header)) {
		memcpy(outbox_field(o, 0, slot), header, sizeof(header));
		return;
	}
	for (uint32_t i = 0; i < l->pieces; i++) {
		const struct message_piece *piece = &l->piece[i];

		memcpy(outbox_field(o, piece->field, slot) + piece->at, (uint8_t *)header + piece->from,
			piece->len);
	}
}

void outbox_pattern(const struct outbox *o, uint32_t slot, uint64_t sequence)
{
	size_t offset = 0;

	for (uint32_t i = 0; i < o->layout->fields; i++) {
		pattern_fill(outbox_field(o, i, slot), sequence, offset, o->layout->len[i]);
		offset += o->layout->len[i];
	}
}

uint32_t outbox_iov(const struct outbox *o, uint32_t slot, size_t offset, size_t max, struct iovec *iov)
{
	const struct message_layout *l = o->layout;
	uint32_t n = 0;

	for (uint32_t i = 0; i < l->fields && max; i++) {
		size_t len = l->len[i];

		if (offset >= len) {
			offset -= len;
			continue;
		}
		iov[n].iov_base = outbox_field(o, i, slot) + offset;
		iov[n].iov_len = MIN(len - offset, max);
		max -= iov[n++].iov_len;
		offset = 0;
	}
	return n;
}

void inbox_init(struct inbox *in, const struct message_layout *layout, int verify, struct hist *latency)
{
	*in = (struct inbox){.layout = layout, .verify = verify};
	in->latency = message_has_stamp(layout) ? latency : NULL;
}

static inline uint64_t load_le64(const uint8_t *p)
{
	uint64_t v;

	memcpy(&v, p, sizeof(v));
	return le64toh(v);
}

static int64_t bad_sequence(struct inbox *in, uint64_t got)
{
	uint64_t mask = in->layout->sequence_mask;

	in->error = (struct inbox_error){
		.sequence = in->sequence, .got = got & mask, .expected = in->sequence & mask};
	return -EBADMSG;
}

/* difference: of the sequence that came and the one that was due. */
static int is_last(struct inbox *in, uint64_t difference)
{
	if (!in->marked || difference != MESSAGE_LAST)
		return 0;
	in->ended = 1;
	return 1;
}

/*
 * Whole messages of at least a header, without a check of every byte: what a small-message stream spends its
 * time in. The histogram's totals are kept in registers and stored once; its buckets are stored one by one.
 */
static int64_t take_whole(struct inbox *in, const uint8_t *p, size_t messages, uint64_t now)
{
	uint64_t sequence = in->sequence, sum = 0, max = 0;
	struct hist *h = in->latency;
	size_t size = in->layout->size;

	for (size_t i = 0; i < messages; i++, p += size, sequence++) {
		uint64_t ns, *bucket;

		if (load_le64(p) != sequence && !is_last(in, load_le64(p) ^ sequence)) {
			in->sequence = sequence;
			return bad_sequence(in, load_le64(p));
		}
		if (!h)
			continue;
		ns = clock_stamp_to_ns(now - load_le64(p + 8));
		bucket = &h->bucket[hist_index(ns)];
		__atomic_store_n(bucket, *bucket + 1, __ATOMIC_RELAXED);
		sum += ns;
		max = MAX(max, ns);
	}
	in->sequence = sequence;
	if (h) {
		__atomic_store_n(&h->count, h->count + messages, __ATOMIC_RELAXED);
		__atomic_store_n(&h->sum, h->sum + sum, __ATOMIC_RELAXED);
		if (max > h->max)
			__atomic_store_n(&h->max, max, __ATOMIC_RELAXED);
	}
	return (int64_t)messages;
}

/* The payload in p[0..n) that stands at in->at of the current message; its header is looked at elsewhere. */
static int check_payload(struct inbox *in, const uint8_t *p, size_t n)
{
	size_t skip = in->at < in->layout->header ? MIN(n, in->layout->header - in->at) : 0;
	size_t offset = in->at + skip, good = pattern_check(p + skip, in->sequence, offset, n - skip);

	if (good == n - skip)
		return 0;
	in->error = (struct inbox_error){
		.sequence = in->sequence, .got = offset + good, .expected = offset + good, .in_payload = 1};
	return -EBADMSG;
}

/* The header is complete: it is in in->header. */
static int64_t check_header(struct inbox *in)
{
	uint64_t got = load_le64(in->header), mask = in->layout->sequence_mask;

	if ((got ^ in->sequence) & mask && !is_last(in, got ^ in->sequence))
		return bad_sequence(in, got);
	return 0;
}

static void finish_message(struct inbox *in, uint64_t now)
{
	if (in->latency)
		hist_record(in->latency, clock_stamp_to_ns(now - load_le64(in->header + 8)));
	in->sequence++;
	in->at = 0;
}

/* Any part of one message: n bytes that do not reach beyond its end. */
static int64_t take_part(struct inbox *in, const uint8_t *p, size_t n, uint64_t now)
{
	size_t header = in->layout->header;
	int64_t r;

	if (in->at < header) {
		size_t part = MIN(n, header - in->at);

		memcpy(in->header + in->at, p, part);
		if (in->at + part == header) {
			r = check_header(in);
			if (r < 0)
				return r;
		}
	}
	if (in->verify) {
		r = check_payload(in, p, n);
		if (r < 0)
			return r;
	}
	in->at += n;
	if (in->at < in->layout->size)
		return 0;
	finish_message(in, now);
	return 1;
}

int64_t inbox_take(struct inbox *in, const uint8_t *p, size_t n, uint64_t now)
{
	size_t size = in->layout->size;
	int fast = !in->verify && size >= MESSAGE_HEADER;
	int64_t messages = 0, r;

	while (n) {
		size_t part = MIN(n, size - in->at);

		if (fast && !in->at && n >= size) {
			part = n - n % size;
			r = take_whole(in, p, part / size, now);
		} else {
			r = take_part(in, p, part, now);
		}
		if (r < 0)
			return r;
		messages += r;
		p += part;
		n -= part;
	}
	return messages;
}

int64_t inbox_skip(struct inbox *in, size_t n)
{
	size_t size = in->layout->size, messages = (in->at + n) / size;

	in->at = (in->at + n) % size;
	in->sequence += messages;
	return (int64_t)messages;
}
