#!/bin/bash
# SPDX-License-Identifier: MIT
# From a fresh clone to the ledger of the three modes on both paths: installs, builds, starts a private daemon, runs, stops.
set -eu
cd "$(dirname "$0")/.."
results=${COPYLEDGER_RESULTS:-results}
duration=${COPYLEDGER_DURATION:-2s}

tools/deps.sh build
make -s -j"$(nproc)" all
mkdir -p "$results"
run=$(mktemp -d)
daemon=
stop() {
	if [ -n "$daemon" ]; then
		kill "$daemon" 2>/dev/null || :
		wait "$daemon" 2>/dev/null || :
	fi
	rm -rf "$run"
}
trap stop EXIT
export COPYLEDGER_SOCKET=$run/control.sock
build/copyledgerd --socket "$COPYLEDGER_SOCKET" --state-dir "$run/state" 2>"$results/daemon.log" &
daemon=$!
for _ in $(seq 100); do
	[ -S "$COPYLEDGER_SOCKET" ] && break
	kill -0 "$daemon" 2>/dev/null || { cat "$results/daemon.log" >&2; exit 1; }
	sleep 0.05
done

echo
echo "What this machine can show (copyledger probe):"
build/copyledger probe
worst=0
for path in loopback veth; do
	for mode in two-copy one-copy zero-copy; do
		echo
		echo "\$ copyledger run --mode $mode --path $path --size 64K --duration $duration"
		status=0
		build/copyledger run --mode "$mode" --path "$path" --size 64K --duration "$duration" || status=$?
		build/copyledger show last --json >"$results/$mode-$path.json"
		[ "$status" -le "$worst" ] || worst=$status
	done
done
echo
echo "All six (copyledger list):"
build/copyledger list
echo
echo "The result documents are in $results/."
exit "$worst"
