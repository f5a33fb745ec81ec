#!/bin/bash
# SPDX-License-Identifier: MIT
# Installs what is missing, builds, and runs every test that this machine can run. SAN=asan|tsan: under that sanitizer.
set -eu
cd "$(dirname "$0")/.."
# Servers that the tests of watches look at are installed on a runner's machine, not on somebody's: there they skip.
tools/deps.sh build check ${CI:+programs}
make -s -j"$(nproc)" all man unit-programs ${SAN:+SAN="$SAN"}
export COPYLEDGER_BUILD="$PWD/build${SAN:+/$SAN}" COPYLEDGER_SAN="${SAN:-}"
# A leak at exit is a finding like any other; TSan's own limit on 2,000 threads needs no more than its default.
export ASAN_OPTIONS="detect_leaks=1:halt_on_error=1:${ASAN_OPTIONS:-}" UBSAN_OPTIONS="print_stacktrace=1:halt_on_error=1"
# A run that fails ends the load generator at once, its lanes' threads with it: those are no leak.
export TSAN_OPTIONS="halt_on_error=1:second_deadlock_stack=1:report_thread_leaks=0:${TSAN_OPTIONS:-}"
# Debian's own python3, whose modules tools/deps.sh installs. The tests mostly wait: as many modules at a time as CPUs.
exec /usr/bin/python3 -B -m pytest -p no:cacheprovider -q -rs -n "${JOBS:-$(nproc)}" --dist loadscope \
	--ignore=tests/torture --ignore=tests/package tests "$@"
