#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""How often 'copyledger compare' finds a planted slowdown, and how often it finds one among equals.

tests/compare_trials.py [--trials N] [FILE.jsonl] prints the table of doc/analysis.md; each trial makes two files of result
documents and runs the built command on them. With FILE (of 'copyledger export --jsonl') the spread of its cells is drawn
from the real runs, round by round, instead of a distribution.
"""
import argparse
import json
import math
import os
import random
import statistics
import subprocess
import tempfile
from pathlib import Path

BUILD = Path(os.environ.get("COPYLEDGER_BUILD", Path(__file__).parent.parent / "build"))
SLOWDOWN = 0.10
SPEEDUP = 0.50


def document(number, cell, value, measure="throughput_gbps", minute=0):
    """The least that a comparison reads of a result."""
    moment = f"2026-01-{1 + minute // 1440:02}T{minute // 60 % 24:02}:{minute % 60:02}:00Z"
    figures = {"throughput_gbps": {"app": {"throughput_gbps": value}},
               "cpu_ns_per_byte": {"app": {}, "derived": {"cpu_ns_per_byte": value}}}[measure]
    return {"schema": "copyledger/result/1", "id": f"run-{number}", "state": "done", "started": moment, "ended": moment,
            "spec": {"mode": "one-copy", "path": "loopback", "workload": "stream", "size": 64 << cell, "threads": 1},
            "host": {"kernel": {"release": "simulated"}}, **figures}


def drift(rng, rounds, step):
    """A slow drift of the machine: a random walk over rounds."""
    at, path = 0.0, []
    for _ in range(rounds):
        at += rng.gauss(0, step)
        path.append(at)
    return path


def simulated(rng, cells, rounds, spread, round_spread=0.0, step=0.0, turns=True):
    """Logarithms [side][round][cell] of two sides that are equal: heavy-tailed runs (Student's t, 3 degrees of freedom),
    cells of different spread, disturbed rounds, and a drift that both sides share if they take turns."""
    spreads = [spread * math.exp(rng.gauss(0, 0.5)) for _ in range(cells)]
    path = drift(rng, 2 * rounds, step)
    sides = []
    for side in range(2):
        made = []
        for i in range(rounds):
            common = path[2 * i + side if turns else side * rounds + i] + rng.gauss(0, round_spread)
            t3 = [rng.gauss(0, 1) / math.sqrt(rng.gammavariate(1.5, 2 / 3)) / math.sqrt(3) for _ in range(cells)]
            made.append([common + s * t for s, t in zip(spreads, t3)])
        sides.append(made)
    return sides


def rounds_of(path, measure="throughput_gbps"):
    """Logarithms [round][cell] above each cell's median, from a file of real runs; rounds that lack a figure are left out."""
    read = {"throughput_gbps": lambda r: r["app"]["throughput_gbps"],
            "cpu_ns_per_byte": lambda r: r["derived"]["cpu_ns_per_byte"]}[measure]
    cells = {}
    for line in Path(path).read_text().splitlines():
        run = json.loads(line)
        if run["state"] == "done":
            key = json.dumps({k: v for k, v in run["spec"].items() if k != "label"})
            value = read(run)
            cells.setdefault(key, []).append(value if isinstance(value, (int, float)) else 0)
    middles = [statistics.median(v) for v in cells.values()]
    return [[math.log(v / m) for v, m in zip(row, middles)] for row in zip(*cells.values()) if min(row) > 0]


def drawn(rng, real, rounds):
    """Two equal sides from whole real rounds, drawn with replacement and smoothed: a few rounds have gaps between them that
    more of them would fill, and a median would jump across (Silverman, Young: "The bootstrap: to smooth or not to smooth?",
    1987; the bandwidth is Silverman's rule of thumb)."""
    widths = [0.9 * statistics.stdev(cell) * len(real) ** -0.2 for cell in zip(*real)]
    return [[[log + rng.gauss(0, w) for log, w in zip(rng.choice(real), widths)] for _ in range(rounds)] for _ in range(2)]


def compare(sides, planted=(), slowdown=SLOWDOWN, measure="throughput_gbps", folder=None, turns=True, options=(), status=0):
    """The comparison's document; in side B the planted cells are slower, or so many times as fast as planted[cell] says."""
    factors = planted if isinstance(planted, dict) else {cell: 1 - slowdown for cell in planted}
    with tempfile.TemporaryDirectory(dir=folder) as where:
        for side, name in enumerate("ab"):
            with open(f"{where}/{name}", "w") as f:
                for i, row in enumerate(sides[side]):
                    for cell, log in enumerate(row):
                        value = math.exp(log)
                        if side and cell in factors:
                            value *= factors[cell] if measure == "throughput_gbps" else 1 / factors[cell]
                        minute = 2 * i + side if turns else side * len(sides[0]) + i
                        f.write(json.dumps(document(f"{name}{i}-{cell}", cell, value, measure, minute)) + "\n")
        done = subprocess.run([BUILD / "copyledger", "compare", f"{where}/a", f"{where}/b", "--json", "--measure", measure,
                               *options], capture_output=True, text=True, timeout=60)
        assert done.returncode == status, (done.returncode, done.stderr)
        return json.loads(done.stdout)


def alarms(result):
    """Everything that the comparison says is different."""
    return [c for c in [*result["cells"], result["overall"]] if c["verdict"] in ("better", "worse")]


COLUMNS = ("false alarms", "one cell found", "all cells: overall found", "one among faster found", "equal among faster: alarms")


def rates(make, cells, trials, turns=True):
    """Shares of trials, by COLUMNS: a false alarm among equals; one slower cell found; all slower: the overall ratio found; one
    slower, and all others much faster: the slower found; one equal, and all others much faster: that one said to differ."""
    seen = []
    for trial in range(trials):
        rng = random.Random(trial)
        sides = make(rng)
        cell = rng.randrange(cells)
        faster = {c: 1 + SPEEDUP for c in range(cells) if c != cell}

        def verdict(planted):
            return compare(sides, planted, turns=turns)["cells"][cell]["verdict"]

        seen.append((bool(alarms(compare(sides, turns=turns))),
                     verdict([cell]) == "worse",
                     compare(sides, range(cells), turns=turns)["overall"]["verdict"] == "worse",
                     verdict(faster | {cell: 1 - SLOWDOWN}) == "worse",
                     verdict(faster) != "no_difference"))
    return [sum(column) / trials for column in zip(*seen)]


def shown(shares):
    return "  ".join(f"{share:{len(name)}.2f}" for share, name in zip(shares, COLUMNS))


CASES = [  # cells, rounds, spread of a run, of a round, step of the drift, whether the sides take turns
    (8, 8, 0.005, 0.0025, 0, True),
    (12, 3, 0.02, 0.01, 0, True),
    (12, 4, 0.02, 0.01, 0, True),
    (12, 5, 0.02, 0.01, 0, True),
    (48, 5, 0.02, 0.01, 0, True),
    (12, 10, 0.02, 0.01, 0, True),
    (12, 5, 0.05, 0.02, 0, True),
    (12, 10, 0.05, 0.02, 0, True),
    (12, 20, 0.05, 0.02, 0, True),
    (12, 10, 0.02, 0.01, 0.01, True),
    (12, 5, 0.02, 0.01, 0, False),
    (12, 10, 0.02, 0.01, 0, False),
    (12, 5, 0.02, 0.01, 0.01, False),
    (12, 10, 0.02, 0.01, 0.01, False),
]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--trials", type=int, default=100)
    parser.add_argument("--measure", default="throughput_gbps")
    parser.add_argument("file", nargs="?")
    options = parser.parse_args()
    if options.file:
        real = rounds_of(options.file, options.measure)
        print(f"{len(real)} rounds of {len(real[0])} cells of {options.file}, {options.measure}")
        print("runs a cell", *COLUMNS, sep="  ")
        for rounds in (5, 10, 20, 40, 80):
            shares = rates(lambda rng, n=rounds: drawn(rng, real, n), len(real[0]), options.trials)
            print(f"{rounds:11}  {shown(shares)}", flush=True)
        return
    print("cells  runs a cell  run    round   drift   order     ", *COLUMNS, sep="  ")
    for cells, rounds, spread, round_spread, step, turns in CASES:
        shares = rates(lambda rng: simulated(rng, cells, rounds, spread, round_spread, step, turns), cells,
                       options.trials, turns)
        print(f"{cells:5}  {rounds:11}  {spread:4.1%}  {round_spread:6.1%}  {step:6.0%}  {'turns' if turns else 'A, then B':10}  "
              f"{shown(shares)}", flush=True)


if __name__ == "__main__":
    main()
