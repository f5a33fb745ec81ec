# SPDX-License-Identifier: MIT
"""What a path forces, said before a byte is sent, and the same as what a run on it then finds."""
import ctypes
import os
import re
import socket
from pathlib import Path

import pytest

from contract import INTERFACE
from support import running, wait_for
from test_access import GROUP, STRANGER, call, denied
from test_modes import namespaces  # noqa: F401  a fixture

ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: it makes network namespaces, and takes on other users")
ETH_P_ALL, CLONE_NEWNET = 3, 0x40000000


@pytest.fixture(scope="module")
def daemon(tmp_path_factory):
    with running(tmp_path_factory.mktemp("path")) as d:
        yield d


def look(daemon, path):
    reply = daemon.call("Probe", {"path": path})
    assert "error" not in reply, reply
    assert reply["parameters"]["sites"] and reply["parameters"]["modes"]
    assert wait_for(lambda: not daemon.children()), "something was left behind"
    return reply["parameters"]["path"]


@pytest.mark.parametrize("path, device, kind, why", [
    ("loopback", {"sender": "lo", "receiver": "lo"}, "loopback", "loopback device"),
    ("veth", {"sender": "cl-sender", "receiver": "cl-receiver"}, "veth", "pair of virtual devices")])
def test_a_local_path_forces_a_copy(daemon, path, device, kind, why):
    status = look(daemon, path)
    assert status["forces_copy"] is True
    assert status["forces_copy_reason"].startswith("looped to a local socket: ") and why in status["forces_copy_reason"]
    assert {side: status[side]["device"] for side in device} == device
    for side in device:
        assert status[side]["kind"] == kind and status[side]["mtu"] >= 1280
        assert all(isinstance(status[side][flag], bool) for flag in ("sg", "tso", "gso", "gro", "tx_csum"))
    assert not [n for n in os.listdir("/sys/class/net") if n.startswith("cl-")]
    result = daemon.run(mode="zero-copy", path=path, warmup_ms=0, duration_ms=50)
    taps = {side: result["path"][side].pop("taps") for side in device}, {side: status[side].pop("taps") for side in device}
    assert all(isinstance(n, int) for sides in taps for n in sides.values())
    assert {**result["path"], "hints": []} == {**status, "hints": []}
    assert result["zerocopy"]["verdict"] == "copied" and result["zerocopy"]["cause"] == "looped to a local socket"


def tap(namespace):
    """A packet socket on all devices of a named namespace."""
    libc, fds = ctypes.CDLL(None), [os.open(p, os.O_RDONLY) for p in ("/proc/thread-self/ns/net", f"/run/netns/{namespace}")]
    home, there = fds
    try:
        assert libc.setns(there, CLONE_NEWNET) == 0
        return socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
    finally:
        assert libc.setns(home, CLONE_NEWNET) == 0
        for fd in fds:
            os.close(fd)


@ROOT
def test_named_namespaces_and_a_tap(daemon, namespaces):  # noqa: F811
    path = "netns:" + ",".join(namespaces)
    status = look(daemon, path)
    assert status["name"] == path and status["forces_copy"] is True and status["hints"] == []
    assert (status["sender"]["device"], status["receiver"]["device"]) == ("eth-s", "eth-c")
    assert {status[side]["kind"] for side in ("sender", "receiver")} == {"veth"}
    assert (status["sender"]["taps"], status["receiver"]["taps"]) == (0, 0)
    short = {"mode": "one-copy", "path": path, "ledger": "tracepoint", "warmup_ms": 0, "duration_ms": 50}
    with tap(namespaces[0]):
        status = look(daemon, path)
        ledger = daemon.run(**short)["ledger"]
    assert ledger["balanced"] and not ledger["exact"] and ledger["copies_per_byte"]["lower_bound"], ledger
    assert len(ledger["doubts"]) == 1 and ledger["doubts"][0].startswith("1 packet sockets took each packet"), ledger["doubts"]
    ledger = daemon.run(**short)["ledger"]
    assert ledger["exact"] and not ledger["copies_per_byte"]["lower_bound"], ledger
    assert (status["sender"]["taps"], status["receiver"]["taps"]) == (1, 0)
    (hint,) = status["hints"]
    assert hint.startswith("packet tap or capture: 1 packet socket ") and "sender's eth-s" in hint
    assert look(daemon, path)["hints"] == []


@pytest.mark.parametrize("path, error, words", [
    ("moon", "UnknownName", "'path'"), ("netns:a", "UnknownName", "'path'"), ("", "UnknownName", "'path'"), (7, "WrongType", "'path'"),
    ("netns:clp-no-such,clp-no-such", "Failed", "/run/netns/clp-no-such")])
def test_what_is_no_path(daemon, path, error, words):
    reply = daemon.call("Probe", {"path": path})
    assert reply["error"] == f"{INTERFACE}.{error}" and words in reply["parameters"]["message"], reply
    assert wait_for(lambda: not daemon.children())


def test_so_many_at_once(daemon):
    limit = daemon.call("GetInfo")["parameters"]["limits"]["path_probes"]
    clients = [daemon.connect() for _ in range(limit + 3)]
    daemon.call("Probe")  # the rest of the reply is shared for a while
    for c in clients:
        c.send("Probe", {"path": "veth"})
    replies = [c.receive() for c in clients]
    for r in replies:
        assert "error" not in r or (
            r["error"] == "io.copyledger.LimitExceeded" and (r["parameters"]["limit"], r["parameters"]["max"]) == ("path_probes", limit)), r
    assert sum("error" not in r for r in replies) >= limit
    for c in clients:
        c.close()
    assert wait_for(lambda: not daemon.children())


def test_a_client_that_goes_takes_its_look_along(daemon):
    for _ in range(5):
        with daemon.connect() as v:
            v.send("Probe", {"path": "veth"})
    assert wait_for(lambda: "error" not in daemon.call("Probe", {"path": "loopback"}))  # it may not have read all of them yet
    assert wait_for(lambda: not daemon.children())


@ROOT
def test_readers_may_not(daemon):
    parents = [p for p in (daemon.folder, *daemon.folder.parents) if not os.stat(p).st_mode & 1]
    modes = {p: os.stat(p).st_mode for p in parents}
    try:
        for p in parents:
            os.chmod(p, modes[p] | 1)
        os.chmod(daemon.socket, 0o666)
        denied(call(daemon, "Probe", {"path": "loopback"}))
        assert "error" not in call(daemon, "Probe")
        os.chmod(daemon.socket, 0o660)
        os.chown(daemon.socket, 0, GROUP)
        assert call(daemon, "Probe", {"path": "loopback"}, uid=STRANGER, gid=GROUP)["parameters"]["path"]["forces_copy"]
    finally:
        os.chown(daemon.socket, 0, 0)
        for p in parents:
            os.chmod(p, modes[p])


def test_the_command(daemon):
    done = daemon.cli("probe", "--path", "veth")
    assert done.returncode == 0 and not done.stderr, done
    assert re.search(r"^sender +cl-sender +veth +veth +\S+ +[\d,]+ +\d+ +yes", done.stdout, re.M), done.stdout
    assert "this path forces a copy for MSG_ZEROCOPY: looped to a local socket: " in done.stdout
    assert "rx_copy" not in done.stdout
    assert '"path"' in daemon.cli("probe", "--path", "veth", "--json").stdout
    done = daemon.cli("probe", "--path", "moon")
    assert done.returncode == 2 and "path" in done.stderr
    assert '"path"' not in daemon.cli("probe", "--json").stdout and Path(daemon.socket).exists()
