# SPDX-License-Identifier: MIT
"""A daemon that has nothing to do costs nothing, also after it had something to do."""
import gc
import os
import time
from pathlib import Path

import pytest

import support
from support import Daemon, until_balanced, wait_for

SHORT = {"warmup_ms": 20, "duration_ms": 50}
plain_build = pytest.mark.skipif(bool(support.SAN), reason="a sanitizer has memory and a thread of its own")
RSS_LIMIT_KIB = 12 * 1024
QUIET_S = 3


@pytest.fixture
def daemon(tmp_path):
    d = Daemon(tmp_path).start()
    yield d
    assert d.stop() == 0, d.log.read_text()


def status(pid, *names):
    """The sum over the threads of lines of their status; VmRSS is the process's."""
    found = dict.fromkeys(names, 0)
    for task in Path(f"/proc/{pid}/task").iterdir():
        for line in (task / "status").read_text().splitlines():
            name, _, value = line.partition(":")
            if name in found:
                found[name] = int(value.split()[0]) + (0 if name.startswith("Vm") else found[name])
    return found


def open_files(pid):
    found = []
    for p in Path(f"/proc/{pid}/fd").iterdir():
        try:
            found.append(os.readlink(p))
        except FileNotFoundError:  # closed in between
            pass
    return sorted(found)


def settled(daemon):
    """What is open, without a number that differs each time, and the number of threads; once its clients are gone."""
    pid = daemon.process.pid
    assert wait_for(lambda: not daemon.programs() and not daemon.children())
    time.sleep(0.3)
    return [x.split(":")[0] for x in open_files(pid)], len(list(Path(f"/proc/{pid}/task").iterdir()))


def check_asleep(daemon):
    """Not one wake-up while no client is there (the watchdog of a service is systemd's wish, absent here)."""
    pid, names = daemon.process.pid, ("voluntary_ctxt_switches", "nonvoluntary_ctxt_switches")
    gc.collect()  # a connection of the test's own that is still open would be a client
    assert wait_for(lambda: not [x for x in open_files(pid) if "bpf" in x or "perf" in x])
    time.sleep(0.5)  # the last client's end, and malloc_trim behind it
    before = status(pid, *names)
    time.sleep(QUIET_S)
    assert status(pid, *names) == before


@plain_build
def test_fresh(daemon):
    assert not daemon.programs() and not daemon.children()
    check_asleep(daemon)
    assert status(daemon.process.pid, "VmRSS")["VmRSS"] < RSS_LIMIT_KIB


@plain_build
def test_after_runs(daemon):
    pid = daemon.process.pid
    for spec in ({"mode": "zero-copy", "path": "veth", "threads": 16, "size": 1048576},
                 {"mode": "two-copy", "workload": "rr", "threads": 4}):
        until_balanced(lambda spec=spec: daemon.run(**spec, **SHORT))
    daemon.call("Probe")
    assert wait_for(lambda: not daemon.programs() and not daemon.children())
    check_asleep(daemon)
    assert status(pid, "VmRSS")["VmRSS"] < RSS_LIMIT_KIB
    assert not [i for i, p in support.loaded_programs().items() if pid in [x["pid"] for x in p.get("pids", [])]]


def test_nothing_grows(daemon):
    """Twenty runs of all kinds, with clients that follow, cancel and vanish."""
    first = None
    for i in range(21):
        spec = {"mode": ("zero-copy", "one-copy", "two-copy")[i % 3], "path": ("loopback", "veth")[i % 2], **SHORT}
        with daemon.connect() as v:
            run = v.call("StartRun", {"spec": {**spec, "threads": 1 + i % 4}})["parameters"]["id"]
            v.send("FollowRun", {"id": run}, more=True)
            if i % 5 == 1:
                daemon.call("CancelRun", {"id": run})
        daemon.call("FollowRun", {"id": run})
        if i == 0:  # the first run opens what stays open: the store's files
            first = settled(daemon)
    assert wait_for(lambda: settled(daemon) == first), (first, settled(daemon))
