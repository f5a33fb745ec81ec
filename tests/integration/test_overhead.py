# SPDX-License-Identifier: MIT
"""What the ledger itself costs: the hooks' own times, and on against off in interleaved slices. No test asserts a time."""
import json
import re

import pytest

from support import check_result, running


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
