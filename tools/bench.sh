#!/bin/bash
# SPDX-License-Identifier: MIT
# Installs what is missing, builds, and measures: see tools/bench/bench.py, whose options this passes on.
set -eu
cd "$(dirname "$0")/.."
tools/deps.sh build bench
make -s -j"$(nproc)" all bench-programs
exec /usr/bin/python3 -B tools/bench/bench.py "$@"
