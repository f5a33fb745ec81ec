# SPDX-License-Identifier: MIT
"""The table that `make torture` ends with: a line a row, with what was measured and the bar."""
import os
import re

import pytest

# Rows that the tests of `make check` have whole, by how the names of these begin.
ELSEWHERE = {
    "01 who may do what": ("test_access.py::",),
    "07 over each limit": (*("test_bad_input.py::test_" + name for name in (
        "over_and_under_each_limit", "long_labels", "depth", "number_of_values", "a_message_over_the_limit", "ranges_elsewhere")),
        "test_protocol.py::test_lowered_limits_hold"),
    "11 a client that vanishes": ("test_crash.py::test_client_vanishes", "test_protocol.py::test_a_client_that_vanishes"),
    "13 control bytes": ("test_bad_input.py::test_text_that_could_steer", "test_bad_input.py::test_bad_text",
                         "test_cli.py::test_no_escape_codes"),
}
LAST = 14

MEASURED = {}  # row: [(figure, bar)]


@pytest.fixture
def bar(request):
    """bar(figure, limit, unit): notes a figure of this row; one that misses its bar fails the row."""
    row = request.node.originalname.split("_")[2]

    def note(what, figure, limit, unit=""):
        MEASURED.setdefault(row, []).append(f"{what} {figure:g}{unit} (bar {limit:g}{unit})")
        assert figure <= limit, f"{what}: {figure:g}{unit} is over {limit:g}{unit}"

    return note


def names_of(nodeid):
    """The rows that a test belongs to: "08 the daemon is killed at any moment"."""
    own = re.search(r"::test_row_(\d+)_(\w+)", nodeid)
    yield from ([f"{own[1]} {own[2].replace('_', ' ')}"] if own else [])
    yield from (row for row, names in ELSEWHERE.items() if any("/" + name in nodeid for name in names))


def pytest_collection_finish(session):
    """The whole table (see tools/torture.sh) has each of its rows, or it does not begin: a test may have got another name."""
    if not os.environ.get("TORTURE_WHOLE"):
        return
    ids = [item.nodeid for item in session.items]
    found = {int(row[:2]) for nodeid in ids for row in names_of(nodeid)}
    lost = [f"row {n:02}" for n in range(1, LAST + 1) if n not in found]
    lost += [name for names in ELSEWHERE.values() for name in names if not any("/" + name in nodeid for nodeid in ids)]
    if lost:
        raise pytest.UsageError(f"no test of this run is of {', '.join(lost)}")


def pytest_terminal_summary(terminalreporter):
    rows = {}
    for outcome in ("passed", "failed", "error", "skipped"):
        for report in terminalreporter.stats.get(outcome, []):
            for name in names_of(getattr(report, "nodeid", "")):
                rows.setdefault(name, []).append(outcome)
    if not rows:
        return
    terminalreporter.write_line("")
    for name, outcomes in sorted(rows.items()):
        number, _, words = name.partition(" ")
        verdict = "missed" if {"failed", "error"} & set(outcomes) else "skipped" if "skipped" in outcomes else "met"
        figures = "; ".join(MEASURED.get(number, []))
        terminalreporter.write_line(f"row {number}: {verdict:8} {words}{': ' if figures else ''}{figures}")
