/* SPDX-License-Identifier: MIT */
/* Messages: layout, headers across fields, the check pattern, cutting a stream in any pieces, and what is
 * found wrong. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "clock.h"
#include "macro.h"
#include "message.h"

#define MESSAGES 7
#define STAMP 1000 /* the first message's; each later one is 1 more */
#define NOW 501000

static const uint64_t sizes[] = {1, 2, 7, 8, 9, 15, 16, 17, 24, 31, 64, 100, 129, 1000, 4097};
static const uint32_t fields[] = {1, 2, 3, 5, 8, 13, 63, 64};

static struct hist latency;

/* The bytes of one message, as sendmsg() would take them from its fields. */
static void gather(const struct outbox *o, uint32_t slot, uint8_t *to)
{
	struct iovec iov[LIMIT_FIELDS_MAX];
	uint32_t n = outbox_iov(o, slot, 0, SIZE_MAX, iov);

	for (uint32_t i = 0; i < n; i++) {
		memcpy(to, iov[i].iov_base, iov[i].iov_len);
		to += iov[i].iov_len;
	}
}

static uint8_t *make_stream(const struct message_layout *l, int verify, uint64_t first)
{
	uint8_t *stream = malloc(l->size * MESSAGES);
	struct outbox o;

	assert_non_null(stream);
	assert_int_equal(outbox_init(&o, l, 3), 0);
	for (uint64_t i = 0; i < MESSAGES; i++) {
		if (verify)
			outbox_pattern(&o, i % 3, first + i);
		outbox_header(&o, i % 3, first + i, STAMP + i);
		gather(&o, i % 3, stream + i * l->size);
	}
	outbox_done(&o);
	return stream;
}

static void test_layout_splits_evenly(void **state)
{
	struct message_layout l;

	message_layout_init(&l, 1000, 3);
	assert_int_equal(l.fields, 3);
	assert_int_equal(l.len[0], 333);
	assert_int_equal(l.len[1], 333);
	assert_int_equal(l.len[2], 334);
	message_layout_init(&l, 5, 64);
	assert_int_equal(l.fields, 5);
	assert_int_equal(l.len[4], 1);
	assert_int_equal(l.header, 5);
	assert_int_equal(l.pieces, 5);
	message_layout_init(&l, 64, 8);
	assert_int_equal(l.pieces, 2);
	assert_int_equal(l.piece[1].field, 1);
	assert_int_equal(l.piece[1].from, 8);
	assert_int_equal(l.piece[1].len, 8);
}

static void test_layout_covers_size_and_header_once(void **state)
{
	for (size_t s = 0; s < ARRAY_SIZE(sizes); s++)
		for (size_t f = 0; f < ARRAY_SIZE(fields); f++) {
			struct message_layout l;
			size_t sum = 0, header = 0;

			message_layout_init(&l, sizes[s], fields[f]);
			for (uint32_t i = 0; i < l.fields; i++) {
				assert_true(l.len[i] > 0);
				sum += l.len[i];
			}
			for (uint32_t i = 0; i < l.pieces; i++) {
				assert_int_equal(l.piece[i].from, header);
				header += l.piece[i].len;
			}
			assert_int_equal(sum, sizes[s]);
			assert_int_equal(header, MIN(sizes[s], 16));
			assert_int_equal(message_has_stamp(&l), sizes[s] >= 16);
		}
}

static void test_header_is_little_endian_wherever_it_lies(void **state)
{
	static const uint8_t expected[] = {
		8, 7, 6, 5, 4, 3, 2, 1, 0x18, 0x17, 0x16, 0x15, 0x14, 0x13, 0x12, 0x11};

	for (size_t s = 0; s < ARRAY_SIZE(sizes); s++)
		for (size_t f = 0; f < ARRAY_SIZE(fields); f++) {
			_cleanup_free_ uint8_t *bytes = calloc(1, sizes[s]);
			struct message_layout l;
			struct outbox o;

			message_layout_init(&l, sizes[s], fields[f]);
			assert_int_equal(outbox_init(&o, &l, 2), 0);
			outbox_header(&o, 1, 0x0102030405060708, 0x1112131415161718);
			gather(&o, 1, bytes);
			assert_memory_equal(bytes, expected, l.header);
			outbox_done(&o);
		}
}

static void test_slots_do_not_overlap(void **state)
{
	/* Heap buffers, one huge page and a rest, a ring that would be one but for its fields' alignment. */
	static const struct {
		size_t size;
		uint32_t fields, slots;
	} rows[] = {{100, 3, 4}, {1000, 3, 2200}, {8192, 3, 256}, {65536, 64, 64}, {4 << 20, 1, 1}};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		_cleanup_free_ uint8_t *bytes = malloc(rows[i].size);
		struct message_layout l;
		struct outbox o;

		message_layout_init(&l, rows[i].size, rows[i].fields);
		assert_int_equal(outbox_init(&o, &l, rows[i].slots), 0);
		assert_int_equal(!!o.block, rows[i].slots > 1 && rows[i].slots * rows[i].size >= 2 << 20);
		for (uint32_t slot = 0; slot < rows[i].slots; slot++)
			outbox_pattern(&o, slot, slot);
		for (uint32_t slot = 0; slot < rows[i].slots; slot++) {
			gather(&o, slot, bytes);
			assert_int_equal(pattern_check(bytes, slot, 0, rows[i].size), rows[i].size);
		}
		outbox_done(&o);
	}
}

/* What is left of a message after a partial send, with and without a limit, is what follows in the message.
 */
/* In the file a message is one piece, and what is written to its fields is what the file has. */
static void test_file_holds_whole_messages(void **state)
{
	static const uint64_t lengths[] = {1, 100, 4095, 4096, 10000};

	for (size_t s = 0; s < ARRAY_SIZE(lengths); s++) {
		uint8_t written[10000], stored[10000];
		struct message_layout l;
		struct outbox o;

		message_layout_init(&l, lengths[s], 7);
		assert_int_equal(outbox_init_file(&o, &l, 3), 0);
		assert_true(o.pitch >= l.size && (l.size < 4096 || o.pitch % 4096 == 0));
		for (uint32_t slot = 0; slot < 3; slot++)
			outbox_pattern(&o, slot, slot);
		for (uint32_t slot = 0; slot < 3; slot++) {
			assert_int_equal(
				pread(o.fd, stored, l.size, (off_t)(slot * o.pitch)), (ssize_t)l.size);
			assert_int_equal(pattern_check(stored, slot, 0, l.size), l.size);
			outbox_header(&o, slot, slot, STAMP);
			gather(&o, slot, written);
			assert_int_equal(
				pread(o.fd, stored, l.size, (off_t)(slot * o.pitch)), (ssize_t)l.size);
			assert_memory_equal(stored, written, l.size);
		}
		outbox_done(&o);
		assert_null(o.map);
	}
}

static void test_skipped_bytes_are_counted(void **state)
{
	struct message_layout l;
	struct inbox in;
	int64_t messages = 0;

	message_layout_init(&l, 100, 1);
	inbox_init(&in, &l, 0, NULL);
	assert_int_equal(inbox_skip(&in, 99), 0);
	assert_int_equal(inbox_skip(&in, 1), 1);
	assert_int_equal(inbox_skip(&in, 250), 2);
	assert_int_equal(in.at, 50);
	for (int i = 0; i < 50; i++)
		messages += inbox_skip(&in, 7);
	assert_int_equal(messages, 4);
	assert_int_equal(in.sequence, 7);
	assert_int_equal(in.at, 0);
}

static void test_iov_continues_at_any_offset(void **state)
{
	struct message_layout l;
	struct outbox o;
	struct iovec iov[LIMIT_FIELDS_MAX];

	message_layout_init(&l, 100, 7);
	assert_int_equal(outbox_init(&o, &l, 2), 0);
	outbox_pattern(&o, 1, 42);
	for (size_t offset = 0; offset < 100; offset++)
		for (size_t max = 1; max <= 101 - offset; max += 9) {
			uint32_t n = outbox_iov(&o, 1, offset, max, iov);
			size_t at = offset;

			for (uint32_t i = 0; i < n; i++) {
				assert_true(iov[i].iov_len > 0);
				assert_int_equal(pattern_check(iov[i].iov_base, 42, at, iov[i].iov_len),
					iov[i].iov_len);
				at += iov[i].iov_len;
			}
			assert_int_equal(at - offset, MIN(max, 100 - offset));
		}
	outbox_done(&o);
}

static void test_pattern_is_the_same_in_any_pieces(void **state)
{
	uint8_t whole[97], pieces[97];

	pattern_fill(whole, 3, 5, sizeof(whole));
	for (size_t piece = 1; piece < sizeof(whole); piece++) {
		for (size_t at = 0; at < sizeof(whole); at += piece)
			pattern_fill(pieces + at, 3, 5 + at, MIN(piece, sizeof(whole) - at));
		assert_memory_equal(whole, pieces, sizeof(whole));
	}
}

static void test_pattern_finds_any_wrong_byte(void **state)
{
	uint8_t bytes[97];

	for (size_t i = 0; i < sizeof(bytes); i++) {
		pattern_fill(bytes, 9, 3, sizeof(bytes));
		assert_int_equal(pattern_check(bytes, 9, 3, sizeof(bytes)), sizeof(bytes));
		bytes[i] ^= 0x40;
		assert_int_equal(pattern_check(bytes, 9, 3, sizeof(bytes)), i);
	}
}

/* Bytes of another message, or of another place in this one, are not taken for right. */
static void test_pattern_depends_on_sequence_and_offset(void **state)
{
	uint8_t bytes[64];

	pattern_fill(bytes, 9, 0, sizeof(bytes));
	assert_true(pattern_check(bytes, 10, 0, sizeof(bytes)) < 8);
	assert_true(pattern_check(bytes, 9, 8, sizeof(bytes)) < 8);
	assert_true(pattern_check(bytes, 9, 1, sizeof(bytes)) < 8);
}

static void take_in_pieces(struct inbox *in, const uint8_t *stream, size_t piece)
{
	size_t all = in->layout->size * MESSAGES;
	int64_t messages = 0;

	for (size_t at = 0; at < all; at += piece) {
		int64_t r = inbox_take(in, stream + at, MIN(piece, all - at), NOW);

		assert_true(r >= 0);
		messages += r;
		assert_int_equal(messages, (int64_t)(MIN(at + piece, all) / in->layout->size));
	}
	assert_int_equal(messages, MESSAGES);
	assert_int_equal(in->at, 0);
}

static void assert_latency_recorded(const struct message_layout *l)
{
	uint64_t sum = 0;

	for (uint64_t i = 0; i < MESSAGES; i++)
		sum += clock_stamp_to_ns(NOW - STAMP - i);
	assert_int_equal(latency.count, message_has_stamp(l) ? MESSAGES : 0);
	assert_int_equal(latency.sum, message_has_stamp(l) ? sum : 0);
	assert_int_equal(latency.max, message_has_stamp(l) ? clock_stamp_to_ns(NOW - STAMP) : 0);
}

static void test_stream_is_cut_in_any_pieces(void **state)
{
	for (size_t s = 0; s < ARRAY_SIZE(sizes); s++)
		for (int verify = 0; verify < 2; verify++) {
			_cleanup_free_ uint8_t *stream = NULL;
			struct message_layout l;
			size_t all;

			message_layout_init(&l, sizes[s], 3);
			stream = make_stream(&l, verify, 0);
			all = l.size * MESSAGES;
			for (size_t piece = 1; piece <= all; piece += 1 + piece / 8) {
				struct inbox in;

				hist_reset(&latency);
				inbox_init(&in, &l, verify, &latency);
				take_in_pieces(&in, stream, piece);
				assert_latency_recorded(&l);
			}
		}
}

/* A sequence has as many bits as the message has room for: message 256 of one byte each carries 0 again. */
static void test_sequence_wraps_with_short_messages(void **state)
{
	static const uint64_t first[] = {250, 65530, (1ULL << 24) - 3, (1ULL << 56) - 3, UINT64_MAX - 2};

	for (size_t i = 0; i < ARRAY_SIZE(first); i++)
		for (uint64_t size = 1; size <= 17; size++) {
			_cleanup_free_ uint8_t *stream = NULL;
			struct message_layout l;
			struct inbox in;

			message_layout_init(&l, size, 2);
			stream = make_stream(&l, 1, first[i]);
			inbox_init(&in, &l, 1, NULL);
			in.sequence = first[i];
			take_in_pieces(&in, stream, 5);
		}
}

/* The messages before the lost one were right; whichever way the stream is cut, the hole is found. */
static void test_lost_message_is_found(void **state)
{
	for (size_t s = 0; s < ARRAY_SIZE(sizes); s++)
		for (size_t piece = 1; piece < 3; piece++) {
			_cleanup_free_ uint8_t *stream = NULL;
			struct message_layout l;
			struct inbox in;
			int64_t r = 0;
			size_t all, step;

			message_layout_init(&l, sizes[s], 1);
			all = l.size * (MESSAGES - 1);
			step = piece == 1 ? 1 : all;
			stream = make_stream(&l, 0, 0);
			memmove(stream + 4 * l.size, stream + 5 * l.size, 2 * l.size);
			inbox_init(&in, &l, 0, NULL);
			for (size_t at = 0; at < all && r >= 0; at += step)
				r = inbox_take(&in, stream + at, step, NOW);
			assert_int_equal(r, -EBADMSG);
			assert_int_equal(in.error.expected, 4);
			assert_int_equal(in.error.got, 5);
			assert_int_equal(in.error.in_payload, 0);
		}
}

static void test_wrong_byte_is_found_and_named(void **state)
{
	struct message_layout l;
	_cleanup_free_ uint8_t *stream = NULL;

	message_layout_init(&l, 100, 3);
	stream = make_stream(&l, 1, 0);
	for (size_t i = MESSAGE_HEADER; i < l.size; i++) {
		struct inbox in;

		inbox_init(&in, &l, 1, NULL);
		stream[2 * l.size + i] ^= 1;
		assert_int_equal(inbox_take(&in, stream, l.size * MESSAGES, NOW), -EBADMSG);
		assert_int_equal(in.error.in_payload, 1);
		assert_int_equal(in.error.sequence, 2);
		assert_int_equal(in.error.got, i);
		stream[2 * l.size + i] ^= 1;
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_layout_splits_evenly),
		cmocka_unit_test(test_layout_covers_size_and_header_once),
		cmocka_unit_test(test_header_is_little_endian_wherever_it_lies),
		cmocka_unit_test(test_slots_do_not_overlap),
		cmocka_unit_test(test_file_holds_whole_messages),
		cmocka_unit_test(test_skipped_bytes_are_counted),
		cmocka_unit_test(test_iov_continues_at_any_offset),
		cmocka_unit_test(test_pattern_is_the_same_in_any_pieces),
		cmocka_unit_test(test_pattern_finds_any_wrong_byte),
		cmocka_unit_test(test_pattern_depends_on_sequence_and_offset),
		cmocka_unit_test(test_stream_is_cut_in_any_pieces),
		cmocka_unit_test(test_sequence_wraps_with_short_messages),
		cmocka_unit_test(test_lost_message_is_found),
		cmocka_unit_test(test_wrong_byte_is_found_and_named),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
