# SPDX-License-Identifier: MIT
"""The ledger against witnesses that know nothing of it: bpftrace's count of the same bytes, and a foreign iperf3."""
import os
import selectors
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest

import support
from support import Daemon, check_books, held_programs, loaded_programs, until_balanced

TRACEFS = "/sys/kernel/tracing"
SHORT = {"warmup_ms": 50, "duration_ms": 150}


class Outsider:
    """bpftrace, summing the lengths of skb:skb_copy_datagram_iovec for TCP while `comm` is the running process (which
    also reads from a Unix socket, and from netlink)."""

    def __init__(self, comm):
        # A line for each copy of the test's own: that the hook is there is known when one comes.
        script = ("tracepoint:skb:skb_copy_datagram_iovec {"
                  " $family = ((struct sk_buff *)args->skbaddr)->sk->__sk_common.skc_family;"
                  f' if (comm == "{comm}" && ($family == {int(socket.AF_INET)} || $family == {int(socket.AF_INET6)}))'
                  " { @bytes = sum(args->len); }"
                  f' if (pid == {os.getpid()}) {{ printf("ready\\n"); }} }}')
        # tracefs is mounted for bpftrace alone, in a mount namespace that ends with it.
        mount = f'[ -d {TRACEFS}/events ] || mount -t tracefs nodev {TRACEFS}; exec bpftrace -e "$0"'
        self.process = subprocess.Popen(["unshare", "-m", "sh", "-c", mount, script], stdout=subprocess.PIPE,
                                        stderr=subprocess.PIPE, env={**os.environ, "BPFTRACE_NO_CPP_DEMANGLE": "1"})

    def wait(self, seconds=20):
        a, b = socket.socketpair()
        chosen = selectors.DefaultSelector()
        chosen.register(self.process.stdout, selectors.EVENT_READ)
        seen, end = b"", time.monotonic() + seconds
        with a, b, chosen:
            while b"ready" not in seen and time.monotonic() < end and self.process.poll() is None:
                a.send(b"x")
                b.recv(1)
                if chosen.select(0.05):
                    seen += os.read(self.process.stdout.fileno(), 4096)
        return b"ready" in seen

    def end(self):
        """Its sum, and whether the kernel skipped runs of its own program."""
        loaded, held = loaded_programs(), held_programs(self.process.pid)
        missed = sum(loaded[i].get("recursion_misses", 0) for i in held if i in loaded)
        self.process.send_signal(signal.SIGINT)
        out, err = self.process.communicate(timeout=20)
        lines = [x for x in out.decode().splitlines() if x.startswith("@bytes:")]
        assert lines, (out[-300:], err[-300:])
        return int(lines[-1].split()[1]), missed


@pytest.fixture(scope="module")
def named_load(tmp_path_factory):
    """The load generator under a name that no other process has."""
    link = tmp_path_factory.mktemp("bin") / f"cl-{os.getpid()}-load"
    link.symlink_to(support.BUILD / "copyledger-loadgen")
    return link


@pytest.fixture(scope="module")
def daemon(tmp_path_factory, named_load):
    d = Daemon(tmp_path_factory.mktemp("outsider"), "--loadgen", named_load).start()
    yield d
    assert d.stop() == 0, d.log.read_text()


@pytest.fixture
def outsider():
    made = []

    def start_one(comm):
        made.append(Outsider(comm))
        return made[-1]

    yield start_one
    for o in made:
        o.process.kill()
        o.process.wait()


def witnessed(outsider, daemon, comm, spec):
    """A run and what the outsider saw of it. The outsider too can be skipped by the kernel: then once more."""
    for _ in range(4):
        witness = outsider(comm)
        if not witness.wait():
            witness.process.kill()
            pytest.skip("bpftrace does not work here: " + witness.process.communicate()[1].decode()[-300:])
        result = daemon.run(**spec)
        seen, missed = witness.end()
        if not missed and not check_books(result):
            return result, seen
    pytest.skip("the kernel did not run every hook in any of four tries")


@pytest.mark.parametrize("spec", (
    {"mode": "one-copy", "path": "loopback", "size": 65536, "threads": 1},
    {"mode": "two-copy", "path": "veth", "size": 1000, "threads": 4},
    {"mode": "zero-copy", "path": "loopback", "size": 1000003, "threads": 2},
    {"mode": "zero-copy", "path": "veth", "size": 4096, "threads": 2, "workload": "rr"},
), ids=lambda s: "-".join(str(v) for v in s.values()))
def test_bpftrace_sees_the_same_bytes(outsider, daemon, named_load, spec):
    if os.geteuid() or not shutil.which("bpftrace") or not shutil.which("unshare"):
        pytest.skip("bpftrace needs root, itself, and unshare")
    result, seen = witnessed(outsider, daemon, named_load.name[:15], {**spec, **SHORT})
    rx_copy = next(s for s in result["ledger"]["sites"] if s["site"] == "rx_copy")
    assert seen == rx_copy["bytes"] == result["ledger"]["delivered"]


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def loopback_bytes():
    return int(Path("/sys/class/net/lo/statistics/rx_bytes").read_text())


@pytest.fixture(params=((), ("-Z",)), ids=("plain", "zerocopy"))
def iperf3(request):
    if not shutil.which("iperf3"):
        pytest.skip("iperf3 is not installed")
    port, quiet = str(free_port()), {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    server = subprocess.Popen(["iperf3", "-s", "-1", "-B", "127.0.0.1", "-p", port], **quiet)
    client = None
    try:
        # not by a connection, which would take the server's one turn
        listening = f":{int(port):04X} 00000000:0000 0A"
        assert support.wait_for(lambda: listening in Path("/proc/net/tcp").read_text())
        client = subprocess.Popen(
            ["iperf3", "-c", "127.0.0.1", "-p", port, "-P", "2", "-t", "60", *request.param], **quiet)
        before = loopback_bytes()
        assert support.wait_for(lambda: loopback_bytes() - before > 50e6), "iperf3 sends nothing"
        yield client
    finally:
        for p in filter(None, (client, server)):
            p.kill()
            p.wait()


def test_foreign_load_is_never_booked(daemon, iperf3):
    for path in ("loopback", "veth"):
        for mode in ("two-copy", "one-copy", "zero-copy"):
            def once(path=path, mode=mode):
                before = loopback_bytes()
                result = daemon.run(mode=mode, path=path, size=16384, threads=2, **SHORT)
                ours = result["ledger"]["delivered"] if path == "loopback" else 0
                assert iperf3.poll() is None and loopback_bytes() - before > ours + 1e6, "no foreign load in this run"
                return result

            ledger = until_balanced(once)["ledger"]
            assert ledger["copies_per_byte"]["total"] == pytest.approx(
                3 if mode == "two-copy" else
                2 + ledger["counters"]["retransmitted_pinned_bytes"] / ledger["delivered"], abs=0.005)
