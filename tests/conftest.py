# SPDX-License-Identifier: MIT
"""What every test shares: the built programs, a daemon of the test's own, and the closing line."""
import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from contract import Traffic, uncalled  # noqa: E402

CALLED = pytest.StashKey()  # the methods that the tests of all processes called


def pytest_configure(config):
    config.stash[CALLED] = set()


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node, error):
    """A process of pytest-xdist has ended."""
    node.config.stash[CALLED].update(getattr(node, "workeroutput", {}).get("called", ()))


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session):
    """What no test called fails the whole, as far as the whole was asked for."""
    config = session.config
    if hasattr(config, "workeroutput"):
        # tests also call methods whose names are no text that can be sent
        config.workeroutput["called"] = sorted(name for name in Traffic.called if name.isascii())
        return
    config.stash[CALLED].update(Traffic.called)
    whole = session.testscollected > 300 and not config.option.keyword and not session.shouldstop
    config.stash[CALLED] = uncalled(config.stash[CALLED]) if whole else []
    if config.stash[CALLED]:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter):
    stats = terminalreporter.stats
    count = {k: len(stats.get(k, [])) for k in ("passed", "failed", "error", "skipped")}
    missing = terminalreporter.config.stash[CALLED]
    terminalreporter.write_line("")
    if missing:
        terminalreporter.write_line(f"FAILED: no test called {', '.join(missing)}")
        count["failed"] += 1
    terminalreporter.write_line(
        f"{count['passed']} passed, {count['failed'] + count['error']} failed, {count['skipped']} skipped")


@pytest.fixture(scope="session")
def build():
    return Path(os.environ.get("COPYLEDGER_BUILD", Path(__file__).parent.parent / "build"))
