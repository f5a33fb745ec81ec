#!/bin/bash
# SPDX-License-Identifier: MIT
# Tests the packages that tools/deb.sh made: deb-check.sh BUILD [TESTS...]. What needs root is skipped without it, with its reason.
set -eu
cd "$(dirname "$0")/.."
COPYLEDGER_BUILD=$(realpath "${1:?usage: tools/deb-check.sh BUILD [TESTS...]}")
export COPYLEDGER_BUILD
shift
tools/deps.sh deb-check
[ $# -gt 0 ] || set -- tests/package
exec /usr/bin/python3 -B -m pytest -p no:cacheprovider -q -rs "$@"
