# SPDX-License-Identifier: MIT
# Reads pairs {path, status: exit status, honest: see there}, result document; prints what is wrong, a line each, or
# "SKIP reason", or "fact|..." for the table of kernels, or "note: ...", and then ".".
def must(ok; text): if ok then empty else text end;
def near($x; $y): $x - $y | fabs <= 0.005;
def rounded($digits): pow(10; $digits) as $k | (. * $k | round) as $n
	| "\($n / $k | floor).\($n % $k + $k | tostring[1:])";

# What a path does to bytes that were not copied by the sender. local: the receiver is a socket of this host, where pinned
# bytes are copied on arrival, and "deferred" is an equation. tap: somebody captures, and pinned bytes are copied for him.
# linear: each byte is copied on its way out, whatever the mode, at times more than once when it is sent again.
def paths: {
	loopback: {local: true, verdict: "copied", cause: "looped to a local socket"},
	veth: {local: true, verdict: "copied", cause: "looped to a local socket"},
	wire: {verdict: "zero-copied"},
	tap: {tap: true, verdict: "copied", cause: "packet tap or capture"},
	"veth-no-sg": {linear: true, verdict: "copied", cause: "device without scatter-gather"},
	virtio: {linear: true, verdict: "copied", cause: "device without scatter-gather"}};
def rules: ["accepted", "sent", "completed", "deferred", "received", "delivered", "acked"];
# The user's half of what is copied by the sender's side: the pack of fields, and the copy into skbs.
def sender_copies: {"two-copy": 2, "one-copy": 1, "uring-send": 1}[.spec.mode] // 0;
def pins: .spec.mode | IN("zero-copy", "uring-send-zc");
# Copied together in the receive queue, as timing and memory have it: any number, long after the sender's part.
def in_queue: IN("receive queue collapsed for want of memory", "coalesced with the tail of the receive queue");

def site($name): .ledger.sites[] | select(.site == $name);
def causes: [.ledger.sites[] | select(.site | IN("tx_deferred_copy", "skb_copy")) | .callers[]
		| select(.cause | in_queue | not)]
	| group_by(.cause) | map({cause: .[0].cause, bytes: map(.bytes) | add}) | max_by(.bytes);
def missed: [.ledger.misses[]?.misses] | add // 0;

# Where a task is preempted inside a BPF program, or a softirq comes in between, the kernel skips it for the next one: seldom,
# but of a preemptible kernel often. Such a run has to say so itself.
def skipped: .state == "done" and .ledger.exact == false and missed > 0;
# On a path where "deferred" is no equation, nothing audits with which code the sends of a skipped completion completed.
def only_completions: (.ledger.doubts | length == 1 and (.[0] | contains("see misses")))
	and ([.ledger.misses[] | select(.audited_by == []) | .program] - ["site_ZC_COMPLETE", "zc_purged", "uring_complete"] == []);

# Copies per byte, as {name: copies}, and what each must be: on these figures all of a path's rules rest.
def parts($p): .ledger.delivered as $d | .ledger.counters as $c | {
	sender: sender_copies,
	receiver: ((site("rx_copy").bytes) / $d),
	deferred: ((site("tx_deferred_copy").bytes) / $d),
	linear: ([site("skb_copy").callers[] | select(.cause == "device without scatter-gather") | .bytes] | add // 0 | . / $d),
	again: ((if $p.linear then $c.retransmitted_bytes
		elif $p.local then $c.retransmitted_pinned_bytes - $c.dropped_pinned_bytes
		elif $p.tap then $c.retransmitted_pinned_bytes
		else 0 end) / $d)};

def parts_wrong($p): parts($p) as $f | (if pins then $p else {} end) as $pinned
	| (.ledger.copies_per_byte | .total - .skb_copy) as $total
	| must(near($total; $f.sender + $f.receiver + $f.deferred); "\($total) copies per byte without skb_copy, of parts \($f)"),
	must({recv: near($f.receiver; 1), "recv-trunc": ($f.receiver == 0), mmap: ($f.receiver < 1)}[.spec.receive];
		"the receiver copied \($f.receiver) a byte"),
	must(if $pinned.local then near($f.deferred; 1 + $f.again)
		elif $pinned.tap then $f.deferred >= 1 and $f.deferred <= 1.5 + $f.again
		else $f.deferred == 0 end; "\($f.deferred) deferred copies per byte, \($f.again) of bytes sent again"),
	must(if $p.linear then $f.linear >= 0.98 and $f.linear <= 1.02 + $f.again else $f.linear == 0 end;
		"\($f.linear) copies per byte for want of scatter-gather, \($f.again) sent again");

def wrong($expected): paths[$expected.path] as $p |
	must($expected.status == 0; "exit status \($expected.status)"),
	must(.state == "done"; "state is \(.state)"),
	must(.ledger; "no ledger: \(.ledger_reason)"),
	must(.ledger.delivered > 0; "nothing was delivered"),
	must((rules - [.ledger.balance[]?.rule]) == []; "no rule \(rules - [.ledger.balance[]?.rule])"),
	(.ledger.balance[]? | must((.holds == true and .difference == 0)
			or (.holds == null and .rule == "deferred" and ($p.local | not) and (.text | contains("beside")));
		"\(.rule): \(.left) against \(.right), difference \(.difference) \(.reason // "")")),
	must(.ledger.balanced == true; "balanced is \(.ledger.balanced)"),
	must(.ledger.exact == true or (only_completions and ($p.local | not));
		"exact is \(.ledger.exact), gap \(.ledger.gap), misses \(.ledger.misses)"),
	parts_wrong($p),
	# Two stacks of one hash are not both kept: a few bytes may have no stack, and so no cause.
	(site("skb_copy") | must(.bytes == ([.callers[].bytes] | add // 0)
			and ([.callers[] | select(.cause == null) | .bytes] | add // 0) <= 0.01 * .bytes
			and all(.callers[]; .cause or .stack == []); "skb_copy: \(.bytes) bytes, causes \(.callers)")),
	must((pins | not) or .zerocopy.verdict == $p.verdict; "verdict is \(.zerocopy.verdict)"),
	must((pins | not) or .zerocopy.cause == $p.cause; "the cause is \(.zerocopy.cause) instead of \($p.cause)"),
	must((($p.linear or (pins and $p.cause)) | not) or causes.cause == $p.cause; "causes are \(causes) instead of \($p.cause)");

# A line of the table: what was measured, less what was sent again. Where a byte can be copied on its way out more than once,
# or not at all when it is sent again and dropped, the figure has one digit and counts the first time.
def fact($expected): paths[$expected.path] as $p | parts($p) as $f | (pins and $p.tap or $p.linear // false) as $rough
	| ($f.sender + $f.receiver + (if $rough then [$f.deferred + $f.linear, 1] | min
		elif pins then $f.deferred - $f.again else 0 end)) as $copies
	| ["fact", "run", $expected.path, .spec.mode, .spec.receive,
		(if .spec.receive == "mmap" then (if site("rx_map").bytes > 0 then "pages mapped" else "no page mapped" end)
		else ($copies | rounded(if $rough then 1 else 2 end)) end)
		+ (if pins then " " + .zerocopy.verdict else "" end)
		+ (if $p.linear or (pins and $p.cause) then ": " + causes.cause else "" end)] | join("|");

# With more lanes than CPUs programs may be skipped: then the result says so, and that it is not exact; else all must hold.
def honest($expected):
	if .ledger.exact == true then wrong($expected)
	else must(skipped and .ledger.doubts != []; "not exact, and no program was skipped: \(.ledger.doubts)"),
		must($expected.status == (if .ledger.balanced then 0 else 4 end);
			"exit status \($expected.status), balanced \(.ledger.balanced)")
	end;

def judged($expected):
	if .state == "done" and .ledger.delivered == 0 then "SKIP nothing was delivered in the time that this guest had"
	elif $expected.honest then honest($expected), "note: \(missed) runs of programs were skipped, exact is \(.ledger.exact)"
	else [wrong($expected)] as $wrong
		| if $wrong == [] then fact($expected)
		elif skipped and $expected.status == (if .ledger.balanced then 0 else 4 end)
		then "SKIP the kernel skipped programs, and the result says so: \([.ledger.misses[] | "\(.program) \(.misses)"] | join(", "))"
		else $wrong[] end
	end;

range(infinite) | input as $expected | (input | try judged($expected) catch "a figure is missing: \(.)"), "."
