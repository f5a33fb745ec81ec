# SPDX-License-Identifier: MIT
"""Medians, intervals, and what they say of the bars. All of it is computed from samples, nothing is measured here.

The interval of a median is that of the sign test: two order statistics of the values, the widest coverage that is at least
95 % (Hollander, Wolfe: "Nonparametric Statistical Methods", 3.6). It assumes no distribution and needs no random numbers. Of
fewer than six values it is their range, and says what it covers.
"""
import math
import statistics

THIRD = 1 / 3
PEER_BAR, PEER_BAR_SMALL, SMALL = 1.0, 1.2, 1024
ZEROCOPY_BAR = 1.3
LEDGER_BARS = ((64, 64, 0.94), (1024, 1024, 0.97), (16384, math.inf, 0.99))  # from size, to size, bar
SCALE_FROM, SCALE_BAR = 16, 1.15
SINGLE_BARS = (  # bar 5: key, what it is, most, unit
    ("first_byte_ms", "start to the first measured byte, no warm-up", 150, "ms"),
    ("first_run_ms", "the same for the first run of a daemon", 150, "ms"),
    ("probe_ms", "copyledger probe, the first of a daemon", 300, "ms"),
    ("idle_rss_mib", "idle daemon, memory", 12, "MiB"),
    ("idle_ticks", "idle daemon, CPU ticks", 0, "ticks"),
)


def estimate(values):
    """{median, low, high, coverage, least, most, n}, or None of no values."""
    if not values:
        return None
    s, n = sorted(values), len(values)
    k, tail = 0, 0.0  # tail: how often the median is outside on one side, for the k-th smallest value
    while 2 * (tail + math.comb(n, k) / 2 ** n) <= 0.05:
        tail += math.comb(n, k) / 2 ** n
        k += 1
    if k == 0:
        k, tail = 1, 1 / 2 ** n
    return {"median": statistics.median(s), "low": s[k - 1], "high": s[n - k], "coverage": max(1 - 2 * tail, 0.0),
            "least": s[0], "most": s[-1], "n": n}


def ratios(rounds, name, base):
    """Of each round in which both were measured."""
    return [r["gbps"][name] / r["gbps"][base] for r in rounds if r["gbps"].get(name) and r["gbps"].get(base)]


def summary(cell):
    """The cell with what follows from its rounds."""
    rounds, base = cell["rounds"], cell["base"]
    cell["gbps"] = {n: estimate([r["gbps"][n] for r in rounds if r["gbps"].get(n)]) for n in cell["chain"]}
    cell["ratios"] = {n: estimate(ratios(rounds, n, base)) for n in cell["chain"] if n != base}
    return cell


def word(e, want, at_least=True):
    """By the median; where the interval holds the bar, that it is not decided."""
    met = e["median"] >= want if at_least else e["median"] <= want
    open_ = e["low"] < want <= e["high"] if at_least else e["low"] <= want < e["high"]
    return ("met" if met else "missed") + (" (not decided)" if open_ else "")


def row(bar, what, e, want=None, at_least=True, unit="", reason=None):
    if e is None:
        verdict = "not measured"
    else:
        verdict = "stated" if want is None else word(e, want, at_least)
    return {"bar": bar, "what": what, "estimate": e, "want": want, "at_least": at_least, "unit": unit, "verdict": verdict,
            "reason": reason if e is None else None}


def size_text(size):
    for unit, name in ((1 << 20, "MiB"), (1 << 10, "KiB")):
        if size >= unit and size % unit == 0:
            return f"{size // unit} {name}"
    return f"{size} B"


def place(cell):
    return f"{size_text(cell['size'])}, {cell['threads']} thread{'s' if cell['threads'] != 1 else ''}"


def cells_of(document, group):
    return [c for c in document["cells"] if c["group"] == group]


def why_not(document, *names):
    """The reason that is known for one of the names, or that it was not asked for."""
    return next((document["missing"][n] for n in names if n in document["missing"]), "not asked for")


def why_no_pair(cell):
    return "; ".join(sorted(set(cell["failures"]))) or "no round was measured"


def judge_peers(document):
    cells = cells_of(document, "peers")
    for mode in ("one-copy", "two-copy"):
        for c in cells:
            want = PEER_BAR_SMALL if c["size"] <= SMALL else PEER_BAR
            yield row(1, f"{mode} / iperf3, {place(c)}", c["ratios"].get(mode), want, reason=why_no_pair(c))
    if not cells:
        yield row(1, "one-copy and two-copy / iperf3", None, PEER_BAR, reason=why_not(document, "iperf3", "peers"))


def named_cells(document, zerocopy):
    return [c for c in document["cells"] if c["group"] not in ("peers", "zero-copy", "ledger", "floor")
            and ("zero-copy" in c["chain"]) == zerocopy]


def judge_named(document):
    for c in named_cells(document, False):
        for mode in ("one-copy", "two-copy"):
            yield row(1, f"{mode} / {c['base']}, {place(c)}", c["ratios"].get(mode), reason=why_no_pair(c))


def judge_zero_copy(document):
    cells = cells_of(document, "zero-copy")
    for c in cells:
        yield row(2, f"zero-copy / one-copy, {place(c)}", c["ratios"].get("zero-copy"), reason=why_no_pair(c))
    if not cells:
        yield row(2, "zero-copy / one-copy", None, reason=why_not(document, "zero-copy"))
    others = named_cells(document, True)
    for c in others:
        yield row(2, f"zero-copy / {c['base']}, {place(c)}", c["ratios"].get("zero-copy"), ZEROCOPY_BAR, reason=why_no_pair(c))
    if not others:
        yield row(2, "zero-copy / MSG_ZEROCOPY of other programs", None, ZEROCOPY_BAR, reason="PEERS names none that has it")


def thirds(rounds):
    """Of each round the ledger's loss less a third of bpftrace's; both against the same sample without."""
    names = "one-copy", "one-copy, bpftrace", "one-copy, ledger off"
    found = [[r["gbps"].get(n) for n in names] for r in rounds]
    return [(1 - ours / off) - THIRD * (1 - theirs / off) for ours, theirs, off in filter(all, found)]


def judge_ledger(document):
    cells = cells_of(document, "ledger")
    for c in cells:
        want = next((w for low, high, w in LEDGER_BARS if low <= c["size"] <= high), None)
        yield row(3, f"ledger on / off, {place(c)}", c["ratios"].get("one-copy"), want, reason=why_no_pair(c))
    for c in cells_of(document, "floor"):
        yield row(3, f"programs that do nothing at its hooks / off, {place(c)}", c["ratios"].get("one-copy, empty hooks"),
                  reason=why_no_pair(c))
    for c in cells:
        reason = document["missing"].get("one-copy, bpftrace") or why_no_pair(c)
        yield row(3, f"bpftrace / without, {place(c)}", c["ratios"].get("one-copy, bpftrace"), reason=reason)
        yield row(3, f"loss by the ledger less a third of bpftrace's, {place(c)}", estimate(thirds(c["rounds"])), 0,
                  at_least=False, reason=reason)
    if not cells:
        yield row(3, "ledger on / off", None, reason=why_not(document, "ledger"))


def judge_scale(document):
    scale = document.get("scale")
    if not scale:
        yield row(4, "CPU time a message, more lanes / 16 lanes", None, SCALE_BAR, False, reason=why_not(document, "scale"))
        return
    for lanes in scale["lanes"]:
        costs = [(r.get(str(lanes)), r.get(str(SCALE_FROM))) for r in scale["rounds"]]
        e = estimate([a["ns_per_message"] / b["ns_per_message"] for a, b in costs if a and b])
        if lanes > SCALE_FROM:
            yield row(4, f"CPU time a message, {lanes} / {SCALE_FROM} lanes", e, SCALE_BAR, False,
                      reason="; ".join(scale["failures"]) or f"{SCALE_FROM} lanes were not asked for")
    for key, what in (("result_bytes", "result's bytes a lane more"), ("daemon_bytes", "daemon's peak memory a lane more")):
        yield row(4, what, estimate(list(slopes(scale, key))), unit="bytes", reason="fewer than two numbers of lanes")


def slopes(scale, key):
    """Of each round: what a lane more adds, between the least and the most lanes of it."""
    for r in scale["rounds"]:
        found = sorted((int(lanes), v[key]) for lanes, v in r.items())
        if len(found) > 1:
            yield (found[-1][1] - found[0][1]) / (found[-1][0] - found[0][0])


def judge_single(document):
    single = document.get("start") or {}
    for key, what, most, unit in SINGLE_BARS:
        yield row(5, what, estimate(single.get(key, [])), most, False, unit,
                  reason=single.get("reasons", {}).get(key) or why_not(document, "start"))


def judge_store(document):
    """A row a question; there is no bar but that a person does not wait."""
    store = document.get("store") or {}
    if "ms" not in store:
        yield row(4, "answers from a full store", None, reason=store.get("reason") or why_not(document, "store"))
        return
    for name, ms in store["ms"].items():
        yield row(4, f"{store['results']:,} results of {store['document_bytes']:,} bytes: {name}", estimate(ms), unit="ms")
    yield row(4, "the daemon's memory with these", estimate([store["rss_mib"]]), unit="MiB")


def judge_watch(document):
    watch = document.get("watch") or {}
    if "gap_ms" not in watch:
        yield row(4, "a watch of many sockets", None, reason=watch.get("reason") or why_not(document, "watch"))
        return
    of = f"watch of {watch['sockets']:,} sockets"
    yield row(4, f"{of}: from reply to reply, of {watch['interval_ms']} ms asked", estimate(watch["gap_ms"]), unit="ms")
    for key, what in (("daemon_bytes", "memory of the daemon more"), ("map_bytes_max", "memory of the kernel's maps, at most"),
                      ("socket_bytes", "memory of a socket's row")):
        yield row(4, f"{of}: {what}", estimate([watch[key]]), unit="bytes")


JUDGES = (judge_peers, judge_named, judge_zero_copy, judge_ledger, judge_scale, judge_store, judge_watch, judge_single)


def judge(document):
    return [r for judge_one in JUDGES for r in judge_one(document)]
