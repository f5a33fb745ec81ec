# SPDX-License-Identifier: MIT
"""Two hosts whose path is slow: what is queued, and the message that is on its way, take longer than a lane may stand still."""
import os
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "integration"))

from test_two_hosts import hosts, merged  # noqa: E402, F401  a fixture
from test_watch import PATH  # noqa: E402


@pytest.mark.parametrize("rate, mode, args", [
    ("50mbit", "one-copy", ["--size", "32M"]),
    ("12mbit", "one-copy", ["--size", "64K", "--sndbuf", "16M"]),
    ("12mbit", "zero-copy", ["--size", "64K", "--sndbuf", "16M"])])
def test_row_12_two_hosts_and_a_slow_path(hosts, rate, mode, args):  # noqa: F811
    slow = subprocess.run([*hosts.inside("a"), "tc", "qdisc", "replace", "dev", "eth-a", "root", "tbf", "rate", rate, "burst", "64k",
                           "limit", "300k"], capture_output=True, text=True, env={**os.environ, "PATH": PATH})
    if slow.returncode:
        pytest.skip(f"this kernel makes no path slow: {slow.stderr.strip()}")
    pair = merged(hosts.run("--mode", mode, *args, "--warmup", "0ms", "--duration", "500ms"))
    if "32M" in args:  # too large to be queued: the sender's window has the time that they took
        sent, received = (pair[s]["app"]["messages"] / pair[s]["app"]["elapsed_ns"] for s in ("sender", "receiver"))
        assert 0 < sent < 2 * received
