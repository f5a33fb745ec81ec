# SPDX-License-Identifier: MIT
# Reads pairs {"total": copies per byte, "" if not to be judged}, result document; says what is wrong, a line each, then ".".
def must(ok; text): if ok then empty else text end;
def rules: ["accepted", "sent", "completed", "deferred", "received", "delivered", "acked"];

def wrong($total):
	must(.state == "done"; "state is \(.state)"),
	must(.app.bytes_received > 0; "nothing was received"),
	must((rules - [.ledger.balance[]?.rule]) == []; "no rule \(rules - [.ledger.balance[]?.rule])"),
	(.ledger.balance[]? | must(.holds == true and .difference == 0;
		"\(.rule): \(.left) against \(.right), difference \(.difference) \(.reason // "")")),
	must(.ledger.balanced == true; "balanced is \(.ledger.balanced)"),
	must(.ledger.exact == true; "exact is \(.ledger.exact), gap \(.ledger.gap), misses \(.ledger.misses)"),
	(if $total == "" then empty else
		# A retransmitted byte of a pinned page is copied once more on arrival.
		(($total | tonumber) + .ledger.counters.retransmitted_pinned_bytes / .ledger.delivered) as $due
		| must(.ledger.copies_per_byte.total - $due | fabs <= 0.005;
			"\(.ledger.copies_per_byte.total) copies per byte instead of \($due)"),
		must(.spec.mode != "zero-copy" or .zerocopy.verdict == "copied"; "verdict is \(.zerocopy.verdict)")
	end);

range(infinite) | input as $expected | (input | try wrong($expected.total) catch "a figure is missing: \(.)"), "."
