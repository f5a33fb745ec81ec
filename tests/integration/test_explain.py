# SPDX-License-Identifier: MIT
"""'copyledger explain' of a real sweep: its figures are the stored ones, and what this machine cannot tell is said."""
import json
import os
import re
import subprocess

import jsonschema
import pytest

from support import BUILD, TOP, Daemon, running

SCHEMA = json.loads((TOP / "schemas/explain-1.schema.json").read_text())
SWEEP = ("--sizes", "256,64K", "--threads", "1,2", "--paths", "loopback,veth", "--repeat", "3", "--duration", "30ms",
         "--warmup", "0")


@pytest.fixture(scope="module")
def daemon(tmp_path_factory):
    with running(tmp_path_factory.mktemp("explain"), env={"LC_ALL": "C.UTF-8"}) as d:
        made = d.cli("sweep", *SWEEP)
        assert made.returncode == 0, made.stderr
        yield d


@pytest.fixture(scope="module")
def document(daemon):
    done = daemon.cli("explain", "--json")
    assert done.returncode == 0 and not done.stderr, done.stderr
    document = json.loads(done.stdout)
    jsonschema.Draft202012Validator(SCHEMA).validate(document)
    return document


@pytest.fixture(scope="module")
def runs(daemon):
    return [json.loads(line) for line in daemon.cli("export", "--jsonl").stdout.splitlines()]


def answer(document, ident):
    return next(a for a in document["answers"] if a["id"] == ident)


def site(run, name):
    return next(s["bytes"] for s in run["ledger"]["sites"] if s["site"] == name)


def in_words(size):
    """As the command writes bytes for people."""
    for unit, power in (("TB", 12), ("GB", 9), ("MB", 6), ("kB", 3)):
        if size >= 10 ** power:
            return f"{size / 10 ** power:.1f} {unit}"
    return f"{size} B"


@pytest.mark.parametrize("path", ["loopback", "veth"])
def test_zero_copy_is_copied_here(document, runs, path):
    mine = [r for r in runs if r["spec"]["path"] == path and r["zerocopy"]["sends"]]
    pinned, deferred = (sum(site(r, s) for r in mine) for s in ("tx_pin", "tx_deferred_copy"))
    asked = sum(r["zerocopy"]["bytes"] for r in mine)
    copied = sum(r["zerocopy"]["bytes"] * r["zerocopy"]["copied_share"] for r in mine)
    text = next(s for s in answer(document, "zero_copy")["sentences"] if s.startswith(f"Over {path}"))
    assert {r["spec"]["mode"] for r in mine} == {"zero-copy"} and 0 < pinned <= 1.2 * deferred
    assert f"of {in_words(asked)} sent as zero-copy in {len(mine)} runs {in_words(copied)} (" in text
    assert "it is not: " in text and "were copied after all (tx_deferred_copy)" in text
    assert "looped to a local socket" in text


def test_every_figure_is_that_of_its_runs(document, runs):
    by_id = {r["id"]: r for r in runs}
    checked = 0
    for row in (row for a in document["answers"] for row in a["rests_on"] if row["measure"] == "throughput_gbps"):
        values = sorted(by_id[i]["app"]["throughput_gbps"] for i in row["runs"])
        assert row["n"] == len(values) == 3
        assert row["median"] == pytest.approx(values[1]) and (row["low"], row["high"]) == (values[0], values[-1])
        assert {by_id[i]["spec"]["mode"] for i in row["runs"]} == {row["mode"]}
        checked += 1
    assert checked


def test_crossings_have_an_interval_or_are_denied(document):
    sentences = answer(document, "crossovers")["sentences"]
    assert len(sentences) == 24  # 2 paths, 2 numbers of threads, 3 pairs, by throughput and CPU time
    said = (r"never beats .* between 256 B and 64 KiB|at 256 B, but no longer at 64 KiB|at every size from 256 B to 64 KiB|is not decided by \d runs a cell|"
            r"(from a size between .* and .* on|at the latest|at the earliest).*95 %, 3 runs a cell or more")
    assert all(re.search(said, s) for s in sentences), sentences


def test_what_the_machine_cannot_tell(document, runs):
    counted = all(r["perf"]["sender"]["llc_misses"]["value"] is not None for r in runs)
    caches = answer(document, "caches")
    assert caches["answered"] == counted
    if not counted:
        reason = runs[0]["perf"]["sender"]["llc_misses"]["reason"]
        assert f"cannot answer: no cache counters ({reason})" in caches["sentences"][0]
        assert "virtual PMU" in caches["sentences"][1]


def test_as_text(daemon, document):
    text = daemon.cli("explain").stdout
    for a in document["answers"]:
        assert a["question"] in text and a["sentences"][0] in text
    some = document["answers"][0]["rests_on"][0]["runs"][0]
    assert some not in text and some in daemon.cli("explain", "--runs").stdout


def test_a_single_run_answers_what_it_can(daemon, runs):
    run = next(r["id"] for r in runs if r["spec"]["mode"] == "zero-copy")
    done = daemon.cli("explain", run, "--json")
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    jsonschema.Draft202012Validator(SCHEMA).validate(document)
    assert answer(document, "zero_copy")["answered"] and not answer(document, "crossovers")["answered"]


def test_without_the_store_nothing_is_said(tmp_path):
    d = Daemon(tmp_path).start()
    for args in ((), ("s20260101-000000-0000",), ("nosuch",)):
        done = d.cli("explain", *args)
        assert done.returncode == 2 and not done.stdout and "no " in done.stderr, done
    assert d.stop() == 0
    done = d.cli("explain")
    assert done.returncode == 3 and not done.stdout


def program(*args):
    """The command by itself: what reads a file asks no daemon."""
    return subprocess.run([BUILD / "copyledger", *map(str, args)], capture_output=True, text=True, timeout=60,
                          env={**os.environ, "LC_ALL": "C.UTF-8"})


def result(ident, mode="one-copy", gbps=10, **spec):
    return {"schema": "copyledger/result/1", "id": ident, "state": "done", "app": {"throughput_gbps": gbps},
            "spec": {"mode": mode, "path": "loopback", "workload": "stream", "size": 65536, "threads": 1, "fields": 8, **spec}}


def written(file, results):
    file.write_text("".join(json.dumps(r) + "\n" for r in results))
    return file


@pytest.mark.parametrize("command", ["explain", "plot", "report"])
def test_runs_that_only_a_parameter_tells_apart_are_not_confused(tmp_path, command):
    """What one label holds, as the runs of 'run --overhead', would pass for one cell."""
    file = written(tmp_path / "mixed.jsonl", [result(f"{fields}-{i}", fields=fields) for fields in (8, 64) for i in range(3)])
    made = tmp_path / "made"
    output = () if command == "explain" else ("--output", made)
    done = program(command, file, *output)
    assert done.returncode == 2 and not done.stdout and not made.exists(), done
    named = re.search(rf"'fields' is '(8|64)' .* '(8|64)'.*'{file}:fields=(8|64)'", done.stderr)
    assert named and {named[1], named[2]} == {"8", "64"} and named[3] == named[1], done.stderr
    assert program("explain", f"{file}:fields=64").returncode == 0
