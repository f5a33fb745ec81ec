# SPDX-License-Identifier: MIT
# Reads pairs {"total": copies per byte, "" if not to be judged}, result document; says what is wrong, a line each, then ".".
def must(ok; text): if ok then empty else text end;
def rules: ["accepted", "sent", "completed", "deferred", "received", "delivered", "acked"];

def wrong($total):
	must(.state == "done"; "state is \(.state)"),
	must(.ledger; "no ledger: \(.ledger_reason)"),
	must(.app.bytes_received > 0; "nothing was received"),
	must((rules - [.ledger.balance[]?.rule]) == []; "no rule \(rules - [.ledger.balance[]?.rule])"),
	(.ledger.balance[]? | must(.holds == true and .difference == 0;
		"\(.rule): \(.left) against \(.right), difference \(.difference) \(.reason // "")")),
	must(.ledger.balanced == true; "balanced is \(.ledger.balanced)"),
	must(.ledger.exact == true; "exact is \(.ledger.exact), gap \(.ledger.gap), misses \(.ledger.misses)"),
	(if $total == "" then empty else
		# A pinned byte that is sent again is copied once more on arrival, one that is lost before is not.
		(.ledger.counters | .retransmitted_pinned_bytes - .dropped_pinned_bytes) as $again
		| (($total | tonumber) + $again / .ledger.delivered) as $due
		# The receive queue may copy small skbs together: true copies, as many as the timing brings.
		| (.ledger.copies_per_byte | must((.total - .skb_copy - $due | fabs <= 0.005) and .skb_copy <= 0.05;
			"\(.) copies per byte instead of \($due)")),
		must(.spec.mode != "zero-copy" or .zerocopy.verdict == "copied"; "verdict is \(.zerocopy.verdict)")
	end);

range(infinite) | input as $expected | (input | try wrong($expected.total) catch "a figure is missing: \(.)"), "."
