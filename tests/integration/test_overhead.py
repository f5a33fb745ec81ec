# SPDX-License-Identifier: MIT
"""What the ledger itself costs: the hooks' own times, and on against off in interleaved slices. No test asserts a time."""
import json
import os
import re
import shutil
import signal
import subprocess

import pytest

from contract import findings, load, strict_json
from support import BUILD, check_result, running, wait_for

SLICE = ("--duration", "100ms", "--warmup", "0")  # 200 ms each: a slice has no less


@pytest.fixture(scope="module")
def daemon(tmp_path_factory):
    with running(tmp_path_factory.mktemp("overhead"), env={"NO_COLOR": "1", "LC_ALL": "C.UTF-8"}) as d:
        yield d


def timed(result):
    """Its instrument; skips where the kernel does not let the daemon have hooks measured, which the result must say."""
    instrument = result["instrument"]
    if isinstance(instrument["hook_ns"], dict):
        if result["ledger"]:
            assert "bpf_enable_stats" in instrument["hook_ns"]["reason"]
            assert [w["message"] for w in result["warnings"] if w["code"] == "no_hook_times"] == [instrument["hook_ns"]["reason"]]
        pytest.skip(result.get("ledger_reason") or instrument["hook_ns"]["reason"])
    return instrument


# ---- the hooks' own times ----

@pytest.mark.parametrize("tier", ["auto", "tracepoint"])
def test_hooks_are_timed_if_asked(daemon, tier):
    result = daemon.run_moving(mode="one-copy", hook_times=True, ledger=tier, size=4096, warmup_ms=0, duration_ms=200)
    instrument = timed(result)
    assert result["spec"]["hook_times"] is True and result["warnings"] == []
    hooks = instrument["hooks"]
    assert instrument["sites_attached"] == len(hooks) > 3
    assert instrument["hook_runs"] == sum(h["runs"] for h in hooks) >= result["ledger"]["counters"]["send_calls"] > 0
    assert instrument["hook_ns"] == sum(h["run_ns"] for h in hooks) > 0
    assert all((h["runs"] > 0) == (h["run_ns"] > 0) for h in hooks)
    assert instrument["load_cpu_ns"] > 0
    assert instrument["hook_share"] == pytest.approx(instrument["hook_ns"] / instrument["load_cpu_ns"])
    assert 0 < instrument["hook_share"] < 1
    assert "timing" in instrument["overhead"] and "--overhead" in instrument["overhead"]
    (line,) = re.findall(r"^hooks .*$", daemon.cli("show", result["id"]).stdout, re.M)
    assert f"{instrument['hook_runs']:,} runs of {len(hooks)} hooks" in line and re.search(r"[\d.]+ % of the load's CPU time$", line)


def test_hooks_are_not_timed_unasked(daemon):
    result = daemon.run_moving(mode="one-copy", warmup_ms=0, duration_ms=60)
    instrument = result["instrument"]
    if result["host"]["sysctl"]["kernel.bpf_stats_enabled"] == 1 or not result["ledger"]:
        pytest.skip("the kernel measures all programs, or has none of ours")
    for name in ("hook_runs", "hook_ns", "hook_share"):
        assert instrument[name]["value"] is None and "--hook-times" in instrument[name]["reason"]
    assert all(h["runs"] is None and h["run_ns"] is None for h in instrument["hooks"])
    assert not re.search(r"^hooks ", daemon.cli("show", result["id"]).stdout, re.M)


def test_without_a_ledger_there_is_no_hook_to_time(daemon):
    result = daemon.run_moving(mode="one-copy", hook_times=True, ledger="off", warmup_ms=0, duration_ms=60)
    instrument = result["instrument"]
    for name in ("hook_runs", "hook_ns", "hook_share", "load_cpu_ns"):
        assert instrument[name] == {"value": None, "reason": result["ledger_reason"]}
    assert instrument["hooks"] == [] and result["warnings"] == []


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("setpriv"), reason="needs root, and setpriv (util-linux)")
def test_without_the_right_the_reason_is_a_warning(tmp_path):
    """As under the packaged service."""
    with running(tmp_path, prefix=("setpriv", "--bounding-set", "-sys_admin", "--inh-caps", "-sys_admin")) as d:
        result = d.run_moving(mode="one-copy", hook_times=True, warmup_ms=0, duration_ms=60)
        if not result["ledger"]:
            pytest.skip(result["ledger_reason"])
        ns = result["instrument"]["hook_ns"]
        if isinstance(ns, int):  # the sysctl, or the watch of another test, has the kernel measure
            pytest.skip("the kernel measures all programs at the moment")
        assert "CAP_SYS_ADMIN" in ns["reason"] and ns == result["instrument"]["hook_share"]
        assert [w["code"] for w in result["warnings"]] == ["no_hook_times"]
        assert result["instrument"]["load_cpu_ns"] > 0
        assert "warning: the kernel does not let" in d.cli("show").stdout


def test_the_option_is_the_member(daemon):
    done = daemon.cli("run", "--json", "--mode", "one-copy", "--hook-times", "--duration", "60ms", "--warmup", "0")
    assert done.returncode == 0, done.stderr
    assert check_result(json.loads(done.stdout))["spec"]["hook_times"] is True


def test_times_are_summed_for_monitoring(daemon):
    def runs():
        (account,) = [a for a in daemon.call("GetTotals")["parameters"]["accounts"] if a["account"] == "runs"]
        return account["hook_runs"] or 0, account["hook_ns"] or 0

    before = runs()
    instrument = timed(daemon.run_moving(mode="one-copy", hook_times=True, warmup_ms=0, duration_ms=60))
    assert runs() == (before[0] + instrument["hook_runs"], before[1] + instrument["hook_ns"])


# ---- on against off ----

def overhead(done, status=0):
    """The checked document of a command that has ended."""
    assert done.returncode == status, done
    document = strict_json(done.stdout)
    assert not findings(load("overhead-1.schema.json"), document, "overhead-1.schema.json")
    assert document["pairs_used"] + document["pairs_left_out"] == len(document["pairs"]) <= document["pairs_asked"]
    assert sum(p["left_out"] is not None for p in document["pairs"]) == document["pairs_left_out"]
    for i, pair in enumerate(document["pairs"]):
        assert pair["pair"] == i + 1 and pair["first"] == ("off" if i % 2 else "on")
    return document


def runs_of(daemon, document):
    """The stored results of its slices in the order of their starts, which must be all that have the label."""
    pairs = [[p[side]["run"] for side in sorted(("on", "off"), key=lambda x: x != p["first"]) if p[side]] for p in document["pairs"]]
    ids = [run for pair in pairs for run in pair]
    listed = daemon.call("ListRuns", {"label": document["label"]})["parameters"]["runs"]
    assert sorted(r["id"] for r in listed) == sorted(ids)
    results = [check_result(daemon.call("GetRun", {"id": run})["parameters"]["result"]) for run in ids]
    assert [r["started"] for r in results] == sorted(r["started"] for r in results)
    return {r["id"]: r for r in results}


def has_ledger(daemon):
    result = daemon.run_moving(mode="one-copy", warmup_ms=0, duration_ms=60)
    if not result["ledger"]:
        pytest.skip(result["ledger_reason"])


@pytest.mark.parametrize("ledger", [(), ("--ledger", "tracepoint")], ids=["auto", "tracepoint"])
def test_on_against_off(daemon, ledger):
    has_ledger(daemon)
    document = overhead(daemon.cli("run", "--mode", "one-copy", "--overhead", "--pairs", "3", "--json", *SLICE, *ledger))
    assert document["state"] == "done" and document["pairs_asked"] == 3 and document["slice_ms"] == 200
    assert document["label"].startswith("overhead-") and document["unbalanced"] == 0
    results = runs_of(daemon, document)
    assert len(results) == 6
    for pair in document["pairs"]:
        on, off = (results[pair[side]["run"]] for side in ("on", "off"))
        assert on["ledger"]["tier"] == pair["on"]["tier"] == document["tier"] and on["spec"]["ledger"] == (ledger or (0, "auto"))[1]
        assert off["ledger"] is None and pair["off"]["tier"] is None and off["spec"]["ledger"] == "off"
        assert off["instrument"]["hooks"] == [] and on["instrument"]["hooks"]
        assert {**on["spec"], "ledger": ""} == {**off["spec"], "ledger": ""} and on["spec"]["duration_ms"] == 200
        if pair["left_out"] is None:
            figures = [r["app"]["throughput_gbps"] for r in (on, off)]
            assert pair["ratios"]["throughput_gbps"] == pytest.approx(figures[0] / figures[1])
    throughput, cpu = document["measures"]
    ratios = sorted(p["ratios"]["throughput_gbps"] for p in document["pairs"] if p["left_out"] is None)
    if len(ratios) == 3:  # beside thousands of threads a slice may get no CPU
        assert throughput["ratio"] == pytest.approx(ratios[1]) and throughput["pairs"] == 3
        assert (throughput["low"], throughput["high"]) == pytest.approx((ratios[0], ratios[2])) and throughput["coverage"] == 0.75
    assert (cpu["ratio"] is None) == (cpu["reason"] is not None)


def test_as_text(daemon):
    has_ledger(daemon)
    done = daemon.cli("run", "--mode", "one-copy", "--overhead", "--pairs", "6", *SLICE, "--no-perf", "--label", "mine", "--workload", "rr")
    assert done.returncode == 0 and not done.stderr, done
    lines = done.stdout.splitlines()
    assert lines[0].startswith("one-copy, messages of 64 KiB, 1 thread, rr over loopback: ledger on (") and lines[0].endswith(") against off")
    assert lines[1] == '6 pairs of runs of 200 ms, in turns; label "mine"'
    assert re.search(r"^throughput \(Gbit/s\) +[\d.]+ +[\d.]+ +[\d.]+  [\d.]+ to [\d.]+ \(\d\d %\), \d pairs$", done.stdout, re.M)
    assert re.search(r"^CPU time per byte .*perf counters were turned off for this run$", done.stdout, re.M)
    assert re.search(r"ledger.* throughput", lines[-1])
    assert len(daemon.call("ListRuns", {"label": "mine"})["parameters"]["runs"]) == 12


def test_the_duration_is_shared_out(daemon):
    document = json.loads(daemon.cli("run", "--mode", "one-copy", "--overhead", "--pairs", "1", "--json", "--duration", "0.6s").stdout)
    assert document["slice_ms"] == document["spec"]["duration_ms"] == 300 and document["spec"]["warmup_ms"] == 100
    assert document["measures"][0]["low"] is None or document["measures"][0]["pairs"] == 0


def test_times_of_hooks_are_part_of_the_cost(daemon):
    has_ledger(daemon)
    document = overhead(daemon.cli("run", "--mode", "one-copy", "--overhead", "--pairs", "1", "--json", "--hook-times", *SLICE))
    assert any("--hook-times" in note for note in document["notes"])


def test_a_watch_beside_it_is_said(daemon):
    has_ledger(daemon)
    with daemon.connect() as v:
        v.send("Watch", {"all": True}, more=True)
        v.receive()
        document = overhead(daemon.cli("run", "--mode", "one-copy", "--overhead", "--pairs", "1", "--json", *SLICE))
    assert any("a watch went on" in note for note in document["notes"])


def start(daemon, *args):
    return subprocess.Popen([BUILD / "copyledger", *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL,
                            text=True, env={**daemon.env, "COPYLEDGER_SOCKET": str(daemon.socket)})


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_one_reports_what_there_is(daemon, sign):
    label = f"interrupted by {sign.name}"
    cli = start(daemon, "run", "--mode", "one-copy", "--overhead", "--json", "--duration", "5s", "--warmup", "0", "--label", label)

    def begun():
        runs = daemon.call("ListRuns", {"label": label})["parameters"]["runs"]
        return len(runs) >= 3 and runs[0]["state"] == "measuring"

    assert wait_for(begun, 60, 0.005)
    cli.send_signal(sign)
    out, err = cli.communicate(timeout=30)
    document = overhead(subprocess.CompletedProcess([], cli.returncode, out, err), 1)
    assert document["state"] == "interrupted" and 2 <= len(document["pairs"]) < 10 and "cancelling run" in err
    assert document["pairs"][0]["on"] and document["pairs"][0]["off"] and document["pairs"][-1]["left_out"]
    runs_of(daemon, document)
    assert daemon.call("GetInfo")["parameters"]["running"] is None


def test_a_second_signal_leaves(daemon):
    cli = start(daemon, "run", "--mode", "one-copy", "--overhead", "--duration", "600s", "--warmup", "0", "--label", "left")
    assert wait_for(lambda: daemon.call("ListRuns", {"label": "left", "state": "measuring"})["parameters"]["runs"], 60)
    daemon.process.send_signal(signal.SIGSTOP)
    try:
        cli.send_signal(signal.SIGINT)
        assert "once more" in cli.stderr.readline()
        cli.send_signal(signal.SIGINT)
        out, err = cli.communicate(timeout=10)
    finally:
        daemon.process.send_signal(signal.SIGCONT)
        cli.kill()
    assert cli.returncode == 1 and not out and "left: run" in err and "interrupted" in err
    (run,) = daemon.call("ListRuns", {"label": "left"})["parameters"]["runs"]
    daemon.call("CancelRun", {"id": run["id"]})
    daemon.call("FollowRun", {"id": run["id"]})


def test_runs_that_fail_end_it_after_three_pairs(daemon):
    command = ("run", "--mode", "one-copy", "--congestion", "nosuchcc", "--overhead", *SLICE)
    document = overhead(daemon.cli(*command, "--json"), 1)
    assert document["state"] == "given_up" and document["pairs_left_out"] == 3 and document["measures"][0]["ratio"] is None
    assert all("nosuchcc" in p["left_out"] for p in document["pairs"])
    text = daemon.cli(*command)
    assert text.returncode == 1 and text.stdout.count("is left out:") == 3 and "given up" in text.stdout.splitlines()[-1]


def test_a_daemon_that_dies_meanwhile_is_3_with_what_there_is(tmp_path):
    with running(tmp_path) as d:
        cli = start(d, "run", "--mode", "one-copy", "--overhead", "--json", "--duration", "20s", "--warmup", "0", "--label", "x")
        assert wait_for(lambda: len(d.call("ListRuns", {"label": "x"})["parameters"]["runs"]) == 2, 60)
        d.kill()
        out, err = cli.communicate(timeout=30)
        document = overhead(subprocess.CompletedProcess([], cli.returncode, out, err), 3)
        assert document["state"] == "failed" and document["pairs_left_out"] == 1 and "copyledger: " in err
        d.start()


@pytest.mark.parametrize("args, words", [
    (["--overhead", "--ledger", "off"], ["--ledger", "off"]), (["--overhead", "--detach"], ["--detach"]),
    (["--overhead", "--peer", "host"], ["--peer"]), (["--overhead", "--via", "true", "--peer-address", "::1"], ["--via"]),
    (["--overhead", "--peer-address", "::1"], ["--overhead", "--peer-address"]),
    (["--overhead", "--pairs", "0"], ["--pairs", "1000", "0"]), (["--overhead", "--pairs", "1001"], ["--pairs", "1001"]),
    (["--overhead", "--pairs", "few"], ["--pairs", "few"]), (["--pairs", "3"], ["--overhead"]), (["--overhead=3"], ["--overhead"]),
    (["--overhead", "--size", "0"], ["size"]), (["--overhead", "--label", "x" * 65], ["label", "64"]),
    (["--overhead", "--duration", "10000h"], ["duration_ms"]),
], ids=lambda x: " ".join(x)[:40])
def test_wrong_usage_is_2_with_a_sentence(daemon, args, words):
    before = daemon.call("GetInfo")["parameters"]["stored"]
    done = daemon.cli("run", "--mode", "one-copy", *args)
    assert done.returncode == 2 and not done.stdout and done.stderr.startswith("copyledger: "), done
    assert all(word in done.stderr for word in words), done.stderr
    assert daemon.call("GetInfo")["parameters"]["stored"] == before


def test_no_daemon_is_3(tmp_path):
    done = subprocess.run([BUILD / "copyledger", "run", "--mode", "one-copy", "--overhead", "--socket", tmp_path / "none"],
                          capture_output=True, text=True, timeout=20)
    assert done.returncode == 3 and not done.stdout and str(tmp_path) in done.stderr
