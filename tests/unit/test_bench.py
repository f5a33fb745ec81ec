# SPDX-License-Identifier: MIT
"""make bench: how pairs are ordered, redone, compared and judged, what is read of other programs, and what becomes of it.

Nothing is measured here; other programs are scripts that print what theirs print."""
import errno
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

ROOT = Path(__file__).parent.parent.parent
BENCH = ROOT / "tools" / "bench"
sys.path.insert(0, str(BENCH))
import bench  # noqa: E402
import contenders  # noqa: E402
import document  # noqa: E402
import extras  # noqa: E402
import judge  # noqa: E402
import many  # noqa: E402
import noise  # noqa: E402
import tables  # noqa: E402
from support import wait_for  # noqa: E402

QUIET = {"steal_percent": 0.0, "foreign_percent": 1.0}
LOUD = {"steal_percent": 3.0, "foreign_percent": 1.0}
LIMITS = noise.Limits(steal=2, foreign=5)
ENV = contenders.Env(SimpleNamespace(process=SimpleNamespace(pid=os.getpid())), 1, 0, "", True)


# ---- intervals and verdicts ----

@pytest.mark.parametrize("n, low, high, coverage", [
    (1, 0, 0, 0.0), (2, 0, 1, 0.5), (5, 0, 4, 0.9375), (6, 0, 5, 0.96875), (7, 0, 6, 0.984375), (8, 0, 7, 0.9921875),
    (9, 1, 7, 0.9609375), (15, 3, 11, 0.96484375),
])
def test_the_interval_is_that_of_the_sign_test(n, low, high, coverage):
    e = judge.estimate(list(reversed(range(n))))
    assert (e["median"], e["low"], e["high"], e["n"]) == ((n - 1) / 2, low, high, n)
    assert e["coverage"] == pytest.approx(coverage)
    assert judge.estimate([]) is None


@pytest.mark.parametrize("values, want, at_least, word", [
    ([1.1] * 7, 1.0, True, "met"),
    ([0.9] * 6 + [1.2], 1.0, True, "missed (not decided)"),
    ([0.9] * 7, 1.0, True, "missed"),
    ([1.0] * 7, 1.0, True, "met"),
    ([0.9] + [1.1] * 6, 1.0, True, "met (not decided)"),
    ([100] * 7, 150, False, "met"),
    ([100] * 6 + [200], 150, False, "met (not decided)"),
    ([200] * 7, 150, False, "missed"),
    ([0] * 7, 0, False, "met"),
])
def test_the_median_decides_and_the_interval_doubts(values, want, at_least, word):
    assert judge.word(judge.estimate(values), want, at_least) == word


def cell(group, size, rounds, threads=1, **more):
    row = next((g for g in contenders.GROUPS if g.name == group), contenders.Group(group, ("one-copy", group, "two-copy"), group, (), ()))
    return judge.summary({"group": group, "chain": list(row.chain), "base": row.base, "size": size, "threads": threads,
                          "rounds": [{"gbps": r} for r in rounds], "redone": [], "noisy_kept": 0, "failures": [], **more})


def bench_document(*cells, **more):
    d = {"cells": list(cells), "missing": {}, "started": "2026-01-01T00:00:00Z", "ended_early": None,
         "host": {"kernel": "6.18.1", "cpu": "A CPU", "cpus": 2, "congestion": "cubic", "copyledger": "0.1.0", "commit": "abc",
                  "iperf3": "iperf 3.12", "bpftrace": None},
         "options": {"congestion": "", "seconds": 1, "warmup": 0, "pin": False, "max_steal": 2.0, "max_foreign": 5.0},
         "bpftrace": {"style": "tracepoint", "refused": []}, **more}
    d["verdicts"] = judge.judge(d)
    return d


def verdicts(d, bar):
    return {v["what"]: (v["want"], v["verdict"], v["reason"]) for v in d["verdicts"] if v["bar"] == bar}


def test_a_ratio_is_of_one_round():
    c = cell("peers", 64, [{"one-copy": 2, "iperf3": 1, "two-copy": 3}, {"one-copy": 40, "iperf3": 10}, {"one-copy": 5}])
    assert c["ratios"]["one-copy"]["n"] == 2 and c["ratios"]["one-copy"]["median"] == 3
    assert c["ratios"]["two-copy"]["n"] == 1 and c["gbps"]["one-copy"]["n"] == 3
    assert "iperf3" not in c["ratios"]


def test_bar_1_asks_more_of_small_messages():
    rounds = [{"one-copy": 1.1, "two-copy": 1.3, "iperf3": 1.0}] * 7
    d = bench_document(cell("peers", 1024, rounds), cell("peers", 4096, rounds, 4), cell("peers", 64, [], failures=["iperf3: it broke"]))
    assert verdicts(d, 1) == {
        "one-copy / iperf3, 1 KiB, 1 thread": (1.2, "missed", None), "two-copy / iperf3, 1 KiB, 1 thread": (1.2, "met", None),
        "one-copy / iperf3, 4 KiB, 4 threads": (1.0, "met", None), "two-copy / iperf3, 4 KiB, 4 threads": (1.0, "met", None),
        "one-copy / iperf3, 64 B, 1 thread": (1.2, "not measured", "iperf3: it broke"),
        "two-copy / iperf3, 64 B, 1 thread": (1.2, "not measured", "iperf3: it broke")}


def test_a_named_peer_is_stated():
    d = bench_document(cell("nep", 64, [{"one-copy": 3, "two-copy": 2, "nep": 1}] * 7))
    assert verdicts(d, 1)["one-copy / nep, 64 B, 1 thread"] == (None, "stated", None)
    assert verdicts(d, 1)["one-copy and two-copy / iperf3"][1] == "not measured"


def test_a_named_peers_zero_copy_has_a_bar():
    found = {"zero-copy": None, "nep-zerocopy": None}
    chain = contenders.groups(found, ["nep-zerocopy"])[-1].chain
    assert chain == ("zero-copy", "nep-zerocopy")
    rounds = [{"zero-copy": 1.4, "nep-zerocopy": 1.0}] * 7
    d = bench_document(judge.summary({"group": "nep-zerocopy", "chain": list(chain), "base": "nep-zerocopy", "size": 64, "threads": 1,
                                      "rounds": [{"gbps": r} for r in rounds], "redone": [], "noisy_kept": 0, "failures": []}))
    assert verdicts(d, 2)["zero-copy / nep-zerocopy, 64 B, 1 thread"] == (1.3, "met", None)
    assert not any("other programs" in what for what in verdicts(d, 2)) and not any("nep" in what for what in verdicts(d, 1))


def test_bar_3_and_a_third_of_what_bpftrace_loses():
    def rounds(on, traced):
        return [{"one-copy": on, "one-copy, ledger off": 1.0, "one-copy, bpftrace": traced}] * 7
    d = bench_document(cell("ledger", 64, rounds(0.95, 0.8)), cell("ledger", 65536, rounds(0.98, 0.95)))
    found = verdicts(d, 3)
    assert found["ledger on / off, 64 B, 1 thread"] == (0.94, "met", None)
    assert found["ledger on / off, 64 KiB, 1 thread"] == (0.99, "missed", None)
    assert found["loss by the ledger less a third of bpftrace's, 64 B, 1 thread"] == (0, "met", None)
    assert found["loss by the ledger less a third of bpftrace's, 64 KiB, 1 thread"] == (0, "missed", None)
    without = bench_document(cell("ledger", 64, [{"one-copy": 1, "one-copy, ledger off": 1}] * 7),
                             missing={"one-copy, bpftrace": "there is no bpftrace"})
    assert verdicts(without, 3)["bpftrace / without, 64 B, 1 thread"] == (None, "not measured", "there is no bpftrace")


def test_bars_4_and_5():
    def lanes(ns, base):
        return {"ns_per_message": ns, "result_bytes": base, "daemon_bytes": 10 * base}
    scale = {"lanes": [16, 64, 1000], "rounds": [{"16": lanes(100, 1000), "64": lanes(110, 1480)}] * 7, "failures": ["1000 lanes: no"]}
    start = {"first_byte_ms": [100.0] * 7, "probe_ms": [400.0] * 7, "idle_ticks": [0, 0], "reasons": {"first_run_ms": "it broke"}}
    d = bench_document(scale=scale, start=start)
    assert verdicts(d, 4)["CPU time a message, 64 / 16 lanes"] == (1.15, "met", None)
    assert verdicts(d, 4)["CPU time a message, 1000 / 16 lanes"] == (1.15, "not measured", "1000 lanes: no")
    assert next(v for v in d["verdicts"] if v["what"] == "result's bytes a lane more")["estimate"]["median"] == 10
    five = verdicts(d, 5)
    assert five["start to the first measured byte, no warm-up"] == (150, "met", None)
    assert five["copyledger probe, the first of a daemon"] == (300, "missed", None)
    assert five["the same for the first run of a daemon"] == (150, "not measured", "it broke")
    assert five["idle daemon, CPU ticks"] == (0, "met", None)
    assert verdicts(bench_document(), 4) == dict.fromkeys(("answers from a full store", "a watch of many sockets"),
                                                          (None, "not measured", "not asked for")) | {
        "CPU time a message, more lanes / 16 lanes": (1.15, "not measured", "not asked for")}


def test_a_part_measured_anew_replaces_its_own_and_says_so():
    old = bench_document(cell("zero-copy", 64, []), cell("ledger", 64, []), start={"probe_ms": [1.0]})
    new = bench_document(cell("zero-copy", 64, [{"zero-copy": 1.0, "one-copy": 2.0}]), start={"probe_ms": [2.0]})
    new |= {"started": "later", "host": {**new["host"], "commit": "abc"}}
    both = bench.merged(old, new)
    assert [len(c["rounds"]) for c in both["cells"]] == [1, 0] and both["start"] == {"probe_ms": [2.0]}
    assert both["started"] == old["started"] and both["later"] == [{"what": ["start", "zero-copy"], "begun": "later", "commit": "abc"}]
    assert "measured anew later (abc): start, zero-copy" in list(tables.host_lines(both))


def test_many_results_and_sockets_are_stated():
    store = {"results": 1001, "document_bytes": 2000, "ms": {"list": [5.0]}, "rss_mib": 6.0}
    watch = {"sockets": 10000, "gap_ms": [500.0, 501.0, 502.0], "interval_ms": 500, "daemon_bytes": 1, "map_bytes_max": 2, "socket_bytes": 104}
    found = verdicts(bench_document(store=store, watch=watch), 4)
    assert found["1,001 results of 2,000 bytes: list"] == (None, "stated", None)
    assert found["watch of 10,000 sockets: from reply to reply, of 500 ms asked"] == (None, "stated", None)
    found = verdicts(bench_document(store={"reason": "no room"}, watch={"reason": "too few files"}), 4)
    assert found["answers from a full store"] == (None, "not measured", "no room")
    assert found["a watch of many sockets"] == (None, "not measured", "too few files")


def test_a_store_is_filled_with_results_of_their_own(tmp_path):
    row = {"id": "20261127-060020-a689", "started": 1795759220 * 10**9, "ended": 0, "label": None, "mode": "", "document": "20261127-060020-a689!"}
    rows = list(many.copies_of(row, 3000))
    assert len({r["id"] for r in rows}) == 3000 and rows[0]["document"] == rows[0]["id"] + "!"
    assert rows[0]["started"] > rows[1]["started"] and {r["mode"] for r in rows} == {"one-copy", "two-copy"}


# ---- pairs ----

def test_every_chain_has_its_base_beside_the_others():
    for group in contenders.GROUPS:
        at = group.chain.index(group.base)
        assert all(abs(i - at) <= 1 for i in range(len(group.chain))), group


def test_the_order_turns_round():
    assert [bench.order_of(("a", "base", "b"), i) for i in range(3)] == [["a", "base", "b"], ["b", "base", "a"], ["a", "base", "b"]]


def test_what_lacks_its_base_is_left_out():
    found = dict.fromkeys(["one-copy", "two-copy", "zero-copy", "one-copy, ledger off", "nep"])
    chains = {g.name: g.chain for g in contenders.groups(found, ["nep"])}
    assert chains == {"zero-copy": ("zero-copy", "one-copy"), "floor": ("one-copy, ledger off",), "ledger": ("one-copy", "one-copy, ledger off"),
                      "nep": ("one-copy", "nep", "two-copy")}


def fake_cell(chain=("x", "base")):
    return {"chain": list(chain), "base": "base", "size": 64, "threads": 1, "rounds": [], "redone": [], "noisy_kept": 0, "failures": []}


@pytest.mark.parametrize("shares, redone, kept, taken", [
    ([QUIET, QUIET], 0, 0, 2),
    ([LOUD, QUIET, QUIET, QUIET], 1, 0, 4),
    ([QUIET, LOUD] * 3, 2, 1, 6),  # no more redos: it counts, and is known for noisy
])
def test_noisy_pairs_are_redone_and_counted(monkeypatch, shares, redone, kept, taken):
    said, calls = iter(shares), []
    monkeypatch.setattr(noise, "between", lambda a, b: next(said))

    def run(env, size, threads):
        calls.append(size)
        return 1.0

    c = fake_cell()
    bench.take_round(ENV, c, {"x": run, "base": run}, 0, LIMITS, most=2)
    assert (len(c["redone"]), c["noisy_kept"], len(calls), len(c["rounds"])) == (redone, kept, taken, 1)
    assert all(r["why"] == ["steal 3.0 %"] for r in c["redone"])


def test_who_fails_has_no_figure(monkeypatch):
    monkeypatch.setattr(noise, "between", lambda a, b: QUIET)

    def broken(env, size, threads):
        raise contenders.Failed("it broke")

    c = fake_cell()
    bench.take_round(ENV, c, {"x": broken, "base": lambda *_: 1.0}, 0, LIMITS, most=2)
    assert c["rounds"][0]["gbps"] == {"base": 1.0} and c["failures"] == ["x: it broke"]


@pytest.mark.parametrize("left, rounds", [(-1, 1), (3600, 3)])
def test_time_ends_it_after_a_round(monkeypatch, capsys, left, rounds):
    monkeypatch.setattr(noise, "between", lambda a, b: QUIET)
    args = SimpleNamespace(max_steal=2, max_foreign=5, redos=0, rounds=3, minutes=1)
    cells = [fake_cell(), fake_cell()]
    early = bench.take_rounds(ENV, cells, {"x": lambda *_: 1.0, "base": lambda *_: 1.0}, args, time.monotonic() + left)
    assert [len(c["rounds"]) for c in cells] == [rounds, rounds]
    assert early == (None if rounds == 3 else "the time of 1 minutes was over after 1 of 3 rounds")


def test_an_interrupt_keeps_what_there_is(monkeypatch):
    monkeypatch.setattr(noise, "between", lambda a, b: QUIET)
    said = iter([1.0, 1.0, 1.0])

    def run(env, size, threads):
        try:
            return next(said)
        except StopIteration:
            raise KeyboardInterrupt from None

    args, cells = SimpleNamespace(max_steal=2, max_foreign=5, redos=0, rounds=3, minutes=1), [fake_cell(), fake_cell()]
    early = bench.take_rounds(ENV, cells, {"x": run, "base": run}, args, time.monotonic() + 60)
    assert early == "interrupted in round 1 of 3" and [len(c["rounds"]) for c in cells] == [1, 0]
    assert judge.summary(cells[1])["ratios"] == {"x": None}


# ---- noise ----

STAT = "cpu  100 10 200 600 5 3 4 8 50 0\ncpu0 1 1 1 1 1 1 1 1 1 1\n"


def test_what_the_machine_did():
    assert noise.parse_stat(STAT, apart=True) == (930, 310, 8)
    assert noise.parse_stat(STAT, apart=False) == (930, 317, 8)
    assert noise.parse_process("7 (a) b (c) S 1 1 1 0 -1 4 0 0 0 0 10 20 30 40 20 0 1 0") == 100
    reading = noise.read(os.getpid())
    assert reading.total >= reading.busy and reading.own >= 0


def test_foreign_is_what_is_not_ours():
    a, b = noise.Reading(1000, 500, 10, 50.0), noise.Reading(1200, 650, 14, 180.0)
    assert noise.between(a, b) == {"steal_percent": 2.0, "foreign_percent": 10.0}
    assert noise.between(b, b) == {"steal_percent": 0.0, "foreign_percent": 0.0}
    assert noise.complaints(QUIET, LIMITS) == [] and noise.complaints(LOUD, LIMITS) == ["steal 3.0 %"]
    assert noise.complaints({"steal_percent": 2.0, "foreign_percent": 5.1}, LIMITS) == ["foreign load 5.1 %"]
    assert noise.should_redo([["x"]], 2, 3) and not noise.should_redo([["x"]], 3, 3) and not noise.should_redo([[], []], 0, 3)


# ---- what other programs print ----

def test_iperf3():
    assert contenders.parse_iperf3('{"end": {"sum_received": {"bits_per_second": 2.5e9}}}') == 2.5
    assert contenders.parse_iperf3('{"end": {}, "error": "unable to connect to server: Connection refused"}') is None
    assert contenders.parse_iperf3("") is None
    for text in ('{"end": {}, "error": "no such congestion control"}', "iperf3: what?"):
        with pytest.raises(contenders.Failed, match="iperf3: "):
            contenders.parse_iperf3(text)


def test_netperf_and_neper_lines():
    assert contenders.parse_netperf("131072  16384   1024    1.00     4321.50   \n") == 4.3215
    assert contenders.parse_netperf("establish control: are you sure there is a netserver listening\n") is None
    assert contenders.parse_neper("num_transactions=12\nthroughput=2500.00\nthroughput_units=Mbit/s\n") == 2.5
    assert contenders.parse_neper("throughput_Mbps=1500.00\n") == 1.5
    assert contenders.parse_neper("throughput=1.00\nthroughput_units=parsec\n") is None
    assert contenders.parse_neper("invalid_secret_count=0\n") is None


@pytest.fixture
def fakes(tmp_path):
    def write(name, text):
        (tmp_path / name).write_text(f"#!/bin/bash\n{text}\n")
        (tmp_path / name).chmod(0o755)
        return tmp_path / name
    return write


def test_named_peers_are_run(fakes, tmp_path):
    fakes("netserver", 'echo "$@" >> "${0%/*}/calls"; exec sleep 30')
    fakes("netperf", 'echo "$@" >> "${0%/*}/calls"; echo "131072  16384   64    1.00     1000.00"')
    fakes("tcp_stream", 'touch left.log; echo "$@" >> "${0%/*}/calls"; [[ $* = *-c* ]] && exit\necho throughput=3000.00\necho throughput_units=Mbit/s')
    found = contenders.peers(f"np={tmp_path}/netperf nep={tmp_path}/tcp_stream")
    assert found["np"](ENV._replace(congestion="cubic"), 64, 4) == 4.0  # a process a flow
    assert found["nep"](ENV, 64, 2) == 3.0
    calls = (tmp_path / "calls").read_text()
    assert calls.count("-m 64 -K cubic") == 4 and "-B 65536" in calls and "-T 2 -F 2" in calls and "-B 64\n" in calls
    with pytest.raises(contenders.Failed, match="congestion control"):
        found["nep"](ENV._replace(congestion="cubic"), 64, 2)
    assert not Path("left.log").exists()  # neper leaves one where it runs
    assert " -Z" not in calls and found["nep-zerocopy"](ENV, 64, 2) == 3.0
    assert (tmp_path / "calls").read_text().count(" -Z") == 2 and "np-zerocopy" not in found
    fakes("tcp_stream", 'echo "$@" >> "${0%/*}/calls"; [[ $* = *-c\\ * ]] && exit\n'
          'echo --congestion-control\necho throughput=3000.00\necho throughput_units=Mbit/s')
    assert found["nep"](ENV._replace(congestion="cubic"), 64, 2) == 3.0
    assert (tmp_path / "calls").read_text().count("--congestion-control cubic") == 2


def test_peers_that_break_say_so(fakes, tmp_path):
    fakes("netserver", "exec sleep 30")
    fakes("netperf", "echo remote error 2")
    fakes("tcp_stream", "echo no such option >&2; exit 1")
    found = contenders.peers(f"np={tmp_path}/netperf nep={tmp_path}/tcp_stream")
    with pytest.raises(contenders.Failed, match="netperf: remote error 2"):
        found["np"](ENV, 64, 1)
    with pytest.raises(contenders.Failed, match="neper: no such option"):
        found["nep"](ENV, 64, 1)
    fakes("netserver", "exit 1")
    with pytest.raises(contenders.Failed, match="netserver ended at once"):
        found["np"](ENV, 64, 1)


@pytest.mark.parametrize("text, why", [
    ("/bin/true", "'/bin/true' is not NAME=PATH of one of netperf, tcp_stream"),
    ("a=/bin/true", "is not NAME=PATH"),
    ("a=/nowhere/netperf", "there is no program /nowhere/netperf"),
])
def test_peers_that_are_none(text, why):
    with pytest.raises(contenders.Failed, match=why):
        contenders.peers(text)


COUNTS = """trap 'echo "@sock_send_length_hits: 5"; exit' INT
printf 'Attaching\\ncounting\\n'
while sleep 0.05; do :; done"""


def test_bpftrace_by_the_style_it_takes(fakes, tmp_path, monkeypatch):
    fakes("unshare", 'shift 5; exec "$@"')
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    tool = fakes("bpftrace", f'[[ $* = *rawtracepoint* ]] && {{ echo "no raw ones" >&2; exit 1; }}\n{COUNTS}')
    style, said = contenders.bpftrace_style(str(tool))
    assert style == "tracepoint" and said == ["bpftrace (rawtracepoint): no raw ones"]
    with contenders.bpftrace(str(tool), style):
        pass
    tool = fakes("bpftrace", COUNTS.replace(": 5", ": 0"))
    with pytest.raises(contenders.Failed, match="counted nothing"):
        with contenders.bpftrace(str(tool), style):
            pass
    assert contenders.bpftrace_style(str(fakes("bpftrace", "echo not here >&2; exit 1"))) == \
        (None, [f"bpftrace ({s}): not here" for s in contenders.STYLES])
    assert contenders.bpftrace_style("/nowhere/bpftrace") == (None, ["there is no /nowhere/bpftrace"])


def test_bpftrace_counts_at_the_ledgers_tracepoints():
    source = (ROOT / "bpf" / "ledger.bpf.c").read_text()
    for style in contenders.STYLES:
        program = contenders.bpftrace_program(style)
        for _, name, _, _ in contenders.SITES:
            assert f":{name} {{" in program and f"tp_btf/{name}\"" in source
    assert "tracepoint:sock:sock_send_length { @sock_send_length_bytes = sum(args->ret);" in contenders.bpftrace_program("tracepoint")


# ---- programs ----

def test_growth_is_marked(tmp_path):
    assert extras.growth({"a": 10, "b": 20, "gone": 5}, {"a": 12, "b": 20, "c": 7}) == [
        ("a", 12, 2, "GREW"), ("b", 20, 0, ""), ("c", 7, None, "new"), ("gone", None, None, "not loaded")]
    table = tmp_path / "programs.json"
    assert extras.kept_counts("6.18 tracepoint", table) == {}
    extras.keep_counts("6.18 tracepoint", {"b": {"instructions": 2}, "a": {"instructions": 1}}, table)
    extras.keep_counts("6.1 fentry", {"a": {"instructions": 9}}, table)
    assert extras.kept_counts("6.18 tracepoint", table) == {"a": 1, "b": 2} and extras.kept_counts("6.1 fentry", table) == {"a": 9}


def test_the_kept_counts_name_programs_of_the_source():
    source = (ROOT / "bpf" / "ledger.bpf.c").read_text() + (ROOT / "daemon" / "ledger.c").read_text()
    for key, counts in json.loads(extras.TABLE.read_text()).items():
        assert counts and all(name in source and n > 0 for name, n in counts.items()), key


# ---- the page ----

@pytest.fixture
def page(tmp_path):
    rounds = [{"one-copy": 1.1, "two-copy": 1.3, "iperf3": 1.0}] * 7
    d = bench_document(cell("peers", 64, rounds), cell("peers", 1048576, rounds), cell("peers", 64, rounds, 4), cell("peers", 4096, []),
                       programs={"key": "0.0 none", "programs": {"tx_turn": {"instructions": 787, "ns": {"one-copy 64": 72.5}}}},
                       ended_early="the time was over")
    (tmp_path / "bench.json").write_text(json.dumps(d))
    (tmp_path / "page.md").write_text((ROOT / "doc" / "performance.md").read_text())

    def write():
        return subprocess.run([BENCH / "document.py", "bench.json", "page.md", "figure.svg"], cwd=tmp_path, capture_output=True, text=True,
                              timeout=60)
    write.at, write.bench = tmp_path, d
    return write


def test_the_page_is_written_between_its_markers(page):
    done = page()
    assert done.returncode == 0, done.stderr
    text = (page.at / "page.md").read_text()
    kept = (ROOT / "doc" / "performance.md").read_text()
    assert text.split(document.BEGIN)[0] == kept.split(document.BEGIN)[0] and text.split(document.END)[1] == kept.split(document.END)[1]
    assert "| 1 | one-copy / iperf3, 64 B, 1 thread | 1.100 [1.100, 1.100] | at least 1.2 | missed |" in text
    assert "<details>" in text and "| 64 B, 4 threads | two-copy | 1.300 | 1.300 to 1.300 | iperf3 | 1.300 [1.300, 1.300] |" in text
    assert "| tx_turn | 787 | – | new | 72.5 | – | – |" in text
    assert "- ended early: the time was over" in text and "](figure.svg)" in text
    assert page().returncode == 0 and (page.at / "page.md").read_text() == text
    figure = (page.at / "figure.svg").read_text()
    assert "two-copy / iperf3" in figure and "1 MiB" in figure and "4 threads" in figure


def test_without_a_bench_or_markers_it_says_so(page):
    (page.at / "page.md").write_text("# Nothing\n")
    done = page()
    assert done.returncode == 1 and "the markers" in done.stderr
    assert (page.at / "page.md").read_text() == "# Nothing\n"
    (page.at / "bench.json").unlink()
    assert "make bench first" in page().stderr


def test_the_page_names_the_bars():
    text = (ROOT / "doc" / "performance.md").read_text()
    for bar in (judge.PEER_BAR, judge.PEER_BAR_SMALL, *(want for _, _, want in judge.LEDGER_BARS)):
        assert f"{bar}" in text.split("## Measured")[0], bar
    for _, _, most, unit in judge.SINGLE_BARS:
        assert not most or f"{most} {unit}" in text


def test_the_terminal_has_it_too(page):
    text = tables.text(page.bench, {"tx_turn": 700})
    assert "+87" in text and "GREW" in text and "bar 1, against other programs: " in text


def test_help_and_a_bad_peer():
    done = subprocess.run([BENCH / "bench.py", "--help"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and "--minutes" in done.stdout
    done = subprocess.run([BENCH / "bench.py", "--peers", "x"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and done.stderr.startswith("bench: PEERS: 'x'"), done.stderr
    done = subprocess.run([BENCH / "bench.py", "--bpftrace", "/nowhere", "--only", "pears"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and done.stderr.startswith("bench: --only takes some of floor, ledger, peers"), done.stderr


def test_an_output_that_cannot_be_written(tmp_path, monkeypatch):
    path = tmp_path / "bench.json"
    bench.write(path, {"old": 1})
    assert json.loads(path.read_text()) == {"old": 1} and os.listdir(tmp_path) == ["bench.json"]

    def full(self, text):
        self.touch()
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(SystemExit, match="the samples are lost: No space left on device"):
        bench.write(path, {"new": 1})
    assert json.loads(path.read_text()) == {"old": 1} and os.listdir(tmp_path) == ["bench.json"]
    done = subprocess.run([BENCH / "bench.py", "--output", path / "x"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and done.stderr == f"bench: {path}/x cannot be written: File exists\n", done.stderr


def children(pid):
    """{pid: name} of a process's children."""
    try:
        pids = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return {int(p): Path(f"/proc/{p}/comm").read_text().strip() for p in pids}
    except OSError:  # one has ended in between
        return {}


@pytest.fixture
def short_path():
    """For what becomes the address of a Unix socket, of 107 bytes at most."""
    with tempfile.TemporaryDirectory(prefix="bench-") as path:
        yield Path(path)


@pytest.mark.parametrize("signo", [signal.SIGTERM, signal.SIGKILL])
def test_whatever_ends_it_leaves_no_child(fakes, tmp_path, short_path, signo):
    peer = fakes("tcp_stream", "exec sleep 60")
    command = [BENCH / "bench.py", "--bpftrace", "/nowhere", "--peers", f"neper={peer}", "--only", "neper", "--sizes", "64",
               "--output", tmp_path / "bench.json"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
                          env={**os.environ, "TMPDIR": str(short_path)}) as it:
        assert wait_for(lambda: set(children(it.pid).values()) == {"copyledgerd", "sleep"}, 30), children(it.pid)
        left = [Path(f"/proc/{pid}") for pid in children(it.pid)]
        it.send_signal(signo)
        said = it.communicate(timeout=30)[1]
    assert len(left) == 2 and wait_for(lambda: not any(p.exists() for p in left), 30), left
    if signo == signal.SIGTERM:
        assert it.returncode == 1 and said == "bench: ended by SIGTERM\n" and not list(short_path.iterdir())
