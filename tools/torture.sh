#!/bin/bash
# SPDX-License-Identifier: MIT
# Attacks and faults: torture.sh [TESTS...] prints a line a row, with what was measured and its bar. See tests/torture.
set -eu
cd "$(dirname "$0")/.."
tools/deps.sh build check
export COPYLEDGER_BUILD="$PWD/build"
in=tests/integration
[ $# -gt 0 ] || export TORTURE_WHOLE=1
[ $# -gt 0 ] || set -- tests/torture $in/test_access.py $in/test_bad_input.py $in/test_protocol.py $in/test_crash.py $in/test_cli.py \
	-k "row_ or test_access or limit or label or depth or number_of_values or ranges or vanish or steer or bad_text or escape"
exec /usr/bin/python3 -B -m pytest -p no:cacheprovider -q -rs "$@"
