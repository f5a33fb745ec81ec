# SPDX-License-Identifier: MIT
"""Runs of two hosts: two daemons in two network namespaces joined by a veth pair, one command that drives both."""
import contextlib
import getpass
import json
import os
import shutil
import signal
import subprocess
import uuid
from pathlib import Path

import pytest

from contract import findings, load
from support import BUILD, Daemon, check_result, running, wait_for

ADDRESS = {"a": "10.92.7.1", "b": "10.92.7.2"}
ADDRESS6 = {"a": "fd92:7::1", "b": "fd92:7::2"}
SHORT = ["--duration", "80ms", "--warmup", "30ms"]
LONG = ["--duration", "60s", "--warmup", "0ms"]
MODES = ("two-copy", "one-copy", "zero-copy", "uring-send", "uring-send-zc")


def ip(*args):
    return subprocess.run(["ip", *args], check=True, capture_output=True, text=True)


class Hosts:
    """Namespaces a and b, each with a daemon; the command runs in a."""

    def __init__(self, folder, names):
        self.folder, self.names = folder, names
        self.daemon = {}

    def inside(self, side):
        return ["ip", "netns", "exec", self.names[side]]

    def via(self, socket_path=None):
        return " ".join(map(str, ["exec", *self.inside("b"), BUILD / "copyledger", "--socket",
                                  socket_path or self.daemon["b"].socket, "bridge"]))

    def command(self, *args, via=None, address=ADDRESS["b"]):
        return [*self.inside("a"), BUILD / "copyledger", "--socket", self.daemon["a"].socket, "run", "--json",
                "--peer-address", address, "--via", via or self.via(), *args]

    def run(self, *args, **kwargs):
        return subprocess.run(self.command(*args, **kwargs), capture_output=True, text=True, timeout=60)

    def start(self, *args, **kwargs):
        return subprocess.Popen(self.command(*args, **kwargs), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def state(self, side):
        """Of the newest run."""
        runs = self.daemon[side].call("ListRuns", {"limit": 1})["parameters"]["runs"]
        return runs[0]["state"] if runs else None

    def idle(self, side):
        return wait_for(lambda: self.daemon[side].call("GetInfo")["parameters"]["state"] == "idle", 30)


@pytest.fixture(scope="module")
def hosts(tmp_path_factory):
    folder = tmp_path_factory.mktemp("two")
    tag = uuid.uuid4().hex[:6]
    names = {side: f"clt-{tag}-{side}" for side in "ab"}
    with contextlib.ExitStack() as stack:
        for name in names.values():
            try:
                ip("netns", "add", name)
            except (OSError, subprocess.CalledProcessError) as e:
                pytest.skip(f"no named namespaces can be made here: {getattr(e, 'stderr', e)}")
            stack.callback(ip, "netns", "del", name)
            ip("-n", name, "link", "set", "lo", "up")
        ip("-n", names["a"], "link", "add", "eth-a", "type", "veth", "peer", "name", "eth-b", "netns", names["b"])
        for side, name in names.items():
            ip("-n", name, "addr", "add", f"{ADDRESS[side]}/24", "dev", f"eth-{side}")
            ip("-n", name, "addr", "add", f"{ADDRESS6[side]}/64", "dev", f"eth-{side}", "nodad")
            ip("-n", name, "link", "set", f"eth-{side}", "up")
        found = Hosts(folder, names)
        for side in "ab":
            (folder / side).mkdir()
            found.daemon[side] = stack.enter_context(running(folder / side, prefix=found.inside(side)))
        yield found


def merged(done, status=0):
    pair = json.loads(done.stdout or "null")
    errors = pair and [(pair[s] or {}).get("error") for s in ("sender", "receiver")]
    assert done.returncode == status, (done.stderr, errors)
    wrong = findings(load("pair-1.schema.json"), pair, "pair-1.schema.json")
    assert not wrong, wrong
    assert pair["state"] == "done", (pair["sender"].get("error"), pair["receiver"].get("error"))
    for side in ("sender", "receiver"):
        check_result(pair[side])
        assert pair[side]["pair"]["role"] == side and pair[side]["pair"]["id"] == pair["id"]
        assert pair[side]["ledger"]["balanced"], pair[side]["ledger"]["balance"]
        assert {lane["role"] for lane in pair[side]["lanes"]} == {side}
    m = pair["merged"]
    assert m["balanced"] and all(e["holds"] for e in m["balance"]), m["balance"]
    assert m["delivered"] == sum(pair[s]["app"]["whole_life"]["bytes_received"] for s in ("sender", "receiver")) > 0
    return pair


def test_more_lanes_than_a_listener_queues(hosts):
    pair = merged(hosts.run("--mode", "one-copy", "--threads", "300", "--size", "4K", *SHORT))
    assert len(pair["sender"]["lanes"]) == len(pair["receiver"]["lanes"]) == 300


@pytest.mark.parametrize("args", [[], ["--ipv6"]])
def test_an_address_of_ipv6(hosts, args):
    """The receiver listens where the sender is going to connect, whether the option says so or not."""
    pair = merged(hosts.run("--mode", "zero-copy", *args, *SHORT, address=ADDRESS6["b"]))
    assert pair["sender"]["spec"]["ip"] == pair["receiver"]["spec"]["ip"] == 6


def test_an_address_of_the_other_family(hosts):
    done = hosts.run("--mode", "one-copy", "--ipv6", *SHORT)
    assert done.returncode == 2 and ADDRESS["b"] in done.stderr and "IPv6" in done.stderr, done


@pytest.mark.parametrize("mode", MODES)
def test_modes(hosts, mode):
    row = {m["name"]: m for m in hosts.daemon["a"].call("Probe")["parameters"]["modes"]}[mode]
    if not row["available"]:
        pytest.skip(f"this kernel lacks {mode}: {row['reason']}")
    pair = merged(hosts.run("--mode", mode, "--threads", "2", "--verify", *SHORT))
    life = {s: pair[s]["app"]["whole_life"] for s in ("sender", "receiver")}
    assert life["sender"]["bytes_sent"] == life["receiver"]["bytes_received"] > 0
    assert life["sender"]["bytes_received"] == life["receiver"]["bytes_sent"] == 0
    assert life["sender"]["messages"] == life["receiver"]["messages"]
    assert pair["sender"]["path"]["receiver"] is None and pair["receiver"]["path"]["receiver"]["device"] == "eth-b"
    copies = {"two-copy": 3, "one-copy": 2, "uring-send": 2}.get(mode)
    if copies and pair["merged"]["exact"]:
        assert abs(pair["merged"]["copies_per_byte"]["total"] - copies) < 0.001


@pytest.mark.parametrize("size", ["16", "1000", "300001"])
@pytest.mark.parametrize("mode", ["one-copy", "zero-copy"])
def test_round_trips(hosts, mode, size):
    pair = merged(hosts.run("--mode", mode, "--workload", "rr", "--size", size, "--threads", "3", *SHORT))
    m = pair["merged"]
    assert m["round_trip_us"]["samples"] == pair["sender"]["app"]["messages"] > 0
    assert m["balance"][2]["left"] > 0


@pytest.mark.parametrize("size", ["16", "64", "1M"])
def test_streams(hosts, size):
    """Small messages too, whose receivers sleep for more of them where the sender is near."""
    merged(hosts.run("--mode", "zero-copy", "--size", size, *SHORT))
    merged(hosts.run("--mode", "one-copy", "--size", size, "--warmup", "0ms", "--duration", "50ms"))


def test_clocks(hosts):
    """Both namespaces have one clock: the offset is nothing but its own error, and one way is honest."""
    pair = merged(hosts.run("--mode", "one-copy", *SHORT))
    clock = pair["merged"]["clock"]
    assert clock["shared"] and abs(clock["offset_ns"]) <= clock["error_ns"] + 1000
    assert pair["merged"]["latency_us"]["samples"] == pair["receiver"]["app"]["messages"] > 0


def invite(hosts, **spec):
    v = hosts.daemon["b"].connect()
    spec = {"mode": "one-copy", "warmup_ms": 0, "duration_ms": 50, **spec}
    reply = v.call("StartRun", {"spec": spec, "pair": {"role": "receiver"}})
    assert "error" not in reply, reply
    return v, reply["parameters"]


def knock(hosts, port, data):
    """What the receiver's port says to some bytes, from the other namespace."""
    script = ("import socket,sys\ns=socket.create_connection((sys.argv[1],int(sys.argv[2])),5)\ns.settimeout(8)\n"
              "s.sendall(bytes.fromhex(sys.argv[3]))\n"
              "try: print(len(s.recv(100)))\nexcept ConnectionError: print(0)")
    done = subprocess.run([*hosts.inside("a"), "python3", "-c", script, ADDRESS["b"], str(port), data.hex()],
                          capture_output=True, text=True, timeout=20)
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


def test_only_the_token_opens(hosts):
    v, invitation = invite(hosts)
    token = bytes.fromhex(invitation["token"])
    rest = bytes(16) + (0).to_bytes(4, "big") + (1).to_bytes(4, "big")
    wrong = bytes([token[0] ^ 1]) + token[1:]
    for data in (wrong + rest, token[:15] + bytes([token[15] ^ 128]) + rest, b"GET / HTTP/1.0\r\n\r\n" + bytes(40),
                 token + bytes(16) + (1).to_bytes(4, "big") + bytes(4), token[:8]):
        assert knock(hosts, invitation["port"], data) == 0, data
    assert hosts.state("b") == "starting"
    assert knock(hosts, invitation["port"], token + rest) == 40  # the lane is in
    ended = v.call("FollowRun", {"id": invitation["id"]})["parameters"]["result"]
    assert ended["state"] == "failed" and invitation["token"] not in json.dumps(ended)
    v.close()


def test_refusals(hosts):
    v, invitation = invite(hosts)
    busy = v.call("StartRun", {"spec": {"mode": "one-copy"}, "pair": {"role": "receiver"}})
    assert busy["error"] == "io.copyledger.Failed" and busy["parameters"]["code"] == "busy"
    v.call("CancelRun", {"id": invitation["id"]})
    assert hosts.idle("b")
    for pair, spec, error in (
            ({"role": "both"}, {}, "UnknownName"), ({}, {}, "MissingMember"), ({"role": "sender"}, {}, "MissingMember"),
            ({"role": "receiver", "port": 5}, {}, "InvalidRequest"), ({"role": "receiver", "address": "host"}, {}, "InvalidRequest"),
            ({"role": "receiver"}, {"size": 15}, "InvalidRequest"), ({"role": "receiver"}, {"receive": "recv-trunc"}, "InvalidRequest"),
            ({"role": "receiver"}, {"receive": "mmap"}, "InvalidRequest"), ({"role": "receiver"}, {"mode": "splice"}, "InvalidRequest"),
            ({"role": "receiver", "port": 70000}, {}, "OutOfRange"), ({"role": "receiver", "x": 1}, {}, "UnknownMember")):
        reply = v.call("StartRun", {"spec": {"mode": "one-copy", **spec}, "pair": pair})
        assert reply.get("error") == "io.copyledger." + error, (pair, reply)
    started = v.call("StartRun", {"spec": {"mode": "one-copy", "duration_ms": 60000}})["parameters"]
    assert v.call("ContinueRun", {"id": started["id"]})["parameters"]["code"] == "not_waiting"
    v.call("CancelRun", {"id": started["id"]})
    v.close()
    assert hosts.idle("b")


def test_no_bridge(hosts):
    done = hosts.run("--mode", "one-copy", via="exit 7")
    assert done.returncode == 3 and "receiver's daemon" in done.stderr and hosts.idle("a")
    done = hosts.run("--mode", "one-copy", via="echo hello")
    assert done.returncode != 0 and hosts.idle("a") and hosts.idle("b")
    done = hosts.run("--mode", "one-copy", via=hosts.via(hosts.folder / "nobody"))
    assert done.returncode == 3 and "no daemon at" in done.stderr


def ended(process):
    try:
        return process.communicate(timeout=20)
    finally:
        process.kill()


@pytest.mark.parametrize("victim", ["bridge", "interrupt", "receiver"])
def test_an_end_ends_both(hosts, victim):
    """Whatever goes away while it measures: the command says so, both daemons are idle again, no child is left."""
    process = hosts.start("--mode", "one-copy", *LONG)
    assert wait_for(lambda: hosts.state("a") == hosts.state("b") == "measuring", 20)
    if victim == "bridge":
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        os.kill(int(children[0]), signal.SIGKILL)
    elif victim == "interrupt":
        process.send_signal(signal.SIGINT)
    else:
        os.kill(hosts.daemon["b"].children()[0], signal.SIGKILL)
    out, err = ended(process)
    assert process.returncode in (1, 3), err
    if victim == "interrupt":
        pair = json.loads(out)
        assert pair["state"] == "cancelled" and pair["merged"]["balanced"], pair
    assert hosts.idle("a") and hosts.idle("b")
    assert not hosts.daemon["a"].children() and not hosts.daemon["b"].children()


def test_a_bridge_that_hangs_can_be_left(hosts):
    """The first signal ends the sender's run all the same, the second one waits for nobody."""
    process = hosts.start("--mode", "one-copy", *LONG)
    try:
        assert wait_for(lambda: hosts.state("a") == hosts.state("b") == "measuring", 20)
        (bridge,) = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        os.kill(int(bridge), signal.SIGSTOP)
        process.send_signal(signal.SIGINT)
        assert wait_for(lambda: hosts.state("a") == "cancelled", 20)
        process.send_signal(signal.SIGTERM)
    finally:
        out, err = ended(process)
    assert process.returncode == 1 and not out and "once more leaves" in err and "left: both runs end" in err, err
    assert not Path(f"/proc/{bridge}").exists() and hosts.idle("a") and hosts.idle("b")


def test_the_other_daemon_dies(hosts, tmp_path):
    with contextlib.ExitStack() as stack:
        other = Daemon(tmp_path, prefix=hosts.inside("b")).start()
        stack.callback(other.stop)
        process = hosts.start("--mode", "one-copy", *LONG, via=hosts.via(other.socket))
        assert wait_for(lambda: hosts.state("a") == "measuring", 20)
        other.kill()
        _, err = ended(process)
    assert process.returncode == 3 and "receiver's daemon" in err, err
    assert hosts.idle("a") and hosts.state("a") in ("failed", "cancelled")


def test_by_ssh(hosts, tmp_path):
    """The default bridge, through a real sshd in the other namespace."""
    sshd, ssh, keygen = (shutil.which(p, path=os.environ["PATH"] + ":/usr/sbin") for p in ("sshd", "ssh", "ssh-keygen"))
    if not (sshd and ssh and keygen):
        pytest.skip("no sshd, ssh or ssh-keygen here: 'tools/deps.sh programs' installs them")
    if os.getuid() != 0:
        pytest.skip("an sshd of the test's own needs root, to enter the namespace")
    for name in ("host", "user"):
        subprocess.run([keygen, "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / name], check=True)
    (tmp_path / "keys").write_text((tmp_path / "user.pub").read_text())
    bin_path = tmp_path / "bin"
    bin_path.mkdir()
    (bin_path / "copyledger").symlink_to(Path(BUILD).resolve() / "copyledger")
    (bin_path / "ssh").write_text(
        f"#!/bin/sh\nexec {ssh} -F none -i {tmp_path}/user -p 2222 -o StrictHostKeyChecking=no -o BatchMode=yes "
        f"-o UserKnownHostsFile={tmp_path}/known -o LogLevel=ERROR \"$@\"\n")
    (bin_path / "ssh").chmod(0o755)
    (tmp_path / "config").write_text(
        f"Port 2222\nListenAddress {ADDRESS['b']}\nHostKey {tmp_path}/host\nAuthorizedKeysFile {tmp_path}/keys\n"
        f"StrictModes no\nUsePAM no\nPidFile none\nPermitRootLogin prohibit-password\nPasswordAuthentication no\n"
        f"SetEnv PATH={bin_path}:/usr/bin:/bin COPYLEDGER_SOCKET={hosts.daemon['b'].socket}\n")
    Path("/run/sshd").mkdir(exist_ok=True)
    server = subprocess.Popen([*hosts.inside("b"), sshd, "-D", "-e", "-f", tmp_path / "config"], stderr=subprocess.PIPE, text=True)
    try:
        def answers():
            return subprocess.run([*hosts.inside("a"), bin_path / "ssh", f"{getpass.getuser()}@{ADDRESS['b']}", "true"],
                                  capture_output=True, timeout=20).returncode == 0
        assert wait_for(lambda: server.poll() is not None or answers(), 15, 0.1) and server.poll() is None, server.stderr.read()
        done = subprocess.run(
            [*hosts.inside("a"), BUILD / "copyledger", "--socket", hosts.daemon["a"].socket, "run", "--json", "--mode", "one-copy",
             "--peer", f"{getpass.getuser()}@{ADDRESS['b']}", *SHORT], capture_output=True, text=True, timeout=60,
            env={**os.environ, "PATH": f"{bin_path}:{os.environ['PATH']}"})
        merged(done)
    finally:
        server.terminate()
        server.wait(timeout=10)
