# SPDX-License-Identifier: MIT
"""'copyledger compare' of real sweeps: equals are equal, a planted slowdown is found, and packing has its cost."""
import json

import jsonschema
import pytest

from support import TOP, running

SCHEMA = json.loads((TOP / "schemas/compare-1.schema.json").read_text())
SWEEP = ("--modes", "two-copy,one-copy", "--sizes", "64,64K", "--threads", "1", "--repeat", "5", "--duration", "40ms",
         "--warmup", "10ms")


@pytest.fixture(scope="module")
def daemon(tmp_path_factory):
    with running(tmp_path_factory.mktemp("compare"), env={"LC_ALL": "C.UTF-8"}) as d:
        made = d.cli("sweep", *SWEEP)
        assert made.returncode == 0, made.stderr
        yield d


def compared(daemon, *args, status=0):
    done = daemon.cli("compare", *args, "--json")
    assert done.returncode == status, done.stderr
    document = json.loads(done.stdout)
    jsonschema.Draft202012Validator(SCHEMA).validate(document)
    return document


def planted(daemon, file, factor, kernel=None, runs=lambda mode, size: 5):
    """A real document of each cell, so many times over, with throughputs that differ by 1 % from run to run and by the factor of
    their spec: the sweep itself may have ended a cell early."""
    first = {}
    for line in daemon.cli("export", "--jsonl").stdout.splitlines():
        document = json.loads(line)
        first.setdefault((document["spec"]["mode"], document["spec"]["size"]), document)
    lines = []
    for number in range(5):
        for spec, document in first.items():
            if number < runs(*spec):
                document["id"] = f"20260101-00000{number}-{spec[1] % 0x10000:04x}"
                document["started"] = f"2026-01-01T00:0{number}:00.000000Z"
                document["app"]["throughput_gbps"] = (10 + 0.1 * number) * factor(*spec)
                document["host"]["kernel"]["release"] = kernel or document["host"]["kernel"]["release"]
                lines.append(json.dumps(document))
    file.write_text("\n".join(lines))
    return str(file)


def test_a_sweep_is_equal_to_itself(daemon):
    document = compared(daemon, "last", "last", "--fail-if-worse", "0%")
    assert len(document["cells"]) == 4
    assert {c["verdict"] for c in document["cells"]} == {"no_difference"} and document["provenance"]["same_host"]
    assert all(c["ratio"] == 1 for c in document["cells"])


def test_a_planted_slowdown_is_found_and_nothing_else(daemon, tmp_path):
    sound = planted(daemon, tmp_path / "sound.jsonl", lambda mode, size: 1)
    slower = planted(daemon, tmp_path / "slower.jsonl", lambda mode, size: 0.9 if (mode, size) == ("one-copy", 65536) else 1)
    verdicts = {(c["a"]["mode"], c["a"]["size"]): c["verdict"] for c in compared(daemon, sound, slower)["cells"]}
    assert verdicts.pop(("one-copy", 65536)) == "worse" and set(verdicts.values()) == {"no_difference"}, verdicts
    done = daemon.cli("compare", sound, slower, "--fail-if-worse", "5%")
    assert done.returncode == 1 and "worse by more than 5 %" in done.stderr, done.stderr
    assert "worse" in done.stdout and "64 KiB" in done.stdout
    assert daemon.cli("compare", sound, slower, "--fail-if-worse", "15%").returncode == 0
    assert daemon.cli("compare", slower, sound, "--fail-if-worse", "5%").returncode == 0  # better is not worse


def test_a_cell_of_few_runs_does_not_hide_the_others(daemon, tmp_path):
    """One that ended early with three runs can show nothing; the others are judged all the same."""
    def few(mode, size):
        return 3 if (mode, size) == ("one-copy", 64) else 5

    sound = planted(daemon, tmp_path / "sound.jsonl", lambda mode, size: 1, runs=few)
    slower = planted(daemon, tmp_path / "slower.jsonl", lambda mode, size: 0.5, runs=few)
    cells = {(c["a"]["mode"], c["a"]["size"]): c for c in compared(daemon, sound, slower)["cells"]}
    blind = cells.pop(("one-copy", 64))
    assert blind["a"]["n"] == 3 and blind["verdict"] == "no_difference" and blind["detectable_percent"] is None
    assert len(cells) == 3 and {c["verdict"] for c in cells.values()} == {"worse"}, cells
    assert daemon.cli("compare", sound, slower, "--fail-if-worse", "5%").returncode == 1


def test_packing_has_its_cost(daemon):
    """At 64 KiB two-copy copies each byte once more: the ledger is sure of that, whatever the clock says."""
    document = compared(daemon, "last:mode=one-copy,size=64K", "last:mode=two-copy,size=64K", "--measure", "copies_per_byte")
    cell, = document["cells"]
    assert document["across"] == ["mode"] and cell["ratio"] == pytest.approx(1.5, abs=0.05)
    assert cell["verdict"] == "worse"
    text = daemon.cli("compare", "last:mode=one-copy,size=64K", "last:mode=two-copy,size=64K").stdout
    assert "64 KiB" in text


def test_what_cannot_be_compared(daemon, tmp_path):
    done = daemon.cli("compare", "last:size=64", "last:size=64K,mode=nosuch")
    assert done.returncode == 1 and "no run" in done.stderr
    done = daemon.cli("compare", "last", "last", "--measure", "nosuch")
    assert done.returncode == 2 and "there is no measure 'nosuch'" in done.stderr
    names = done.stderr.split("measures: ")[1].strip().split(", ")
    assert names[0] == "throughput_gbps" and names[-1] == "tx_deferred_copy_bytes" and len(names) == len(set(names)) > 20
    done = daemon.cli("compare", "last", "last", "--measure", "delivered_bytes", "--fail-if-worse", "5%")
    assert done.returncode == 2 and "neither more nor less of it is worse" in done.stderr and not done.stdout
    assert daemon.cli("compare", "last", "last", "--measure", "delivered_bytes").returncode == 0
    done = daemon.cli("compare", "last")
    assert done.returncode == 2
    done = daemon.cli("compare", "last", str(tmp_path / "none"))
    assert done.returncode == 1 and str(tmp_path / "none") in done.stderr


def test_across_hosts_nothing_is_judged(daemon, tmp_path):
    here = planted(daemon, tmp_path / "here.jsonl", lambda mode, size: 1)
    there = planted(daemon, tmp_path / "there.jsonl", lambda mode, size: 0.5, kernel="9.9.9-other")
    document = compared(daemon, here, there, status=1)
    assert {c["verdict"] for c in document["cells"]} == {"refused"} and not document["provenance"]["same_host"]
    assert "9.9.9-other" in json.dumps(document["provenance"])
    forced = compared(daemon, here, there, "--force")
    assert {c["verdict"] for c in forced["cells"]} == {"worse"} and forced["provenance"]["forced"]
    assert all(c["ratio"] == pytest.approx(0.5) for c in forced["cells"])
