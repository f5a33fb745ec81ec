# SPDX-License-Identifier: MIT
"""A daemon of the test's own, a Varlink client of a few lines, and the schemas that everything is checked against."""
import contextlib
import json
import os
import re
import signal
import socket
import struct
import subprocess
import time
from pathlib import Path

import jsonschema

from contract import Traffic, strict_json

TOP = Path(__file__).parent.parent
BUILD = Path(os.environ.get("COPYLEDGER_BUILD", TOP / "build"))
SAN = os.environ.get("COPYLEDGER_SAN", "")
RESULT_SCHEMA = json.loads((TOP / "schemas/result-1.schema.json").read_text())
EQUATIONS = ["accepted", "sent", "completed", "deferred", "received", "delivered", "acked"]
RESULT_VALIDATOR = jsonschema.Draft202012Validator(RESULT_SCHEMA)


def check_result(document):
    """Raises what is wrong with a result document, the first few findings in one message."""
    errors = [f"{'/'.join(map(str, e.path))}: {e.message[:300]}" for e in RESULT_VALIDATOR.iter_errors(document)]
    assert not errors, "\n".join(errors[:5])
    return document


def wait_for(what, seconds=10.0, step=0.02):
    """Polls what() until it is true; a bound on waiting, never an assertion about time."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        value = what()
        if value:
            return value
        time.sleep(step)
    return what()


class Varlink:
    """One connection. Replies are dicts; an error reply is returned like any other, with its member 'error'."""

    def __init__(self, path, timeout=60):
        self.sock = socket.socket(socket.AF_UNIX)
        # blocking, since a socket with a timeout would fail where the queue of connections is full for a moment
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", timeout, 0))
        self.sock.connect(str(path))
        self.sock.settimeout(timeout)
        self.buffer = b""
        self.traffic = Traffic()

    def send_raw(self, data):
        self.traffic.out(data)
        self.sock.sendall(data)

    def send(self, method, parameters=None, **extra):
        if "." not in method:
            method = "io.copyledger." + method
        self.send_raw(json.dumps({"method": method, "parameters": parameters or {}, **extra}).encode() + b"\0")

    def receive(self):
        """The next reply, or None when the daemon has closed the connection."""
        while b"\0" not in self.buffer:
            data = self.sock.recv(1 << 16)
            if not data:
                return None
            self.buffer += data
        text, self.buffer = self.buffer.split(b"\0", 1)
        reply = strict_json(text)
        self.traffic.back(reply)
        return reply

    def call(self, method, parameters=None):
        self.send(method, parameters)
        return self.receive()

    def stream(self, method, parameters=None):
        self.send(method, parameters, more=True)
        while True:
            reply = self.receive()
            yield reply
            if not reply or not reply.get("continues"):
                return

    def close(self):
        self.sock.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class Daemon:
    """copyledgerd on a private socket, with its state below `folder`."""

    def __init__(self, folder, *args, env=None, preexec_fn=None, prefix=(), program=None):
        """prefix: a command that ends by executing its operands; program: instead of the built one."""
        self.folder = Path(folder)
        self.command = [*prefix, program or BUILD / "copyledgerd"]
        self.socket = self.folder / "control.sock"
        self.state = self.folder / "state"
        self.args = args
        self.env = {**os.environ, **(env or {})}
        self.preexec_fn = preexec_fn
        self.log = self.folder / "daemon.log"
        self.process = None

    def start(self):
        self.process = subprocess.Popen(
            [*self.command, "--socket", self.socket, "--state-dir", self.state, *self.args],
            stderr=self.log.open("ab"), stdin=subprocess.DEVNULL, env=self.env, preexec_fn=self.preexec_fn)
        ready = wait_for(lambda: self.process.poll() is not None or self.answers())
        assert ready and self.process.poll() is None, self.log.read_text()
        return self

    def answers(self):
        try:
            with Varlink(self.socket, timeout=5) as v:
                return v.call("GetInfo") is not None
        except OSError:
            return False

    def connect(self, timeout=60):
        return Varlink(self.socket, timeout)

    def call(self, method, parameters=None):
        with self.connect() as v:
            return v.call(method, parameters)

    def run(self, **spec):
        """Runs to the end and returns the checked result document."""
        with self.connect(timeout=180) as v:
            started = v.call("StartRun", {"spec": spec})
            assert "error" not in started, started
            final = v.call("FollowRun", {"id": started["parameters"]["id"]})
            assert "error" not in final, final
            return check_result(final["parameters"]["result"])

    def run_moving(self, **spec):
        """A run in which bytes moved: a short one may get no CPU beside tests with thousands of threads."""
        for _ in range(5):
            result = self.run(**spec)
            if result["state"] != "done" or result["app"]["whole_life"]["bytes_received"]:
                break
        return result

    def cli(self, *args, timeout=180, **kwargs):
        return subprocess.run([BUILD / "copyledger", *args], capture_output=True, text=True, timeout=timeout,
                              env={**self.env, "COPYLEDGER_SOCKET": str(self.socket)}, **kwargs)

    def children(self):
        path = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return [int(p) for p in path.read_text().split()]

    def programs(self):
        """Ids of the BPF programs that it holds, from its own descriptors: other daemons may run beside it."""
        return held_programs(self.process.pid)

    def memory(self):
        """Bytes of its resident memory."""
        pages = Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]
        return int(pages) * os.sysconf("SC_PAGESIZE")

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self):
        """Ends it in the orderly way; its exit status must be 0."""
        if self.process and self.process.poll() is None:
            self.process.terminate()
            self.process.wait(timeout=20)
        return self.process.returncode if self.process else None


def held_programs(pid):
    """Ids of the BPF programs behind a process's descriptors."""
    found = set()
    for path in Path(f"/proc/{pid}/fdinfo").iterdir():
        try:
            found |= {int(line.split()[1]) for line in path.read_text().splitlines() if line.startswith("prog_id:")}
        except OSError:  # closed in between
            pass
    return found


def loaded_programs():
    """Every BPF program in the kernel, by id."""
    done = subprocess.run(["bpftool", "-j", "prog", "show"], capture_output=True, text=True, check=True,
                          env={**os.environ, "PATH": os.environ["PATH"] + ":/usr/sbin:/sbin"})
    return {p["id"]: p for p in json.loads(done.stdout)}


def check_books(result):
    """A done run's books balance to the byte. Returns what the kernel did not show to the programs (missed runs that no
    equation audits, bytes that no hook was run for): with it the result must say that it is not exact, and why."""
    assert result["state"] == "done", result.get("error")
    ledger = result["ledger"]
    assert ledger, result.get("ledger_reason")
    sites = {s["site"]: s for s in ledger["sites"]}
    for s in sites.values():
        log2 = s["bytes_per_hit_log2"]
        if s["evidence"] == "unavailable":
            continue
        if s["hits"] is None:  # a remainder: bytes without a count
            assert s["evidence"] == "derived" and s["bytes"] and not log2, s
            continue
        assert sum(log2) == s["hits"], s
        least, most = (sum(n * f(i) for i, n in enumerate(log2)) for f in (lambda i: 1 << i, lambda i: (2 << i) - 1))
        assert least <= s["bytes"] <= most, s
    unaudited = [m for m in ledger["misses"] if not m["audited_by"]]
    unseen = {k: v for k, v in ledger["unseen"].items() if isinstance(v, int) and v}
    if unaudited:
        assert not ledger["exact"] and any("misses" in d for d in ledger["doubts"]), ledger["doubts"]
        return unaudited
    assert [e["rule"] for e in ledger["balance"]] == EQUATIONS
    for e in ledger["balance"]:
        if e["holds"] is not None:
            assert e["holds"] and e["difference"] == 0 and e["left"] == e["right"], e
        elif unseen:  # the one equation that rests on the hooks of the path
            assert e["rule"] == "deferred" and "unseen" in e["reason"], e
        else:  # a site that is not served, whose reason it gives
            assert e["reason"] in [s["reason"] for s in sites.values() if s["evidence"] == "unavailable"], e
    holding = [e["rule"] for e in ledger["balance"] if e["holds"]]
    assert all(rule in holding for m in ledger["misses"] for rule in m["audited_by"]), ledger["misses"]
    assert ledger["equations_served"] == len(holding)
    assert ledger["gap"] == {"tx": 0, "rx": 0} and ledger["balanced"]
    life = result["app"]["whole_life"]
    assert life["bytes_received"] == life["bytes_sent"] == ledger["delivered"] > 0
    if unseen:
        assert not ledger["exact"] and len(ledger["doubts"]) == 1 and "unseen" in ledger["doubts"][0], ledger["doubts"]
        assert ledger["copies_per_byte"]["lower_bound"] or "path_bytes" not in unseen
        return [unseen]
    assert ledger["exact"] and ledger["doubts"] == [], ledger["doubts"]
    return []


def until_balanced(run, tries=4):
    """run() until the kernel showed all of a run to the programs, so that each equation is audited; returns that result. Where
    it did so in none of the tries the books were not looked at, and the test is skipped, which says so."""
    import pytest  # not above: tools/bench uses this file, and has no need of it

    for _ in range(tries):
        result = run()
        hidden = check_books(result)
        if not hidden:
            return result
    pytest.skip(f"in each of {tries} runs the kernel did not run every hook, and the result says so: {hidden}")


def totals_of(documents):
    """What GetTotals must say of the runs that have these documents: its account "runs", and how they ended."""
    account = {"account": "runs", "closed": 0, "unbalanced": 0, "inexact": 0, "delivered": 0, "hook_runs": None, "hook_ns": None,
               "zerocopy": dict.fromkeys(["sends_zero_copied", "sends_copied", "bytes_zero_copied", "bytes_copied"], 0)}
    ended, sites, without = dict.fromkeys(["done", "failed", "cancelled"], 0), {}, 0

    def add(to, name, value):
        if isinstance(value, int):
            to[name] = (to.get(name) or 0) + value

    for document in documents:
        ended[document["state"]] += 1
        if "app" not in document:
            continue
        ledger, told = document["ledger"], document["zerocopy"]
        for name, member in zip(account["zerocopy"], ("completed_zero_copied", "completed_copied", "bytes_zero_copied", "bytes_copied")):
            add(account["zerocopy"], name, told[member])
        for name in ("hook_runs", "hook_ns"):
            add(account, name, document["instrument"][name])
        if not ledger:
            without += 1
            continue
        if document["state"] != "failed":
            account["closed"] += 1
            account["unbalanced"] += not ledger["balanced"]
            account["inexact"] += not ledger["exact"]
        account["delivered"] += ledger["delivered"]
        for s in ledger["sites"]:
            row = sites.setdefault(s["site"], {"site": s["site"], "kind": s["kind"], "bytes": None, "hits": None})
            add(row, "bytes", s["bytes"])
            add(row, "hits", s["hits"])
    return {**account, "sites": list(sites.values())}, ended, without


@contextlib.contextmanager
def running(folder, *args, **kwargs):
    """A daemon for the block's time; at its end it must stop in order and have said nothing that could steer a terminal."""
    d = Daemon(folder, *args, **kwargs).start()
    try:
        yield d
    except BaseException:
        d.kill()
        raise
    finally:
        status, log = d.stop(), d.log.read_bytes()
    assert status == 0, log.decode(errors="replace")
    assert not re.search(rb"[\x00-\x08\x0b-\x1f\x7f]", log), log
    assert b"Sanitizer" not in log and b"runtime error" not in log, log


def bpf_programs():
    """Ids of the loaded BPF programs whose name is one of ours."""
    done = subprocess.run(["bpftool", "-j", "prog", "show"], capture_output=True, text=True,
                          env={**os.environ, "PATH": os.environ["PATH"] + ":/usr/sbin:/sbin"})
    ours = {"tx_turn", "tx_length", "rx_copy_tp", "rx_length", "site_ZC_COMPLE", "zc_purged", "sock_end", "retransmit",
            "deferred_recei", "egress_linear", "tx_call", "learn"}
    return [p["id"] for p in json.loads(done.stdout or "[]") if p.get("name", "")[:14] in ours]
