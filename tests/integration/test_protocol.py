# SPDX-License-Identifier: MIT
"""The control socket as a client meets it: methods, framing, streams, the queue, and how the daemon starts and ends."""
import contextlib
import json
import os
import re
import select
import shutil
import signal
import socket
import subprocess
import time

import pytest

from contract import IDL, INTERFACE, STANDARD, Parser
from support import BUILD, SAN, TOP, Daemon, Varlink, check_result, running, wait_for

SHORT = {"mode": "one-copy", "warmup_ms": 0, "duration_ms": 50}
LONG = {"mode": "one-copy", "workload": "rr", "warmup_ms": 0, "duration_ms": 60000, "size": 64}
ENDED = ("done", "failed", "cancelled")


@pytest.fixture(scope="module")
def daemon(tmp_path_factory):
    with running(tmp_path_factory.mktemp("protocol")) as d:
        yield d


@pytest.fixture
def v(daemon):
    with daemon.connect() as connection:
        yield connection


@pytest.fixture(autouse=True)
def nothing_left_running(daemon):
    """A test that failed half way must not hold up the next one."""
    yield
    with daemon.connect() as v:
        for state in ("queued", "running"):
            for run in v.call("ListRuns", {"state": state})["parameters"]["runs"]:
                v.call("CancelRun", {"id": run["id"]})
        assert wait_for(lambda: v.call("GetInfo")["parameters"]["state"] == "idle")


def start(v, **spec):
    reply = v.call("StartRun", {"spec": {**SHORT, **spec}})
    assert "error" not in reply, reply
    return reply["parameters"]["id"]


def finish(v, run):
    reply = v.call("FollowRun", {"id": run})
    assert set(reply["parameters"]) == {"result"} and "continues" not in reply, reply
    return check_result(reply["parameters"]["result"])


def measuring(v, run):
    """Waits until load runs."""
    for reply in v.stream("FollowRun", {"id": run}):
        progress = reply["parameters"].get("progress")
        assert progress, f"the run ended before it could be watched: {reply}"
        if progress["state"] == "measuring":
            return


@contextlib.contextmanager
def long_run(daemon, **spec):
    """A run that measures until the block is left."""
    with daemon.connect() as v, daemon.connect() as watcher:
        run = start(v, **{**LONG, **spec})
        try:
            measuring(watcher, run)
            yield run
        finally:
            v.call("CancelRun", {"id": run})
            finish(v, run)


def error(reply, name):
    """The parameters of an error reply of this name."""
    assert reply is not None and reply.get("error", "").rpartition(".")[2] == name, reply
    assert "continues" not in reply
    return reply["parameters"]


# ---- introspection ----

def test_the_service_says_what_it_is(v):
    version = subprocess.run([BUILD / "copyledgerd", "--version"], capture_output=True, text=True).stdout.split()
    info = v.call("org.varlink.service.GetInfo")["parameters"]
    assert info["interfaces"] == ["org.varlink.service", INTERFACE]
    assert [info["product"], info["version"]] == version
    assert v.call("GetInfo")["parameters"]["version"] == version[1]


def test_the_description_is_the_file(v):
    describe = "org.varlink.service.GetInterfaceDescription"
    assert v.call(describe, {"interface": INTERFACE})["parameters"]["description"] == IDL
    standard = Parser(v.call(describe, {"interface": "org.varlink.service"})["parameters"]["description"]).interface()
    assert standard["method"] == STANDARD["method"]
    assert set(standard["error"]) >= {"InterfaceNotFound", "MethodNotFound", "MethodNotImplemented", "InvalidParameter"}
    assert error(v.call(describe, {"interface": "no.such"}), "InterfaceNotFound") == {"interface": "no.such"}
    assert error(v.call(describe), "InvalidParameter") == {"parameter": "interface"}
    assert error(v.call(describe, {"interface": 7}), "InvalidParameter") == {"parameter": "interface"}


def test_unknown_methods_and_interfaces(v):
    assert error(v.call("io.copyledger.Nope"), "MethodNotFound") == {"method": "io.copyledger.Nope"}
    assert error(v.call("io.copyledger.getinfo"), "MethodNotFound") == {"method": "io.copyledger.getinfo"}
    assert error(v.call("no.such.Method"), "InterfaceNotFound") == {"interface": "no.such"}
    assert error(v.call("io.copyledger.sub.GetInfo"), "InterfaceNotFound") == {"interface": "io.copyledger.sub"}


def test_get_info_has_every_limit(v):
    info = v.call("GetInfo")["parameters"]
    text = re.sub(r"/\*.*?\*/", "", (TOP / "common/limit.h").read_text(), flags=re.S)
    limits = {name.lower(): eval(re.sub(r"(\d)U?L*\b", r"\1", value))
              for name, value in re.findall(r"#define LIMIT_(\w+)\s+(.+)", text)}
    assert len(limits) > 15 and info["limits"] == limits
    assert info["interface"] == INTERFACE and info["state"] == "idle" and info["running"] is None


def test_get_info_follows_what_happens(daemon, v):
    before = v.call("GetInfo")["parameters"]
    assert before["pid"] == daemon.process.pid and before["state_directory"] == str(daemon.state)
    with long_run(daemon) as run:
        waiting = start(v)
        info = v.call("GetInfo")["parameters"]
        assert (info["state"], info["running"], info["queued"]) == ("running", run, 1)
        assert info["uptime_ms"] >= before["uptime_ms"]
        v.call("CancelRun", {"id": waiting})
    after = v.call("GetInfo")["parameters"]
    assert (after["state"], after["running"], after["queued"]) == ("idle", None, 0)
    assert after["stored"] == before["stored"] + 2


def test_probe_tries_everything(v):
    probe = v.call("Probe")["parameters"]
    assert [m["name"] for m in probe["modes"]] == [
        "two-copy", "one-copy", "zero-copy", "sendfile", "splice", "uring-send", "uring-send-zc"]
    assert [m["name"] for m in probe["receivers"]] == ["recv", "recv-trunc", "mmap"]
    assert {"app_pack", "tx_copy", "tx_pin", "tx_deferred_copy", "skb_copy", "rx_copy"} <= {s["site"] for s in probe["sites"]}
    assert {"cycles", "instructions", "context_switches"} <= {e["name"].replace("-", "_") for e in probe["events"]}
    for site in probe["sites"]:
        assert site["evidence"] in ("observed", "derived", "unavailable"), site
        assert site["evidence"] != "unavailable" or site["reason"], site
    for row in probe["modes"] + probe["events"] + probe["hooks"]:
        assert row["available"] or row["reason"], row
    assert probe["summary"] and probe["host"]


# ---- framing ----

def marks(v, n):
    """Replies that carry their request's number, since each asks for an interface of another name."""
    return [error(v.receive(), "InterfaceNotFound")["interface"] for _ in range(n)]


def mark(i, **extra):
    return json.dumps({"method": f"mark.n{i}.Ask", **extra}).encode() + b"\0"


def test_pipelined_requests_are_answered_in_order(v):
    v.send_raw(b"".join(mark(i) for i in range(200)))
    assert marks(v, 200) == [f"mark.n{i}" for i in range(200)]


def test_a_waiting_call_holds_back_those_behind_it(v):
    run = start(v, duration_ms=150)
    v.send("FollowRun", {"id": run})
    v.send_raw(mark(1))
    assert v.receive()["parameters"]["result"]["id"] == run
    assert marks(v, 1) == ["mark.n1"]


def test_a_message_byte_by_byte(v):
    for byte in mark(7, parameters={"x": "é"}):
        v.send_raw(bytes([byte]))
    assert marks(v, 1) == ["mark.n7"]


def test_messages_cut_anywhere(v):
    data = b"".join(mark(i) for i in range(12))
    for cut in range(1, len(data), 37):
        v.send_raw(data[:cut])
        v.send_raw(data[cut:])
        assert marks(v, 12) == [f"mark.n{i}" for i in range(12)]


def test_what_is_left_of_a_message_when_its_sender_goes(daemon, v):
    with daemon.connect() as other:
        other.send_raw(mark(1) + mark(2)[:-5])
        other.sock.shutdown(socket.SHUT_WR)
        assert marks(other, 1) == ["mark.n1"]
        assert other.receive() is None
    assert "error" not in v.call("GetInfo")


def test_a_half_closed_client_gets_its_replies(daemon):
    with daemon.connect() as v:
        run = start(v)
        v.send("FollowRun", {"id": run})
        v.sock.shutdown(socket.SHUT_WR)
        assert v.receive()["parameters"]["result"]["id"] == run
        assert v.receive() is None


def test_oneway_has_no_reply(v):
    v.send("StartRun", {"spec": {**SHORT, "label": "oneway"}}, oneway=True)
    v.send("StartRun", {"spec": {"mode": "no-such"}}, oneway=True)
    v.send("NoSuchMethod", oneway=True)
    v.send_raw(mark(3))
    assert marks(v, 1) == ["mark.n3"]
    (run,) = v.call("ListRuns", {"label": "oneway"})["parameters"]["runs"]
    assert finish(v, run["id"])["state"] == "done"


def test_more_where_there_is_only_one_reply(v):
    v.send("GetInfo", more=True)
    assert "continues" not in v.receive()
    v.send_raw(mark(1))
    assert marks(v, 1) == ["mark.n1"]


def test_upgrade_is_refused(v):
    v.send("GetInfo", upgrade=True)
    assert error(v.receive(), "InvalidRequest")["field"] == "upgrade"


# ---- a run that is followed ----

def test_follow_shows_the_course_of_a_run(v):
    run = start(v, warmup_ms=30, duration_ms=700)
    *progress, last = v.stream("FollowRun", {"id": run})
    assert all(r["continues"] is True and set(r["parameters"]) == {"progress"} for r in progress)
    progress = [r["parameters"]["progress"] for r in progress]
    states = [p["state"] for p in progress]
    order = ["queued", "starting", "warmup", "measuring", "closing"]
    assert "measuring" in states and states == sorted(states, key=order.index)
    assert {p["id"] for p in progress} == {run} and {p["position"] for p in progress} == {0}
    load = [p for p in progress if p["state"] == "measuring"]
    assert [p["bytes"] for p in load] == sorted(p["bytes"] for p in load) and load[-1]["bytes"] > 0
    assert [p["elapsed_ms"] for p in progress] == sorted(p["elapsed_ms"] for p in progress)
    assert load[-1]["messages"] > 0 and load[-1]["throughput_gbps"] > 0
    result = check_result(last["parameters"]["result"])
    assert result["state"] == "done" and result["app"]["bytes_received"] >= load[-1]["bytes"]
    assert v.call("GetRun", {"id": run})["parameters"] == {"id": run, "state": "done", "result": result}


def test_follow_of_a_finished_run_is_its_result(v):
    run = start(v)
    result = finish(v, run)
    (only,) = v.stream("FollowRun", {"id": run})
    assert only == {"parameters": {"result": result}}
    assert v.call("FollowRun", {"id": run}) == only


def test_two_followers_see_the_same_result(daemon, v):
    run = start(v, duration_ms=200)
    with daemon.connect() as other:
        other.send("FollowRun", {"id": run}, more=True)
        result = finish(v, run)
        while (reply := other.receive()).get("continues"):
            pass
        assert reply["parameters"]["result"] == result


def test_a_run_without_a_result_yet(v, daemon):
    with long_run(daemon) as run:
        reply = v.call("GetRun", {"id": run})["parameters"]
        assert reply["state"] == "measuring" and reply.get("result") is None


# ---- trace ----

def sums(trace):
    return {s["site"]: s["bytes"] for s in trace["sites"] if s["bytes"] is not None}


def test_trace_grows_and_ends_as_the_result(v, daemon):
    run = start(v, warmup_ms=0, duration_ms=600)
    with daemon.connect() as watcher:
        measuring(watcher, run)
    replies = list(v.stream("TraceStats", {"id": run, "interval_ms": 50}))
    traces = [r["parameters"]["trace"] for r in replies]
    assert [r.get("continues", False) for r in replies] == [True] * (len(replies) - 1) + [False]
    assert {t["id"] for t in traces} == {run} and traces[-1]["state"] == "done"
    live = [sums(t) for t in traces]
    assert any(s["evidence"] == "observed" for s in traces[-1]["sites"])
    for site in ("tx_copy", "rx_copy"):
        seen = [s[site] for s in live]
        assert seen == sorted(seen) and len(set(seen)) > 2, (site, seen)
    result = v.call("GetRun", {"id": run})["parameters"]["result"]
    stored = {s["site"]: s for s in result["ledger"]["sites"]}
    assert {s["site"] for s in traces[-1]["sites"]} == set(stored)
    for site in traces[-1]["sites"]:
        assert site == {name: stored[site["site"]][name] for name in site}, site
    assert traces[-1]["copies_per_byte"] == result["ledger"]["copies_per_byte"]["total"]
    assert v.call("TraceStats", {"id": run})["parameters"]["trace"] == traces[-1]


def test_trace_without_an_id_is_the_running_run(v, daemon):
    with long_run(daemon) as run:
        first = v.call("TraceStats")["parameters"]["trace"]
        assert first["id"] == run and first["state"] == "measuring"
        second = wait_for(lambda: (t := v.call("TraceStats")["parameters"]["trace"]) and
                          t["delivered"] > first["delivered"] and t)
        assert second, "the live figures stand still"
        assert sums(second)["rx_copy"] > sums(first)["rx_copy"]
        waiting = start(v)
        assert error(v.call("TraceStats", {"id": waiting}), "NotRunning")["id"] == waiting
        v.call("CancelRun", {"id": waiting})
    assert error(v.call("TraceStats"), "NotRunning")["message"]


def test_trace_of_a_run_that_waits_has_its_progress(v, daemon):
    with daemon.connect() as w:
        with long_run(daemon):
            waiting = start(v)
            stream = w.stream("TraceStats", {"id": waiting, "interval_ms": 50})
            for _ in range(3):
                progress = next(stream)["parameters"]["progress"]
                assert (progress["id"], progress["state"], progress["position"]) == (waiting, "queued", 1)
        *_, last = stream
    assert last["parameters"]["trace"]["id"] == waiting and last["parameters"]["trace"]["state"] == "done"


def test_trace_ends_when_the_run_goes_on_without_a_ledger(v, daemon):
    with daemon.connect() as w:
        with long_run(daemon):
            waiting = start(v, **LONG, ledger="off")
            stream = w.stream("TraceStats", {"id": waiting, "interval_ms": 50})
            assert next(stream)["parameters"]["progress"]["state"] == "queued"
        *_, last = stream
    assert error(last, "Failed")["code"] == "no_ledger"
    assert v.call("CancelRun", {"id": waiting})["parameters"]["state"] not in ENDED


def test_trace_without_a_ledger_says_so(v):
    run = start(v, ledger="off")
    finish(v, run)
    assert run in error(v.call("TraceStats", {"id": run}), "Failed")["message"]


# ---- finding runs ----

def test_runs_are_found_by_id_prefix_and_last(v):
    runs = [start(v), start(v)]
    finish(v, runs[1])
    known = [r["id"] for r in v.call("ListRuns", {"limit": 1000})["parameters"]["runs"]]
    prefix = next(runs[0][:n] for n in range(1, 30) if sum(k.startswith(runs[0][:n]) for k in known) == 1)
    assert v.call("GetRun", {"id": prefix})["parameters"]["id"] == runs[0]
    assert v.call("GetRun", {"id": runs[0]})["parameters"]["result"]["id"] == runs[0]
    assert v.call("GetRun", {"id": "last"})["parameters"]["id"] == runs[1]
    many = error(v.call("GetRun", {"id": "2"}), "NoSuchRun")
    assert many["id"] == "2" and str(len(known)) in many["message"]
    for method in ("GetRun", "FollowRun", "CancelRun", "TraceStats"):
        none = error(v.call(method, {"id": "nothing-like-it"}), "NoSuchRun")
        assert none["id"] == "nothing-like-it" and "nothing-like-it" in none["message"]


def test_last_of_nothing(tmp_path):
    with running(tmp_path) as d:
        assert error(d.call("GetRun", {"id": "last"}), "NoSuchRun")["message"]
        assert d.call("ListRuns")["parameters"] == {"runs": []}


def test_list_filters(v):
    for mode, label in (("two-copy", "apple"), ("one-copy", "apple"), ("zero-copy", "pear")):
        finish(v, start(v, mode=mode, label=label, size=1000, fields=3))

    def ids(**filters):
        return [r["id"] for r in v.call("ListRuns", filters)["parameters"]["runs"]]

    rows = v.call("ListRuns", {"limit": 3})["parameters"]["runs"]
    everything = ids(limit=1000)
    assert [r["mode"] for r in rows] == ["zero-copy", "one-copy", "two-copy"]
    assert [r["id"] for r in rows] == everything[:3]
    assert [r["started"] for r in rows] == sorted((r["started"] for r in rows), reverse=True)
    pear, *apples = [r["id"] for r in rows]
    assert ids(label="apple") == apples and ids(label="pear") == [pear] and ids(label="plum") == []
    assert ids(label="apple", limit=1) == apples[:1]
    assert ids(label="apple", mode="two-copy") == apples[1:] and ids(label="pear", mode="two-copy") == []
    assert set(ids(mode="zero-copy", limit=1000)) == {r["id"] for r in v.call("ListRuns", {"limit": 1000})["parameters"][
        "runs"] if r["mode"] == "zero-copy"}
    assert ids(state="done", limit=3) == [r["id"] for r in rows] and ids(state="queued") == []
    for row in rows:
        result = v.call("GetRun", {"id": row["id"]})["parameters"]["result"]
        assert row["throughput_gbps"] == result["app"]["throughput_gbps"]
        assert row["copies_per_byte"] == result["ledger"]["copies_per_byte"]["total"]
        assert (row["balanced"], row["exact"]) == (result["ledger"]["balanced"], result["ledger"]["exact"])
        assert (row["verdict"], row["started"]) == (result["zerocopy"]["verdict"], result["started"])
        assert (row["size"], row["threads"], row["path"], row["workload"]) == (1000, 1, "loopback", "stream")


def test_list_by_time(v):
    finish(v, start(v))
    time.sleep(0.01)
    newest = start(v)
    finish(v, newest)
    rows = v.call("ListRuns", {"limit": 1000})["parameters"]["runs"]
    at = rows[0]["started"]
    assert rows[0]["id"] == newest and at > rows[1]["started"]

    def ids(**filters):
        return [r["id"] for r in v.call("ListRuns", {"limit": 1000, **filters})["parameters"]["runs"]]

    assert ids(since=at) == [newest]
    assert ids(until=rows[1]["started"]) == [r["id"] for r in rows[1:]]
    assert ids(since="2001-01-01T00:00:00Z") == [r["id"] for r in rows] and ids(since="2101-01-01T00:00:00+01:00") == []
    assert ids(until="2001-01-01T00:00:00Z") == []
    for field in ("since", "until"):
        for text in ("yesterday", "2026-13-01T00:00:00Z", "2026-01-01"):
            wrong = error(v.call("ListRuns", {field: text}), "InvalidRequest")
            assert wrong["field"] == field and text in wrong["message"]


def test_a_living_run_is_found_by_the_state_that_its_row_shows(v, daemon):
    with long_run(daemon) as run:
        waiting = start(v)
        rows = v.call("ListRuns", {"limit": 2})["parameters"]["runs"]
        assert [(r["id"], r["state"]) for r in rows] == [(waiting, "queued"), (run, "measuring")]
        for row in rows:
            reply = v.call("ListRuns", {"state": row["state"]})
            assert [r["id"] for r in reply["parameters"]["runs"]] == [row["id"]], (row["state"], reply)
        v.call("CancelRun", {"id": waiting})


# ---- cancelling and the queue ----

def test_cancel_of_a_waiting_run(v, daemon):
    with long_run(daemon):
        runs = [v.call("StartRun", {"spec": SHORT})["parameters"] for _ in range(3)]
        assert [r["position"] for r in runs] == [1, 2, 3]
        with daemon.connect() as watcher:
            watcher.send("FollowRun", {"id": runs[2]["id"]}, more=True)
            progress = watcher.receive()["parameters"]["progress"]
            assert (progress["state"], progress["position"], progress["bytes"]) == ("queued", 3, 0)
            assert v.call("CancelRun", {"id": runs[0]["id"]})["parameters"] == {"id": runs[0]["id"], "state": "cancelled"}
            result = finish(v, runs[0]["id"])
            assert result["state"] == "cancelled" and result["ended"] is not None
            assert wait_for(lambda: watcher.receive()["parameters"]["progress"]["position"] == 2), "its place is not told"
        for run in runs[1:]:
            v.call("CancelRun", {"id": run["id"]})
    assert error(v.call("CancelRun", {"id": runs[0]["id"]}), "NotRunning")["id"] == runs[0]["id"]


def test_cancel_of_a_running_run_keeps_what_was_measured(v, daemon):
    with daemon.connect() as watcher:
        run = start(v, **LONG)
        measuring(watcher, run)
        assert wait_for(lambda: v.call("TraceStats", {"id": run})["parameters"]["trace"]["delivered"] > 0)
    reply = v.call("CancelRun", {"id": run})["parameters"]
    assert reply["id"] == run and reply["state"] in ("measuring", "closing", "cancelled")
    result = finish(v, run)
    assert result["state"] == "cancelled" and result["app"]["bytes_received"] > 0
    assert result["app"]["elapsed_ns"] < 60_000_000_000
    assert result["ledger"]["balanced"] is True
    again = error(v.call("CancelRun", {"id": run}), "NotRunning")
    assert again["id"] == run and run in again["message"]
    assert v.call("GetRun", {"id": run})["parameters"]["state"] == "cancelled"


def test_cancel_of_a_finished_run(v):
    run = start(v)
    result = finish(v, run)
    assert error(v.call("CancelRun", {"id": run}), "NotRunning")["id"] == run
    assert v.call("GetRun", {"id": run})["parameters"]["result"] == result


def test_runs_wait_for_their_turn(v):
    runs = [start(v, duration_ms=60) for _ in range(3)]
    results = [finish(v, run) for run in runs]
    assert {r["state"] for r in results} == {"done"}
    for before, after in zip(results, results[1:]):
        assert before["ended"] <= after["started"]


def test_full_queue_and_orderly_end(tmp_path):
    """As many runs as the queue takes, one over, and what becomes of them when the daemon is told to end."""
    with running(tmp_path) as d:
        with d.connect() as v:
            runs = [start(v, **LONG) for _ in range(65)]
            full = error(v.call("StartRun", {"spec": LONG}), "QueueFull")
            assert full["limit"] == 64 and "64" in full["message"]
            v.call("CancelRun", {"id": runs[5]})
            runs.append(start(v, **LONG))
            assert error(v.call("StartRun", {"spec": LONG}), "QueueFull")["limit"] == 64
        assert d.stop() == 0
        d.start()
        rows = d.call("ListRuns", {"limit": 1000})["parameters"]["runs"]
        assert {r["id"] for r in rows} == set(runs) and {r["state"] for r in rows} == {"cancelled"}
        for run in (runs[0], runs[30]):
            assert check_result(d.call("GetRun", {"id": run})["parameters"]["result"])["state"] == "cancelled"


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_results_survive_a_restart(tmp_path, end):
    with running(tmp_path) as d:
        kept = [d.run(**SHORT, label=f"{end} {i}") for i in range(2)]
        getattr(d, end)()
        d.start()
        for result in kept:
            assert d.call("GetRun", {"id": result["id"]})["parameters"]["result"] == result
        assert d.call("GetInfo")["parameters"]["stored"] == 2
        assert d.call("GetRun", {"id": "last"})["parameters"]["id"] == kept[1]["id"]
        assert d.run(**SHORT)["state"] == "done"


# ---- clients that misbehave ----

def test_a_client_that_vanishes_leaves_its_run(v, daemon):
    with daemon.connect() as gone:
        run = start(gone, duration_ms=400)
        gone.send("FollowRun", {"id": run}, more=True)
        assert gone.receive()["continues"]
    assert finish(v, run)["state"] == "done"
    assert v.call("GetRun", {"id": run})["parameters"]["state"] == "done"


def test_a_client_that_vanishes_before_its_replies(daemon, v):
    for _ in range(50):
        with daemon.connect() as gone:
            gone.send("Probe")
            gone.send_raw(b"".join(mark(i) for i in range(20)))
    assert "error" not in v.call("GetInfo")


def readable(sockets):
    poll = select.poll()
    for s in sockets:
        poll.register(s.sock, select.POLLIN)
    return {fd for fd, _ in poll.poll(0)}


def test_more_clients_than_there_are_places(daemon):
    """1,000 connects: a follower and some 255 others are served, the rest is told so or closed; nobody else suffers."""
    with contextlib.ExitStack() as stack, daemon.connect() as follower:
        run = start(follower, **LONG)
        follower.send("FollowRun", {"id": run}, more=True)
        clients = [stack.enter_context(daemon.connect()) for _ in range(1000)]
        assert follower.receive()["continues"]
        refused = [c for c in clients if c.sock.fileno() in wait_for(lambda: len(r := readable(clients)) >= 745 and r)]
        told = [c.receive() for c in refused]
        assert any(told), "nobody was told why"
        for reply in filter(None, told):
            limit = error(reply, "LimitExceeded")
            assert (limit["limit"], limit["max"]) == ("clients", 256) and limit["value"] > 256
        served = [c for c in clients if c not in refused]
        assert 0 < len(served) <= 255
        for client in served[:5] + served[-5:]:
            assert client.call("GetInfo")["parameters"]["running"] == run
        while follower.receive()["parameters"]["progress"]["state"] != "measuring":
            pass
        stack.close()
        with daemon.connect() as v:
            v.call("CancelRun", {"id": run})
            assert finish(v, run)["state"] == "cancelled"


def test_a_client_that_never_reads(daemon, v):
    """It asks for 4 KB a time and reads nothing: others are served, memory stays bounded, and it is closed in the end."""
    request = mark(1).replace(b"mark.n1.Ask", b"org.varlink.service.GetInterfaceDescription").replace(
        b"}", b', "parameters": {"interface": "io.copyledger"}}')
    before = daemon.memory()
    with daemon.connect() as deaf:
        deaf.sock.setblocking(False)
        asked, deadline = 0, time.monotonic() + 30
        with pytest.raises((BrokenPipeError, ConnectionResetError)):
            while time.monotonic() < deadline:
                try:
                    asked += deaf.sock.send(request * 20)
                except BlockingIOError:
                    assert "error" not in v.call("GetInfo")
                    time.sleep(0.05)
        assert asked > len(request) * 20
    if not SAN:
        assert daemon.memory() - before < 8 << 20


def test_a_follower_that_never_reads(daemon, v):
    with daemon.connect() as deaf:
        run = start(v, duration_ms=300)
        deaf.send("FollowRun", {"id": run}, more=True)
        deaf.send("TraceStats", {"id": run, "interval_ms": 50}, more=True)
        assert finish(v, run)["state"] == "done"


def test_a_client_that_reads_a_byte_at_a_time(daemon, v):
    run = start(v)
    result = finish(v, run)
    with daemon.connect() as slow:
        slow.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
        slow.send("GetRun", {"id": run})
        text = bytearray()
        while not text.endswith(b"\0"):
            byte = slow.sock.recv(1)
            assert byte, "closed in the middle of a reply"
            text += byte
        slow.buffer = bytes(text)
        assert slow.receive()["parameters"]["result"] == result


def test_an_idle_client_is_closed_and_a_waiting_one_is_not(tmp_path):
    with configured(tmp_path, "idle_ms = 200") as d, d.connect() as idle, d.connect() as waiting:
        run = start(waiting, **LONG)
        waiting.send("FollowRun", {"id": run})
        assert idle.receive() is None, "an idle client keeps its place"
        d.call("CancelRun", {"id": run})
        assert waiting.receive()["parameters"]["result"]["state"] == "cancelled"


# ---- configuration ----

@contextlib.contextmanager
def configured(folder, text):
    config = folder / "test.conf"
    config.write_text(text + "\n")
    with running(folder, "--config", config) as d:
        yield d


def check_config(folder, text):
    config = folder / "test.conf"
    config.write_bytes(text)
    done = subprocess.run([BUILD / "copyledgerd", "--config", config, "--check-config"], capture_output=True, text=True,
                          errors="replace", timeout=20)
    return done, config


@pytest.mark.parametrize("text", [b"", b"\n# nothing\n", b"threads_max = 8\nclients=3\n", b"  run_queue\t= 1  \n",
                                  b"duration_ms_max = 3600000"])
def test_a_good_configuration(tmp_path, text):
    done, _ = check_config(tmp_path, text)
    assert done.returncode == 0 and "good" in done.stderr, done


@pytest.mark.parametrize("text, line, words", [
    (b"threads_max = 1001\n", 1, ["threads_max", "1000", "1001"]),
    (b"threads_max = 0\n", 1, ["threads_max", "1", '"0"']),
    (b"\nclients = many\n", 2, ["clients", "many", "256"]),
    (b"clients = -1\n", 1, ["clients", "-1"]),
    (b"clients = 1e2\n", 1, ["clients", "1e2"]),
    (b"clients =\n", 1, ["clients"]),
    (b"clients = 99999999999999999999\n", 1, ["clients", "99999999999999999999"]),
    (b"label = 5\n", 1, ["label"]),
    (b"no_such = 5\n", 1, ["no_such"]),
    (b"clients = 3\nclients\n", 2, ["name = number"]),
    (b"# long\n" + b"x" * 5000 + b"\n", 2, ["254"]),
    (b"\x1b[31m = 5\n", 1, ["[31m"]),
])
def test_a_bad_configuration_is_refused_with_its_line(tmp_path, text, line, words):
    done, config = check_config(tmp_path, text)
    assert done.returncode == 1, done
    assert f"{config}:{line}" in done.stderr and "\x1b" not in done.stderr
    for word in words:
        assert word in done.stderr, done.stderr
    started = subprocess.run([BUILD / "copyledgerd", "--socket", tmp_path / "s", "--config", config], capture_output=True,
                             timeout=20)
    assert started.returncode == 1 and not (tmp_path / "s").exists()


def test_a_configuration_that_is_not_there(tmp_path):
    done = subprocess.run([BUILD / "copyledgerd", "--check-config", "--config", tmp_path / "none"], capture_output=True,
                          text=True, timeout=20)
    assert done.returncode == 1 and str(tmp_path / "none") in done.stderr and "No such file" in done.stderr


def test_lowered_limits_hold(tmp_path):
    text = "threads_max = 2\nduration_ms_max = 100\nclients = 3\nrun_queue = 1"
    with configured(tmp_path, text) as d, d.connect() as v:
        limits = v.call("GetInfo")["parameters"]["limits"]
        assert {f"{name} = {limits[name]}" for name in ("threads_max", "duration_ms_max", "clients", "run_queue")} == set(
            text.split("\n"))
        for spec, limit, value, most in (({"threads": 3}, "threads_max", 3, 2), ({"duration_ms": 101}, "duration_ms_max", 101, 100)):
            reply = v.call("StartRun", {"spec": {**SHORT, **spec}})
            wrong = error(reply, "LimitExceeded")
            assert (wrong["limit"], wrong["value"], wrong["max"]) == (limit, value, most)
        assert finish(v, start(v, threads=2, duration_ms=100))["state"] == "done"
        with d.connect() as two, d.connect() as three, d.connect() as four:
            assert "error" not in two.call("GetInfo") and "error" not in three.call("GetInfo")
            assert error(four.receive(), "LimitExceeded")["max"] == 3
            assert four.receive() is None


# ---- start and end ----

def refused(folder, *args, **kwargs):
    """What a daemon says that must not start."""
    done = subprocess.run([BUILD / "copyledgerd", *args], capture_output=True, text=True, timeout=20, cwd=folder, **kwargs)
    assert done.returncode not in (0, None) and done.returncode > 0, done
    return done.stderr


def test_a_second_daemon_is_refused(daemon, v, tmp_path):
    text = refused(tmp_path, "--socket", daemon.socket, "--state-dir", tmp_path / "state")
    assert str(daemon.socket) in text and "another" in text
    assert "error" not in v.call("GetInfo") and daemon.call("GetInfo")["parameters"]["pid"] == daemon.process.pid


def test_a_second_daemon_on_the_same_state_says_so(daemon, tmp_path):
    """Results of two daemons must not meet in one store: it goes on without, or not at all, and says it."""
    second = Daemon(tmp_path)
    second.state = daemon.state
    second.start()
    try:
        info = second.call("GetInfo")["parameters"]
        assert info["state_directory"] is None and str(daemon.state) in " ".join(info["warnings"])
        result = second.run(**SHORT)
        assert "not_stored" in [w["code"] for w in result["warnings"]]
    finally:
        assert second.stop() == 0
    assert "error" in daemon.call("GetRun", {"id": result["id"]})


def test_a_stale_socket_is_replaced(tmp_path):
    d = Daemon(tmp_path).start()
    d.kill()
    assert d.socket.is_socket()
    d.start()
    assert d.answers() and d.stop() == 0
    assert not d.socket.exists(), "the socket file is left behind"


def test_a_file_in_the_place_of_the_socket_is_left_alone(tmp_path):
    (tmp_path / "control.sock").write_text("precious")
    text = refused(tmp_path, "--socket", tmp_path / "control.sock")
    assert "control.sock" in text
    assert (tmp_path / "control.sock").read_text() == "precious"


def test_a_socket_that_cannot_be_made(tmp_path):
    assert "no/such" in refused(tmp_path, "--socket", tmp_path / "no/such/control.sock")
    assert "107" in refused(tmp_path, "--socket", "/tmp/" + "x" * 200)


@pytest.mark.parametrize("args, words", [(["--no-such"], "--no-such"), (["word"], "word"), (["--socket"], "--socket")])
def test_bad_usage(tmp_path, args, words):
    text = refused(tmp_path, *args)
    assert words in text and "--help" in text


def test_help_names_every_option(tmp_path):
    done = subprocess.run([BUILD / "copyledgerd", "--help"], capture_output=True, text=True, timeout=20)
    assert done.returncode == 0 and not done.stderr
    for option in ("--socket", "--state-dir", "--loadgen", "--config", "--check-config", "--print-config", "--version", "--help"):
        assert option in done.stdout


def test_without_a_socket_it_says_what_to_do(tmp_path):
    env = {k: x for k, x in os.environ.items() if not k.startswith("LISTEN_")}
    assert "--socket" in refused(tmp_path, env=env)


def test_a_state_directory_that_cannot_be_used_is_said(tmp_path):
    (tmp_path / "state").write_text("a file")
    with running(tmp_path) as d:
        info = d.call("GetInfo")["parameters"]
        assert info["state_directory"] is None and info["warnings"] and str(d.state) in info["warnings"][0]
        log = d.log.read_text()
        assert "going on with the last" in log and log.rstrip().endswith("results in memory"), log
        result = d.run(**SHORT)
        assert result["state"] == "done" and "not_stored" in [w["code"] for w in result["warnings"]]
        assert d.call("GetRun", {"id": "last"})["parameters"]["result"] == result
    assert (tmp_path / "state").read_text() == "a file"


def test_a_load_generator_that_is_not_there(tmp_path):
    with running(tmp_path, "--loadgen", tmp_path / "none") as d, d.connect() as v:
        reply = v.call("StartRun", {"spec": SHORT})
        if "error" in reply:
            assert str(tmp_path / "none") in error(reply, "Failed")["message"]
        else:
            result = finish(v, reply["parameters"]["id"])
            assert result["state"] == "failed" and str(tmp_path / "none") in result["error"]["message"]
        assert v.call("GetInfo")["parameters"]["state"] == "idle"


def test_the_load_generator_of_an_installed_tree_is_found(tmp_path):
    """make install with any PREFIX: the daemon in sbin, its load generator in libexec."""
    for program, folder in (("copyledgerd", "sbin"), ("copyledger-loadgen", "libexec/copyledger")):
        (tmp_path / "prefix" / folder).mkdir(parents=True)
        shutil.copy2(BUILD / program, tmp_path / "prefix" / folder / program)
    with running(tmp_path, program=tmp_path / "prefix/sbin/copyledgerd") as d:
        assert d.run(**SHORT)["state"] == "done"


def listening(path):
    s = socket.socket(socket.AF_UNIX)
    s.bind(str(path))
    s.listen(16)
    return s


def test_socket_activation_and_notification(tmp_path):
    """As systemd starts a Type=notify service: a listening socket as descriptor 3, and words on the notify socket."""
    with listening(tmp_path / "control.sock") as ours, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
        notify.bind(str(tmp_path / "notify"))
        notify.settimeout(10)
        process = subprocess.Popen(
            ["sh", "-c", 'LISTEN_FDS=1 LISTEN_PID=$$ exec "$0"', BUILD / "copyledgerd"], stderr=subprocess.PIPE,
            stdin=subprocess.DEVNULL, close_fds=False, preexec_fn=lambda: os.dup2(ours.fileno(), 3),
            env={**os.environ, "NOTIFY_SOCKET": str(tmp_path / "notify"), "STATE_DIRECTORY": str(tmp_path / "a") + ":/b",
                 "WATCHDOG_USEC": "20000000"})
        try:
            while "READY=1" not in notify.recv(4096).decode().split("\n"):
                pass
            with Varlink(tmp_path / "control.sock") as v:
                info = v.call("GetInfo")["parameters"]
                assert info["pid"] == process.pid and info["state_directory"] == str(tmp_path / "a")
                assert finish(v, start(v))["state"] == "done"
        finally:
            process.send_signal(signal.SIGTERM)
            text = process.communicate(timeout=20)[1].decode()
        assert process.returncode == 0, text
        said = [notify.recv(4096).decode() for _ in iter(lambda: bool(select.select([notify], [], [], 0)[0]), False)]
        assert any("STATUS=" in s and "one-copy" in s for s in said) and any("STOPPING=1" in s for s in said), said
        assert (tmp_path / "control.sock").is_socket(), "the socket is systemd's, not the daemon's to remove"


@pytest.mark.skipif(not shutil.which("systemd-socket-activate"), reason="systemd-socket-activate is not installed")
def test_systemds_own_activation(tmp_path):
    process = subprocess.Popen(["systemd-socket-activate", "-l", tmp_path / "control.sock", BUILD / "copyledgerd"],
                               stderr=subprocess.PIPE, stdin=subprocess.DEVNULL)
    try:
        assert wait_for((tmp_path / "control.sock").is_socket)
        with Varlink(tmp_path / "control.sock") as v:
            assert v.call("GetInfo")["parameters"]["pid"] == process.pid
    finally:
        process.send_signal(signal.SIGTERM)
        text = process.communicate(timeout=20)[1].decode()
    assert process.returncode == 0, text


def test_wrong_activation_is_refused(tmp_path):
    """Two sockets, or one that does not listen."""
    with listening(tmp_path / "a") as a, listening(tmp_path / "b") as b, socket.socket(socket.AF_UNIX) as deaf:
        for fds, count in (((a, b), 2), ((deaf,), 1)):
            def place(fds=fds):
                copies = [os.dup(s.fileno()) for s in fds]
                for i, fd in enumerate(copies):
                    os.dup2(fd, 3 + i)
            done = subprocess.run(
                ["sh", "-c", f'LISTEN_FDS={count} LISTEN_PID=$$ exec "$0"', BUILD / "copyledgerd"], capture_output=True,
                text=True, close_fds=False, preexec_fn=place, timeout=20)
            assert done.returncode == 1 and "socket" in done.stderr, done


@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_a_measuring_daemon_in_order(tmp_path, sign):
    with running(tmp_path) as d, d.connect() as v, d.connect() as watcher:
        run = start(v, **LONG)
        measuring(watcher, run)
        assert wait_for(lambda: v.call("TraceStats")["parameters"]["trace"]["delivered"] > 0)
        children = d.children()
        d.process.send_signal(sign)
        assert d.process.wait(timeout=20) == 0
        assert children and not any(os.path.exists(f"/proc/{pid}") for pid in children)
        assert not d.socket.exists()
        d.start()
        result = check_result(d.call("GetRun", {"id": run})["parameters"]["result"])
        assert result["state"] == "cancelled" and result["app"]["bytes_received"] > 0
