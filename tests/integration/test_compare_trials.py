# SPDX-License-Identifier: MIT
"""How well 'copyledger compare' judges: ten slowdowns, ten equals, scipy's answers, and a load that is really slowed."""
import json
import math
import random
import shutil
import statistics

import pytest

from compare_trials import alarms, compare, simulated
from support import Daemon, running

CELLS, ROUNDS = 8, 6


@pytest.fixture(scope="module")
def daemon(tmp_path_factory):
    with running(tmp_path_factory.mktemp("trials"), env={"LC_ALL": "C.UTF-8"}) as d:
        made = d.cli("sweep", "--modes", "one-copy", "--sizes", "4K,64K", "--threads", "1", "--repeat", "6", "--duration",
                     "40ms", "--warmup", "10ms")
        assert made.returncode == 0, made.stderr
        yield d


@pytest.fixture(scope="module")
def lines(daemon):
    """The sweep's runs as lines of JSON."""
    return daemon.cli("export", "--jsonl").stdout.splitlines()


def compared(daemon, *args, status=0):
    """The document that the command prints, and its standard error."""
    done = daemon.cli("compare", *args, "--json")
    assert done.returncode == status and done.stdout, (done.returncode, done.stdout[:500], done.stderr)
    return json.loads(done.stdout), done.stderr


def equal_sides(seed):
    rng = random.Random(seed)
    return simulated(rng, CELLS, ROUNDS, spread=0.02, round_spread=0.01, step=0.005)


def test_nine_of_ten_slowdowns_are_found():
    """10 % of one cell of eight, in 30 trials."""
    found = [compare(equal_sides(seed), [seed % CELLS])["cells"][seed % CELLS]["verdict"] for seed in range(30)]
    assert found.count("worse") >= 27, found


def test_equals_raise_one_alarm_in_ten_at_most():
    """Any cell or the overall ratio, in 60 comparisons; the level is one in twenty."""
    loud = [seed for seed in range(60) if alarms(compare(equal_sides(seed)))]
    assert len(loud) <= 6, loud


@pytest.mark.parametrize("faster", (1.5, 5.0))
def test_large_changes_do_not_hide_a_slowdown(faster):
    """One cell of eight 10 % slower, all others far faster: a guard at 5 % fails, and the cell is told with its own spread."""
    rng = random.Random(1)
    sides = [[[rng.gauss(0, 0.005) for _ in range(8)] for _ in range(8)] for _ in range(2)]
    planted = {cell: faster for cell in range(7)} | {7: 0.9}
    document = compare(sides, planted, options=("--fail-if-worse", "5%"), status=1)
    assert [c["verdict"] for c in document["cells"]] == 7 * ["better"] + ["worse"], document["cells"]
    assert all(0 < c["detectable_percent"] < 3 for c in document["cells"]), document["cells"]
    compare(sides, planted, options=("--fail-if-worse", "15%"))  # 10 % is not above it
    equal = compare(sides, planted | {7: 1.0}, options=("--fail-if-worse", "5%"))["cells"][7]
    assert equal["verdict"] == "no_difference" and equal["detectable_percent"] < 3, equal


def test_scipy_gives_the_same_answers():
    """One cell of 5 against 6 runs: p by all deals, and the interval's coverage by the exact distribution of U."""
    numpy = pytest.importorskip("numpy", reason="numpy is not installed (Debian's package python3-scipy)")
    stats = pytest.importorskip("scipy.stats", reason="scipy is not installed (Debian's package python3-scipy)")
    for seed in range(3):
        rng = random.Random(seed)
        a, b = ([[rng.gauss(shift, 0.05)] for _ in range(n)] for shift, n in ((0, 5), (-0.06, 6)))
        cell, = compare([a, b])["cells"]
        pool = numpy.array(a + b).ravel()
        s0 = numpy.median(numpy.abs(pool - numpy.median(pool)))

        def statistic(x, y, axis):
            n, m = x.shape[axis], y.shape[axis]
            s = numpy.sqrt((x.var(axis=axis) * n + y.var(axis=axis) * m) / (n + m - 2))
            return numpy.abs(y.mean(axis=axis) - x.mean(axis=axis)) / (s + s0)

        exact = stats.permutation_test((pool[:5], pool[5:]), statistic, alternative="greater", n_resamples=10**6).pvalue
        assert cell["p"] == pytest.approx(exact, abs=4 * math.sqrt(exact / 9999) + 1e-4)
        ratios = sorted(math.exp(y - x) for x, in a for y, in b)
        k = next(i for i, r in enumerate(ratios, 1) if r == pytest.approx(cell["low"]))
        assert ratios[-k] == pytest.approx(cell["high"])
        assert cell["ratio"] == pytest.approx(math.exp(statistics.median(pool[5:]) - statistics.median(pool[:5])), rel=0.01)

        assert cell["coverage"] == pytest.approx(1 - 2 * below(stats, k - 1), abs=1e-9)


def below(stats, u):
    """The chance that Mann and Whitney's U of 5 against 6 values is at most u, from two samples whose U is u."""
    x = [float(i) for i in range(5)]  # below all of y: U = 0
    for i in range(4, -1, -1):  # the largest over as many of y as are left
        over = min(u, 6)
        x[i] = 9.5 + over + i * 1e-3 if over else x[i]
        u -= over
    return stats.mannwhitneyu(x, [10.0 + i for i in range(6)], method="exact", alternative="less").pvalue


def in_turns(daemon, number):
    """Five runs with the kernel's own receive buffer and five with hardly any, in turns."""
    for _ in range(5):
        for label, option in (("roomy", ()), ("cramped", ("--rcvbuf", "4K"))):
            made = daemon.cli("run", "-m", "one-copy", "-s", "64K", "-d", "40ms", "--label", f"{label}{number}", *option)
            assert made.returncode == 0, made.stderr
    return f"label:roomy{number}:rcvbuf=0", f"label:cramped{number}:rcvbuf=4K"


def test_a_load_that_is_really_slowed_is_found(daemon):
    """One of five runs that others starve can hide it: at the third try it has been seen."""
    for number in range(3):
        sides = in_turns(daemon, number)
        if compared(daemon, *sides)[0]["cells"][0]["verdict"] == "worse":
            break
    document, said = compared(daemon, *sides, "--fail-if-worse", "5%", status=1)
    (cell,) = document["cells"]
    assert cell["verdict"] == "worse" and cell["high"] < 1, cell
    assert "1 cells are worse by more than 5 %" in said
    # turns know no drift
    assert document["drift_percent"] is None and not any("was measured after" in n for n in document["notes"])
    assert document["across"] == ["rcvbuf"] and cell["a"]["n"] == cell["b"]["n"] == 5


def test_what_failed_in_b_does_not_pass(daemon, lines, tmp_path):
    file = tmp_path / "failed.jsonl"
    documents = [json.loads(x) for x in lines]
    for d in documents:
        if d["spec"]["size"] == 65536:
            d.update(state="failed", error={"code": "x", "message": "the link is down", "signal": None})
    file.write_text("\n".join(map(json.dumps, documents)))
    plain = daemon.cli("compare", "last", file)
    assert plain.returncode == 0 and "unknown: the link is down" in " ".join(plain.stdout.split()), plain.stdout
    guarded = daemon.cli("compare", "last", file, "--fail-if-worse", "5%")
    assert guarded.returncode == 1 and "have no figure in B" in guarded.stderr


def test_cells_of_one_side_are_listed(daemon, lines, tmp_path):
    file = tmp_path / "some.jsonl"
    file.write_text("\n".join(x for x in lines if json.loads(x)["spec"]["size"] == 4096))
    document, _ = compared(daemon, "last", file)
    assert [c["size"] for c in document["only_a"]] == [65536] and document["only_b"] == [] and len(document["cells"]) == 1
    assert "only in A: one-copy" in daemon.cli("compare", "last", file).stdout


def test_help_names_the_options(daemon):
    done = daemon.cli("compare", "--help")
    assert done.returncode == 0
    assert all(x in done.stdout for x in ("compare [OPTION]... A B", "--measure NAME", "--fail-if-worse PERCENT", "--force"))
    for text in ("much", "%", "", "5%%", "100"):
        bad = daemon.cli("compare", "last", "last", "--fail-if-worse", text)
        assert bad.returncode == 2 and "takes a percentage like 5%" in bad.stderr, (text, bad)


def test_without_its_store_nothing_is_compared(tmp_path):
    with running(tmp_path) as d:
        made = d.cli("sweep", "--modes", "one-copy", "--sizes", "64", "--threads", "1", "--repeat", "2", "--duration", "30ms")
        assert made.returncode == 0, made.stderr
        assert d.cli("compare", "last", "last").returncode == 0
    shutil.rmtree(d.state)
    d = Daemon(tmp_path).start()
    try:
        done = d.cli("compare", "last", "last")
        assert done.returncode == 2 and not done.stdout and "no sweep" in done.stderr, done.stderr
    finally:
        assert d.stop() == 0
