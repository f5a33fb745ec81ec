#!/bin/bash
# SPDX-License-Identifier: MIT
# Makes the pictures and the words of README.md anew: a sweep on this machine, its figures into doc/images, its answers to stdout.
set -eu
cd "$(dirname "$0")/.."
make -s all
work=$(mktemp -d)
build/copyledgerd --socket "$work/socket" --state-dir "$work/state" 2>"$work/log" &
daemon=$!
trap 'kill $daemon; wait $daemon; rm -rf "$work"' EXIT
export COPYLEDGER_SOCKET=$work/socket
for _ in $(seq 100); do
	build/copyledger info >/dev/null 2>&1 && break
	sleep 0.05
done
build/copyledger sweep --wide --threads 1,4 --duration "${DURATION:-200ms}" --warmup 50ms --repeat "${REPEAT:-7}" >&2
build/copyledger plot --output "$work/plots" --format svg >&2
mkdir -p doc/images
for name in copies_size cost_size; do
	cp "$work/plots/$name.svg" "doc/images/$name.svg"
done
build/copyledger report --output "${REPORT:-$work/report.html}" >&2
build/copyledger explain
