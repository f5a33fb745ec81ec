#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Puts the tables and the figure of a bench into the document that is kept: document.py BENCH.json DOCUMENT FIGURE

Of the document only what stands between its two markers is written; the rest is prose, which has no numbers.
"""
import json
import subprocess
import sys
from pathlib import Path

TOP = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(TOP / "tests"))
import extras  # noqa: E402
import judge  # noqa: E402
import tables  # noqa: E402

BEGIN, END = "<!-- make bench-doc writes from here -->", "<!-- to here -->"
# group, contender, its curve's title; colours by Okabe and Ito, as in cli/figures.c
CURVES = (("peers", "one-copy", "one-copy / iperf3", "#0072B2"), ("peers", "two-copy", "two-copy / iperf3", "#D55E00"),
          ("zero-copy", "zero-copy", "zero-copy / one-copy", "#009E73"), ("ledger", "one-copy", "ledger on / off", "#CC79A7"),
          ("floor", "one-copy, empty hooks", "empty hooks / off", "#56B4E9"),
          ("ledger", "one-copy, bpftrace", "bpftrace / without", "#E69F00"))


def markdown(rows):
    rows = [[str(cell).replace("|", "\\|") for cell in r] for r in rows]
    lines = [rows[0], ["---"] * len(rows[0]), *rows[1:]]
    return "\n".join("| " + " | ".join(r) + " |" for r in lines)


def part(document, figure, kept):
    """What stands between the markers."""
    programs = document.get("programs", {})
    blocks = [BEGIN, "\n".join(f"- {line}" for line in (*tables.host_lines(document), *tables.noise_lines(document))),
              "\n".join(f"- {line}" for line in tables.bar_counts(document)),
              f"![Ratios over message size, with 95 % intervals]({figure})",
              "### Verdicts", markdown(tables.verdict_rows(document)),
              "<details><summary>Throughput of every cell</summary>", markdown(tables.throughput_rows(document)), "</details>"]
    if "programs" in programs:
        blocks += [f"### Programs, {programs['key']}", markdown(tables.program_rows(document, kept))]
    return "\n\n".join([*blocks, END])


def replaced(text, new):
    """The document with the part between its markers made new."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the markers '{BEGIN}' and '{END}' are not there")
    return before + new + after


def curve_rows(document, group, name, threads):
    found = [(c["size"], c["ratios"].get(name)) for c in document["cells"] if c["group"] == group and c["threads"] == threads]
    return [(size, e["median"], e["low"], e["high"]) for size, e in sorted(found, key=lambda f: f[0]) if e]


def quoted(text):
    return "'" + text.replace("'", "''") + "'"


def plot_command(document, threads, with_key):
    """A panel: its data blocks, and the command that draws them. Curves stand a little beside each other."""
    data, curves = [], []
    middle = len(CURVES) // 2
    for i, (group, name, title, color) in enumerate(CURVES):
        rows = curve_rows(document, group, name, threads)
        if not rows:
            continue
        block = f"$d{threads}_{i}"
        points = [" ".join(f"{v:.6g}" for v in (size * 1.04 ** (i - middle), *e)) for size, *e in rows]
        data.append("\n".join([f"{block} << EOD", *points, "EOD"]))
        shown = f"title {quoted(title)}" if with_key else "notitle"
        curves.append(f"{block} using 1:2:3:4 with yerrorbars lc rgb '{color}' pt 7 ps 0.6 {shown}, "
                      f"{block} using 1:2 with lines lc rgb '{color}' lw 1.5 notitle")
    title = f"set title '{threads} thread{'s' if threads > 1 else ''}'"
    return "\n".join([*data, title, "plot " + ", ".join(["1 lc rgb '#888888' notitle", *curves])])


def script(document, output):
    threads = sorted({c["threads"] for c in document["cells"]})
    sizes = sorted({c["size"] for c in document["cells"]})
    names = ", ".join(f"{quoted(judge.size_text(s))} {s}" for s in sizes)
    head = f"""set terminal svg size 960,{60 + 360 * len(threads)} dynamic noenhanced font 'sans-serif,13' background '#ffffff'
set output {quoted(str(output))}
set encoding utf8
set border 3
set tics nomirror
set grid lt 1 lw 0.7 lc rgb '#dddddd'
set logscale x 2
set logscale y 2
set xtics ({names})
set ylabel 'ratio of throughputs'
set key outside bottom center horizontal Left reverse samplen 2
set lmargin 10
set multiplot layout {len(threads)},1"""
    panels = [plot_command(document, t, t == threads[-1]) for t in threads]
    return "\n".join([head, *panels, "unset multiplot", ""])


def draw(document, output):
    done = subprocess.run(["gnuplot", "-"], input=script(document, output), capture_output=True, text=True, timeout=60)
    if done.returncode:
        raise ValueError("gnuplot: " + done.stderr.strip()[-300:])


def main(bench, page, figure):
    try:
        document = json.loads(Path(bench).read_text())
        kept = extras.kept_counts(document.get("programs", {}).get("key"))
        text = replaced(Path(page).read_text(), part(document, Path(figure).name, kept))
        draw(document, figure)
    except FileNotFoundError as e:
        return f"bench-doc: there is no {e.filename}" + (": make bench first" if e.filename == bench else "")
    except ValueError as e:
        return f"bench-doc: {e}"
    Path(page).write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:4]))
