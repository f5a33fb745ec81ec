# SPDX-License-Identifier: MIT
"""Watches on programs that nobody here wrote: to the byte what they report themselves, and copied as their design predicts."""
import contextlib
import ctypes
import fcntl
import json
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import termios
import threading
import warnings
from pathlib import Path

import pytest

from contract import INTERFACE, check_call, strict_json
from support import BUILD, check_books, running, wait_for
from test_access import GROUP, STRANGER, as_user, call, denied
from test_cli import ask_fake, on_terminal, start_cli, visible

MIB = 1 << 20
SO_ZEROCOPY, MSG_ZEROCOPY, MSG_ERRQUEUE = 60, 0x4000000, 0x2000
pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: it attaches BPF programs and makes namespaces")
PATH = os.environ["PATH"] + ":/usr/sbin:/sbin"


def needs(*programs):
    missing = [p for p in programs if not shutil.which(p, path=PATH)]
    return pytest.mark.skipif(bool(missing), reason=f"not installed: {', '.join(missing)} (tools/deps.sh programs)")


@pytest.fixture(scope="module")
def daemon(tmp_path_factory):
    with running(tmp_path_factory.mktemp("watch"), env={"LC_ALL": "C.UTF-8"}) as d:
        probe = d.call("Probe")["parameters"]
        if all(s["evidence"] == "unavailable" for s in probe["sites"] if s["site"] == "tx_copy"):
            pytest.skip("no hook can be attached: " + " ".join(probe["summary"]))
        yield d


@contextlib.contextmanager
def identity(uid, gid):
    """What is connected in the block is so as somebody else: SO_PEERCRED has the effective ids of that moment. It interrupts
    the calls of other threads, since all of them take the ids on."""
    os.setegid(gid)
    os.seteuid(uid)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)


class Watch:
    """A watch that is seeing when the block begins, and gone from the kernel when it ends."""

    def __init__(self, daemon, uid=0, gid=0, **parameters):
        self.daemon, self.who, self.parameters = daemon, (uid, gid), {"interval_ms": 200, "top": 1000, **parameters}

    def __enter__(self):
        with identity(*self.who) if any(self.who) else contextlib.nullcontext():
            self.connection = self.daemon.connect()
        self.connection.send("Watch", self.parameters, more=True)
        self.views, self.last = {}, None
        self.next()
        return self

    def __exit__(self, *_):
        self.connection.close()

    def next(self):
        """The next document. The rows of sockets that ended are in one document only: they are kept."""
        reply = self.connection.receive()
        assert "error" not in reply, reply
        self.last = reply["parameters"]["watch"]
        self.views.update({(v["pid"], v["local"], v["remote"]): v for v in self.last["views"]})
        # of everything there may be more rows than a document has: those that moved most are in it
        assert self.last["views_left_out"] == 0 or self.parameters.get("all")
        return self.last

    def until(self, true, documents=60):
        """The first document of which it is true and after which nothing moved; the last one, if there is none."""
        for _ in range(documents):
            before, document = self.last, self.next()
            if true(document) and document["ledger"]["counters"] == before["ledger"]["counters"]:
                return document
        return self.last

    def ended(self, sockets):
        """When this many sockets were seen and all of them have ended."""
        self.until(lambda w: w["sockets"]["seen"] == sockets and not w["sockets"]["open"])
        assert self.last["sockets"]["seen"] == sockets, self.last["sockets"]
        if self.last["sockets"]["open"]:
            raise Unseen(f"{self.last['sockets']}: the end of a socket is seen in a softirq")
        return self.last

    def of(self, *pids):
        """The rows of these processes."""
        return [v for v in self.views.values() if v["pid"] in pids]

    def others(self, *pids):
        return [v for v in self.views.values() if v["pid"] not in pids]


def total(views, member):
    return sum(v[member] if member in v else v["sites"][member] for v in views)


def check_watch(document):
    """Its books are exact, and no call is under way."""
    ledger, counters = document["ledger"], document["ledger"]["counters"]
    assert ledger["balanced"] and ledger["exact"] and ledger["doubts"] == [], ledger["doubts"]
    assert ledger["gap"] == {"tx": 0, "rx": 0} and counters["unseen"] == 0 and counters["zc_lost"] == 0
    assert [e["rule"] for e in ledger["balance"]] == ["sent", "completed", "received"]
    for e in ledger["balance"]:
        served = e["holds"] is not None
        assert not served or (e["holds"] and e["left"] == e["right"] and e["difference"] == 0), e
        assert served or e["reason"] in [s["reason"] for s in ledger["sites"] if s["evidence"] == "unavailable"], e
    return document


def check_doubts(document):
    """Where programs of others run too: their skipped hooks, what they take out of a socket without a receive call, and
    their connections that are reset with pinned bytes on the way, are doubts, each of them stated."""
    ledger = document["ledger"]
    assert ledger["balanced"] and all(e["holds"] in (True, None) for e in ledger["balance"]), ledger["balance"]
    assert ledger["counters"]["unseen"] == 0
    own = [doubt for doubt in ledger["doubts"] if "cut off" not in doubt]  # another program may reset a connection: no counter has that
    expected = [word for word, is_so in (("misses", any(not m["audited_by"] for m in ledger["misses"])),
                                         ("gap", any(ledger["gap"].values()))) if is_so]
    assert ledger["exact"] == (not ledger["doubts"]) and len(own) == len(expected), ledger["doubts"]
    assert all(word in doubt for word, doubt in zip(expected, own))


def check_cost(document):
    """What the hooks took is stated, or why the kernel does not measure it."""
    share, ns = document["hook_share"], document["instrument"]["hook_ns"]
    if isinstance(ns, dict):
        assert ns["value"] is None and share == ns and "CAP_SYS_ADMIN" in ns["reason"]
        return
    assert document["instrument"]["hook_runs"] >= document["ledger"]["counters"]["send_calls"]
    assert 0 < ns and share == pytest.approx(ns / document["elapsed_ms"] / 1e6, rel=0.01)


def check_sums(watch):
    """All rows that the watch ever had together are its ledger."""
    views, document = watch.views.values(), watch.last
    for s in document["ledger"]["sites"]:
        assert s["evidence"] == "unavailable" or total(views, s["site"]) == s["bytes"], s["site"]
    assert total(views, "sent") == document["ledger"]["counters"]["accepted_bytes"]
    assert total(views, "received") == document["ledger"]["counters"]["received_bytes"]
    for v in views:
        s = v["sites"]
        assert v["sent"] == s["tx_copy"] + s["tx_pin"] + s["tx_splice"], v
        assert v["received"] <= s["rx_copy"] + s["rx_map"] + s["rx_discard"], v
        copies = s["tx_copy"] + s["tx_deferred_copy"] + s["skb_copy"] + s["rx_copy"]
        moved = v["sent"] + v["received"]
        assert v["copies_per_byte"] == (pytest.approx(copies / moved) if moved else None)


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as s:
        return s.getsockname()[1]


def listens(port, family=socket.AF_INET):
    with socket.socket(family) as s:
        return s.connect_ex(("127.0.0.1", port)) == 0


@contextlib.contextmanager
def server(*command, port=None, **kwargs):
    """A program that is ended with the block; with a port, it accepts connections when the block begins."""
    process = subprocess.Popen(command, stdin=subprocess.PIPE, env={**os.environ, "PATH": PATH},
                               **{"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True, **kwargs})
    try:
        if port:
            up = wait_for(lambda: process.poll() is not None or listens(port))
            assert up and process.poll() is None, process.stderr.read()
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
        process.communicate(timeout=20)


class Unseen(AssertionError):
    """What a hook in a softirq should have seen: a kernel may skip BPF programs there, uncounted."""


def twice(test):
    """Once more where a softirq's hook was skipped; calls, and so bytes, are seen in any case."""
    try:
        test()
    except Unseen as e:
        warnings.warn(f"repeated: {e}")
        test()


# ---- programs that nobody here wrote ----

@needs("iperf3")
@pytest.mark.parametrize("by_reference", [False, True])
def test_iperf3(daemon, by_reference):
    cookie, size = 37, 192 * MIB
    port = free_port()

    def once():
        with server("iperf3", "-s", "-1", "-J", "-p", str(port), stdout=subprocess.PIPE) as s:
            # its one connection is the test's: whether it listens is asked of the kernel
            assert wait_for(lambda: f":{port:04X} " in Path("/proc/net/tcp6").read_text() + Path("/proc/net/tcp").read_text())
            with Watch(daemon, port=port, by="socket") as w:
                done = subprocess.run(["iperf3", "-c", "127.0.0.1", "-p", str(port), "-n", str(size), "-J", *["-Z"] * by_reference],
                                      capture_output=True, text=True, timeout=60)
                assert done.returncode == 0, done.stdout + done.stderr
                check_watch(w.ended(4))
            check_sums(w)
            theirs = json.loads(s.communicate(timeout=20)[0])
        ours = json.loads(done.stdout)
        (data,) = [v for v in w.others(s.pid) if v["sent"] > MIB]
        (sink,) = [v for v in w.of(s.pid) if v["received"] > MIB]
        assert (data["comm"], sink["comm"]) == ("iperf3", "iperf3") and data["pid"] != sink["pid"]
        assert data["local"].split(":")[-1] == sink["remote"].split(":")[-1]
        assert data["sent"] == ours["end"]["sum_sent"]["bytes"] + cookie and data["received"] == 0
        assert sink["received"] == theirs["end"]["sum_received"]["bytes"] + cookie and sink["sent"] == 0
        plain, spliced = (cookie, data["sent"] - cookie) if by_reference else (data["sent"], 0)
        assert data["sites"]["tx_copy"] == plain and data["sites"]["tx_splice"] == spliced and data["sites"]["tx_pin"] == 0
        assert data["share_spliced"] == pytest.approx(spliced / data["sent"])
        assert round(data["copies_per_byte"], 2) == (0.0 if by_reference else 1.0) and sink["copies_per_byte"] == 1.0
        assert sink["sites"]["rx_copy"] == sink["received"]
        control = [v for v in w.views.values() if v is not data and v is not sink]
        assert len(control) == 2 and total(control, "sent") == total(control, "received") < 64 << 10

    twice(once)


NGINX = """daemon off; user root; worker_processes 1; pid {folder}/nginx.pid; error_log stderr;
events {{ worker_connections 64; }}
http {{
    access_log off; sendfile {sendfile}; keepalive_timeout 0;
    client_body_temp_path {folder}/t1; proxy_temp_path {folder}/t2; fastcgi_temp_path {folder}/t3;
    uwsgi_temp_path {folder}/t4; scgi_temp_path {folder}/t5;
    server {{ listen 127.0.0.1:{port}; root {folder}/www; }}
}}
"""


@needs("nginx", "curl")
@pytest.mark.parametrize("sendfile", ["on", "off"])
def test_nginx(daemon, tmp_path, sendfile):
    size, times, port = 64 * MIB, 3, free_port()
    (tmp_path / "www").mkdir()
    with (tmp_path / "www/file").open("wb") as f:
        f.truncate(size)
    (tmp_path / "nginx.conf").write_text(NGINX.format(folder=tmp_path, sendfile=sendfile, port=port))

    def once():
        with server("nginx", "-p", tmp_path, "-e", "stderr", "-c", tmp_path / "nginx.conf", port=port) as s:
            workers = wait_for(lambda: Path(f"/proc/{s.pid}/task/{s.pid}/children").read_text().split())
            assert len(workers) == 1
            pids = [s.pid, int(workers[0])]
            with Watch(daemon, port=port, by="process") as w:
                body = head = asked = 0
                for _ in range(times):
                    done = subprocess.run(
                        ["curl", "-s", "-o", "/dev/null", f"http://127.0.0.1:{port}/file", "-w",
                         "%{size_download} %{size_header} %{size_request} %{http_code}"], capture_output=True, text=True, timeout=60)
                    assert done.returncode == 0 and done.stdout.endswith(" 200"), done
                    b, h, r, _ = map(int, done.stdout.split())
                    assert b == size
                    body, head, asked = body + b, head + h, asked + r
                check_watch(w.ended(2 * times))
            check_sums(w)
        (nginx,) = w.of(*pids)
        curls = w.others(*pids)
        assert nginx["comm"] == "nginx" and nginx["sockets_seen"] == times and nginx["sockets_open"] == 0
        assert len(curls) == times and {v["comm"] for v in curls} == {"curl"}
        assert nginx["sent"] == body + head == total(curls, "received")
        assert nginx["received"] == asked == total(curls, "sent")
        assert nginx["sites"]["tx_splice"] == (body if sendfile == "on" else 0)
        assert nginx["sites"]["tx_copy"] == (head if sendfile == "on" else body + head)
        assert nginx["share_spliced"] == (pytest.approx(1, abs=1e-4) if sendfile == "on" else 0)
        assert round(nginx["copies_per_byte"], 2) == (0.0 if sendfile == "on" else 1.0)
        assert all(v["copies_per_byte"] == 1.0 for v in curls)

    twice(once)


def ask_redis(port):
    """INFO stats: what the server says of itself, and the bytes of this answer."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as s:
        s.sendall(b"*2\r\n$4\r\nINFO\r\n$5\r\nstats\r\n")
        data = b""
        while b"\r\n" not in data or len(data) < int(data[1:data.index(b"\r\n")]) + data.index(b"\r\n") + 4:
            data += s.recv(65536)
    said = dict(line.split(":", 1) for line in data.decode().splitlines() if ":" in line)
    return said, len(data)


@needs("redis-server", "redis-cli")
def test_redis(daemon, tmp_path):
    port, values, size = free_port(), 6, MIB
    command = b"".join(b"*3\r\n$3\r\nSET\r\n$2\r\nk%d\r\n$%d\r\n%s\r\n" % (i, size, bytes([65 + i]) * size) for i in range(values))

    def once():
        with server("redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no",
                    "--dir", tmp_path, port=port) as s:
            before = ask_redis(port)[0]
            with Watch(daemon, port=port, by="process") as w:
                # the sums that it reports begin behind the connections before the watch
                first, first_reply = ask_redis(port)
                done = subprocess.run(["redis-cli", "-p", str(port), "--pipe"], input=command, capture_output=True, timeout=60)
                assert done.returncode == 0 and f"replies: {values}".encode() in done.stdout, done
                for i in range(values):
                    done = subprocess.run(["redis-cli", "-p", str(port), "GET", f"k{i}"], capture_output=True, timeout=60)
                    assert done.stdout == bytes([65 + i]) * size + b"\n"
                said, reply = ask_redis(port)
                check_watch(w.ended(2 * (values + 3)))
            check_sums(w)
        (redis,) = w.of(s.pid)
        clients = w.others(s.pid)
        assert redis["comm"] == "redis-server" and redis["sockets_seen"] == values + 3
        assert redis["received"] == total(clients, "sent") > values * size
        assert redis["sent"] == total(clients, "received") > values * size
        assert redis["received"] == int(said["total_net_input_bytes"]) - int(before["total_net_input_bytes"])
        # it counts an answer when it is written: that of each INFO is not in its own figures
        assert redis["sent"] - reply == int(said["total_net_output_bytes"]) - int(first["total_net_output_bytes"])
        assert first_reply < 64 << 10 and redis["copies_per_byte"] == 1.0
        assert all(v["copies_per_byte"] == 1.0 for v in clients)

    twice(once)


@needs("openssl")
def test_openssl(daemon, tmp_path):
    size, port = 16 * MIB, free_port()
    (tmp_path / "file").write_bytes(os.urandom(1024) * (size // 1024))
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "1",
                    "-subj", "/CN=localhost", "-keyout", "key.pem", "-out", "cert.pem"], cwd=tmp_path, check=True, capture_output=True)

    def once():
        with server("openssl", "s_server", "-accept", f"127.0.0.1:{port}", "-cert", "cert.pem", "-key", "key.pem", "-WWW",
                    cwd=tmp_path, port=port) as s:
            with Watch(daemon, port=port, by="process") as w:
                done = subprocess.run(["openssl", "s_client", "-connect", f"127.0.0.1:{port}", "-quiet"],
                                      input=b"GET /file HTTP/1.0\r\n\r\n", capture_output=True, timeout=60)
                assert done.stdout.endswith((tmp_path / "file").read_bytes()), (len(done.stdout), done.stderr)
                check_watch(w.ended(2))
            check_sums(w)
        (left,), (right,) = w.of(s.pid), w.others(s.pid)
        assert left["comm"] == right["comm"] == "openssl"
        # the payload, its head and the records' own bytes: 22 each of 16 KiB at least
        assert left["sent"] == right["received"] > size + size // 16384 * 22
        assert left["received"] == right["sent"] > 0
        for v in (left, right):
            assert v["copies_per_byte"] == 1.0 and v["share_spliced"] == v["share_pinned"] == 0

    twice(once)


# ---- connections that were there before ----

def connected(family=socket.AF_INET):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        a = socket.create_connection(listener.getsockname())
        b, _ = listener.accept()
    return a, b


def swallow(s, n):
    while n:
        got = len(s.recv(min(n, MIB)))
        assert got
        n -= got


def name(s, end="getsockname"):
    return "%s:%d" % getattr(s, end)()


def row(watch, s):
    (found,) = [v for v in watch.views.values() if (v["local"], v["remote"]) == (name(s), name(s, "getpeername"))]
    return found


def test_an_existing_connection(daemon):
    a, b = connected()
    with a, b:
        a.sendall(bytes(54321))
        swallow(b, 54321)
        with Watch(daemon, pid=os.getpid(), by="socket") as w:
            for _ in range(50):
                a.sendall(bytes(12345))
                swallow(b, 12345)
            b.sendall(b"x" * 99)
            swallow(a, 99)
            check_watch(w.until(lambda d: d["sockets"]["seen"] == 2))
            assert (row(w, a)["sent"], row(w, a)["received"]) == (50 * 12345, 99)
            assert (row(w, b)["sent"], row(w, b)["received"]) == (99, 50 * 12345)
            assert w.last["sockets"] == {"seen": 2, "open": 2, "closed": 0}


@pytest.fixture
def turns(daemon):
    """The tier that sees each turn of a call, also of one that was under way before."""
    reply = daemon.call("Watch", {"port": 1, "duration_ms": 10, "ledger": "tracepoint"})
    if "error" in reply:
        pytest.skip(reply["parameters"]["message"])
    return {"ledger": "tracepoint"}


def moved(s):
    """Payload that send calls have put into the socket, by its tcp_info: sent, less sent again, and not sent yet."""
    info = s.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 232)
    (waiting,), sent = struct.unpack_from("I", info, 144), struct.unpack_from("QQ", info, 200)
    return sent[0] - sent[1] + waiting


def test_a_watch_begins_in_the_middle_of_a_send(daemon, turns):
    size = 16 * MIB
    a, b = connected()
    with a, b:
        sender = threading.Thread(target=a.sendall, args=(bytes(size),))
        sender.start()
        assert wait_for(lambda: moved(a) > MIB and len({moved(a) for _ in range(20000)}) == 1)
        with Watch(daemon, pid=os.getpid(), by="socket", **turns) as w:
            before = moved(a)
            assert MIB < before < size
            swallow(b, size)
            sender.join(timeout=20)
            b.sendall(b"end")
            swallow(a, 3)
            check_watch(w.until(lambda d: d["ledger"]["counters"]["received_bytes"] == size + 3))
            assert (row(w, a)["sent"], row(w, a)["received"]) == (size - before, 3)
            assert (row(w, b)["sent"], row(w, b)["received"]) == (3, size)


def test_a_watch_begins_in_the_middle_of_a_receive(daemon, turns):
    a, b = connected()
    with a, b:
        got = []
        receiver = threading.Thread(target=lambda: got.append(b.recv(100000, socket.MSG_WAITALL)))
        receiver.start()
        a.sendall(bytes(1000))
        # the call has taken them out of the queue and waits for more
        assert wait_for(lambda: struct.unpack_from("Q", b.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 232), 128)[0] == 1000
                        and not readable(b))
        with Watch(daemon, pid=os.getpid(), by="socket", **turns) as w:
            for n in (70000, 29000):
                a.sendall(bytes(n))
            receiver.join(timeout=20)
            assert len(got[0]) == 100000
            check_watch(w.until(lambda d: d["sockets"]["seen"] == 2))
            assert row(w, b)["received"] == row(w, b)["sites"]["rx_copy"] == row(w, a)["sent"] == 99000


def readable(s):
    """Bytes in its receive queue."""
    return struct.unpack("i", fcntl.ioctl(s, termios.FIONREAD, bytes(4)))[0]


def test_a_call_that_waits_is_no_imbalance(daemon, turns):
    """What it has moved so far stands at the sites, what it returns is not known yet: said, not called a difference."""
    size = 16 * MIB
    a, b = connected()
    with a, b, Watch(daemon, pid=os.getpid(), by="socket", **turns) as w:
        sender = threading.Thread(target=a.sendall, args=(bytes(size),))
        sender.start()
        document = w.until(lambda d: next(s for s in d["ledger"]["sites"] if s["site"] == "tx_copy")["bytes"] > MIB)
        (sent,) = [e for e in document["ledger"]["balance"] if e["rule"] == "sent"]
        assert sent["holds"] is None and "under way" in sent["reason"] and document["ledger"]["balanced"]
        swallow(b, size)
        sender.join(timeout=20)
        check_watch(w.until(lambda d: d["ledger"]["counters"]["accepted_bytes"] == size))
        assert row(w, a)["sent"] == size


# ---- sockets that come and go ----

CHURN = r"""
#include <arpa/inet.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

static struct sockaddr_in at = {.sin_family = AF_INET};
static int n, listener;

static void take(int fd, int want)
{
	char buf[4096];
	for (ssize_t got; want > 0; want -= got)
		if ((got = read(fd, buf, want)) <= 0)
			exit(3);
}

static void *serve(void *unused)
{
	char buf[4096] = {0};
	for (int i = 0; i < n; i++) {
		int fd = accept(listener, NULL, NULL);
		take(fd, 100 + i % 100);
		if (write(fd, buf, 1000 + i % 7) < 0 || read(fd, buf, 1) > 0)
			exit(4);
		close(fd);
	}
	return unused;
}

int main(int argc, char **argv)
{
	char buf[4096] = {0};
	int one = 1;
	socklen_t len = sizeof(at);
	pthread_t t;
	n = atoi(argv[1]);
	at.sin_port = htons(atoi(argv[2]));
	at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	listener = socket(AF_INET, SOCK_STREAM, 0);
	setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(listener, (void *)&at, len) || listen(listener, 128))
		return 1;
	pthread_create(&t, NULL, serve, NULL);
	for (int i = 0; i < n; i++) {
		/* every other one ends with a reset, which leaves no TIME_WAIT */
		struct linger reset = {.l_onoff = i % 2};
		int fd = socket(AF_INET, SOCK_STREAM, 0);
		setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
		if (connect(fd, (void *)&at, len) || write(fd, buf, 100 + i % 100) < 0)
			return 2;
		take(fd, 1000 + i % 7);
		close(fd);
	}
	pthread_join(t, NULL);
	return 0;
}
"""


@pytest.fixture(scope="module")
def churn(tmp_path_factory):
    folder = tmp_path_factory.mktemp("churn")
    (folder / "churn.c").write_text(CHURN)
    subprocess.run(["gcc", "-O2", "-pthread", "-o", folder / "churn", folder / "churn.c"], check=True, timeout=60)
    return folder / "churn"


@needs("gcc")
def test_10000_connections(daemon, churn):
    n, port = 10000, free_port()
    asked, answered = (sum(low + i % mod for i in range(n)) for low, mod in ((100, 100), (1000, 7)))

    def once():
        with Watch(daemon, port=port, by="process") as w:
            bound = w.last["map_bytes_max"]
            done = subprocess.Popen([churn, str(n), str(port)], stdout=subprocess.DEVNULL)
            assert done.wait(timeout=60) == 0
            document = check_watch(w.ended(2 * n))
            assert document["map_bytes_max"] == bound < 64 * MIB and document["socket_bytes"] <= 128
            assert document["rows"] == {"held": 1, "max": 16384, "forgotten": 0}
            check_cost(document)
        check_sums(w)
        (view,) = w.views.values()
        assert view["pid"] == done.pid and view["comm"] == "churn"
        assert view["sockets_seen"] == 2 * n and view["sockets_open"] == 0
        assert view["sent"] == view["received"] == asked + answered
        counters = document["ledger"]["counters"]
        assert counters["send_calls"] == counters["recv_calls"] == 2 * n
        assert view["copies_per_byte"] == 1.0

    twice(once)


def test_each_socket_that_ended_has_its_row(daemon, churn):
    n, port = 100, free_port()

    def once():
        with Watch(daemon, port=port, by="socket") as w:
            subprocess.run([churn, str(n), str(port)], check=True, timeout=60)
            check_watch(w.ended(2 * n))
        check_sums(w)
        assert len(w.views) == 2 * n
        # told once, then dropped
        assert w.last["rows"]["forgotten"] + w.last["rows"]["held"] >= 2 * n and w.last["rows"]["held"] < 2 * n
        clients = [v for v in w.views.values() if v["remote"] == f"127.0.0.1:{port}"]
        servers = {v["remote"]: v for v in w.views.values() if v["local"] == f"127.0.0.1:{port}"}
        assert sorted(v["sent"] for v in clients) == sorted(100 + i % 100 for i in range(n))
        for v in clients:
            assert (servers[v["local"]]["received"], servers[v["local"]]["sent"]) == (v["sent"], v["received"])

    twice(once)


# ---- zero-copy ----

def reap(s):
    """Sends that the next message of the error queue completes."""
    _, ancillary, _, _ = s.recvmsg(1, 512, MSG_ERRQUEUE)
    done = 0
    for _, _, data in ancillary:
        _, origin, _, _, _, low, high = struct.unpack_from("IBBBBII", data)
        assert origin == 5
        done += high - low + 1
    return done


def test_zero_copy_on_loopback_is_copied_after_all(daemon):
    sends, size = 40, 64 << 10

    def once():
        a, b = connected()
        with a, b, Watch(daemon, pid=os.getpid(), by="socket") as w:
            a.setsockopt(socket.SOL_SOCKET, SO_ZEROCOPY, 1)
            data, pinned = bytes(size), 0
            for _ in range(sends):
                n = a.send(data, MSG_ZEROCOPY)
                swallow(b, n)
                pinned += n
            a.setblocking(False)
            left = [sends]

            def reaped():
                with contextlib.suppress(BlockingIOError):
                    while left[0]:
                        left[0] -= reap(a)
                return not left[0]

            assert wait_for(reaped)
            document = w.until(lambda d: d["ledger"]["counters"]["zc_bytes_copied"] == pinned)
            sites = {s["site"]: s for s in document["ledger"]["sites"]}
            assert document["ledger"]["balanced"] and document["sockets"]["seen"] == 2
            assert row(w, a)["sent"] == row(w, a)["sites"]["tx_pin"] == row(w, b)["received"] == pinned
            assert row(w, a)["share_pinned"] == 1 and row(w, a)["sites"]["tx_copy"] == 0
            counters = document["ledger"]["counters"]
            late = sites["tx_deferred_copy"]
            if counters["zc_bytes_copied"] < pinned or late["bytes"] < pinned:
                raise Unseen(f"{pinned} bytes pinned, {late['bytes']} seen copied, {counters['zc_bytes_copied']} completed")
            check_watch(document)
            assert counters["zc_bytes_copied"] == pinned and counters["zc_bytes_zero_copied"] == 0
            assert late["bytes"] == pinned + counters["retransmitted_pinned_bytes"]
            assert row(w, a)["share_copied_after_all"] == 1
            assert {c["cause"] for c in late["callers"]} == {"looped to a local socket"}
            assert sum(c["bytes"] for c in late["callers"]) == late["bytes"]

    twice(once)


# ---- what is watched ----

PAIR = """
import socket, sys
port, n = int(sys.argv[1]), int(sys.argv[2])
print("ready", flush=True)
sys.stdin.readline()
with socket.create_server(("127.0.0.1", port)) as l, socket.create_connection(("127.0.0.1", port)) as a:
    b, _ = l.accept()
    for i in range(n):
        a.sendall(b"x" * 1000)
        b.recv(1000, socket.MSG_WAITALL)
    b.close()
"""


@contextlib.contextmanager
def pair(port, n, prefix=()):
    """A program that sends itself n messages of 1000 bytes when its standard input says go."""
    with server(*prefix, "/usr/bin/python3", "-c", PAIR, str(port), str(n), stdout=subprocess.PIPE, cwd="/") as p:
        assert p.stdout.readline() == "ready\n", p.stderr.read()
        yield p


def go(*programs):
    for p in programs:
        p.stdin.write("go\n")
        p.stdin.flush()
    for p in programs:
        assert p.wait(timeout=30) == 0


def only(watch, program, n):
    """The watch saw this program, whole, and nothing else."""
    check_watch(watch.ended(2))
    check_sums(watch)
    (view,) = watch.views.values()
    assert (view["pid"], view["sent"], view["received"]) == (program.pid, n * 1000, n * 1000), view


@pytest.mark.parametrize("kind", ["pid", "port", "pid and port"])
def test_one_of_two_programs(daemon, kind):
    ports = free_port(), free_port()

    def once():
        with pair(ports[0], 300) as one, pair(ports[1], 200) as two:
            which = {k: v for k, v in (("pid", one.pid), ("port", ports[0])) if k in kind}
            with Watch(daemon, **which) as w:
                go(one, two)
                only(w, one, 300)
                assert w.last["filter"] == {"all": False, "pid": 0, "port": 0, "cgroup": "", "netns": "", "uid": None,
                                            "by": "process", **which}

    twice(once)


@needs("ip")
@pytest.mark.parametrize("by_name", [True, False])
def test_a_network_namespace(daemon, by_name):
    space, port = f"clt-watch{os.getpid()}", free_port()

    def ip(*args):
        subprocess.run(["ip", *args], check=True, env={**os.environ, "PATH": PATH}, capture_output=True, timeout=20)

    def once():
        ip("netns", "add", space)
        try:
            ip("-n", space, "link", "set", "lo", "up")
            which = space if by_name else str(os.stat(f"/run/netns/{space}").st_ino)
            with pair(port, 300, prefix=("ip", "netns", "exec", space)) as inside, pair(port, 200) as outside:
                with Watch(daemon, netns=which) as w:
                    go(inside, outside)
                    only(w, inside, 300)
        finally:
            ip("netns", "del", space)

    twice(once)


def cgroup_mount():
    for line in Path("/proc/self/mounts").read_text().splitlines():
        if line.split()[2] == "cgroup2":
            return Path(line.split()[1])
    return None


@pytest.mark.skipif(not cgroup_mount(), reason="cgroup2 is not mounted")
@pytest.mark.parametrize("depth", [1, 2])
def test_a_cgroup(daemon, depth):
    """Also of a program in a cgroup below."""
    top = cgroup_mount() / f"copyledger-test-{os.getpid()}"
    inner = top if depth == 1 else top / "inner"
    port, other = free_port(), free_port()

    def once():
        inner.mkdir(parents=True)
        try:
            with pair(port, 300) as inside, pair(other, 200) as outside:
                (inner / "cgroup.procs").write_text(str(inside.pid))
                with Watch(daemon, cgroup=top.name) as w, Watch(daemon, cgroup=str(top)) as same:
                    go(inside, outside)
                    only(w, inside, 300)
                    only(same, inside, 300)
        finally:
            for folder in {inner, top}:
                wait_for(lambda: not (folder / "cgroup.procs").read_text())
            for folder in sorted({inner, top}, reverse=True):
                folder.rmdir()

    twice(once)


@pytest.mark.parametrize("parameters, words", [
    ({}, ["pid", "cgroup", "port", "netns", "all"]), ({"pid": 2**31 - 1}, ["no process"]), ({"netns": "no-such"}, ["no-such"]),
    ({"netns": "../../proc/self/ns/net"}, ["/run/netns"]), ({"cgroup": "no-such"}, ["no-such"]), ({"cgroup": "../.."}, ["cgroup"])])
def test_what_is_not_there(daemon, parameters, words):
    with daemon.connect() as v:
        v.send("Watch", parameters, more=True)
        reply = v.receive()
        assert "error" in reply and all(word in reply["parameters"]["message"] for word in words), reply
        assert not v.traffic.waiting
    assert "error" in daemon.call("Watch", {"all": True}), "without 'more' it must say how long"


def test_two_watches_and_a_run_beside_them(daemon):
    port = free_port()

    def once():
        with pair(port, 500) as program, Watch(daemon, all=True, top=50) as everything, Watch(daemon, port=port) as one, \
                Watch(daemon, port=port, by="socket") as sockets:
            result = daemon.run(mode="one-copy", warmup_ms=0, duration_ms=200)
            assert check_books(result) == []
            go(program)
            only(one, program, 500)
            check_watch(sockets.ended(2))
            assert total(sockets.views.values(), "sent") == total(one.views.values(), "sent")
            everything.until(lambda d: any(v["pid"] == program.pid and not v["sockets_open"] for v in d["views"]))
            check_doubts(everything.last)
            life = result["app"]["whole_life"]
            assert [v for v in everything.views.values() if v["comm"].startswith("copyledger-load") and
                    (v["sent"], v["received"]) == (life["bytes_sent"], life["bytes_received"])], everything.views
            (view,) = everything.of(program.pid)
            assert (view["sent"], view["received"]) == (500000, 500000)

    twice(once)


def test_nothing_stays_when_the_client_goes(daemon):
    assert wait_for(lambda: not daemon.programs())
    with Watch(daemon, all=True), Watch(daemon, port=1):
        assert daemon.programs()
    assert wait_for(lambda: not daemon.programs())
    document = daemon.call("Watch", {"port": 1, "duration_ms": 50})["parameters"]["watch"]
    assert document["sockets"]["seen"] == 0 and document["views"] == [] and document["elapsed_ms"] >= 49
    assert wait_for(lambda: not daemon.programs())


def test_the_hooks_share_is_stated(daemon):
    """A daemon of root has the kernel measure them as long as a watch goes on, and no longer."""
    port = free_port()
    with pair(port, 300) as program, Watch(daemon, port=port) as w:
        go(program)
        w.until(lambda d: d["sockets"]["seen"] == 2)
        assert w.last["instrument"]["hook_ns"] > 0 and w.last["instrument"]["hook_runs"] >= 600
        check_cost(w.last)
    out = daemon.cli("watch", "--port", str(port), "--once", "--duration", "100ms").stdout
    assert re.search(r"^\d+ hooks: .* of one CPU  maps at most [\d.]+ MB and \d+ B a socket$", out, re.M), out
    assert wait_for(lambda: not daemon.programs())
    ns = daemon.run(mode="one-copy", warmup_ms=0, duration_ms=50)["instrument"]["hook_ns"]
    # a number only if the sysctl, or the watch of another test, has the kernel measure
    assert ns > 0 if isinstance(ns, int) else ns["value"] is None and "bpf_stats_enabled" in ns["reason"]


def test_without_the_right_to_measure_the_cost_is_unknown(tmp_path):
    """Bounding set without CAP_SYS_ADMIN: what a service has."""
    with running(tmp_path, prefix=("setpriv", "--bounding-set", "-sys_admin", "--inh-caps", "-sys_admin")) as d:
        reply = d.call("Watch", {"port": 1, "duration_ms": 50})
        if "error" in reply:
            pytest.skip("CAP_BPF and CAP_PERFMON alone do not attach the hooks here: " + reply["parameters"]["message"])
        document = reply["parameters"]["watch"]
        if isinstance(document["instrument"]["hook_ns"], int):
            pytest.skip("the sysctl, or the watch of another test, has the kernel measure every program")
        check_cost(document)


def test_more_watches_than_there_may_be(daemon):
    limit = daemon.call("GetInfo")["parameters"]["limits"].get("watches", 8)
    with contextlib.ExitStack() as stack:
        for _ in range(limit):
            stack.enter_context(Watch(daemon, port=1))
        reply = daemon.call("Watch", {"port": 1, "duration_ms": 50})
        assert "error" in reply and str(limit) in reply["parameters"]["message"], reply
    assert wait_for(lambda: "error" not in daemon.call("Watch", {"port": 1, "duration_ms": 50}))


# ---- who may ----

@pytest.fixture(scope="module")
def shared():
    """A daemon whose socket is for a group, in a folder that everybody can reach."""
    with tempfile.TemporaryDirectory(prefix="copyledger-watch-") as path:
        os.chmod(path, 0o755)
        with running(Path(path)) as d:
            os.chown(d.socket, 0, GROUP)
            yield d


MEMBER = {"uid": STRANGER, "gid": GROUP}


def test_a_member_sees_its_own_processes_only(shared):
    ports = free_port(), free_port()

    def once():
        with pair(ports[0], 300, prefix=as_user(STRANGER)) as own, pair(ports[1], 200) as roots, \
                Watch(shared, **MEMBER, all=True) as everything, Watch(shared, **MEMBER, port=ports[1]) as nothing, \
                Watch(shared, **MEMBER, pid=own.pid) as one, Watch(shared, port=ports[1]) as of_root:
            go(own, roots)
            only(everything, own, 300)
            only(one, own, 300)
            only(of_root, roots, 200)
            assert everything.last["filter"]["uid"] == STRANGER and {v["uid"] for v in everything.views.values()} == {STRANGER}
            assert of_root.last["filter"]["uid"] is None
            check_watch(nothing.until(lambda d: d["elapsed_ms"] > everything.last["elapsed_ms"] // 2))
            assert not nothing.views

    twice(once)


def test_somebody_elses_process_is_refused(shared):
    reply = call(shared, "Watch", {"pid": os.getpid(), "duration_ms": 50}, **MEMBER)
    assert reply["error"] == INTERFACE + ".Failed" and reply["parameters"]["code"] == "permission_denied", reply
    assert str(os.getpid()) in reply["parameters"]["message"] and "uid 0" in reply["parameters"]["message"]
    assert not shared.programs()


def test_an_outsider_is_refused(shared):
    assert call(shared, "Watch", {"all": True, "duration_ms": 50}) == "PermissionError"
    os.chmod(shared.socket, 0o666)
    try:
        denied(call(shared, "Watch", {"all": True, "duration_ms": 50}))
    finally:
        os.chmod(shared.socket, 0o660)


# ---- the command ----

def documents(text):
    found = [strict_json(line) for line in text.splitlines()]
    for d in found:
        check_call(INTERFACE + ".Watch", {}, {"parameters": {"watch": d}})
    return found


def test_the_command_streams_documents_until_it_is_interrupted(daemon):
    port = free_port()
    with pair(port, 300) as program:
        cli = start_cli(daemon, "watch", "--port", str(port), "--json", "--interval", "100ms")
        first = documents(cli.stdout.readline())
        go(program)
        lines = [cli.stdout.readline() for _ in range(6)]
        cli.send_signal(signal.SIGINT)
        out, err = cli.communicate(timeout=20)
        found = first + documents("".join(lines) + out)
        assert cli.returncode == 0 and not err, err
        assert found[0]["sockets"]["seen"] == 0 and found[-1]["ledger"]["counters"]["accepted_bytes"] == 300000


def all_attached(daemon):
    """Programs come one after the other: all are there when no more come for half a second."""

    def settled():
        now = set(daemon.programs())
        return now and not wait_for(lambda: set(daemon.programs()) != now, 0.5)

    assert wait_for(settled), "no program of the watch is there"


def test_the_command_shows_a_table_once(daemon):
    port = free_port()
    for as_json in (False, True):
        with pair(port, 300) as program:
            cli = start_cli(daemon, "watch", "--pid", str(program.pid), "--by", "socket", "--once", "--duration", "2500ms",
                            *["--json"] * as_json)
            all_attached(daemon)
            go(program)
            out, err = cli.communicate(timeout=30)
        assert cli.returncode == 0 and not err, err
        if as_json:
            (document,) = [strict_json(out)]
            check_call(INTERFACE + ".Watch", {}, {"parameters": {"watch": document}})
            assert "\n  " in out and document["ledger"]["counters"]["accepted_bytes"] == 300000
            continue
        assert out.startswith(f"watching process {program.pid}") and "books: balanced, exact" in out, out
        (sender,) = [line for line in out.splitlines() if f"→ 127.0.0.1:{port}" in line]
        assert re.match(rf"\s*{program.pid}  python3 .* 300\.0 kB\s+0 B\s+1\.00\s+0 %\s+0 %\s+-$", sender), sender
        assert re.search(r"^sent\s+ok\s+accepted 300,000 = tx_copy 300,000 \+ tx_pin 0 \+ tx_splice 0$", out, re.M), out


def test_the_command_on_a_terminal_redraws(daemon):
    text, status = on_terminal(daemon, "watch", "--all", "--interval", "100ms", "--duration", "700ms", columns=60, rows=12)
    assert status == 0
    frames = re.split(r"\x1b\[\d+A\x1b\[J", text)
    assert len(frames) > 3 and all("watching everything" in frame and "sockets " in frame for frame in frames), text
    for frame, up in zip(frames, re.findall(r"\x1b\[(\d+)A\x1b\[J", text)):
        assert frame.count("\n") == int(up) <= 11 and all(len(visible(line)) <= 60 for line in frame.splitlines())
    assert "books: " in frames[-1] and "books: " not in frames[-2]


def test_the_command_says_what_is_wrong(daemon):
    for args, status, words in ((["watch"], 2, "say what to watch"), (["watch", "--by", "colour", "--all"], 2, "colour"),
                                (["watch", "--pid", "0"], 2, "pid"), (["watch", "--port", "http"], 2, "--port"),
                                (["watch", "--all", "--interval", "1ms"], 2, "interval_ms"), (["watch", "--all", "12"], 2, "12"),
                                (["watch", "--netns", "no-such"], 2, "no-such")):
        done = daemon.cli(*args)
        assert done.returncode == status and not done.stdout and words in done.stderr, (args, done)
    done = daemon.cli("watch", "--all", "--socket", "/nonexistent/socket")
    assert done.returncode == 3 and not done.stdout and "/nonexistent/socket" in done.stderr


def test_books_that_do_not_balance_are_4(daemon, tmp_path):
    document = daemon.call("Watch", {"port": 1, "duration_ms": 50})["parameters"]["watch"]
    sent = document["ledger"]["balance"][0]
    sent.update(left=2048, right=1024, difference=1024, holds=False)
    document["ledger"].update(balanced=False, exact=False, doubts=["an equation does not hold"])
    reply = json.dumps({"parameters": {"watch": document}}).encode() + b"\0"
    done = ask_fake(tmp_path, reply, "watch", "--all")
    assert done.returncode == 4 and "do NOT balance" in done.stdout and "difference 1,024" in done.stdout, done
    (tmp_path / "fake.sock").unlink()
    assert ask_fake(tmp_path, reply, "watch", "--all", "--once", "--json").returncode == 4


TALKER = """
import ctypes, os, socket, sys
ctypes.CDLL(None).prctl(15, sys.argv[1].encode(), 0, 0, 0)
print(os.getpid(), flush=True)
if not sys.stdin.readline():
    sys.exit()
with socket.create_server(("127.0.0.1", 0)) as s, socket.create_connection(s.getsockname()) as a, s.accept()[0] as b:
    a.sendall(bytes(int(sys.argv[2])))
    assert len(b.recv(int(sys.argv[2]), socket.MSG_WAITALL)) == int(sys.argv[2])
"""


def talker(comm, size, pid=None, tries=200):
    """A process that says a word before it talks; with the pid of one that is gone."""
    for _ in range(tries):
        if pid:
            Path("/proc/sys/kernel/ns_last_pid").write_text(str(pid - 1))
        p = subprocess.Popen(["/usr/bin/python3", "-c", TALKER, comm, str(size)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        p.stdout.readline()
        if pid in (None, p.pid):
            return p
        p.communicate()
    pytest.skip(f"the pid {pid} was not to be had again in {tries} tries: others are faster")


@pytest.mark.skipif(not Path("/proc/sys/kernel/ns_last_pid").exists(), reason="the kernel gives no say in the next pid (CHECKPOINT_RESTORE)")
def test_a_pid_that_comes_again(daemon):
    """The next process of that pid has a row of its own, under its own name."""
    first = talker("cl-first", 5000)
    with Watch(daemon, all=True, by="process") as w:
        rows = {}

        def seen(document):
            rows.update({(v["pid"], v["comm"]): v["sent"] for v in document["views"]})
            return True

        first.communicate("go\n")
        second = talker("cl-second", 7000, first.pid)
        second.communicate("go\n")
        w.until(lambda d: seen(d) and (second.pid, "cl-second") in rows, 10)
        w.until(seen, 3)
    assert rows[(first.pid, "cl-first")] == 5000 and rows[(first.pid, "cl-second")] == 7000, rows


def test_a_program_may_call_itself_anything(daemon):
    rude = "\x1b[31m\xe9\n"
    a, b = connected()

    def work():
        ctypes.CDLL(None).prctl(15, rude.encode("latin-1"), 0, 0, 0)
        a.sendall(bytes(1000))
        swallow(b, 1000)

    with a, b, Watch(daemon, pid=os.getpid(), by="socket") as w:
        cli = start_cli(daemon, "watch", "--pid", str(os.getpid()), "--interval", "100ms")
        assert cli.stdout.readline()
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        w.until(lambda d: d["sockets"]["seen"] == 2)
        assert row(w, a)["comm"] == "?[31m??" and row(w, a)["sent"] == 1000
        wait_for(lambda: False, 0.5)
        cli.send_signal(signal.SIGINT)
        out, err = cli.communicate(timeout=20)
        assert cli.returncode == 0 and not err and "?[31m??" in out
        assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", out)
