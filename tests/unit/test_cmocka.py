# SPDX-License-Identifier: MIT
"""Runs each cmocka program; a program with a failing case, or with none, fails, and one that skipped a case says so."""
import os
import re
import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).parent
BUILD = Path(os.environ.get("COPYLEDGER_BUILD", HERE.parent.parent / "build"))
CASE = re.compile(r"(ok|not ok) \d+ (-|# SKIP) (.*)")  # a skipped case is "not ok 3 # SKIP name", and its program's end 0


def skipped(tap):
    """Checks what a program printed; {case: reason} of what it skipped, whose reason is what it printed before."""
    found, said, cases = {}, [], 0
    plan, *lines = tap.splitlines() or [""]
    for line in lines:
        case = CASE.fullmatch(line)
        if not case:
            said.append(line)
            continue
        cases += 1
        assert case[1] == "ok" or case[2] == "# SKIP", tap
        if case[2] == "# SKIP":
            assert said, f"{case[3]} is skipped and does not say why:\n{tap}"
            found[case[3]] = " ".join(said)
        said = []
    assert cases and plan == f"1..{cases}", tap
    return found


@pytest.mark.parametrize("source", sorted(str(p.relative_to(HERE).with_suffix("")) for p in HERE.glob("*/test_*.c")))
def test_unit(source):
    done = subprocess.run([BUILD / "unit" / source], capture_output=True, text=True, timeout=120,
                          env={**os.environ, "CMOCKA_MESSAGE_OUTPUT": "TAP"})
    assert done.returncode == 0, done.stdout + done.stderr
    missing = skipped(done.stdout)
    if missing:
        pytest.skip("all passed but " + "; ".join(f"{case}: {reason}" for case, reason in missing.items()))


def test_what_a_program_prints_is_understood():
    assert skipped("1..2\nsomething\nok 1 - a\nok 2 - b\n") == {}
    assert skipped("1..3\nok 1 - a\nno bbr\nhere\nnot ok 2 # SKIP b\nok 3 - c\n") == {"b": "no bbr here"}
    for bad in ("1..0\n", "", "1..2\nok 1 - a\n", "1..1\nsomething\nnot ok 1 - a\n# 1 != 2\n",
                "1..2\nsomething\nok 1 - a\nnot ok 2 # SKIP b\n", "1..1\nnot ok 1 # SKIP a\n"):
        with pytest.raises(AssertionError):
            skipped(bad)
