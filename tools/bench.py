#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Throughput in interleaved pairs: copyledger's modes against iperf3, and the ledger on against off.

Prints medians in Gbit/s and ratios with 95 % bootstrap intervals over the rounds; writes all samples as JSON. A figure
of one contender is only ever compared with the others of the same round. Not a test: it asserts nothing.
"""
import argparse
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

TOP = Path(__file__).parent.parent
sys.path.insert(0, str(TOP / "tests"))
from support import Daemon  # noqa: E402

SEED = 1


def copyledger(mode, ledger="auto"):
    def run(daemon, size, threads, ms):
        spec = {"mode": mode, "fields": 1, "size": size, "threads": threads, "duration_ms": ms, "warmup_ms": 100,
                "ledger": ledger, "perf": False}
        with daemon.connect() as v:
            run_id = v.call("StartRun", {"spec": spec})["parameters"]["id"]
            result = v.call("FollowRun", {"id": run_id})["parameters"]["result"]
        if result["state"] != "done":
            raise RuntimeError(result["error"]["message"])
        return result["app"]["throughput_gbps"]
    return run


def iperf3(_daemon, size, threads, ms):
    server = subprocess.Popen(["iperf3", "-s", "-1", "-B", "127.0.0.1", "-p", "5299"], stdout=subprocess.DEVNULL)
    try:
        for _ in range(20):
            done = subprocess.run(["iperf3", "-c", "127.0.0.1", "-p", "5299", "-J", "-N", "-l", str(size), "-P",
                                   str(threads), "-t", str(max(1, round(ms / 1000))), "-O", "0"],
                                  capture_output=True, text=True, timeout=60)
            end = json.loads(done.stdout or "{}").get("end", {})
            if "sum_received" in end:
                return end["sum_received"]["bits_per_second"] / 1e9
        raise RuntimeError("iperf3: " + done.stdout[-200:])
    finally:
        server.terminate()
        server.wait()


# name, how, the contender that its ratio is taken against
CONTENDERS = [
    ("iperf3", iperf3, None),
    ("two-copy", copyledger("two-copy"), "iperf3"),
    ("one-copy", copyledger("one-copy"), "iperf3"),
    ("zero-copy", copyledger("zero-copy"), "one-copy"),
    ("one-copy, ledger off", copyledger("one-copy", "off"), "iperf3"),
]


def interval(ratios):
    """95 % bootstrap interval of the median, with a stated seed."""
    rng = random.Random(SEED)
    medians = sorted(statistics.median(rng.choices(ratios, k=len(ratios))) for _ in range(2000))
    return medians[50], medians[1949]


def ratio_text(a, b):
    ratios = [x / y for x, y in zip(a, b)]
    low, high = interval(ratios)
    return {"median": statistics.median(ratios), "low": low, "high": high}


def measure(daemon, size, threads, args):
    runnable = [(n, f) for n, f, _ in CONTENDERS if (f is not iperf3 or shutil.which("iperf3"))]
    samples = {n: [] for n, _ in runnable}
    for i in range(args.rounds):
        order = runnable[i % len(runnable):] + runnable[:i % len(runnable)]
        for name, f in order:
            samples[name].append(f(daemon, size, threads, args.ms))
    return samples


def report(size, threads, samples):
    cell = {"size": size, "threads": threads, "samples": samples, "ratios": {}}
    pairs = [(n, base, n) for n, f, base in CONTENDERS if base in samples and n in samples]
    pairs.append(("ledger on / off", "one-copy, ledger off", "one-copy"))
    for name, base, what in pairs:
        cell["ratios"][name] = {"against": base, **ratio_text(samples[what], samples[base])}
    medians = "  ".join(f"{n} {statistics.median(v):.2f}" for n, v in samples.items())
    ratios = "  ".join(f"{n} / {r['against'] if n != 'ledger on / off' else ''}".rstrip(" /")
                       + f" {r['median']:.2f} [{r['low']:.2f}, {r['high']:.2f}]" for n, r in cell["ratios"].items())
    print(f"{size:>8} B x {threads}  Gbit/s: {medians}\n{'':14}ratios: {ratios}", flush=True)
    return cell


def main():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--sizes", default="64,1024,16384,65536,1048576")
    p.add_argument("--threads", default="1,4")
    p.add_argument("--rounds", type=int, default=7)
    p.add_argument("--ms", type=int, default=1000, help="measured window of a sample")
    p.add_argument("--output", default=str(TOP / "results/bench.json"))
    args = p.parse_args()
    folder = tempfile.mkdtemp(prefix="copyledger-bench-")
    daemon = Daemon(folder).start()
    try:
        cells = [report(s, t, measure(daemon, s, t, args))
                 for t in map(int, args.threads.split(",")) for s in map(int, args.sizes.split(","))]
    finally:
        daemon.stop()
        shutil.rmtree(folder)
    Path(args.output).parent.mkdir(exist_ok=True)
    Path(args.output).write_text(json.dumps({"rounds": args.rounds, "ms": args.ms, "seed": SEED, "cells": cells,
                                             "load": os.getloadavg()}, indent=1))
    print(f"all samples: {args.output}")


if __name__ == "__main__":
    main()
