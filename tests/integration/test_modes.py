# SPDX-License-Identifier: MIT
"""Every way to send and to receive, run through the daemon: the books, the sites that each one is made of, and what it
cannot do. What this kernel lacks is skipped with the kernel's own reason."""
import contextlib
import ctypes
import os
import re
import socket
import subprocess
import uuid
from pathlib import Path

import pytest

from support import SAN, check_books, check_result, running, until_balanced, wait_for

PATHS = ("loopback", "veth")
SIZES = (1024, 65536, 1 << 20)
SHORT = {"warmup_ms": 30, "duration_ms": 80, "perf": False}
# The site that the sender's bytes pass.
SENDERS = {"two-copy": "tx_copy", "one-copy": "tx_copy", "zero-copy": "tx_pin", "sendfile": "tx_splice",
           "splice": "tx_splice", "uring-send": "tx_copy", "uring-send-zc": "tx_pin"}
RECEIVERS = ("recv", "recv-trunc", "mmap")


@pytest.fixture(scope="module")
def daemon(tmp_path_factory):
    with running(tmp_path_factory.mktemp("modes")) as d:
        yield d


@pytest.fixture(scope="module")
def probe(daemon):
    reply = daemon.call("Probe")["parameters"]
    return {row["name"]: row for row in reply["modes"] + reply["receivers"]}


def need(probe, *names):
    for name in names:
        if not probe[name]["available"]:
            pytest.skip(f"this kernel lacks {name}: {probe[name]['reason']}")


def sites_of(result):
    return {s["site"]: s["bytes"] for s in result["ledger"]["sites"] if s["evidence"] != "unavailable"}


def check_sites(result, tx, rx):
    """All bytes pass the sender's site, and the receiver's among those of rx; nothing is booked elsewhere."""
    sites, delivered = sites_of(result), result["ledger"]["delivered"]
    for name in ("tx_copy", "tx_pin", "tx_splice"):
        assert sites.get(name, 0) == (delivered if name == tx else 0), (name, sites)
    assert sum(sites.get(name, 0) for name in rx) == delivered, sites
    for name in {"rx_copy", "rx_map", "rx_discard"} - set(rx):
        assert sites.get(name, 0) == 0, (name, sites)
    if tx == "tx_pin":
        pinned_again = result["ledger"]["counters"]["retransmitted_pinned_bytes"]
        assert sites["tx_deferred_copy"] == delivered + pinned_again, sites
    else:
        assert sites.get("tx_deferred_copy", 0) == 0, sites


@pytest.mark.parametrize("mode", SENDERS)
@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("size", SIZES)
def test_senders(daemon, probe, mode, path, size):
    need(probe, mode)
    result = until_balanced(lambda: daemon.run(mode=mode, path=path, size=size, **SHORT))
    assert (result["spec"]["mode"], result["spec"]["receive"]) == (mode, "recv")
    check_sites(result, SENDERS[mode], ["rx_copy"])
    pins = SENDERS[mode] == "tx_pin"
    assert result["zerocopy"]["verdict"] == ("copied" if pins else "none")
    assert (result["zerocopy"]["sends"] > 0) == pins
    assert result["app"]["latency_us"]["samples"] == result["app"]["messages"] > 0


@pytest.mark.parametrize("mode", SENDERS)
@pytest.mark.parametrize("workload", ["stream", "rr"])
def test_contents_arrive_whole(daemon, probe, mode, workload):
    """No buffer is written again while the kernel still refers to it: every byte of every message is checked."""
    need(probe, mode)
    for path, size, fields in (("loopback", 100, 3), ("veth", 65536, 8), ("loopback", 300001, 5)):
        result = daemon.run(mode=mode, workload=workload, path=path, size=size, fields=fields, threads=2, verify=True,
                            ledger="off", **SHORT)
        assert result["state"] == "done", (path, size, result["error"])
        life = result["app"]["whole_life"]
        assert life["bytes_received"] == life["bytes_sent"] == life["messages"] * size > 0


def messages_of(child):
    """The files that the load's messages lie in, opened to be written to."""
    found = []
    for path in Path(f"/proc/{child}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed in between
            if "copyledger-messages" in os.readlink(path):
                found.append(path.open("r+b", buffering=0))
    return found


def spoilt(daemon, verify):
    """The result of a run while which somebody else writes a byte into its messages, again and again."""
    size = 1 << 20
    with daemon.connect(timeout=180) as v, contextlib.ExitStack() as files:
        spec = {"mode": "sendfile", "size": size, "fields": 1, "verify": verify, "ledger": "off", "perf": False, "warmup_ms": 0,
                "duration_ms": 20000}
        run = v.call("StartRun", {"spec": spec})["parameters"]["id"]
        assert wait_for(lambda: v.call("GetRun", {"id": run})["parameters"]["state"] == "measuring")
        (child,) = daemon.children()
        messages = [files.enter_context(f) for f in messages_of(child)]
        assert messages
        for i in range(1 << 20):
            for f in messages:
                for at in range(16, os.fstat(f.fileno()).st_size, size):  # a sequence and a stamp lie before it
                    os.pwrite(f.fileno(), bytes([i % 256]), at)
            if i % 256 == 255 and v.call("GetRun", {"id": run})["parameters"]["state"] in ("done", "failed", "cancelled"):
                break
            if i == 4095 and not verify:
                v.call("CancelRun", {"id": run})
        return check_result(v.call("FollowRun", {"id": run})["parameters"]["result"])


def test_contents_that_are_spoilt_are_found(daemon, probe):
    """What no other test can see: that bytes which are not the sender's end a run with verify, and only such a run."""
    need(probe, "sendfile")
    result = spoilt(daemon, verify=True)
    assert result["state"] == "failed", result["state"]
    assert re.search(r"message \d+: byte 16 is not what was sent", result["error"]["message"]), result["error"]
    result = spoilt(daemon, verify=False)
    assert result["state"] == "cancelled" and result["app"]["messages"] > 0, result.get("error")


@pytest.mark.parametrize("mode", ["uring-send-zc", "zero-copy"])
def test_every_send_is_notified(daemon, probe, mode):
    """What the kernel told the application, without any ledger: on a path within the host it says copied, always."""
    need(probe, mode)
    for path in PATHS:
        z = daemon.run(mode=mode, path=path, threads=2, ledger="off", **SHORT)["zerocopy"]
        assert z["completed_copied"] == z["sends"] > 0 and z["completed_zero_copied"] == 0
        assert z["bytes_copied"] == z["bytes"] > 0 and z["bytes_zero_copied"] == 0


@pytest.mark.parametrize("receive", RECEIVERS)
@pytest.mark.parametrize("mode", ["one-copy", "zero-copy", "sendfile"])
@pytest.mark.parametrize("path", PATHS)
def test_receivers(daemon, probe, receive, mode, path):
    need(probe, receive, mode)
    rx = {"recv": ["rx_copy"], "recv-trunc": ["rx_discard"], "mmap": ["rx_copy", "rx_map"]}[receive]
    for size in SIZES:
        result = until_balanced(lambda size=size: daemon.run(mode=mode, receive=receive, path=path, size=size, **SHORT))
        assert result["spec"]["receive"] == receive
        check_sites(result, SENDERS[mode], rx)


def test_pages_are_mapped(daemon, probe):
    """Whole pages of the kernel's own, as a deferred copy makes them, are mapped rather than copied."""
    need(probe, "mmap", "zero-copy")
    runs = (daemon.run(mode="zero-copy", receive="mmap", size=1 << 20, fields=1, **SHORT) for _ in range(5))
    # the kernel skips a program now and then, and the result says so: not in each of five
    result = next((r for r in runs if not check_books(r)), None)
    assert result, "the kernel skipped programs in each of five runs"
    mapped = sites_of(result)["rx_map"]
    assert 0 < mapped <= result["ledger"]["delivered"] and mapped % 4096 == 0


@pytest.mark.parametrize("fields", [1, 8])
def test_rings_lie_in_huge_pages(daemon, fields):
    """The kernel pins their pages in one step then, and a result says how much of the memory is of that kind."""
    thp = "/sys/kernel/mm/transparent_hugepage/enabled"
    choice = Path(thp).read_text() if os.path.exists(thp) else "[never]"
    if "[never]" in choice:
        pytest.skip("this kernel gives no transparent huge pages")
    ring = daemon.run(mode="zero-copy", size=65536, fields=fields, threads=1, **SHORT)["app"]
    assert ring["ring"] * 65536 <= ring["huge_page_bytes"] < 2 * ring["ring"] * 65536, ring
    if "[madvise]" in choice:  # else the kernel gives them to anybody
        assert daemon.run(mode="one-copy", size=4 << 20, fields=fields, **SHORT)["app"]["huge_page_bytes"] == 0


def nice_of_lanes(daemon):
    """How nice the threads of the load generator are, its main thread left out."""
    child, = daemon.children()
    stats = [p.read_text() for p in Path(f"/proc/{child}/task").glob("*/stat") if p.parent.name != str(child)]
    return [int(text.rsplit(")", 1)[1].split()[16]) for text in stats]


def test_senders_of_a_crowd_give_way(daemon):
    """Or what they send waits for its receivers behind hundreds of other senders, and is cold when it is read."""
    threads = 8 * len(os.sched_getaffinity(0))
    if threads > 1000:
        pytest.skip("a run has 1,000 lanes at most: too few for a crowd on each of these CPUs")
    with daemon.connect() as v:
        run = v.call("StartRun", {"spec": {"mode": "one-copy", "threads": threads, "warmup_ms": 0, "duration_ms": 60000}})["parameters"]["id"]
        assert wait_for(lambda: (daemon.call("TraceStats", {"id": run})["parameters"].get("trace") or {}).get("delivered"))
        seen = nice_of_lanes(daemon)
        v.call("CancelRun", {"id": run})
        nice = v.call("FollowRun", {"id": run})["parameters"]["result"]["app"]["sender_nice"]
    base = os.getpriority(os.PRIO_PROCESS, daemon.process.pid)
    assert nice > 0 and seen.count(base + nice) == threads and seen.count(base) >= threads, seen  # and TSan's own thread
    for spec in ({"threads": 1}, {"workload": "rr"}, {"mode": "zero-copy", "size": 16384}):  # the last one has no mark
        assert daemon.run(**{"mode": "one-copy", "threads": threads, **spec}, **SHORT)["app"]["sender_nice"] == 0, spec


def test_receivers_without_bytes_sleep(daemon):
    """Small lent messages are waited for at most 100 us a time, but not by those lanes to whom nobody sends now."""
    threads = 100 * min(len(os.sched_getaffinity(0)), 10)
    result = daemon.run_moving(mode="zero-copy", size=64, threads=threads, warmup_ms=0, duration_ms=300)
    switches = result["perf"]["receiver"]["context_switches"]["value"]
    # 2.3 a call, and 57 if they ask every 100 us; a lane to whom nobody sends has three
    assert switches < 15 * result["app"]["recv_calls"] + 4 * threads


def test_large_messages_are_received_in_long_calls(daemon):
    """Of one lane on CPUs of its own: a call takes more than the 128 KiB that smaller messages have."""
    if len(os.sched_getaffinity(0)) < 2:
        pytest.skip("one CPU: sender and receiver share it")
    runs = (daemon.run(mode="one-copy", size=1 << 20, fields=1, threads=1, congestion="reno", **SHORT)["app"] for _ in range(5))
    assert any(a["bytes_received"] > a["recv_calls"] * (128 << 10) for a in runs)


def test_discarded_bytes_are_not_checked(daemon):
    """No sequence, no stamp: there is no latency, and the result says why."""
    result = daemon.run(mode="one-copy", receive="recv-trunc", **SHORT)
    latency = result["app"]["latency_us"]
    assert latency["value"] is None and "discard" in latency["reason"], latency
    assert any(w["code"] == "contents_unseen" for w in result["warnings"]), result["warnings"]
    assert result["app"]["messages"] * result["spec"]["size"] == result["app"]["bytes_received"] > 0


def refused(daemon, **spec):
    reply = daemon.call("StartRun", {"spec": {"mode": "one-copy", **spec}})
    assert reply.get("error") == "io.copyledger.InvalidRequest", reply
    return reply["parameters"]


@pytest.mark.parametrize("receive", ["recv-trunc", "mmap"])
def test_receivers_are_for_streams(daemon, receive):
    wrong = refused(daemon, receive=receive, workload="rr")
    assert wrong["field"] == "receive" and receive in wrong["message"] and "rr" in wrong["message"]


def test_what_is_discarded_cannot_be_verified(daemon):
    wrong = refused(daemon, receive="recv-trunc", verify=True)
    assert wrong["field"] == "receive" and "recv-trunc" in wrong["message"] and "verify" in wrong["message"]


def test_load_has_no_capabilities(daemon):
    """While it measures, no thread of the load may do what root may; but for CAP_IPC_LOCK where that is needed."""
    with daemon.connect() as v:
        run = v.call("StartRun", {"spec": {"mode": "zero-copy", "ledger": "off", "warmup_ms": 0, "duration_ms": 60000}})
        for reply in v.stream("FollowRun", {"id": run["parameters"]["id"]}):
            progress = reply["parameters"].get("progress")
            if progress and progress["state"] == "measuring":
                child, = daemon.children()
                threads = list(Path(f"/proc/{child}/task").iterdir())
                held = [int(line.split()[1], 16) for t in threads for line in (t / "status").read_text().splitlines()
                        if line.startswith(("CapInh", "CapPrm", "CapEff", "CapAmb"))]
                daemon.call("CancelRun", {"id": run["parameters"]["id"]})
                break
        final = v.receive()
        while final.get("continues"):
            final = v.receive()
    # Control and two lanes' sides; ThreadSanitizer has a thread of its own.
    assert len(threads) == 3 + (SAN == "tsan") and len(held) == 4 * len(threads) and all(caps & ~(1 << 14) == 0 for caps in held), held


# ---- named namespaces ----

def ip(*args):
    return subprocess.run(["ip", *args], check=True, capture_output=True, text=True)


@pytest.fixture(scope="module")
def namespaces():
    """Two named namespaces joined by a veth pair, with IPv4 and IPv6 addresses; as the experiment made them."""
    tag = uuid.uuid4().hex[:6]
    server, client = f"clt-{tag}-server", f"clt-{tag}-client"
    made = []
    try:
        for name in (server, client):
            try:
                ip("netns", "add", name)
            except (OSError, subprocess.CalledProcessError) as e:
                pytest.skip(f"no named namespaces can be made here: {getattr(e, 'stderr', e)}")
            made.append(name)
        ip("-n", server, "link", "add", "eth-s", "type", "veth", "peer", "name", "eth-c", "netns", client)
        for name, device, number in ((server, "eth-s", 1), (client, "eth-c", 2)):
            ip("-n", name, "addr", "add", f"10.91.7.{number}/24", "dev", device)
            ip("-n", name, "link", "set", device, "up")
            ip("-n", name, "addr", "add", f"fd91:7::{number}/64", "dev", device, "nodad")
        yield server, client
    finally:
        for name in made:
            ip("netns", "del", name)


@pytest.mark.parametrize("mode", ["one-copy", "zero-copy", "splice"])
@pytest.mark.parametrize("version", [4, 6])
def test_named_namespaces(daemon, probe, namespaces, mode, version):
    need(probe, mode)
    result = daemon.run(mode=mode, path="netns:" + ",".join(namespaces), ip=version, verify=True, **SHORT)
    assert result["state"] == "done", result["error"]
    assert result["app"]["whole_life"]["bytes_received"] == result["app"]["whole_life"]["bytes_sent"] > 0
    path = result["path"]
    assert (path["sender"]["device"], path["receiver"]["device"]) == ("eth-s", "eth-c")
    assert path["sender"]["driver"] == path["receiver"]["driver"] == "veth"


def failed(daemon, path):
    result = daemon.run(mode="one-copy", path=path, **SHORT)
    assert result["state"] == "failed"
    return result["error"]["message"]


def test_namespaces_that_do_not_serve(daemon, namespaces):
    server, _ = namespaces
    assert "/run/netns/clt-no-such" in failed(daemon, f"netns:{server},clt-no-such")
    bare = f"clt-{uuid.uuid4().hex[:6]}-bare"
    ip("netns", "add", bare)
    try:
        message = failed(daemon, f"netns:{bare},{server}")
        assert bare in message and server in message and "IPv4" in message
        message = failed(daemon, f"netns:{server},{bare}")
        assert bare in message and server in message and "route" in message
    finally:
        ip("netns", "del", bare)


# ---- Nagle's algorithm ----

def nodelay_of(pid):
    """TCP_NODELAY of each connection of a process, from copies of its descriptors."""
    found, pidfd = [], os.pidfd_open(pid)
    try:
        for fd in map(int, os.listdir(f"/proc/{pid}/fd")):
            own = ctypes.CDLL(None).syscall(438, pidfd, fd, 0)  # pidfd_getfd
            if own < 0:
                continue
            try:
                with socket.socket(fileno=own) as s:
                    s.getpeername()
                    if s.family == socket.AF_INET:
                        found.append(bool(s.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)))
            except OSError:  # no socket, or none that is connected
                pass
    finally:
        os.close(pidfd)
    return sorted(found)


@pytest.mark.parametrize("spec, expected", [
    ({}, [False, True]),  # the sender's; the receiver never sends
    ({"nodelay": True}, [True, True]),
    ({"workload": "rr"}, [True, True]),
])
def test_small_packets_wait_only_in_streams_that_let_them(daemon, spec, expected):
    with daemon.connect() as v:
        run = v.call("StartRun", {"spec": {"mode": "one-copy", "size": 64, "warmup_ms": 300, "duration_ms": 700, **spec}})["parameters"]["id"]
        assert wait_for(lambda: daemon.call("GetRun", {"id": run})["parameters"]["state"] == "measuring")
        assert wait_for(lambda: nodelay_of(daemon.children()[0]) == expected, seconds=0.5), nodelay_of(daemon.children()[0])
        check_books(v.call("FollowRun", {"id": run})["parameters"]["result"])
