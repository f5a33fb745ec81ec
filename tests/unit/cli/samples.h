/* SPDX-License-Identifier: MIT */
/* Result documents for the tests: one whole one, and changes to it. */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <locale.h>

#include "cli.h"
#include "render.h"

#define EQUATION(rule, text, left, right, diff, holds)                                                       \
	"{\"rule\":\"" rule "\",\"text\":\"" text "\",\"left\":" left ",\"right\":" right                    \
	",\"difference\":" diff ",\"holds\":" holds ",\"reason\":null}"
#define SITE_ROW(site, side, kind, hits, bytes, evidence, hook, reason)                                      \
	"{\"site\":\"" site "\",\"side\":\"" side "\",\"kind\":\"" kind                                      \
	"\",\"meaning\":\"m\",\"hits\":" hits ",\"bytes\":" bytes                                            \
	",\"bytes_per_hit_log2\":[],\"evidence\":\"" evidence "\",\"hook\":" hook ",\"reason\":" reason      \
	",\"callers\":[]}"

/* 5,120,000 bytes with MSG_ZEROCOPY over loopback: all pinned, all copied after all. */
static const char zero_copied_after_all[] =
	"{\"schema\":\"copyledger/result/"
	"1\",\"id\":\"run-1\",\"started\":\"2026-01-31T12:00:00Z\",\"state\":\"done\","
	"\"spec\":{\"mode\":\"zero-copy\",\"workload\":\"stream\",\"path\":\"loopback\",\"size\":65536,"
	"\"fields\":8,"
	"\"threads\":4,\"warmup_ms\":0,\"duration_ms\":5000,\"label\":\"\"},"
	"\"app\":{\"elapsed_ns\":5000000000,\"messages\":50000,\"bytes_sent\":5120000,\"bytes_received\":"
	"5120000,"
	"\"throughput_gbps\":31.415,\"latency_us\":{\"mean\":12.5,\"p50\":10.0,\"p99\":1250.0,\"max\":2000.0}"
	"},"
	"\"ledger\":{\"sites\":[" SITE_ROW("app_pack", "user", "copy", "0", "0", "observed",
		"\"the sender's lane\"", "null") "," SITE_ROW("tx_copy", "tx", "copy", "0", "0", "derived",
		"\"fexit/tcp_sendmsg_locked\"", "null") "," SITE_ROW("tx_pin", "tx", "pin", "80", "5120000",
		"observed", "\"fexit/skb_zerocopy_iter_stream\"", "null") "," SITE_ROW("tx_deferred_copy",
		"tx", "copy", "80", "5120000", "observed", "\"fentry/skb_copy_ubufs\"",
		"null") "," SITE_ROW("skb_copy", "any", "copy", "0", "0", "observed",
		"\"fexit/skb_copy_bits\"", "null") "," SITE_ROW("rx_copy", "rx", "copy", "160", "5120000",
		"observed", "\"fexit/skb_copy_datagram_iter\"",
		"null") "," SITE_ROW("rx_map", "rx", "map", "null", "null", "unavailable", "null",
		"\"no such function\"") "],\"copies_per_byte\":{\"app_pack\":0.0,\"tx_copy\":0.0,\"tx_"
					"deferred_copy\":1.0,\"skb_copy\":0.0,"
					"\"rx_copy\":1.0,\"total\":2.0,\"lower_bound\":false},\"delivered\":"
					"5120000,\"balance\":[" EQUATION("accepted",
						"bytes returned = bytes accepted", "5120000", "5120000", "0",
						"true") "," EQUATION("sent", "accepted = tx_copy + tx_pin",
						"5120000", "5120000", "0",
						"true") ","
							"{\"rule\":\"received\",\"text\":\"t\",\"left\":null,"
							"\"right\":null,\"difference\":null,\"holds\":null,"
							"\"reason\":\"rx_map cannot be "
							"seen\"}],\"equations_served\":2,\"gap\":{\"tx\":0,"
							"\"rx\":0},\"misses\":[],"
							"\"balanced\":true,\"exact\":true,\"doubts\":[]},"
							"\"zerocopy\":{\"sends\":80,\"completed_zero_"
							"copied\":0,\"completed_copied\":80,\"bytes\":"
							"5120000,"
							"\"bytes_zero_copied\":0,\"bytes_copied\":5120000,"
							"\"enobufs\":3,\"verdict\":\"copied\",\"copied_"
							"share\":1.0,"
							"\"cause\":\"the path loops to a local socket\"},"
							"\"perf\":{\"sender\":{\"task_clock_ns\":{\"value\":"
							"2500000},\"context_switches\":{\"value\":1234},"
							"\"cycles\":{\"value\":null,\"reason\":\"no "
							"PMU\"},\"instructions\":{\"value\":null,\"reason\":"
							"\"no PMU\"}},"
							"\"receiver\":{\"task_clock_ns\":{\"value\":1500000},"
							"\"context_switches\":{\"value\":0},"
							"\"cycles\":{\"value\":null,\"reason\":\"no "
							"PMU\"},\"instructions\":{\"value\":null,\"reason\":"
							"\"no PMU\"}}},"
							"\"derived\":{\"cpu_ns_per_byte\":0.78125,\"cycles_"
							"per_byte\":{\"value\":null,\"reason\":\"no PMU\"}},"
							"\"warnings\":[]}";

static inline json_object *sample(void)
{
	json_object *o = json_tokener_parse(zero_copied_after_all);

	assert_non_null(o);
	return o;
}

/* Puts the JSON text in place of the member at path; "" as text takes the member away. */
static inline void change(json_object *o, const char *path, const char *text)
{
	const char *dot = strrchr(path, '.'), *name = dot ? dot + 1 : path;
	_cleanup_free_ char *parent = strndup(path, dot ? (size_t)(dot - path) : 0);
	json_object *at = doc_at(o, parent);

	assert_true(json_object_is_type(at, json_type_object));
	if (*text)
		json_object_object_add(at, name, json_tokener_parse(text));
	else
		json_object_object_del(at, name);
}

/* What render() writes for o, as on a stream that is no terminal; the caller frees it. */
static inline char *rendered(void (*render)(struct out *out, json_object *o), json_object *o)
{
	char *text = NULL;
	size_t size;
	struct out out = {.f = open_memstream(&text, &size), .utf8 = true};

	assert_non_null(out.f);
	render(&out, o);
	fclose(out.f);
	return text;
}

static inline void assert_has(const char *text, const char *part)
{
	if (!strstr(text, part))
		fail_msg("'%s' is not in:\n%s", part, text);
}

static inline void assert_lacks(const char *text, const char *part)
{
	if (strstr(text, part))
		fail_msg("'%s' is in:\n%s", part, text);
}

static inline int use_utf8(void **state)
{
	return setlocale(LC_CTYPE, "C.UTF-8") ? 0 : -1;
}
