#!/bin/bash
# SPDX-License-Identifier: MIT
# Runs the fuzzers of tests/fuzz: fuzz.sh BUILD-FOLDER [SECONDS each]. What they find is kept in BUILD-FOLDER/fuzz/NAME.
set -u
cd "$(dirname "$0")/.."
build=$(realpath "$1") seconds=${2:-60}
passed=0 failed=0

# A result of a real run is the seed that knows all of a document.
seed_result() {
	local dir=$build/fuzz/seed
	[ -s "$build/fuzz/result/corpus/real" ] && return
	mkdir -p "$dir" "$build/fuzz/result/corpus"
	"$build/copyledgerd" --socket "$dir/socket" --state-dir "$dir/state" 2>"$dir/log" &
	local daemon=$!
	for _ in $(seq 100); do
		COPYLEDGER_SOCKET=$dir/socket "$build/copyledger" info >/dev/null 2>&1 && break
		sleep 0.05
	done
	COPYLEDGER_SOCKET=$dir/socket "$build/copyledger" run --mode zero-copy --size 4K --warmup 0 --duration 10ms --json \
		>"$build/fuzz/result/corpus/real"
	kill $daemon
	wait $daemon
}

fuzz_one() { # name
	local dir=$build/fuzz/$1 seeds=tests/fuzz/seeds/$1
	[ -d "$seeds" ] || seeds=
	mkdir -p "$dir/corpus" "$dir/found"
	"$build/fuzz/fuzz_$1" -max_total_time="$seconds" -timeout=5 -rss_limit_mb=2048 -max_len=20000 -print_final_stats=1 \
		-dict=tests/fuzz/words.dict -artifact_prefix="$dir/found/" "$dir/corpus" ${seeds:+"$seeds"} >"$dir/log" 2>&1
}

mkdir -p "$build/fuzz"
seed_result
names=(frames parameters result)
pids=()
for name in "${names[@]}"; do
	fuzz_one "$name" &
	pids+=($!)
done
for i in "${!names[@]}"; do
	log=$build/fuzz/${names[i]}/log
	if wait "${pids[i]}"; then
		passed=$((passed + 1))
		echo "ok - ${names[i]}: $(sed -nE 's/^stat::number_of_executed_units: *//p' "$log") inputs in $seconds s, no finding"
	else
		failed=$((failed + 1))
		echo "not ok - ${names[i]}: see ${log#"$PWD"/}"
		tail -30 "$log"
	fi
done
echo "$passed passed, $failed failed"
[ $failed -eq 0 ]
