# SPDX-License-Identifier: MIT
"""'copyledger plot' of a real sweep: every figure is drawn, from stored values only, and says what was not counted."""
import csv
import json
import os
import re
import shutil
import subprocess
import xml.etree.ElementTree as ElementTree

import pytest

from support import BUILD, running

FIGURES = ["throughput_size", "latency_threads", "cache_misses_size", "cycles_per_byte_size", "cost_size", "copies_size",
           "latency_cdf"]
LABEL = 'a "b" `id` $PATH \\ {/c}'
SWEEP = ("--sizes", "1K,64K", "--threads", "1,2", "--repeat", "2", "--duration", "30ms", "--warmup", "0", "--label", LABEL)

pytestmark = pytest.mark.skipif(not shutil.which("gnuplot"), reason="gnuplot is not installed (tools/deps.sh check)")


@pytest.fixture(scope="module")
def daemon(tmp_path_factory):
    with running(tmp_path_factory.mktemp("plot"), env={"LC_ALL": "C.UTF-8"}) as d:
        made = d.cli("sweep", *SWEEP)
        assert made.returncode == 0, made.stderr
        yield d


@pytest.fixture(scope="module")
def plots(daemon, tmp_path_factory):
    folder = tmp_path_factory.mktemp("plots") / "new"
    done = daemon.cli("plot", "--output", str(folder))
    assert done.returncode == 0 and not done.stderr, done.stderr
    assert sorted(done.stdout.split()) == sorted(f"{folder}/{f}.{e}" for f in FIGURES for e in ("svg", "png"))
    return folder


@pytest.fixture(scope="module")
def runs(daemon):
    return {r["id"]: r for r in map(json.loads, daemon.cli("export", "--jsonl").stdout.splitlines())}


def texts(path):
    return " ".join("".join(e.itertext()) for e in ElementTree.parse(path).iter() if e.tag.endswith("}text"))


def table(folder, name):
    with open(folder / f"{name}.tsv") as f:
        return list(csv.DictReader(f, delimiter="\t"))


@pytest.mark.parametrize("name", FIGURES)
def test_each_figure_is_a_picture(plots, name):
    assert (plots / f"{name}.png").read_bytes().startswith(b"\x89PNG\r\n")
    said = texts(plots / f"{name}.svg")
    assert "loopback, stream" in said and "Linux " in said and "copyledger" in said
    if name != "copies_size":
        assert all(mode in said for mode in ("two-copy", "one-copy", "zero-copy"))


@pytest.mark.parametrize("name, value", [
    ("throughput_size", lambda r: r["app"]["throughput_gbps"]), ("latency_threads", lambda r: r["app"]["latency_us"]["mean"]),
    ("cost_size", lambda r: r["derived"]["cpu_ns_per_byte"])])
def test_a_figure_shows_the_stored_values(plots, runs, name, value):
    rows = table(plots, name)
    assert len(rows) == 6  # three modes at two sizes, or with two numbers of threads
    column = next(c for c in rows[0] if c.startswith("median_"))
    for row in rows:
        values = sorted(value(runs[i]) for i in row["run_ids"].split())
        assert len(values) == 2 == int(row["n"])
        assert float(row[column]) == pytest.approx(sum(values) / 2)
        assert (float(row["low"]), float(row["high"])) == pytest.approx((values[0], values[1]))


def test_copies_add_up(plots, runs):
    for row in table(plots, "copies_size"):
        for i in row["run_ids"].split():
            assert runs[i]["spec"]["mode"] == row["mode"] and runs[i]["spec"]["threads"] == 2
    deferred = [r for r in table(plots, "copies_size") if (r["mode"], r["site"]) == ("zero-copy", "tx_deferred_copy")]
    assert all(float(r["median"]) == pytest.approx(1, abs=0.2) for r in deferred)


def test_what_is_not_counted_is_said(plots, runs):
    event = next(iter(runs.values()))["perf"]["sender"]["llc_misses"]
    said = texts(plots / "cache_misses_size.svg")
    if event["value"] is None:
        assert event["reason"] in said and "CPU time per byte instead" in said
        assert "median_cpu_ns_per_byte" in table(plots, "cache_misses_size")[0]
    else:
        assert "instead" not in said


def test_the_distribution_ends_at_one(plots):
    last = {row["mode"]: float(row["share"]) for row in table(plots, "latency_cdf")}
    assert last == pytest.approx({"two-copy": 1, "one-copy": 1, "zero-copy": 1})


def test_a_place_that_is_not_there(daemon, tmp_path):
    done = daemon.cli("plot", "--threads", "3", "--output", str(tmp_path))
    assert done.returncode == 2 and "there are 1, 2" in done.stderr, done.stderr
    done = daemon.cli("plot", "--size", "5", "--output", str(tmp_path))
    assert done.returncode == 2 and "there are 1024, 65536" in done.stderr, done.stderr
    done = daemon.cli("plot", "--figure", "nosuch", "--output", str(tmp_path))
    assert done.returncode == 2 and "nosuch" in done.stderr
    assert not list(tmp_path.iterdir())


def test_without_gnuplot(daemon, tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    before, daemon.env = daemon.env, {**daemon.env, "PATH": str(empty)}
    try:
        done = daemon.cli("plot", "--output", str(tmp_path / "plots"))
    finally:
        daemon.env = before
    assert done.returncode == 1 and "gnuplot-nox" in done.stderr, done


def test_where_nothing_can_be_written(daemon, tmp_path):
    file = tmp_path / "file"
    file.write_text("x")
    for folder in (file, file / "below", "/proc/nosuch/folder"):
        done = daemon.cli("plot", "--figure", "cost_size", "--output", str(folder))
        assert done.returncode == 1 and str(folder) in done.stderr, done


def test_without_a_store(tmp_path):
    with running(tmp_path) as d:
        done = d.cli("plot", "--output", str(tmp_path / "plots"))
    assert done.returncode == 2 and "no " in done.stderr and not (tmp_path / "plots").exists()
    assert (BUILD / "copyledger").exists() and os.listdir(tmp_path)


def test_a_file_of_results_runs_nothing(daemon, tmp_path):
    """gnuplot can run commands; what a document holds is never one."""
    sign = tmp_path / "sign"
    documents = [json.loads(line) for line in daemon.cli("export", "--jsonl", "last:mode=one-copy").stdout.splitlines()]
    for document in documents:
        document["host"]["kernel"]["release"] = f"`touch {sign}` '\"; system(\"touch {sign}\") #"
        document["host"]["cpu"]["model"] = f"$(touch {sign})\nset output '{sign}'"
    evil = tmp_path / "evil.jsonl"
    evil.write_text("\n".join(map(json.dumps, documents)))
    done = daemon.cli("plot", str(evil), "--output", str(tmp_path / "plots"), "--figure", "cost_size", "--format", "svg")
    assert done.returncode == 0, done.stderr
    assert f"`touch {sign}`" in texts(tmp_path / "plots/cost_size.svg") and not sign.exists()


def written(file, sizes, cost, failed=""):
    """Results of three runs a cell; cost: ns a byte of a mode at the i-th size, failed: the mode whose runs have nothing."""
    with open(file, "w") as f:
        for mode in ("one-copy", "zero-copy"):
            for i, size in enumerate(sizes):
                for run in range(3):
                    f.write(json.dumps({
                        "schema": "copyledger/result/1", "id": f"{mode}-{i}-{run}",
                        "state": "failed" if mode == failed else "done", "error": {"message": "no"}, "derived": {"cpu_ns_per_byte": cost(mode, i) * (1 + run / 1000)},
                        "spec": {"mode": mode, "path": "loopback", "workload": "stream", "size": size, "threads": 1}}) + "\n")
    return file


def plotted(file, folder):
    """The figure of the cost over the size, by the program alone."""
    done = subprocess.run([BUILD / "copyledger", "plot", file, "--figure", "cost_size", "--format", "svg", "--output", folder],
                          capture_output=True, text=True, timeout=120, env={**os.environ, "LC_ALL": "C.UTF-8"})
    assert done.returncode == 0, done
    return texts(folder / "cost_size.svg")


@pytest.mark.parametrize("crossing", [10, 150])
def test_a_crossing_of_many_sizes_is_where_it_is(tmp_path, crossing):
    """A file may hold any number of sizes: all of them count, and none is written behind what was made for 64."""
    sizes = [64 * (i + 1) for i in range(200)]
    said = plotted(written(tmp_path / "many.jsonl", sizes, lambda mode, i: 20 if mode == "zero-copy" and i < crossing else 10
                           if mode == "one-copy" else 5), tmp_path)
    at = re.search(r"zero-copy cheaper than one-copy from ([\d.]+) (K?i?B)", said)
    assert at, said
    at = float(at[1]) * (1024 if at[2] == "KiB" else 1)
    assert sizes[crossing - 1] - 64 <= at <= sizes[crossing] + 64


def test_many_sizes_of_which_one_mode_failed(tmp_path):
    sizes = [64 * (i + 1) for i in range(500)]
    said = plotted(written(tmp_path / "many.jsonl", sizes, lambda mode, i: 10, "zero-copy"), tmp_path)
    assert "one-copy" in said and "cheaper" not in said
