# SPDX-License-Identifier: MIT
"""The tables of a bench document, as rows that the terminal and doc/performance.md both print."""
import extras
from judge import place

HEADS = {1: "bar 1, against other programs", 2: "bar 2, zero-copy", 3: "bar 3, what the ledger costs", 4: "bar 4, scale",
         5: "bar 5, starts and idling"}


def number(value):
    if value is None:
        return "–"
    if isinstance(value, int) or value == 0 or abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3f}" if abs(value) < 10 else f"{value:.1f}"


def interval(e, unit=""):
    if e is None:
        return "–"
    if e["n"] == 1:
        return number(e["median"]) + (f" {unit}" if unit else "")
    weak = f" at {100 * e['coverage']:.0f} %" if e["coverage"] < 0.95 else ""
    return f"{number(e['median'])} [{number(e['low'])}, {number(e['high'])}]{weak}" + (f" {unit}" if unit else "")


def throughput_rows(document):
    """A row a contender of a cell: Gbit/s, and its ratio to the base."""
    yield "cell", "contender", "Gbit/s", "least to most", "ratio to", "ratio"
    for c in document["cells"]:
        for name in c["chain"]:
            e, ratio = c["gbps"][name], c["ratios"].get(name)
            spread = f"{number(e['least'])} to {number(e['most'])}" if e else "–"
            yield (place(c), name, number(e["median"]) if e else "–", spread, c["base"] if name != c["base"] else "",
                   interval(ratio) if name != c["base"] else "")


def verdict_rows(document):
    yield "bar", "what", "median, 95 % interval", "wanted", "verdict"
    for v in document["verdicts"]:
        want = "" if v["want"] is None else f"{'at least' if v['at_least'] else 'at most'} {v['want']:g}"
        reason = f": {v['reason']}" if v["reason"] else ""
        yield str(v["bar"]), v["what"], interval(v["estimate"], v["unit"]), want, v["verdict"] + reason


def program_rows(document, kept):
    found = document["programs"]["programs"]
    runs = [f"{mode} {size}" for mode, size in extras.PROGRAM_RUNS]
    yield ("program", "instructions", "more than kept", "", *(f"ns a run, {r}" for r in runs))
    for name, now, difference, remark in extras.growth(kept, {n: p["instructions"] for n, p in found.items()}):
        more = "–" if difference is None else f"{difference:+d}" if difference else "0"
        times = [number(found[name]["ns"].get(r)) if name in found else "–" for r in runs]
        yield (name, number(now), more, remark, *times)


def noise_lines(document):
    cells, options = document["cells"], document["options"]
    rounds, redone = sum(len(c["rounds"]) for c in cells), sum(len(c["redone"]) for c in cells)
    kept = sum(c["noisy_kept"] for c in cells)
    yield (f"noise: {redone} chains redone for steal above {options['max_steal']:g} % or foreign load above "
           f"{options['max_foreign']:g} % of the machine; of the {rounds} that count {kept} were noisy still")
    pairs = sorted(len(c["rounds"]) for c in cells)
    if pairs:
        yield f"pairs a cell: {pairs[0]}" + (f" to {pairs[-1]}" if pairs[-1] > pairs[0] else "")
    failures = sum(len(c["failures"]) for c in cells)
    if failures:
        yield f"failed samples: {failures}"
    if document.get("ended_early"):
        yield "ended early: " + document["ended_early"]


def host_lines(document):
    host, options = document["host"], document["options"]
    yield (f"Linux {host['kernel']} on {host['cpu']}, {host['cpus']} CPUs; copyledger {host['copyledger']} "
           f"({host['commit'] or 'no commit'}), {host['iperf3'] or 'no iperf3'}, {host['bpftrace'] or 'no bpftrace'}")
    yield (f"congestion control {options['congestion'] or host['congestion']}; {options['seconds']} s a sample after "
           f"{options['warmup']} s; copyledger's threads {'' if options['pin'] else 'not '}pinned beside other programs, the "
           f"others' not; begun {document['started']}")
    for later in document.get("later", ()):
        yield f"measured anew {later['begun']} ({later['commit'] or 'no commit'}): {', '.join(later['what'])}"
    trace = document["bpftrace"]
    yield f"bpftrace counts by {trace['style']}s" if trace["style"] else "bpftrace: " + "; ".join(trace["refused"])


def bar_counts(document):
    """A line a bar: how many of its rows have which verdict."""
    for bar, head in HEADS.items():
        words = [v["verdict"] for v in document["verdicts"] if v["bar"] == bar]
        yield f"{head}: " + ", ".join(f"{words.count(w)} {w}" for w in dict.fromkeys(words))


def plain(rows):
    """Columns under each other."""
    rows = [list(map(str, r)) for r in rows]
    widths = [max(len(r[i]) for r in rows) for i in range(len(rows[0]))]
    return "\n".join("  ".join(cell.ljust(w) for cell, w in zip(r, widths)).rstrip() for r in rows)


def text(document, kept):
    parts = ["\n".join(host_lines(document))] + [plain(throughput_rows(document))] * bool(document["cells"])
    programs = document.get("programs", {})
    if "programs" in programs:
        head = f"programs of {programs['key']}" + ("" if kept else ": no counts are kept of it")
        parts.append(head + "\n" + plain(program_rows(document, kept)))
    elif programs:
        parts.append("programs: " + programs["reason"])
    parts += [plain(verdict_rows(document)), "\n".join([*noise_lines(document), *bar_counts(document)])]
    return "\n" + "\n\n".join(parts) + "\n"
