# SPDX-License-Identifier: MIT
"""What is measured against what: copyledger's modes, iperf3, other programs that the user names, and a bpftrace set.

A contender is {name, run(env, size, threads) -> Gbit/s}; run raises Failed with the reason. A chain is what one round of a
cell measures, side by side: its base stands in the middle, so that each of the others ran right beside it.
"""
import contextlib
import ctypes
import json
import os
import re
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections import namedtuple
from pathlib import Path

from support import BUILD, Daemon

SIZES = (64, 256, 1024, 4096, 16384, 65536, 262144, 1048576)
LEDGER_SIZES = (64, 1024, 16384, 65536, 1048576)
THREADS = (1, 4)
PORT = 5299
TRACING = "/sys/kernel/tracing"

Group = namedtuple("Group", "name chain base sizes threads")
# seconds: the window of a sample, whole ones, since the peers know no others
Env = namedtuple("Env", "daemon seconds warmup congestion pin")

GROUPS = (
    Group("peers", ("one-copy", "iperf3", "two-copy"), "iperf3", SIZES, THREADS),
    Group("zero-copy", ("zero-copy", "one-copy"), "one-copy", SIZES, THREADS),
    Group("floor", ("one-copy, empty hooks", "one-copy, ledger off"), "one-copy, ledger off", LEDGER_SIZES, THREADS),
    Group("ledger", ("one-copy", "one-copy, ledger off", "one-copy, bpftrace"), "one-copy, ledger off", LEDGER_SIZES, THREADS),
)


LIBC = ctypes.CDLL(None)
PR_SET_PDEATHSIG = 1


class Failed(Exception):
    """A contender could not be run: its text says why."""


def end_with_parent():
    """In a child: it does not outlive the bench, whatever ends that."""
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)


def start_daemon(folder):
    return Daemon(folder, preexec_fn=end_with_parent).start()


@contextlib.contextmanager
def process(command, end=signal.SIGTERM, **kwargs):
    """A child for the block's time, which is waited for: its CPU time is among that of the children then."""
    try:
        child = subprocess.Popen([str(c) for c in command], stdin=subprocess.DEVNULL, preexec_fn=end_with_parent, **kwargs)
    except OSError as e:
        raise Failed(f"{command[0]}: {e.strerror}") from e
    try:
        yield child
    finally:
        if child.poll() is None:
            child.send_signal(end)
        try:
            child.wait(timeout=10)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
        for pipe in (child.stdout, child.stderr):
            if pipe:
                pipe.close()


def output_of(command, seconds, cwd=None):
    try:
        done = subprocess.run([str(c) for c in command], capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=seconds,
                              cwd=cwd, preexec_fn=end_with_parent)
    except OSError as e:
        raise Failed(f"{command[0]}: {e.strerror}") from e
    except subprocess.TimeoutExpired as e:
        raise Failed(f"{command[0]}: no end after {seconds:.0f} s") from e
    return done.stdout, done.stderr


def until(attempt, seconds=5.0):
    """Calls attempt() until it gives something other than None, and no longer than seconds."""
    end = time.monotonic() + seconds
    while (value := attempt()) is None and time.monotonic() < end:
        time.sleep(0.05)
    return value


# ---- copyledger ----

def spec_of(env, mode, size, threads, **more):
    spec = {"mode": mode, "fields": 1, "size": size, "threads": threads, "duration_ms": 1000 * env.seconds,
            "warmup_ms": 1000 * env.warmup, "pin": env.pin, "perf": False, **more}
    if env.congestion:
        spec["congestion"] = env.congestion
    return spec


def run_document(env, spec):
    """The result document of a run that was done."""
    with env.daemon.connect(timeout=120) as v:
        started = v.call("StartRun", {"spec": spec})
        final = started if "error" in started else v.call("FollowRun", {"id": started["parameters"]["id"]})
    if "error" in final:
        raise Failed(f"copyledger: {final['error']}: {final.get('parameters')}")
    result = final["parameters"]["result"]
    if result["state"] != "done":
        raise Failed("copyledger: " + result["error"]["message"])
    return result


def copyledger(mode, ledger="auto"):
    def run(env, size, threads):
        return run_document(env, spec_of(env, mode, size, threads, ledger=ledger))["app"]["throughput_gbps"]
    return run


# ---- iperf3 ----

def parse_iperf3(text):
    """Gbit/s that the receiver counted; None while there is no server yet."""
    try:
        document = json.loads(text or "{}")
    except ValueError as e:
        raise Failed("iperf3: no JSON: " + text[-200:]) from e
    if "sum_received" in document.get("end", {}):
        return document["end"]["sum_received"]["bits_per_second"] / 1e9
    if "refused" in document.get("error", "refused"):
        return None
    raise Failed("iperf3: " + document["error"])


def iperf3(env, size, threads):
    client = ["iperf3", "-c", "127.0.0.1", "-p", PORT, "-J", "-l", size, "-P", threads, "-t", env.seconds, "-O", env.warmup]
    if env.congestion:
        client += ["-C", env.congestion]
    with process(["iperf3", "-s", "-1", "-B", "127.0.0.1", "-p", PORT], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL):
        gbps = until(lambda: parse_iperf3(output_of(client, env.seconds + env.warmup + 30)[0]))
    if gbps is None:
        raise Failed("iperf3: its server does not come up")
    return gbps


# ---- peers that the user names ----

def parse_netperf(text):
    """Gbit/s of a TCP_STREAM without banner: buffers, message, seconds, 10^6 bit/s. None: there is no result."""
    rows = [line.split() for line in text.splitlines() if re.fullmatch(r"[\d.\s]+", line) and len(line.split()) == 5]
    return float(rows[-1][4]) / 1e3 if rows else None


def netperf(binary):
    """It has no threads: a process a flow, and a server each that takes its flow itself (-f). One server's children would end
    without being waited for, and their CPU time would be foreign."""
    def run(env, size, threads):
        flows = [["-p", PORT + i] for i in range(threads)]
        servers = [[Path(binary).with_name("netserver"), "-D", "-f", "-4", "-L", "127.0.0.1", *flow] for flow in flows]
        clients = [[binary, "-H", "127.0.0.1", *flow, "-t", "TCP_STREAM", "-l", env.seconds, "-P", "0", "-f", "m", "--",
                    "-m", size] + (["-K", env.congestion] if env.congestion else []) for flow in flows]
        with contextlib.ExitStack() as stack:
            begun = [stack.enter_context(process(s, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)) for s in servers]
            time.sleep(0.3)
            if any(s.poll() is not None for s in begun):
                raise Failed("netserver ended at once")
            begun = [stack.enter_context(process(c, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)) for c in clients]
            try:
                texts = [c.communicate(timeout=env.seconds + 30)[0] for c in begun]
            except subprocess.TimeoutExpired as e:
                raise Failed("netperf: no end") from e
        found = [parse_netperf(text) for text in texts]
        if None in found:
            raise Failed("netperf: " + texts[found.index(None)][-200:].strip())
        return sum(found)
    return run


NEPER_UNITS = {"bit/s": 1e-9, "Kbit/s": 1e-6, "Mbit/s": 1e-3, "Gbit/s": 1.0}


def parse_neper(text):
    """Gbit/s of the key=value lines of the side that reads; None: there is none."""
    said = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
    if "throughput_Mbps" in said:  # before it said its units
        return float(said["throughput_Mbps"]) / 1e3
    scale = NEPER_UNITS.get(said.get("throughput_units"))
    return float(said["throughput"]) * scale if scale and "throughput" in said else None


def neper_in(folder, binary, flags, env, size, threads):
    common = [binary, "-T", threads, "-F", threads, "-l", env.seconds, "-C", PORT, "-P", PORT + 1, *flags]
    if env.congestion:
        if "--congestion-control" not in "".join(output_of([binary, "--help"], 10, folder)):
            raise Failed("this neper has no option for the congestion control")
        common += ["--congestion-control", env.congestion]
    with process(common + ["-B", max(size, 65536)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                 cwd=folder) as server:
        time.sleep(0.3)
        _, problem = output_of(common + ["-c", "-H", "127.0.0.1", "-B", size], env.seconds + 30, folder)
        try:
            text = server.communicate(timeout=10)[0]
        except subprocess.TimeoutExpired as e:
            raise Failed("neper: its server does not end: " + problem[-200:]) from e
    gbps = parse_neper(text)
    if gbps is None:
        raise Failed("neper: " + (problem or text)[-200:].strip())
    return gbps


def neper(binary, *flags):
    def run(env, size, threads):
        with tempfile.TemporaryDirectory(prefix="copyledger-neper-") as folder:  # each of its processes leaves a log where it runs
            return neper_in(folder, binary, flags, env, size, threads)
    return run


ZEROCOPY = "-zerocopy"  # behind the name of a peer: the same with MSG_ZEROCOPY
FAMILIES = {"netperf": {"": netperf}, "tcp_stream": {"": neper, ZEROCOPY: lambda binary: neper(binary, "-Z")}}


def peers(text):
    """{name: run} of PEERS="name=/path/to/binary ..."; the binary's own name says what it is, and whether it has zero-copy."""
    found = {}
    for item in text.split():
        name, _, path = item.rpartition("=")
        family = FAMILIES.get(Path(path).name)
        if not name or not family:
            raise Failed(f"PEERS: '{item}' is not NAME=PATH of one of {', '.join(sorted(FAMILIES))}")
        if not os.access(path, os.X_OK):
            raise Failed(f"PEERS: there is no program {path}")
        found |= {name + suffix: make(os.path.abspath(path)) for suffix, make in family.items()}
    return found


# ---- one-copy without a ledger, while bpftrace counts at the same sites for the whole system ----

# The hooks of the ledger's tracepoint tier, with the argument that holds bytes: its place, its name.
SITES = (
    ("tcp", "tcp_sendmsg_locked", None, None),
    ("sock", "sock_send_length", 1, "ret"),
    ("skb", "skb_copy_datagram_iovec", 1, "len"),
    ("sock", "sock_recv_length", 1, "ret"),
    ("skb", "consume_skb", None, None),
    ("skb", "kfree_skb", None, None),
    ("net", "netif_receive_skb", None, None),
    ("net", "net_dev_start_xmit", None, None),
)
# Cheapest first: the first one that this bpftrace and kernel take is used.
STYLES = {
    "rawtracepoint": lambda group, name, place, member: (f"rawtracepoint:{name}", f"(int32)arg{place}"),
    "tracepoint": lambda group, name, place, member: (f"tracepoint:{group}:{name}", f"args->{member}"),
}
# bpftrace wants tracefs: where it is not mounted, in a mount namespace of this command alone.
MOUNTED = f'[ -d {TRACING}/events ] || mount -t tracefs tracefs {TRACING} || exit; exec "$@"'


def bpftrace_program(style):
    lines = []
    for group, name, place, member in SITES:
        probe, value = STYLES[style](group, name, place, member)
        total = f"@{name}_bytes = sum({value}); " if member else ""
        lines.append(f"{probe} {{ {total}@{name}_hits = count(); }}")
    return "\n".join(lines + ['interval:ms:100 /!@on/ { @on = 1; printf("counting\\n"); }'])


@contextlib.contextmanager
def bpftrace(binary, style):
    """Counts for the block's time. Raises what it complains of, or if it counted nothing."""
    command = ["unshare", "-m", "sh", "-c", MOUNTED, "sh", binary, "-B", "line", "-e", bpftrace_program(style)]
    with process(command, end=signal.SIGINT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as child:
        bound = threading.Timer(60, child.kill)
        bound.start()
        counting = any(line.startswith("counting") for line in child.stdout)
        bound.cancel()
        if not counting:
            problem = [s for s in child.stderr.read().splitlines() if s.strip() and "RLIMIT_MEMLOCK" not in s]
            raise Failed(f"bpftrace ({style}): " + (problem[0] if problem else "it says nothing"))
        yield
        child.send_signal(signal.SIGINT)
        try:
            text, _ = child.communicate(timeout=60)  # the kernel takes probes away one grace period after the other
        except subprocess.TimeoutExpired as e:
            raise Failed(f"bpftrace ({style}): it does not end") from e
    if not re.search(r"^@sock_send_length_hits: [1-9]", text, re.M):
        raise Failed(f"bpftrace ({style}): it counted nothing")


def bpftrace_style(binary):
    """(style that works, or None; the reasons why others do not)."""
    reasons = []
    if not shutil.which(binary):
        return None, [f"there is no {binary}"]
    for style in STYLES:
        try:
            with bpftrace(binary, style):
                subprocess.run(["true"], check=True)
        except Failed as e:
            if "counted nothing" in str(e):  # nobody sent anything in that moment
                return style, reasons
            reasons.append(str(e))
            continue
        return style, reasons
    return None, reasons


def traced(binary, style):
    plain = copyledger("one-copy", "off")

    def run(env, size, threads):
        with bpftrace(binary, style):
            return plain(env, size, threads)
    return run


# ---- one-copy without a ledger, while programs that do nothing hang at its hooks ----

@contextlib.contextmanager
def empty_hooks():
    floor = BUILD / "bench/floor"
    with process([floor, floor.with_suffix(".bpf.o")], stdout=subprocess.PIPE, text=True) as child:
        if child.stdout.readline() != "attached\n":
            raise Failed("the programs that do nothing cannot be attached")
        yield


def with_empty_hooks(env, size, threads):
    with empty_hooks():
        return copyledger("one-copy", "off")(env, size, threads)


OWN = {
    "one-copy": copyledger("one-copy"),
    "two-copy": copyledger("two-copy"),
    "zero-copy": copyledger("zero-copy"),
    "one-copy, ledger off": copyledger("one-copy", "off"),
    "one-copy, empty hooks": with_empty_hooks,
}


def all_contenders(named_peers, bpftrace_binary):
    """({name: run}, {name: why it is not there}, style of the bpftrace set, what was said of other styles)."""
    found, missing = {**OWN, **named_peers}, {}
    if shutil.which("iperf3"):
        found["iperf3"] = iperf3
    else:
        missing["iperf3"] = "there is no iperf3"
    style, reasons = bpftrace_style(bpftrace_binary)
    if style:
        found["one-copy, bpftrace"] = traced(bpftrace_binary, style)
    else:
        missing["one-copy, bpftrace"] = "; ".join(reasons)
    return found, missing, style, reasons


def groups(found, named_peers):
    """The chains of what is there: what lacks its base is left out."""
    rows = GROUPS + tuple(Group(name, ("zero-copy", name) if name.endswith(ZEROCOPY) else ("one-copy", name, "two-copy"), name,
                                SIZES, THREADS) for name in named_peers)
    return [g._replace(chain=tuple(n for n in g.chain if n in found)) for g in rows if g.base in found]
