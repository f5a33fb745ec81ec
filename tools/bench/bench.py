#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Throughput in interleaved pairs: copyledger's modes against iperf3 and others, the ledger on against off, bpftrace beside it.

Prints medians in Gbit/s, ratios with 95 % intervals, and what they say of the bars; writes all samples as JSON. A sample is
only ever compared with that of its base which was taken right beside it. Not a test: it asserts nothing. doc/performance.md
says how to read it.
"""
import argparse
import json
import os
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

TOP = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(TOP / "tests"))
import contenders  # noqa: E402
import extras  # noqa: E402
import judge  # noqa: E402
import many  # noqa: E402
import noise  # noqa: E402
import tables  # noqa: E402

EXTRAS = ("start", "programs", "scale", "store", "watch")
OVERHEAD = 0.4  # seconds a sample takes besides its window, as a guess for the plan


def numbers(text):
    return [int(n) for n in text.split(",")]


def arguments():
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    p.add_argument("--minutes", type=float, default=25, help="no round is begun after that; the first one always is")
    p.add_argument("--rounds", type=int, default=7, help="pairs a cell")
    p.add_argument("--seconds", type=int, default=1, help="window of a sample")
    p.add_argument("--warmup", type=int, default=0, help="seconds before it; netperf and neper have none")
    p.add_argument("--sizes", type=numbers, help="only these message sizes, as in 64,1024")
    p.add_argument("--threads", type=numbers, help="only these numbers of threads, as in 1,4")
    p.add_argument("--only", type=lambda s: s.split(","), help="of peers, zero-copy, floor, ledger, the names of PEERS, start, "
                   "programs, scale, store, watch")
    p.add_argument("--congestion", default="", help="congestion control for all, such as cubic; else the host's default")
    p.add_argument("--into", action="store_true", help="replace in the output that is there what is measured now, and keep the rest")
    p.add_argument("--pin", action="store_true", help="copyledger's threads are pinned also beside other programs, which never are")
    p.add_argument("--peers", default=os.environ.get("PEERS", ""), help="NAME=PATH ... of binaries netperf or tcp_stream")
    p.add_argument("--bpftrace", default="bpftrace", help="the bpftrace to use")
    p.add_argument("--max-steal", type=float, default=2.0, help="percent of the machine; a pair above it is redone")
    p.add_argument("--max-foreign", type=float, default=5.0, help="the same for the CPU time of others")
    p.add_argument("--redos", type=int, default=3, help="how often in a cell, at most")
    p.add_argument("--keep-programs", action="store_true", help="write the instruction counts to tools/bench/programs.json")
    p.add_argument("--output", type=Path, default=TOP / "results/bench.json")
    return p.parse_args()


def cells_of(groups, args):
    def chosen(values, wanted):
        return [v for v in values if not wanted or v in wanted]
    return [{"group": g.name, "chain": list(g.chain), "base": g.base, "size": size, "threads": threads, "rounds": [],
             "redone": [], "noisy_kept": 0, "failures": []}
            for g in groups if not args.only or g.name in args.only
            for threads in chosen(g.threads, args.threads) for size in chosen(g.sizes, args.sizes)]


def order_of(chain, i):
    """Forwards and backwards in turns: what drifts hits both sides of a pair alike."""
    return list(chain) if i % 2 == 0 else list(chain)[::-1]


def take_chain(env, cell, found, i):
    """One round of a cell: {order, gbps, noise}; who failed has no figure."""
    env = env._replace(pin=env.pin or cell["base"] in contenders.OWN)
    taken = {"order": order_of(cell["chain"], i), "gbps": {}, "noise": {}}
    for name in taken["order"]:
        before = noise.read(env.daemon.process.pid)
        try:
            taken["gbps"][name] = found[name](env, cell["size"], cell["threads"])
        except contenders.Failed as e:
            cell["failures"].append(f"{name}: {e}")
        shares = noise.between(before, noise.read(env.daemon.process.pid))
        taken["noise"][name] = {**shares, "load_1m": os.getloadavg()[0]}
    return taken


def take_round(env, cell, found, i, limits, most):
    """A chain, taken anew as long as it is noisy and the cell may."""
    while True:
        taken = take_chain(env, cell, found, i)
        complaints = [c for shares in taken["noise"].values() for c in noise.complaints(shares, limits)]
        if not noise.should_redo(complaints, len(cell["redone"]), most):
            break
        cell["redone"].append({**taken, "why": complaints})
    cell["noisy_kept"] += bool(complaints)
    cell["rounds"].append(taken)


def take_rounds(env, cells, found, args, deadline):
    """All cells in each round, so that an early end leaves whole rounds. Returns why it ended early, or None."""
    limits = noise.Limits(args.max_steal, args.max_foreign)
    for i in range(args.rounds):
        if i and time.monotonic() > deadline:
            return f"the time of {args.minutes:g} minutes was over after {i} of {args.rounds} rounds"
        begin = time.monotonic()
        try:
            for cell in cells:
                take_round(env, cell, found, i, limits, args.redos)
        except KeyboardInterrupt:
            return f"interrupted in round {i + 1} of {args.rounds}"
        print(f"round {i + 1} of {args.rounds}: {time.monotonic() - begin:.0f} s, "
              f"{sum(len(c['redone']) for c in cells)} chains redone so far", flush=True)
    return None


def wanted_extras(args):
    return [name for name in EXTRAS if not args.only or name in args.only]


def plan(cells, args, named_peers):
    samples = sum(len(c["chain"]) for c in cells)
    guess = args.rounds * samples * (args.seconds + args.warmup + OVERHEAD)
    print(f"plan: {len(cells)} cells, {samples} samples a round, {args.rounds} rounds, {args.seconds} s a sample: about "
          f"{guess / 60:.0f} minutes without what is redone, and {', '.join(wanted_extras(args)) or 'nothing'} before; no round "
          f"begins after {args.minutes:g} minutes")
    print(f"      congestion control {args.congestion or 'the default of the host'}; copyledger's threads "
          f"{'' if args.pin else 'not '}pinned beside other programs; peers: {', '.join(named_peers) or 'none named'}",
          flush=True)


def take_extras(env, args, folder, document):
    wanted, env = wanted_extras(args), env._replace(pin=True)
    if "programs" in wanted:
        document["programs"] = extras.programs(env)
    for name, take in (("start", extras.start_figures), ("scale", extras.scale), ("store", many.store), ("watch", many.watch)):
        if name in wanted:
            (folder / name).mkdir()
            document[name] = take(env, folder / name)


def merged(old, new):
    """An earlier bench in which what the new one measured is replaced; it says what, when, and of which commit."""
    def key(cell):
        return cell["group"], cell["size"], cell["threads"]
    fresh = {key(c): c for c in new["cells"]}
    cells = [fresh.pop(key(c), c) for c in old["cells"]] + list(fresh.values())
    extra = {name: new[name] for name in EXTRAS if name in new}
    note = {"what": sorted({c["group"] for c in new["cells"]} | set(extra)), "begun": new["started"], "commit": new["host"]["commit"]}
    return {**old, **extra, "cells": cells, "later": [*old.get("later", []), note]}


def options_of(args):
    return {k: v for k, v in vars(args).items() if k != "output"}


def measure(args, folder):
    if args.into and not args.output.exists():
        raise contenders.Failed(f"--into: there is no {args.output}")
    named = contenders.peers(args.peers)
    found, missing, style, said = contenders.all_contenders(named, args.bpftrace)
    known = {g.name for g in contenders.GROUPS} | set(named) | set(EXTRAS)
    if set(args.only or ()) - known:
        raise contenders.Failed(f"--only takes some of {', '.join(sorted(known))}, with commas between")
    cells = cells_of(contenders.groups(found, named), args)
    plan(cells, args, named)
    deadline = time.monotonic() + 60 * args.minutes
    env = contenders.Env(contenders.start_daemon(folder), args.seconds, args.warmup, args.congestion, args.pin)
    document = {"schema": "copyledger/bench/1", "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
                "host": extras.host_facts(env.daemon, args.bpftrace), "options": options_of(args), "missing": missing,
                "irqs_apart": noise.IRQS_APART,
                "bpftrace": {"style": style, "refused": said, "program": contenders.bpftrace_program(style) if style else None}}
    try:
        take_extras(env, args, folder, document)
        document["ended_early"] = take_rounds(env, cells, found, args, deadline)
    finally:
        env.daemon.stop()
    document["cells"] = [judge.summary(c) for c in cells]
    if args.into:
        document = merged(json.loads(args.output.read_text()), document)
    document["verdicts"] = judge.judge(document)
    return document


def write(path, document):
    """Whole or not at all: an earlier bench may stand there, and be what --into keeps the rest of."""
    new = path.with_name(path.name + ".new")
    try:
        new.write_text(json.dumps(document, indent=1) + "\n")
        new.replace(path)
    except OSError as e:
        new.unlink(missing_ok=True)
        sys.exit(f"bench: {path} cannot be written, the samples are lost: {e.strerror}")


def check_output(path):
    """Before it measures for half an hour."""
    try:
        path.parent.mkdir(exist_ok=True)
        path.with_name(path.name + ".new").touch()
    except OSError as e:
        sys.exit(f"bench: {path} cannot be written: {e.strerror}")
    path.with_name(path.name + ".new").unlink()


def main():
    args = arguments()
    check_output(args.output)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("bench: ended by SIGTERM"))
    folder = Path(tempfile.mkdtemp(prefix="copyledger-bench-"))
    try:
        document = measure(args, folder)
    except contenders.Failed as e:
        sys.exit(f"bench: {e}")
    finally:
        shutil.rmtree(folder)
    programs = document.get("programs", {})
    print(tables.text(document, extras.kept_counts(programs.get("key"))), flush=True)
    write(args.output, document)
    if args.keep_programs and "programs" in programs:
        extras.keep_counts(programs["key"], programs["programs"])
    print(f"all samples: {args.output}; into doc/performance.md: make bench-doc")


if __name__ == "__main__":
    main()
