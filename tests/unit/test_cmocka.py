# SPDX-License-Identifier: MIT
"""Runs each cmocka program; a program with a failing case, or with none, fails."""
import os
import re
import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).parent
BUILD = Path(os.environ.get("COPYLEDGER_BUILD", HERE.parent.parent / "build"))


@pytest.mark.parametrize("source", sorted(str(p.relative_to(HERE).with_suffix("")) for p in HERE.glob("*/test_*.c")))
def test_unit(source):
    done = subprocess.run([BUILD / "unit" / source], capture_output=True, text=True, timeout=120,
                          env={**os.environ, "CMOCKA_MESSAGE_OUTPUT": "TAP"})
    cases = re.findall(r"^(ok|not ok) \d+ -", done.stdout, re.M)  # a skipped case is "not ok 3 # SKIP", and its program's end 0
    assert done.returncode == 0, done.stdout + done.stderr
    assert cases and "not ok" not in cases, done.stdout
