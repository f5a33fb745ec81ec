# SPDX-License-Identifier: MIT
"""'copyledger export' of a real sweep: CSV, JSON lines, OpenMetrics, and where the output goes."""
import csv
import io
import json
import math
import os
import re
import shutil
import statistics
import subprocess

import pytest

from support import BUILD, Daemon, check_result, running

FIRST_TEN = ("implementation,message_size,threads,throughput_gbps,avg_latency_us,cycles,instructions,context_switches,"
             "cache_references,cache_misses")
OURS = {"copies_per_byte", "tx_deferred_copy_bytes", "verdict", "latency_p50_us", "latency_p99_us", "l1d_misses", "llc_misses",
        "cycles_per_byte", "cpu_ns_per_byte", "throughput_low", "throughput_high", "throughput_coverage", "runs", "failures",
        "balanced", "exact", "evidence_tier", "kernel", "path", "workload", "receive", "fields", "label", "failure",
        "unknown", "run_ids"}
LABEL = 'a "b", c; d'
SWEEP = ("--modes", "two-copy,zero-copy", "--sizes", "4K,64K", "--threads", "1", "--repeat", "2", "--duration", "50ms",
         "--warmup", "0")


@pytest.fixture(scope="module")
def daemon(tmp_path_factory):
    with running(tmp_path_factory.mktemp("export"), env={"LC_ALL": "C.UTF-8"}) as d:
        made = d.cli("sweep", *SWEEP, "--label", LABEL)
        assert made.returncode == 0, made.stderr
        yield d


@pytest.fixture(scope="module")
def documents(daemon):
    """The runs of the sweep by id, as the daemon has them."""
    done = daemon.cli("export", "--jsonl")
    assert done.returncode == 0, done.stderr
    return {d["id"]: d for d in map(json.loads, done.stdout.splitlines())}


def rows(text):
    return list(csv.DictReader(io.StringIO(text)))


def test_the_ten_columns_come_first(daemon):
    done = daemon.cli("export", "--csv")
    assert done.returncode == 0 and not done.stderr
    header = done.stdout.splitlines()[0]
    assert header.startswith(FIRST_TEN + ",") and OURS <= set(header.split(","))
    assert len(header.split(",")) == len(set(header.split(",")))


def perf_sum(run, event):
    values = [run["perf"][side].get(event, {}).get("value") for side in ("sender", "receiver")]
    return None if None in values else sum(values)


READERS = {
    "throughput_gbps": lambda r: r["app"]["throughput_gbps"],
    "avg_latency_us": lambda r: r["app"]["latency_us"]["mean"],
    "latency_p99_us": lambda r: r["app"]["latency_us"]["p99"],
    "cycles": lambda r: perf_sum(r, "cycles"),
    "context_switches": lambda r: perf_sum(r, "context_switches"),
    "cache_misses": lambda r: perf_sum(r, "llc_misses"),
    "llc_misses": lambda r: perf_sum(r, "llc_misses"),
    "l1d_misses": lambda r: perf_sum(r, "l1d_misses"),
    "cpu_ns_per_byte": lambda r: r["derived"]["cpu_ns_per_byte"],
    "copies_per_byte": lambda r: (None if r["ledger"]["copies_per_byte"]["lower_bound"]
                                  else r["ledger"]["copies_per_byte"]["total"]),
}


def check_row(row, runs):
    """Every figure is the median of the stored runs that the row names, and empty where none of them has it."""
    assert len({(r["spec"]["mode"], r["spec"]["size"]) for r in runs}) == 1
    spec = runs[0]["spec"]
    assert row["implementation"] == spec["mode"].replace("-", "_")
    assert (row["message_size"], row["threads"], row["path"]) == (str(spec["size"]), str(spec["threads"]), spec["path"])
    assert (row["label"], row["kernel"]) == (LABEL, os.uname().release)
    for column, read in READERS.items():
        values = [v for v in map(read, runs) if isinstance(v, (int, float))]
        if values:
            assert float(row[column]) == statistics.median(values), column
        else:
            assert row[column] == "" and re.search(rf"\b{column}\b[^;]*: ", row["unknown"]), (column, row["unknown"])
    assert row["exact"] == ("true" if all(r["ledger"]["exact"] for r in runs) else "false")
    assert row["evidence_tier"] in ("fentry", "tracepoint")


def test_a_row_a_cell_is_traceable(daemon, documents):
    table = rows(daemon.cli("export", "--csv").stdout)
    assert [(r["implementation"], r["message_size"]) for r in table] == [
        ("two_copy", "4096"), ("two_copy", "65536"), ("zero_copy", "4096"), ("zero_copy", "65536")]
    assert sorted(i for r in table for i in r["run_ids"].split()) == sorted(documents)
    for row in table:
        runs = [documents[i] for i in row["run_ids"].split()]
        check_row(row, runs)
        rates = sorted(r["app"]["throughput_gbps"] for r in runs)
        assert (float(row["throughput_low"]), float(row["throughput_high"])) == (rates[0], rates[-1])
        assert (row["throughput_coverage"], row["runs"], row["failures"]) == ("0.5", "2", "0")


def test_a_row_a_run(daemon, documents):
    table = rows(daemon.cli("export", "--csv", "--runs").stdout)
    assert sorted(r["run_ids"] for r in table) == sorted(documents)
    for row in table:
        check_row(row, [documents[row["run_ids"]]])
        assert row["runs"] == "1" and row["throughput_low"] == ""


def test_json_lines_read_back(daemon, documents, tmp_path):
    for document in documents.values():
        check_result(document)
    file = tmp_path / "all.jsonl"
    assert daemon.cli("export", "--jsonl", "--output", file).stdout == ""
    text = file.read_text()
    assert len(text.splitlines()) == 8
    again = daemon.cli("export", "-", "--jsonl", input=text)
    assert again.returncode == 0 and again.stdout == text
    assert daemon.cli("export", file, "--csv").stdout == daemon.cli("export", "--csv").stdout
    some = daemon.cli("export", f"{file}:mode=two-copy,size=64K", "--jsonl").stdout
    assert {json.loads(x)["spec"]["size"] for x in some.splitlines()} == {65536} and len(some.splitlines()) == 2
    assert daemon.cli("export", f"label:{LABEL}", "--csv").stdout.count("\n") == 5


SAMPLE = re.compile(r'(copyledger_run_\w+)\{((?:\w+="(?:[^"\\]|\\.)*",?)*)\} (\S+) (\d+\.\d{3})$')


def test_open_metrics_hold_the_runs(daemon, documents):
    text = daemon.cli("export", "--openmetrics").stdout
    assert text.endswith("# EOF\n") and text.count("# EOF") == 1
    families = re.findall(r"^# TYPE (\w+) (?:gauge|summary)$", text, re.M)
    assert len(families) == len(set(families)) and families == re.findall(r"^# HELP (\w+) \S", text, re.M)
    for name, unit in re.findall(r"^# UNIT (\w+) (\w+)$", text, re.M):
        assert name.endswith("_" + unit)
    seen = set()
    for line in text.splitlines():
        if line.startswith("#"):
            continue
        name, labels, value, moment = SAMPLE.match(line).groups()
        assert (name, labels) not in seen and math.isfinite(float(value))
        seen.add((name, labels))
        run = documents[re.search(r'run="([^"]+)"', labels)[1]]
        assert f'mode="{run["spec"]["mode"]}",size="{run["spec"]["size"]}",threads="1",path="loopback"' in labels
        assert 'label="a \\"b\\", c; d"' in labels
        assert run["ended"][17:23] in (f"{float(moment) % 60:06.3f}", run["ended"][17:23])
        if name == "copyledger_run_throughput_bytes_per_second":
            assert float(value) == pytest.approx(run["app"]["throughput_gbps"] * 1e9 / 8)
    assert sum(n == "copyledger_run_throughput_bytes_per_second" for n, _ in seen) == 8


def test_the_reference_parser_takes_it(daemon, documents):
    """It is strict: the samples of a family, and within it those of one set of labels, must stand together."""
    parser = pytest.importorskip("prometheus_client.openmetrics.parser", reason="Debian's package python3-prometheus-client")
    families = {f.name: f for f in parser.text_string_to_metric_families(daemon.cli("export", "--openmetrics").stdout)}
    latency = families["copyledger_run_latency_seconds"]
    assert latency.type == "summary" and latency.unit == "seconds"
    found = {}
    for sample in latency.samples:
        found.setdefault(sample.labels["run"], {})[sample.labels["quantile"]] = sample.value
    assert sorted(found) == sorted(documents)
    for run, values in found.items():
        expected = documents[run]["app"]["latency_us"]
        assert values == pytest.approx({q: expected[p] / 1e6 for q, p in
                                        (("0.5", "p50"), ("0.9", "p90"), ("0.99", "p99"), ("0.999", "p99_9"))})


def test_prometheus_takes_it(daemon, tmp_path):
    promtool = shutil.which("promtool")
    if not promtool:
        pytest.skip("promtool is not installed (Debian's package prometheus)")
    file = tmp_path / "metrics"
    assert daemon.cli("export", "--openmetrics", "-o", file).returncode == 0
    made = subprocess.run([promtool, "tsdb", "create-blocks-from", "openmetrics", file, tmp_path / "db"],
                          capture_output=True, text=True, timeout=60)
    assert made.returncode == 0, made.stderr
    samples = sum(not line.startswith("#") for line in file.read_text().splitlines())
    assert re.search(rf"^\S{{26}} .* {samples} +{samples} +{samples} ", made.stdout, re.M), made.stdout
    # its linter reads the older text format, which has no fractions of a second: names and units without the times
    plain = re.sub(r" [\d.]+$", "", file.read_text(), flags=re.M)
    lint = subprocess.run([promtool, "check", "metrics"], input=plain, capture_output=True, text=True, timeout=60)
    assert lint.returncode == 0 and not lint.stderr, lint.stderr


def test_a_failed_cell_is_a_row_with_its_reason(daemon):
    made = daemon.cli("sweep", *SWEEP, "--modes", "one-copy", "--sizes", "64", "--congestion", "nosuch", "--json")
    sweep = json.loads(made.stdout)["sweep"]["id"]
    (row,) = rows(daemon.cli("export", sweep, "--csv").stdout)
    assert "nosuch" in row["failure"] and (row["runs"], row["failures"], row["run_ids"]) == ("0", "2", "")
    assert row["throughput_gbps"] == row["exact"] == row["verdict"] == row["unknown"] == ""
    assert len(rows(daemon.cli("export", sweep, "--csv", "--runs").stdout)) == 2
    failed = re.findall(r"^copyledger_run_failed\{.*\} 1 ", daemon.cli("export", sweep, "--openmetrics").stdout, re.M)
    assert len(failed) == 2


def test_the_locale_does_not_matter(daemon, tmp_path):
    """A locale with a decimal comma, made here since a system need not have one."""
    (tmp_path / "source").write_text('comment_char %\nescape_char /\nLC_NUMERIC\ndecimal_point "<U002C>"\n'
                                     'thousands_sep "<U002E>"\ngrouping 3;3\nEND LC_NUMERIC\n')
    subprocess.run(["localedef", "-c", "-i", tmp_path / "source", "-f", "ANSI_X3.4-1968", tmp_path / "comma"],
                   capture_output=True, timeout=30)
    if not (tmp_path / "comma/LC_NUMERIC").exists():
        pytest.skip("localedef made no locale with a decimal comma")
    plain = {x: daemon.cli("export", x).stdout for x in ("--csv", "--openmetrics")}
    env, daemon.env = daemon.env, {**daemon.env, "LOCPATH": str(tmp_path), "LC_ALL": "comma"}
    try:
        for option, text in plain.items():
            assert daemon.cli("export", option).stdout == text
    finally:
        daemon.env = env


@pytest.mark.parametrize("option", ("--csv", "--jsonl", "--openmetrics"))
def test_a_full_disk_is_an_error(daemon, option):
    done = daemon.cli("export", option, "--output", "/dev/full")
    assert done.returncode == 1 and "cannot write '/dev/full': No space left on device" in done.stderr


@pytest.mark.parametrize("text", ['{"schema":"copyledger/result/1","spec":[]}', '{"schema":"copyledger/result/1"}', '{"schema":[]}'])
def test_a_file_of_no_result_is_named(daemon, tmp_path, text):
    (tmp_path / "x").write_text(text)
    done = daemon.cli("export", "--csv", tmp_path / "x")
    assert done.returncode == 1 and not done.stdout and "is no result of a run" in done.stderr, done


def test_a_file_is_whole_or_untouched(daemon, tmp_path):
    file = tmp_path / "out.csv"
    file.write_text("before")
    assert daemon.cli("export", "nosuch", "--csv", "-o", file).returncode == 2
    assert file.read_text() == "before"
    assert daemon.cli("export", "--csv", "-o", file).returncode == 0
    assert file.read_text() == daemon.cli("export", "--csv").stdout and os.listdir(tmp_path) == ["out.csv"]
    missing = daemon.cli("export", "--csv", "-o", tmp_path / "no/where")
    assert missing.returncode == 1 and "No such file" in missing.stderr


def test_a_link_stays_and_its_file_is_written(daemon, tmp_path):
    (tmp_path / "files").mkdir()
    file, link, dangling = tmp_path / "files/out.csv", tmp_path / "link", tmp_path / "dangling"
    file.write_text("before")
    link.symlink_to("files/out.csv")
    assert daemon.cli("export", "nosuch", "--csv", "-o", link).returncode == 2 and file.read_text() == "before"
    dangling.symlink_to("files/new.csv")
    for path in (link, dangling):
        done = daemon.cli("export", "--csv", "-o", path)
        assert done.returncode == 0 and not done.stdout + done.stderr, done
        assert path.is_symlink() and path.read_text() == daemon.cli("export", "--csv").stdout
    assert sorted(os.listdir(tmp_path)) == ["dangling", "files", "link"]
    assert sorted(os.listdir(tmp_path / "files")) == ["new.csv", "out.csv"]


@pytest.mark.parametrize("command", [("export", "--csv"), ("report",)], ids=" ".join)
def test_standard_output_by_its_names(daemon, tmp_path, command):
    """A link as /dev/stdout is one, since root could destroy that: what standard output is goes on behind what it has."""
    link = tmp_path / "stdout"
    link.symlink_to("/proc/self/fd/1")
    texts = []
    for name in ("-", link):
        with open(tmp_path / "file", "a+") as file:
            file.write("before\n")
            file.flush()
            done = subprocess.run([BUILD / "copyledger", *command, "--output", name], stdout=file, stderr=subprocess.PIPE, text=True,
                                  cwd=tmp_path, timeout=60, env={**daemon.env, "COPYLEDGER_SOCKET": str(daemon.socket)})
            assert done.returncode == 0, done.stderr
            file.seek(0)
            texts.append(file.read())
        assert link.is_symlink() and sorted(os.listdir(tmp_path)) == ["file", "stdout"]
        (tmp_path / "file").unlink()
    assert all(t.startswith("before\n" + {"export": FIRST_TEN, "report": "<!"}[command[0]]) for t in texts), [t[:200] for t in texts]
    assert all(t.endswith({"export": "\n", "report": "</html>\n"}[command[0]]) for t in texts), [t[-200:] for t in texts]


def test_an_open_file_is_not_replaced(daemon, tmp_path):
    link = tmp_path / "stderr"
    link.symlink_to("/proc/self/fd/2")
    with open(tmp_path / "file", "w+") as file:
        done = subprocess.run([BUILD / "copyledger", "export", "--csv", "--output", link], stdout=subprocess.PIPE, stderr=file, text=True,
                              timeout=60, env={**daemon.env, "COPYLEDGER_SOCKET": str(daemon.socket)})
        assert done.returncode == 0 and not done.stdout
        assert file.read().startswith(FIRST_TEN) and link.is_symlink() and sorted(os.listdir(tmp_path)) == ["file", "stderr"]


@pytest.mark.parametrize("args, status, words", [
    ((), 2, "one of --csv, --jsonl and --openmetrics"),
    (("--csv", "--jsonl"), 2, "one of --csv"),
    (("--jsonl", "--runs"), 2, "--runs' goes with --csv"),
    (("last", "x", "--csv"), 2, "no use for 'x'"),
    (("s1", "--csv"), 2, "no sweep 's1'"),
    (("/no/such.jsonl", "--csv"), 1, "cannot read '/no/such.jsonl'"),
    (("/etc/passwd", "--csv"), 1, "is no JSON"),
    (("last:color=red", "--csv"), 2, "no member 'color'"),
    (("last:size=7", "--csv"), 1, "has no run that ended"),
    (("label:nobody", "--csv"), 1, "has no run that ended")])
def test_wrong_usage(daemon, args, status, words):
    done = daemon.cli("export", *args)
    assert done.returncode == status and not done.stdout
    assert done.stderr.startswith("copyledger: ") and words in done.stderr.replace("\n", " "), done.stderr


def test_help(daemon):
    done = daemon.cli("export", "--help")
    assert done.returncode == 0
    assert all(x in done.stdout for x in ("export [OPTION]... [SOURCE]", "--csv", "--jsonl", "--openmetrics", "--runs",
                                          "--output FILE"))


def test_without_its_store_nothing_is_exported(tmp_path):
    with running(tmp_path) as d:
        assert d.cli("sweep", *SWEEP, "--repeat", "1", "--modes", "one-copy").returncode == 0
        assert d.cli("export", "--csv").returncode == 0
    shutil.rmtree(d.state)
    d = Daemon(tmp_path).start()
    try:
        done = d.cli("export", "--csv")
        assert done.returncode == 2 and not done.stdout and "no sweep" in done.stderr, done.stderr
    finally:
        assert d.stop() == 0
    alone = d.cli("export", "--csv")
    assert alone.returncode == 3 and "no daemon" in alone.stderr
