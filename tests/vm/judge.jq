# SPDX-License-Identifier: MIT
# Reads pairs {total: copies per byte, status: exit status, preemptible: whether this kernel can skip BPF programs}, result
# document; prints what is wrong, a line each, or "SKIP reason", and then ".".
def must(ok; text): if ok then empty else text end;
def rules: ["accepted", "sent", "completed", "deferred", "received", "delivered", "acked"];

# Where a task can be preempted inside a BPF program, the kernel skips it for the next one. Such a run has to say so itself.
def skipped: .state == "done" and .ledger.exact == false and ([.ledger.misses[]?.misses] | add // 0) > 0;

# On a path where "deferred" is no equation, nothing audits with which code the sends of a skipped completion completed.
def only_completions: .ledger.doubts | length == 1 and (.[0] | contains("see misses"));

# Sender and receiver are on this host: "deferred" is an equation there.
def local: .ledger.balance | any(.rule == "deferred" and (.text | contains("beside") | not));

def wrong($expected):
	must($expected.status == 0; "exit status \($expected.status)"),
	must(.state == "done"; "state is \(.state)"),
	must(.ledger; "no ledger: \(.ledger_reason)"),
	must(.app.bytes_received > 0; "nothing was received"),
	must((rules - [.ledger.balance[]?.rule]) == []; "no rule \(rules - [.ledger.balance[]?.rule])"),
	(.ledger.balance[]? | select(.rule != "deferred" or $expected.verdict != "zero-copied")
		| must((.holds == true and .difference == 0) or (.holds == null and .rule == "deferred" and (.text | contains("beside")));
		"\(.rule): \(.left) against \(.right), difference \(.difference) \(.reason // "")")),
	must(.ledger.balanced == true; "balanced is \(.ledger.balanced)"),
	must(.ledger.exact == true or (only_completions and $expected.verdict != "copied"); "exact is \(.ledger.exact), gap \(.ledger.gap), misses \(.ledger.misses)"),
	# On a local path a pinned byte that is sent again is copied once more on arrival, one that is lost before is not.
	(if local then .ledger.counters | .retransmitted_pinned_bytes - .dropped_pinned_bytes else 0 end) as $again
	| ($expected.total + $again / .ledger.delivered) as $due
	| (.ledger.copies_per_byte | must(.total - .skb_copy - $due | fabs <= 0.005;
		"\(.) copies per byte without skb_copy instead of \($due)")),
	# Small skbs are copied together in the receive queue as timing and memory have it: any number, but each with its cause.
	(.ledger.sites[] | select(.site == "skb_copy") | must(.bytes == ([.callers[] | select(.cause) | .bytes] | add // 0);
		"skb_copy: \(.bytes) bytes, causes \(.callers)")),
	must((.spec.mode | IN("zero-copy", "uring-send-zc") | not) or .zerocopy.verdict == $expected.verdict;
		"verdict is \(.zerocopy.verdict)");

def judged($expected):
	if $expected.preemptible and skipped and $expected.status == (if .ledger.balanced then 0 else 4 end)
	then "SKIP the kernel skipped programs, and the result says so: \([.ledger.misses[] | "\(.program) \(.misses)"] | join(", "))"
	else wrong($expected) end;

range(infinite) | input as $expected | (input | try judged($expected) catch "a figure is missing: \(.)"), "."
