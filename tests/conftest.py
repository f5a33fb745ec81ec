# SPDX-License-Identifier: MIT
"""What every test shares: the built programs, a daemon of the test's own, and the closing line."""
import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))


def pytest_terminal_summary(terminalreporter):
    stats = terminalreporter.stats
    count = {k: len(stats.get(k, [])) for k in ("passed", "failed", "error", "skipped")}
    terminalreporter.write_line("")
    terminalreporter.write_line(
        f"{count['passed']} passed, {count['failed'] + count['error']} failed, {count['skipped']} skipped")


@pytest.fixture(scope="session")
def build():
    return Path(os.environ.get("COPYLEDGER_BUILD", Path(__file__).parent.parent / "build"))
