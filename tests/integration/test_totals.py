# SPDX-License-Identifier: MIT
"""The daemon's sums since its start: they are the sums of the documents that its clients got, and they never fall."""
import os
import time

import pytest

from support import running, totals_of, wait_for
from test_protocol import LONG, SHORT, error, finish, long_run, measuring, start

MODES = ["two-copy", "one-copy", "zero-copy"]


@pytest.fixture
def daemon(tmp_path):
    with running(tmp_path) as d:
        yield d


def totals(daemon):
    return daemon.call("GetTotals")["parameters"]


def account(daemon, name):
    return next(a for a in totals(daemon)["accounts"] if a["account"] == name)


def test_of_nothing(daemon):
    before = time.time_ns()
    t = totals(daemon)
    assert t["runs"] == {"queued": 0, "running": 0, "done": 0, "failed": 0, "cancelled": 0}
    assert set(t["sweeps"].values()) == {0} and t["watches"] == [] and t["stored"] == 0 and t["stored_on_disk"]
    assert t["kernel"] == os.uname().release and 0 < t["started_ns"] < before
    assert t["limits"] == daemon.call("GetInfo")["parameters"]["limits"]
    for a in t["accounts"]:
        assert a["hook_ns"] is None and all(s["bytes"] is None and s["hits"] is None for s in a["sites"]), a
        assert a["delivered"] == a["closed"] == 0 and set(a["zerocopy"].values()) == {0}


def test_of_runs_are_the_sums_of_their_results(daemon):
    documents = [daemon.run(**{**SHORT, "mode": mode, "size": 16384}) for mode in MODES]
    documents.append(daemon.run(**SHORT, ledger="off"))
    with daemon.connect() as v, daemon.connect() as watcher:
        run = start(v, **LONG)
        waits = start(v)
        measuring(watcher, run)
        t = totals(daemon)
        assert t["runs"]["running"] == 1 and t["runs"]["queued"] == 1
        v.call("CancelRun", {"id": waits})
        v.call("CancelRun", {"id": run})
        documents += [finish(v, run), finish(v, waits)]
    expected, ended, without = totals_of(documents)
    t = totals(daemon)
    if expected["sites"]:
        assert account(daemon, "runs") == expected
    assert t["runs"] == {"queued": 0, "running": 0, **ended} and ended["cancelled"] == 2
    assert t["runs_without_ledger"] == without >= 1
    assert t["runs_not_stored"] == 0 and t["stored"] == len(documents)


def test_of_a_run_that_failed(daemon):
    with long_run(daemon) as run:
        for pid in daemon.children():
            os.kill(pid, 9)
        with daemon.connect() as v:
            document = finish(v, run)
    assert document["state"] == "failed"
    expected, ended, _ = totals_of([document])
    assert totals(daemon)["runs"]["failed"] == ended["failed"] == 1
    assert account(daemon, "runs")["closed"] == 0, "books that were cut off are not judged"
    assert account(daemon, "runs")["delivered"] == expected["delivered"]


def test_of_sweeps(daemon):
    with daemon.connect() as v:
        sweep = v.call("StartSweep", {"spec": {"modes": ["one-copy"], "sizes": [4096], "threads": [1], "repeat": 1,
                                               "warmup_ms": 0, "duration_ms": 30}})["parameters"]["id"]
        v.call("FollowSweep", {"id": sweep})
        other = v.call("StartSweep", {"spec": {"repeat": 1, "duration_ms": 60000}})["parameters"]["id"]
        assert totals(daemon)["sweeps"]["running"] == 1
        v.call("CancelSweep", {"id": other})
    assert wait_for(lambda: totals(daemon)["sweeps"] == {"queued": 0, "running": 0, "done": 1, "cancelled": 1, "interrupted": 0})


def test_clients_are_counted(daemon):
    with daemon.connect() as a:
        a.call("GetInfo")
        with daemon.connect() as b:
            assert b.call("GetTotals")["parameters"]["clients"] == 2
        assert wait_for(lambda: a.call("GetTotals")["parameters"]["clients"] == 1)


def test_take_no_parameters(daemon):
    assert error(daemon.call("GetTotals", {"since": 1}), "UnknownMember")["field"] == "since"


def flat(value, path=""):
    """Every number below a value that only ever rises, by its path."""
    if isinstance(value, dict):
        return {k: v for name, inner in value.items() for k, v in flat(inner, f"{path}/{name}").items()}
    if isinstance(value, list):
        return {k: v for i, inner in enumerate(value) for k, v in flat(inner, f"{path}/{i}").items()}
    return {path: value} if isinstance(value, int) else {}


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: it watches the load of a run")
def test_of_watches_go_on_after_them_and_never_fall(daemon):
    """A watch of everything sees at least what a run moves meanwhile; what it saw stays when it ends."""
    series = [flat(totals(daemon)["accounts"])]
    with daemon.connect() as first:
        first.send("Watch", {"all": True, "interval_ms": 200}, more=True)
        reply = first.receive()
        if "error" in reply:
            pytest.skip(f"no watch can be had: {reply}")
        rows = totals(daemon)["watches"]
        assert [r["watch"] for r in rows] == [1]
        run = daemon.run_moving(**SHORT)
        with daemon.connect() as second:
            second.send("Watch", {"all": True, "interval_ms": 200}, more=True)
            second.receive()
            assert [r["watch"] for r in totals(daemon)["watches"]] == [1, 2]
            series.append(flat(totals(daemon)["accounts"]))
        assert wait_for(lambda: [r["watch"] for r in totals(daemon)["watches"]] == [1])
        series.append(flat(totals(daemon)["accounts"]))
        seen = totals(daemon)["watches"][0]
        moved = run["app"]["whole_life"]
        if run["ledger"] and run["ledger"]["exact"]:
            assert seen["delivered"] >= moved["bytes_sent"] + moved["bytes_received"] > 0
            assert seen["copies_per_byte"] > 0
    assert wait_for(lambda: totals(daemon)["watches"] == [])
    series.append(flat(totals(daemon)["accounts"]))
    watches = account(daemon, "watches")
    assert watches["closed"] == 2 and watches["delivered"] >= seen["delivered"]
    assert next(s for s in watches["sites"] if s["site"] == "app_pack")["bytes"] is None, "never seen by a watch"
    for before, after in zip(series, series[1:]):
        fallen = {path: (n, after.get(path)) for path, n in before.items() if after.get(path, -1) < n}
        assert not fallen
