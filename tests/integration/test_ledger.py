# SPDX-License-Identifier: MIT
"""The books of real runs: every mode, path, size and number of lanes, to the byte."""
import json
import os
import random
import subprocess
from itertools import combinations, product
from pathlib import Path

import pytest

from support import Daemon, check_result, running, until_balanced

MODES = ("two-copy", "one-copy", "zero-copy")
PATHS = ("loopback", "veth")
STAMP_BYTES = 16  # a shorter message has no room for its sequence and send stamp
SHORT = {"warmup_ms": 50, "duration_ms": 100}


@pytest.fixture(scope="module")
def daemon(tmp_path_factory):
    d = Daemon(tmp_path_factory.mktemp("ledger")).start()
    yield d
    assert d.stop() == 0, d.log.read_text()


@pytest.fixture(scope="module")
def unavailable(daemon):
    """The sites that the probe calls unavailable, with the reason."""
    sites = daemon.call("Probe")["parameters"]["sites"]
    return {s["site"]: s["reason"] for s in sites if s["evidence"] == "unavailable"}


def sites_of(result):
    return {s["site"]: s for s in result["ledger"]["sites"]}


def expected_copies(result):
    """Copies a delivered byte, as the modes' definition has them: the sender's, the receiver's, and of the pinned
    bytes what a local path copies after all, once for each time that it was sent."""
    ledger, fields = result["ledger"], result["app"]["fields"]
    if result["spec"]["mode"] == "two-copy":
        return 3.0 if fields > 1 else 2.0
    if result["spec"]["mode"] == "one-copy":
        return 2.0
    return 2.0 + ledger["counters"]["retransmitted_pinned_bytes"] / ledger["delivered"]


def check_copies(result):
    copies = result["ledger"]["copies_per_byte"]
    assert copies["total"] == pytest.approx(expected_copies(result), abs=0.005), copies
    assert copies["total"] == pytest.approx(
        sum(v for k, v in copies.items() if k not in ("total", "lower_bound") and v is not None), abs=1e-6)
    for name, site in sites_of(result).items():
        if name in copies and copies[name] is not None:
            assert copies[name] == pytest.approx(site["bytes"] / result["ledger"]["delivered"], rel=1e-9)


def check_zerocopy(result):
    z, counters, sites = result["zerocopy"], result["ledger"]["counters"], sites_of(result)
    delivered = result["ledger"]["delivered"]
    if result["spec"]["mode"] != "zero-copy":
        assert z["verdict"] == "none" and z["sends"] == 0 and z["cause"] is None
        assert sites["tx_pin"]["bytes"] == 0
        return
    assert z["verdict"] == "copied" and z["cause"] and z["cause_evidence"] in ("observed", "derived")
    assert sites["tx_pin"]["bytes"] == delivered and sites["tx_copy"]["bytes"] == 0
    assert z["completed_zero_copied"] + z["completed_copied"] == z["sends"] > 0
    assert z["bytes"] == z["bytes_zero_copied"] + z["bytes_copied"] == delivered
    assert sites["tx_deferred_copy"]["bytes"] == \
        counters["zc_bytes_copied"] + counters["retransmitted_pinned_bytes"] >= delivered


def in_bucket(value_us, latency, quantile):
    """Whether the quantile lies in the bucket that holds it by the raw counts."""
    rank, seen = quantile * latency["samples"], 0
    for b in latency["buckets"]:
        seen += b["count"]
        if seen >= rank:
            return b["low_ns"] <= value_us * 1e3 + 1 and value_us * 1e3 <= b["high_ns"] + 1
    return False


def check_latency(latency):
    ordered = [latency[k] for k in ("p50", "p90", "p99", "p99_9", "max")]
    assert ordered == sorted(ordered) and 0 < latency["mean"] <= latency["max"]
    assert sum(b["count"] for b in latency["buckets"]) == latency["samples"]
    for name, q in (("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99_9", 0.999)):
        assert in_bucket(latency[name], latency, q), (name, latency[name])


def sum_ns(latency):
    return latency["samples"] * latency["mean"] * 1000


def check_round_trips(app, lanes):
    """A lane has one message under way: each is a part of its round trip, and that a part of the window, which ends with the
    last receive."""
    check_latency(app["round_trip_us"])
    assert app["round_trip_us"]["samples"] * 2 == app["messages"]
    assert sum_ns(app["round_trip_us"]) <= app["elapsed_ns"] * lanes * 1.01, app
    if "value" not in app["latency_us"]:
        assert sum_ns(app["latency_us"]) <= sum_ns(app["round_trip_us"]) * 1.001, app


def check_app(result):
    app, spec = result["app"], result["spec"]
    assert app["messages"] > 0 and app["bytes_received"] == app["messages"] * spec["size"] == app["bytes_sent"]
    assert app["whole_life"]["bytes_received"] == app["whole_life"]["messages"] * spec["size"]
    assert app["whole_life"]["messages"] >= app["messages"]
    assert app["throughput_gbps"] == pytest.approx(app["bytes_received"] * 8 / app["elapsed_ns"], rel=1e-6)
    assert app["messages_per_s"] == pytest.approx(app["messages"] * 1e9 / app["elapsed_ns"], rel=1e-6)
    assert 1 <= app["fields"] <= min(spec["fields"], spec["size"])
    if spec["size"] < STAMP_BYTES:
        assert app["latency_us"]["value"] is None
    else:
        check_latency(app["latency_us"])
        assert app["latency_us"]["samples"] == app["messages"]
    if spec["workload"] == "rr":  # by the sender's own clock, so that it needs no stamp
        check_round_trips(app, spec["threads"])
    else:
        assert app["round_trip_us"]["value"] is None


def check_lanes(result):
    spec, lanes = result["spec"], result["lanes"]
    assert [(x["lane"], x["role"]) for x in lanes] == list(product(range(spec["threads"]), ("sender", "receiver")))
    assert any(x["bytes"] for x in lanes)  # a lane of many may starve in a short run
    assert sum(x["bytes"] for x in lanes if x["role"] == "sender") <= result["ledger"]["delivered"]
    for x in lanes:
        assert "error" not in x and "value" not in x["tcp"], x
        assert (x["cpu"] >= 0) == spec["pin"]
        if spec["congestion"]:
            assert x["tcp"]["congestion"] == spec["congestion"]
        for ask, given in ((spec["sndbuf"], x["tcp"]["sndbuf"]), (spec["rcvbuf"], x["tcp"]["rcvbuf"])):
            assert not ask or given >= ask


def check_once(daemon, spec):
    """A run with what holds for any, but for its books."""
    result = daemon.run(**spec)
    assert result["state"] == "done" and result["ledger"], result.get("error") or result["ledger_reason"]
    check_app(result)
    check_lanes(result)
    assert {k: result["spec"][k] for k in spec} == spec
    return result


def check_run(daemon, unavailable, **spec):
    result = until_balanced(lambda: check_once(daemon, spec))
    for name, site in sites_of(result).items():
        assert (site["evidence"] == "unavailable") == (name in unavailable), site
    check_copies(result)
    check_zerocopy(result)
    return result


@pytest.mark.parametrize("size", [100, 1000, 40000])
def test_calls_that_are_alike_are_hits_each(daemon, size):
    """They are booked many at once: none may be lost or told twice, and the place is that of one call."""
    result = daemon.run_moving(mode="one-copy", size=size, warmup_ms=0, duration_ms=100)
    site, counters = sites_of(result)["tx_copy"], result["ledger"]["counters"]
    assert site["hits"] == counters["send_calls"] == result["app"]["whole_life"]["messages"] > 0
    assert site["bytes"] == site["hits"] * size
    assert site["bytes_per_hit_log2"] == [0] * (size.bit_length() - 1) + [site["hits"]]


@pytest.mark.parametrize("threads", (1, 4))
@pytest.mark.parametrize("size", (64, 1024, 4096, 65536, 1048576))
@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("mode", MODES)
def test_matrix(daemon, unavailable, mode, path, size, threads):
    result = check_run(daemon, unavailable, mode=mode, path=path, size=size, threads=threads, **SHORT)
    assert result["app"]["fields"] == 8
    if not unavailable:
        assert result["ledger"]["equations_served"] == 7


def congestion_controls():
    return Path("/proc/sys/net/ipv4/tcp_allowed_congestion_control").read_text().split()


def axes():
    ip6 = Path("/proc/net/if_inet6").exists() and "00000000000000000000000000000001" in \
        Path("/proc/net/if_inet6").read_text()
    return {
        "mode": MODES, "path": PATHS, "workload": ("stream", "rr"),
        "size": (1, 2, 7, 15, 16, 17, 63, 100, 1000, 65537, 1000003), "fields": (1, 3, 8, 64),
        "threads": (1, 2, 16), "ip": (4, 6) if ip6 else (4,), "verify": (False, True), "pin": (True, False),
        "sndbuf": (0, 32768, 300000), "rcvbuf": (0, 32768, 300000),
        "congestion": ("", *(c for c in ("cubic", "reno") if c in congestion_controls())),
    }


def pairwise(table):
    """A small set of rows in which every two values of two axes meet; the same one each time."""
    rng, names, rows = random.Random(1), list(table), []
    left = {((a, x), (b, y)) for a, b in combinations(names, 2) for x in table[a] for y in table[b]}

    def covered(row):
        return {((a, row[a]), (b, row[b])) for a, b in combinations(names, 2)} & left

    while left:
        seed = dict(min(left, key=repr))
        candidates = [{n: rng.choice(table[n]) for n in names} | seed for _ in range(60)]
        rows.append(max(candidates, key=lambda row: len(covered(row))))
        left -= covered(rows[-1])
    return rows


@pytest.mark.parametrize("spec", pairwise(axes()), ids=lambda s: "-".join(str(v) for v in s.values()))
def test_odd(daemon, unavailable, spec):
    check_run(daemon, unavailable, **spec, **SHORT)


def test_no_warmup(daemon, unavailable):
    check_run(daemon, unavailable, mode="zero-copy", size=4096, warmup_ms=0, duration_ms=100)


@pytest.mark.parametrize("path", PATHS)
def test_latencies_fill_the_window(daemon, path):
    """One lane, which waits for one message at a time: its round trips are nearly all of the window, and its messages' ways
    nearly all of the round trips, whatever the machine takes for one."""
    spec = {"mode": "one-copy", "path": path, "workload": "rr", "size": 4096, "warmup_ms": 50, "duration_ms": 500}
    app = daemon.run_moving(**spec)["app"]
    check_round_trips(app, 1)
    assert sum_ns(app["round_trip_us"]) >= 0.5 * app["elapsed_ns"], app
    assert sum_ns(app["latency_us"]) >= 0.5 * sum_ns(app["round_trip_us"]), app


@pytest.mark.parametrize("tier", ("tracepoint", "fentry"))
def test_tier_asked_for(daemon, tier):
    def once():
        return daemon.run(mode="one-copy", ledger=tier, **SHORT)

    result = once()
    if result["ledger"] and result["ledger"]["tier"] == tier:
        until_balanced(once)
        return
    # what the kernel does not have is said, never filled in from the other tier
    assert result["state"] == "done"
    if result["ledger"] is None:
        assert result["ledger_reason"]
        return
    assert result["ledger"]["tier"] == "none"
    assert sites_of(result)["tx_copy"]["evidence"] == "unavailable"


def test_ledger_off(daemon):
    result = daemon.run(mode="zero-copy", path="veth", ledger="off", **SHORT)
    assert result["state"] == "done" and result["ledger"] is None and "off" in result["ledger_reason"]
    assert result["app"]["bytes_received"] > 0
    # without a ledger the completions are all there is, and the verdict says so
    assert result["zerocopy"]["verdict_from"] != "the ledger"
    assert result["instrument"]["sites_attached"] == 0 and result["instrument"]["hooks"] == []


def completions(daemon):
    """The ledger's site of completions, of a run that has some."""
    result = daemon.run_moving(mode="zero-copy", path="veth", **SHORT)
    assert result["ledger"], result["ledger_reason"]
    return sites_of(result)["zc_complete"]


@pytest.mark.parametrize("before, after", [
    ("true", "ip link set lo up"),
    ("ip link set lo up && tc qdisc add dev lo root tbf rate 8bit burst 1 limit 1", "tc qdisc del dev lo root")])
def test_what_failed_in_passing_is_asked_again(tmp_path, unavailable, before, after):
    """Where completions tell of themselves is learnt from a transfer to 127.0.0.1, once; here nothing gets there at first."""
    if "zc_complete" in unavailable:
        pytest.skip(f"no completions are to be had here: {unavailable['zc_complete']}")
    if os.geteuid():
        pytest.skip("needs root: it makes a network of its own")
    env = {**os.environ, "PATH": os.environ["PATH"] + ":/usr/sbin:/sbin"}
    with running(tmp_path, prefix=["unshare", "--net"]) as d:
        inside = ["nsenter", "--net", f"--target={d.process.pid}", "sh", "-c"]
        done = subprocess.run([*inside, before], capture_output=True, text=True, timeout=20, env=env)
        if done.returncode:
            pytest.skip(f"this kernel drops nothing for us: {done.stderr.strip()}")
        site = completions(d)
        assert site["evidence"] == "unavailable" and "learn" in site["reason"], site
        subprocess.run([*inside, after], check=True, timeout=20, env=env)
        site = completions(d)
        assert site["evidence"] == "observed" and site["bytes"] > 0, site


def test_label_is_kept(daemon):
    label = "a label: ünïcode, \"quotes\", \\ and <b>"
    result = daemon.run(mode="one-copy", label=label, **SHORT)
    assert result["spec"]["label"] == label
    listed = daemon.call("ListRuns", {"label": label})["parameters"]["runs"]
    assert [r["id"] for r in listed] == [result["id"]] and listed[0]["label"] == label


def test_stored_as_followed(daemon):
    result = daemon.run(mode="zero-copy", **SHORT)
    for ident in (result["id"], "last"):
        got = daemon.call("GetRun", {"id": ident})["parameters"]
        assert got["state"] == "done" and got["result"] == result
    row = daemon.call("ListRuns", {"limit": 1})["parameters"]["runs"][0]
    assert row["balanced"] is True and row["verdict"] == "copied"
    assert row["copies_per_byte"] == pytest.approx(result["ledger"]["copies_per_byte"]["total"])
    trace = daemon.call("TraceStats", {"id": result["id"]})["parameters"]["trace"]
    assert {s["site"]: s["bytes"] for s in trace["sites"]} == {k: s["bytes"] for k, s in sites_of(result).items()}


def test_trace_while_running(daemon):
    with daemon.connect() as v, daemon.connect() as w:
        spec = {"mode": "one-copy", "warmup_ms": 0, "duration_ms": 1000}
        run = v.call("StartRun", {"spec": spec})["parameters"]["id"]
        traces = [r["parameters"]["trace"] for r in w.stream("TraceStats", {"id": run, "interval_ms": 200})]
        result = check_result(v.call("FollowRun", {"id": run})["parameters"]["result"])
    for name in ("tx_copy", "rx_copy"):
        seen = [next(s["bytes"] for s in t["sites"] if s["site"] == name) or 0 for t in traces]
        assert seen == sorted(seen) and len(set(seen)) > 2, seen
        assert seen[-1] == sites_of(result)[name]["bytes"]
    assert traces[-1]["delivered"] == result["ledger"]["delivered"]


SWITCHES = ("context_switches", "context_switches_voluntary", "context_switches_involuntary")
SOFTWARE = ("task_clock_ns", "cpu_migrations", "page_faults", *SWITCHES)
HARDWARE = ("cycles", "instructions", "l1d_references", "l1d_misses", "llc_references", "llc_misses", "branch_misses")


def test_perf(daemon):
    """Software events are numbers everywhere. A machine without counters says so, and never 0."""
    probed = {e["name"]: e for e in daemon.call("Probe")["parameters"]["events"]}
    result = daemon.run(mode="two-copy", **SHORT)
    counters = any(p.name.startswith(("cpu", "armv")) for p in Path("/sys/bus/event_source/devices").iterdir())
    for side in ("sender", "receiver"):
        events = result["perf"][side]
        assert set(events) >= {*SOFTWARE, *HARDWARE}
        for name, e in events.items():
            assert (e["value"] is not None) == probed[name]["available"], (name, e)
            assert e["value"] is not None or e["reason"]
            assert (name in SOFTWARE) == (probed[name]["kind"] == "software")
        assert all(isinstance(events[name]["value"], int) for name in SOFTWARE)
        assert counters or all(events[name]["value"] is None for name in HARDWARE)
        total, voluntary, involuntary = (events[name]["value"] for name in SWITCHES)
        # three readings one after the other, at the window's begin and at its end, of a thread that goes on switching
        assert total > 0 and abs(total - voluntary - involuntary) <= 4, (total, voluntary, involuntary)
        assert events["task_clock_ns"]["value"] > 0
    clock = sum(result["perf"][s]["task_clock_ns"]["value"] for s in ("sender", "receiver"))
    derived = result["derived"]
    assert derived["cpu_ns_per_byte"] == pytest.approx(clock / result["app"]["bytes_received"], rel=1e-6)
    for name, event in (("cycles_per_byte", "cycles"), ("instructions_per_byte", "instructions"),
                        ("llc_misses_per_byte", "llc_misses")):
        if result["perf"]["sender"][event]["value"] is None:
            assert derived[name]["value"] is None and derived[name]["reason"]
        else:
            assert derived[name] > 0


def test_perf_off(daemon):
    result = daemon.run(mode="two-copy", perf=False, **SHORT)
    assert result["state"] == "done" and result["perf"] is None and result["perf_reason"]
    assert result["derived"]["cpu_ns_per_byte"]["reason"]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("path", PATHS)
def test_cli_status(daemon, mode, path):
    def once():
        done = daemon.cli("run", "--mode", mode, "--path", path, "--duration", "100ms", "--warmup", "50ms", "--json")
        assert done.returncode == 0, done.stderr
        return check_result(json.loads(done.stdout))

    result = until_balanced(once)
    assert result["spec"]["mode"] == mode and result["spec"]["path"] == path


def test_cli_table(daemon):
    """For people: the sentence says what happened, and no escape code reaches what is no terminal."""
    done = daemon.cli("run", "--mode", "zero-copy", "--duration", "100ms", "--warmup", "50ms")
    assert done.returncode == 0, done.stderr
    assert "rx_copy" in done.stdout and "copied after all" in done.stdout and "local socket" in done.stdout
    assert "\033" not in done.stdout
