# SPDX-License-Identifier: MIT
"""The exporter: what Prometheus stores is what the results say, and neither a daemon that hangs nor a hostile client stops it."""
import concurrent.futures
import contextlib
import json
import os
import random
import re
import resource
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from pathlib import Path

import pytest

import support
from exposition import OPENMETRICS, PATH, TEXT, Exporter, exporting, parse, prometheus
from support import BUILD, TOP, Daemon, running, totals_of, wait_for
from test_protocol import LONG, SHORT, finish, measuring, start

RULES = TOP / "packaging/prometheus/copyledger.rules.yml"
DASHBOARD = json.loads((TOP / "packaging/grafana/copyledger.json").read_text())
ROOT = os.geteuid() == 0


def needs(*programs):
    missing = [p for p in programs if not shutil.which(p, path=PATH)]
    return pytest.mark.skipif(bool(missing), reason=f"not installed: {', '.join(missing)} (tools/deps.sh programs)")


@pytest.fixture(scope="module")
def daemon(tmp_path_factory):
    """Has done runs of several modes, cancelled one, and swept."""
    with running(tmp_path_factory.mktemp("exported")) as d:
        d.documents = [d.run_moving(**{**SHORT, "mode": mode, "size": 16384}) for mode in ("two-copy", "one-copy", "zero-copy")]
        d.documents.append(d.run(**SHORT, ledger="off"))
        with d.connect() as v, d.connect() as watcher:
            run = start(v, **LONG, label='a "label" \\ of the user')
            measuring(watcher, run)
            v.call("CancelRun", {"id": run})
            d.documents.append(finish(v, run))
        yield d


@pytest.fixture(scope="module")
def exporter(daemon, tmp_path_factory):
    with exporting(daemon.socket, tmp_path_factory.mktemp("exporter")) as e:
        yield e


def expected_samples(documents):
    """What the sums of these documents are called, and their values."""
    account, ended, without = totals_of(documents)
    found = {f'copyledger_ended_runs_total{{outcome="{k}"}}': v for k, v in ended.items()}
    found["copyledger_runs_without_ledger_total"] = without
    for member, name in (("closed", "closed_books"), ("unbalanced", "unbalanced_books"), ("inexact", "inexact_books"),
                         ("delivered", "delivered_bytes"), ("hook_runs", "hook_runs")):
        if account[member] is not None:
            found[f'copyledger_{name}_total{{account="runs"}}'] = account[member]
    for s in account["sites"]:
        for member in ("bytes", "hits"):
            if s[member] is not None:
                found[f'copyledger_site_{member}_total{{account="runs",kind="{s["kind"]}",site="{s["site"]}"}}'] = s[member]
    for name, value in account["zerocopy"].items():
        what, completed = name.split("_", 1)
        found[f'copyledger_zerocopy_{what}_total{{account="runs",completed="{completed}"}}'] = value
    return {k: float(v) for k, v in found.items()}


def sorted_labels(name):
    head, _, labels = name.partition("{")
    return head + ("{" + ",".join(sorted(re.findall(r'\w+="(?:\\.|[^"\\])*"', labels))) + "}" if labels else "")


# ---- the formats ----

def test_the_sums_of_the_results(daemon, exporter):
    values = {sorted_labels(k): v for k, v in exporter.values().items()}
    expected = expected_samples(daemon.documents)
    assert {k: values.get(k) for k in expected} == expected
    assert values["copyledger_stored_results"] == len(daemon.documents)
    assert values[f'copyledger_build_info{{kernel="{os.uname().release}",version="0.1.0"}}'] == 1
    assert 0 < values["copyledger_start_time_seconds"] < time.time()
    hooks = [k for k in values if k.startswith("copyledger_hook_")]
    assert not hooks or expected.get('copyledger_hook_runs_total{account="runs"}'), "absent where nothing was measured"


def test_no_label_carries_what_a_user_wrote(exporter):
    """The labels of each metric, and the only values that they can have."""
    words = {"account": "runs watches", "outcome": "done failed cancelled interrupted ok unreachable timeout refused bad_reply",
             "state": "queued running", "completed": "zero_copied copied", "watch": "1 2 3 4 5 6 7 8",
             "kind": "copy pin splice map none event", "version": "0.1.0", "kernel": os.uname().release,
             "site": "app_pack tx_copy tx_pin tx_splice tx_deferred_copy skb_copy rx_copy rx_map rx_discard zc_complete"}
    values = exporter.values()
    for name in values:
        for label, value in re.findall(r'(\w+)="((?:\\.|[^"\\])*)"', name):
            assert value in words[label].split(), name
    assert len(values) < 200


@pytest.mark.parametrize("accept, expected", [
    (None, TEXT), ("*/*", TEXT), ("text/plain", TEXT), ("application/openmetrics-text", OPENMETRICS),
    ("application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,"
     "text/plain;version=0.0.4;q=0.5,*/*;q=0.1", OPENMETRICS)])
def test_the_format_that_is_asked_for(exporter, accept, expected):
    status, headers, text = exporter.get(**({"Accept": accept} if accept else {}))
    assert status == 200 and headers["Content-Type"] == expected
    assert text.endswith("\n# EOF\n") == (expected == OPENMETRICS)
    assert text.endswith("\n") and "\r" not in text


def test_both_formats_say_the_same(exporter):
    def still(values):
        # the connection of the scrape before may still be there
        return {k: v for k, v in values.items() if "exporter_scrape" not in k and k != "copyledger_clients"}
    assert still(exporter.values()) == still(exporter.values(Accept=OPENMETRICS))


def test_the_reference_parser_takes_it(exporter):
    parser = pytest.importorskip("prometheus_client.openmetrics.parser", reason="no python3-prometheus-client (tools/deps.sh programs)")
    families = list(parser.text_string_to_metric_families(exporter.get(Accept=OPENMETRICS)[2]))
    assert len({f.name for f in families}) == len(families) > 20
    for f in families:
        assert f.name.startswith("copyledger_") and ":" not in f.name and f.documentation.endswith(".")
        assert f.type in ("gauge", "counter", "info") and f.samples
        assert f.unit in ("", "bytes", "seconds") and (f.unit == "" or f.name.endswith("_" + f.unit))
    plain = pytest.importorskip("prometheus_client.parser")
    assert {f.name for f in plain.text_string_to_metric_families(exporter.get()[2])} >= {"copyledger_up", "copyledger_site_bytes"}


@needs("promtool")
def test_promtool_finds_nothing(exporter):
    done = subprocess.run(["promtool", "check", "metrics"], input=exporter.get()[2], capture_output=True, text=True, timeout=60,
                          env={**os.environ, "PATH": PATH})
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_the_document_lists_what_there_is(exporter):
    """doc/metrics.md has the program's own table, and that has each metric that a scrape shows."""
    table = subprocess.run([BUILD / "copyledger-exporter", "--metrics"], capture_output=True, text=True, check=True).stdout
    assert table in (TOP / "doc/metrics.md").read_text(), "make doc/metrics.md say what copyledger-exporter --metrics prints"
    rows = {name: labels.split(", ") if labels else [] for name, labels in re.findall(r"^\| `(\w+)` \| \w+ \| (.*?) \|", table, re.M)}
    for name in exporter.values():
        assert sorted(re.findall(r'(\w+)="', name)) == sorted(rows[name.partition("{")[0]]), name


# ---- HTTP ----

def test_the_landing_page(exporter):
    status, headers, text = exporter.get("/")
    assert status == 200 and headers["Content-Type"].startswith("text/html") and 'href="/metrics"' in text
    assert "Content-Length" in headers and headers["Connection"] == "close"


def test_head_has_no_body(exporter):
    for path in ("/", "/metrics"):
        status, headers, text = exporter.get(path, "HEAD")
        assert status == 200 and text == "" and int(headers["Content-Length"]) > 100
        assert headers["Content-Type"] == exporter.get(path)[1]["Content-Type"]


@pytest.mark.parametrize("path", ["/x", "/metrics/", "/metrics2", "//", "/metric", "/../metrics", "/" + "a" * 3000])
def test_other_paths_are_404(exporter, path):
    assert exporter.get(path)[0] == 404


def test_a_query_is_not_looked_at(exporter):
    assert exporter.get("/metrics?a=b&name[]=x")[0] == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PATCH", "BREW", "get"])
def test_other_methods_are_405(exporter, method):
    status, headers, _ = exporter.get("/metrics", method, body=b"x" * 100)
    assert status == 405 and headers["Allow"] == "GET, HEAD"


def alive(exporter):
    return exporter.process.poll() is None and exporter.values()


HOST = b"Host: x\r\n"


@pytest.mark.parametrize("data, statuses", [
    (b"GET /" + b"a" * 1000000 + b" HTTP/1.1\r\n" + HOST + b"\r\n", {413, 414, 431}),
    (b"GET /metrics HTTP/1.1\r\n" + HOST + b"X: " + b"a" * 1000000 + b"\r\n\r\n", {413, 431}),
    (b"GET /metrics HTTP/1.1\r\n" + HOST + b"".join(b"X%d: y\r\n" % i for i in range(100000)) + b"\r\n", {413, 431}),
    (b"GET /metrics HTTP/1.1\r\n" + HOST + b"Accept: " + b"text/plain;q=0.1," * 500 + b"\r\n\r\n", {200}),
    (b"GET /metrics HTTP/1.1\r\n" + HOST + b"Content-Length: 1000000000000\r\n\r\n" + b"x" * 100000, {200, 413}),
    (b"GET /metrics HTTP/1.1\r\n" + HOST + b"Content-Length: -5\r\n\r\n", {200, 400}),
    (b"GET /metrics HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\nZZZ\r\n", {200, 400}),
    (b"POST /metrics HTTP/1.1\r\n" + HOST + b"Expect: 100-continue\r\nContent-Length: 10000000\r\n\r\n", {405, 417}),
    (b"GET /metrics HTTP/1.1\r\n\r\n", {200, 400}),
    (b"GET /metrics HTTP/1.0\r\n\r\n", {200}),
    (b"GET /metrics HTTP/9.9\r\n" + HOST + b"\r\n", {200, 400, 505}),
    (b"GET /metrics\r\n\r\n", {200, 400, 505}),
    (b"\r\n" * 1000, {400}),
    (b"GET \0 HTTP/1.1\r\n" + HOST + b"\r\n", {400, 404}),
    (bytes(range(256)) * 64, {400}),
    (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", set()),
    (b"GET /metrics HTTP/1.1\r\n" + HOST + b"\r\n" + b"GET / HTTP/1.1\r\n" + HOST + b"\r\n", {200}),
], ids=["line", "header", "headers", "accept", "body", "negative", "chunked", "expect", "no-host", "http10", "http99", "http09", "blank", "nul",
        "binary", "tls", "pipelined"])
def test_hostile_requests(exporter, data, statuses):
    """An answer of the right kind, or an end: a reset where input was left unread is one too."""
    reply = exporter.raw(data)
    # whoever expects 100 (Continue) may get that first
    codes = {int(code) for code in re.findall(rb"^HTTP/1\.[01] (\d{3}) ", reply, re.M)} - {100}
    assert codes <= statuses, reply[:300]
    assert len(re.findall(rb"^HTTP/1\.[01] 200", reply, re.M)) <= 1, "a connection is for one request"
    assert alive(exporter)


def test_requests_with_errors_everywhere(exporter):
    dice, good = random.Random(5), b"GET /metrics HTTP/1.1\r\nHost: x\r\nAccept: text/plain;q=0.5\r\nConnection: keep-alive\r\n\r\n"

    def spoilt():
        data = bytearray(good)
        for _ in range(dice.randrange(1, 6)):
            at = dice.randrange(len(data))
            data[at:at + dice.randrange(3)] = dice.randbytes(dice.randrange(4))
        return bytes(data)

    with concurrent.futures.ThreadPoolExecutor(32) as pool:  # one that seems to go on is waited for until its time is over
        list(pool.map(exporter.raw, [spoilt() for _ in range(300)]))
    assert alive(exporter)


@contextlib.contextmanager
def descriptors(n):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < n:
        pytest.skip(f"RLIMIT_NOFILE does not allow {n} descriptors")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, n), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def ended(s, seconds=60):
    """Whether the other side ends a connection, whatever it says before."""
    s.settimeout(seconds)
    with contextlib.suppress(ConnectionError):
        while s.recv(65536):
            pass
    return True


def test_a_thousand_idle_connections_keep_nobody_out(exporter):
    with descriptors(4096), contextlib.ExitStack() as stack:
        idle = [stack.enter_context(exporter.connect(timeout=60)) for _ in range(1000)]
        for _ in range(10):
            exporter.values()
        assert exporter.descriptors() < 2 * 64 + 32
        assert support.SAN or exporter.memory() < 64 << 20
        assert all(ended(s) for s in idle), "each of them is ended, the last by its time"
    assert wait_for(lambda: exporter.descriptors() < 32, seconds=30)


def inode(port, peer=0):
    """Of the socket at this port that listens, or that is connected with that port; 0 until it is accepted."""
    for line in Path("/proc/net/tcp").read_text().splitlines():
        fields = line.split()
        if fields[1].endswith(f":{port:04X}") and fields[2].endswith(f":{peer:04X}"):
            return int(fields[9])
    return 0


def waits_for(exporter, socket_inode):
    """Whether the exporter would be told of an event of that socket: it is in one of its epoll sets."""
    for path in Path(f"/proc/{exporter.process.pid}/fdinfo").iterdir():
        with contextlib.suppress(OSError):  # closed in between
            if f" ino:{socket_inode:x} " in path.read_text():
                return True
    return False


@contextlib.contextmanager
def no_more_descriptors(exporter):
    """Its next one would be over its limit."""
    pid = exporter.process.pid
    limits = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    taken = {int(n) for n in os.listdir(f"/proc/{pid}/fd")}
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (min(set(range(len(taken) + 1)) - taken), limits[1]))
    yield
    resource.prlimit(pid, resource.RLIMIT_NOFILE, limits)


def test_the_last_connection_ends_while_there_are_no_descriptors(tmp_path):
    """It pauses with accepting then; what ends the pause does not go with the connection."""
    with exporting(tmp_path / "none.sock", tmp_path) as e, e.connect() as last:
        assert wait_for(lambda: inode(e.port, last.getsockname()[1])), "taken"
        listener = inode(e.port)
        assert waits_for(e, listener)
        with no_more_descriptors(e), e.connect():
            assert wait_for(lambda: not waits_for(e, listener)), "the pause"
            last.shutdown(socket.SHUT_WR)
            assert ended(last)
        assert e.scrape()["copyledger_up"] == 0


def test_slow_clients(exporter):
    """Those that send a byte now and then are served no longer than a connection may live; others are served meanwhile."""
    request, over = b"GET /metrics HTTP/1.1\r\nHost: x\r\nX-Slow: " + b"a" * 10000, threading.Event()

    def drip():
        with exporter.connect(timeout=60) as s, contextlib.suppress(ConnectionError):
            for at in range(len(request)):
                if over.is_set():
                    return False
                s.sendall(request[at:at + 1])
                time.sleep(0.05)
        return True  # it was ended

    with concurrent.futures.ThreadPoolExecutor(20) as pool:
        drips = [pool.submit(drip) for _ in range(20)]
        try:
            for _ in range(5):
                exporter.values()
            done = concurrent.futures.wait(drips, timeout=120).done
        finally:
            over.set()
    assert len(done) == 20 and all(d.result() for d in done)


def test_a_client_that_does_not_read(exporter):
    with exporter.connect() as s:
        s.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
        assert alive(exporter)
    assert alive(exporter)


def test_many_scrapers_at_once(exporter):
    with concurrent.futures.ThreadPoolExecutor(32) as pool:
        assert all(pool.map(lambda _: exporter.values(), range(200)))


# ---- the daemon is not as it should be ----

def test_no_daemon(tmp_path):
    with exporting(tmp_path / "none.sock", tmp_path) as e:
        values = e.values(up=0)
        assert values['copyledger_exporter_scrapes_total{outcome="unreachable"}'] == 1
        assert {k.partition("{")[0] for k in values} == {
            "copyledger_up", "copyledger_exporter_build_info", "copyledger_exporter_scrapes_total",
            "copyledger_exporter_scrape_duration_seconds"}
        assert e.get("/")[0] == 200
        for _ in range(5):
            e.scrape()
        assert e.said().count("does not answer") == 1, "said once, not with each scrape"


def test_a_daemon_that_goes_and_comes(tmp_path):
    d = Daemon(tmp_path).start()
    try:
        with exporting(d.socket, tmp_path) as e:
            d.run(**SHORT)
            before = e.values()
            assert before['copyledger_ended_runs_total{outcome="done"}'] == 1
            d.kill()
            e.values(up=0)
            d.start()
            after = e.values()
            assert after["copyledger_start_time_seconds"] > before["copyledger_start_time_seconds"]
            assert after['copyledger_ended_runs_total{outcome="done"}'] == 0 and after["copyledger_stored_results"] == 1
            assert "answers again" in e.said()
    finally:
        assert d.stop() == 0


def test_a_daemon_that_is_stopped(tmp_path):
    """However many ask: each is answered, by a time-out that they share."""
    with running(tmp_path) as d, exporting(d.socket, tmp_path) as e:
        e.values()
        d.process.send_signal(signal.SIGSTOP)
        try:
            with concurrent.futures.ThreadPoolExecutor(10) as pool:
                for values in pool.map(lambda _: e.scrape(), range(10)):
                    assert values["copyledger_up"] == 0
            assert e.scrape()['copyledger_exporter_scrapes_total{outcome="timeout"}'] >= 11
            assert e.get("/")[0] == 200
        finally:
            d.process.send_signal(signal.SIGCONT)
        e.values()


@contextlib.contextmanager
def fake(folder, reply, backlog=16):
    """A daemon that answers each connection with these bytes; None: never, and it takes no connection."""
    path, over = folder / "fake.sock", threading.Event()
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen(backlog)
        server.settimeout(0.1)

        def serve():
            while not over.is_set():
                with contextlib.suppress(OSError):
                    peer, _ = server.accept()
                    with peer:
                        peer.settimeout(10)
                        peer.recv(65536)
                        peer.sendall(reply)

        thread = threading.Thread(target=serve, daemon=True)
        if reply is not None:
            thread.start()
        try:
            yield path
        finally:
            over.set()
            if reply is not None:
                thread.join(timeout=20)


def good(**members):
    return {"version": "1", "kernel": "k", "started_ns": 10**18, "accounts": [], "watches": [], **members}


def message(parameters):
    return json.dumps({"parameters": parameters}).encode() + b"\0"


@pytest.mark.parametrize("reply, outcome", [
    (b"", "unreachable"), (b'{"parameters":', "unreachable"), (b"\0", "bad_reply"), (b"hello\0", "bad_reply"),
    (b"{}\0", "bad_reply"), (b'{"parameters":[]}\0', "bad_reply"), (b"{" * 100000 + b"\0", "bad_reply"),
    (b"x" * (3 << 20), "bad_reply"), (message({"started_ns": "x"}), "bad_reply"),
    (b'{"error":"org.varlink.service.MethodNotFound","parameters":{"method":"io.copyledger.GetTotals"}}\0', "refused"),
    (b'{"error":"io.copyledger.Failed","parameters":{"code":"permission_denied","message":"a\\u001b[31m\\n"}}\0', "refused"),
], ids=["nothing", "half", "nul", "word", "empty", "array", "deep", "long", "no-start", "no-method", "refused"])
def test_a_daemon_that_talks_nonsense(tmp_path, reply, outcome):
    with fake(tmp_path, reply) as path, exporting(path, tmp_path) as e:
        values = e.scrape()
        assert values["copyledger_up"] == 0 and values[f'copyledger_exporter_scrapes_total{{outcome="{outcome}"}}'] == 1
        assert len(e.said().splitlines()) == 2


def test_a_daemon_whose_queue_is_full(tmp_path):
    with fake(tmp_path, None, backlog=0) as path, socket.socket(socket.AF_UNIX) as first, exporting(path, tmp_path) as e:
        first.connect(str(path))
        values = e.scrape()
        assert values["copyledger_up"] == 0 and values['copyledger_exporter_scrapes_total{outcome="timeout"}'] == 1


def test_labels_are_escaped(tmp_path):
    """As either format wants it: backslash and quote; what is not printable does not come through."""
    nasty = 'a"b\\c\nd\x1b[2J\u202e\u00e9'
    reply = message(good(version=nasty, kernel="", watches=[{"watch": 1, "balanced": False}]))
    with fake(tmp_path, reply) as path, exporting(path, tmp_path) as e:
        for accept in (TEXT, OPENMETRICS):
            text = e.get(Accept=accept)[2]
            assert 'copyledger_build_info{version="a\\"b\\\\c?d?[2J?\u00e9",kernel=""} 1\n' in text
            assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f\u202e]", text)
        parser = pytest.importorskip("prometheus_client.openmetrics.parser", reason="no python3-prometheus-client (tools/deps.sh programs)")
        families = {f.name: f for f in parser.text_string_to_metric_families(e.get(Accept=OPENMETRICS)[2])}
        assert families["copyledger_build"].samples[0].labels["version"] == 'a"b\\c?d?[2J?\u00e9'
        assert families["copyledger_watch_balanced"].samples[0].value == 0


def test_figures_as_large_as_they_get(tmp_path):
    sites = [{"site": "tx_copy", "kind": "copy", "bytes": 2**63 - 1, "hits": 1e308}]
    reply = message(good(accounts=[{"account": "runs", "sites": sites, "hook_ns": 2**63 - 1}]))
    with fake(tmp_path, reply) as path, exporting(path, tmp_path) as e:
        text = e.get()[2]
        assert 'copyledger_site_bytes_total{account="runs",site="tx_copy",kind="copy"} 9223372036854775807\n' in text
        assert 'kind="copy"} 1e+308\n' in text and "inf" not in text.lower().replace("_info", "")


# ---- sockets and options ----

def scrape_at(port, up=1):
    e = Exporter.__new__(Exporter)
    e.port = port
    return e.values(up)


def unused_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


@contextlib.contextmanager
def activated(daemon, *listeners, prefix=(), notify=None):
    """As systemd starts it: listening sockets from descriptor 3 on."""
    def place():
        copies = [os.dup(s.fileno()) for s in listeners]
        for i, fd in enumerate(copies):
            os.dup2(fd, 3 + i)
    process = subprocess.Popen(
        [*prefix, "sh", "-c", f'LISTEN_FDS={len(listeners)} LISTEN_PID=$$ exec "$0"', BUILD / "copyledger-exporter"],
        stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, close_fds=False, preexec_fn=place, text=True,
        env={**os.environ, "COPYLEDGER_SOCKET": str(daemon.socket), **({"NOTIFY_SOCKET": str(notify)} if notify else {})})
    try:
        yield process
    finally:
        process.terminate()
        text = process.communicate(timeout=30)[1]
    assert process.returncode == 0, text


def test_socket_activation_and_notification(daemon, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as a, socket.create_server(("127.0.0.1", 0)) as b, \
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
        notify.bind(str(tmp_path / "notify"))
        notify.settimeout(30)
        with activated(daemon, a, b, notify=tmp_path / "notify"):
            assert notify.recv(4096) == b"READY=1"
            for s in (a, b):
                scrape_at(s.getsockname()[1])


@pytest.mark.skipif(not shutil.which("systemd-socket-activate"), reason="systemd-socket-activate is not installed")
def test_systemds_own_activation(daemon):
    port = unused_port()
    process = subprocess.Popen(["systemd-socket-activate", "-l", f"127.0.0.1:{port}", "-E", f"COPYLEDGER_SOCKET={daemon.socket}",
                                BUILD / "copyledger-exporter"], stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True)

    def answers():
        with contextlib.suppress(OSError):
            return scrape_at(port)
    try:
        assert wait_for(answers, seconds=60)
    finally:
        process.terminate()
        text = process.communicate(timeout=30)[1]
    assert process.returncode == 0, text


@pytest.mark.skipif(not ROOT or not shutil.which("setpriv"), reason="needs root, and setpriv (util-linux)")
def test_as_its_unit_runs_it():
    """Nobody's user, a member of the daemon's group, without capabilities, in a network namespace that has no network."""
    group = 64002
    with tempfile.TemporaryDirectory(prefix="copyledger-exporter-") as path, socket.create_server(("127.0.0.1", 0)) as listener:
        os.chmod(path, 0o755)
        with running(Path(path)) as d:
            who = ["unshare", "--net", "setpriv", "--reuid=64011", "--regid=64011", f"--groups={group}", "--inh-caps=-all",
                   "--bounding-set=-all", "--no-new-privs", "--"]
            with activated(d, listener, prefix=who):
                port = listener.getsockname()[1]
                scrape_at(port, up=0)  # not one of the socket's group
                os.chown(d.socket, 0, group)
                scrape_at(port)


def test_a_socket_that_does_not_listen_is_refused(daemon):
    with socket.socket() as deaf:
        done = subprocess.run(["sh", "-c", 'LISTEN_FDS=1 LISTEN_PID=$$ exec "$0"', BUILD / "copyledger-exporter"], close_fds=False,
                              capture_output=True, text=True, timeout=30, preexec_fn=lambda: os.dup2(deaf.fileno(), 3))
    assert done.returncode == 1 and "listening" in done.stderr


def run(*args, **env):
    return subprocess.run([BUILD / "copyledger-exporter", *map(str, args)], capture_output=True, text=True, timeout=30,
                          stdin=subprocess.DEVNULL, env={**os.environ, **env})


def test_version_and_help_name_every_option():
    assert run("--version").stdout == "copyledger-exporter 0.1.0\n"
    options = re.findall(r'^\t\t\{"([\w-]+)", (?:no|required)_argument', (TOP / "exporter/main.c").read_text(), re.M)
    text = run("--help").stdout
    assert len(options) >= 5 and all(f"--{o} " in text for o in options)
    assert all(len(line) <= 80 for line in text.splitlines())


@pytest.mark.parametrize("args", [["--nope"], ["operand"], ["--listen"], ["--listen", "here"], ["--listen", "127.0.0.1:70000"]])
def test_bad_usage_is_2(args):
    done = run(*args)
    assert done.returncode == 2 and done.stderr and not done.stdout


def test_a_port_that_is_taken(exporter):
    done = run("--listen", f"127.0.0.1:{exporter.port}")
    assert done.returncode == 1 and re.search(r"127\.0\.0\.1:\d+: Address already in use", done.stderr)


def test_another_address(daemon, tmp_path):
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            pass
    except OSError as e:
        pytest.skip(f"no IPv6 here: {e}")
    process = subprocess.Popen([BUILD / "copyledger-exporter", "--listen", "[::1]:0", "--socket", daemon.socket],
                               stderr=(tmp_path / "log").open("wb"), stdin=subprocess.DEVNULL)
    try:
        said = wait_for(lambda: re.search(r"listening on \[::1\]:(\d+)", (tmp_path / "log").read_text()))
        with socket.create_connection(("::1", int(said.group(1))), timeout=30) as s:
            s.sendall(b"GET / HTTP/1.0\r\n\r\n")
            assert s.recv(100).startswith(b"HTTP/1.")
    finally:
        process.terminate()
        assert process.wait(timeout=30) == 0


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd-analyze is not installed")
def test_the_unit_is_confined():
    """By systemd's own measure, from 0 to 10: at most 1.0."""
    done = subprocess.run(["systemd-analyze", "security", "--offline=yes", "--threshold=10", "--no-pager",
                           TOP / "packaging/copyledger-exporter.service"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


# ---- Prometheus ----

@pytest.fixture(scope="module")
def server(daemon, exporter, tmp_path_factory):
    """Scrapes while a watch goes on and runs end."""
    if not shutil.which("prometheus", path=PATH):
        pytest.skip("not installed: prometheus (tools/deps.sh programs)")
    with prometheus(tmp_path_factory.mktemp("prometheus"), exporter, rules=[RULES]) as p, contextlib.ExitStack() as stack:
        assert wait_for(lambda: p.query("copyledger_up"), seconds=60)
        p.watch = None
        if ROOT:
            p.watch = stack.enter_context(daemon.connect(timeout=120))
            p.watch.send("Watch", {"all": True, "interval_ms": 60000}, more=True)
            if "error" in p.watch.receive():
                p.watch = None
        # a rate needs two scrapes before, and one after
        assert wait_for(lambda: p.query("count_over_time(copyledger_watches[5m]) >= 3"), seconds=60)
        daemon.documents += [daemon.run_moving(**SHORT), daemon.run_moving(**{**SHORT, "mode": "zero-copy"})]
        n = p.query("count_over_time(copyledger_up[5m])")[0][1]
        assert wait_for(lambda: p.query(f"count_over_time(copyledger_up[5m]) >= {n + 3}"), seconds=60)
        yield p


def test_prometheus_has_what_the_results_say(daemon, exporter, server):
    expected = expected_samples(daemon.documents)
    assert expected and server.api("targets")["activeTargets"][0]["health"] == "up"

    def stored():
        return {k: v for name in {k.partition("{")[0] for k in expected} for k, v in server.samples(name).items() if k in expected}
    assert wait_for(lambda: stored() == expected, seconds=60), stored()


def test_prometheus_has_every_metric(exporter, server):
    names = {sorted_labels(k) for k in exporter.values()}
    assert wait_for(lambda: all(name in server.samples(name.partition("{")[0]) for name in names), seconds=60)


def test_metadata_arrived(server):
    found = server.api("targets/metadata", match_target='{job="copyledger"}')
    kinds = {m["metric"]: (m["type"], m["unit"]) for m in found}
    assert kinds["copyledger_site_bytes"] == ("counter", "bytes") and kinds["copyledger_build"] == ("info", ""), kinds
    assert kinds["copyledger_start_time_seconds"] == ("gauge", "seconds")


def test_no_counter_fell(server):
    counters = [m["metric"] for m in server.api("targets/metadata") if m["type"] == "counter" and "copyledger" in m["metric"]]
    assert len(counters) > 10
    for name in counters:
        assert server.query(f"resets({name}_total[1h]) > 0") == [], name


def test_watches_are_seen(daemon, server):
    if not server.watch:
        pytest.skip("no watch can be had here")
    assert wait_for(lambda: server.query("copyledger_watches") == [({}, 1)], seconds=60)
    run = daemon.documents[-1]
    if run["ledger"] and run["ledger"]["exact"]:
        assert wait_for(lambda: server.query('copyledger_watch_copies_per_byte{watch="1"} > 0'), seconds=60)
        assert wait_for(lambda: server.query('increase(copyledger_delivered_bytes_total{account="watches"}[1h]) > 0'), seconds=60)


def test_each_rule_is_evaluated_without_error(server):
    rules = [r for g in server.api("rules")["groups"] for r in g["rules"]]
    assert len(rules) == RULES.read_text().count("- alert:") + RULES.read_text().count("- record:") >= 12

    def healthy():
        return {r["health"] for g in server.api("rules")["groups"] for r in g["rules"]} == {"ok"}
    assert wait_for(healthy, seconds=90), rules
    for rule in rules:
        server.query(rule["query"])


def rule_metrics():
    return set(re.findall(r"\bcopyledger_\w+", "\n".join(re.findall(r"expr: (?:\|\n(?: {10}.*\n)+|.*)", RULES.read_text()))))


def dashboard_queries():
    found = [(p["title"], t["expr"]) for p in DASHBOARD["panels"] for t in p.get("targets", [])]
    return found + [(a["name"], a["expr"]) for a in DASHBOARD["annotations"]["list"]]


def filled(expression):
    return expression.replace("$__rate_interval", "5m").replace("$instance", ".*")


# A panel that may be empty, and the condition under which it must not be.
MAY_BE_EMPTY = {
    "Hooks' share of a CPU": lambda p: p.query('copyledger_hook_seconds_total{account="watches"}'),
    "Restarts of the daemon": lambda p: False,
    "Copies per byte": lambda p: p.query("copyledger_site_bytes_total"),
    "Payload by copy site, runs": lambda p: p.query('copyledger_site_bytes_total{account="runs"}'),
    "Payload by copy site, watches": lambda p: p.query('copyledger_site_bytes_total{account="watches"}'),
    "Pinned payload that was copied after all": lambda p: p.query('copyledger_site_bytes_total{site="tx_deferred_copy"}'),
    "Copies per byte of each watch, since it began": lambda p: p.query("copyledger_watch_delivered_bytes > 0"),
    "Sockets under watch": lambda p: p.watch,
    "Ledgers of watches that balance": lambda p: p.watch,
}


@pytest.mark.parametrize("title, expression", dashboard_queries(), ids=lambda x: x if "copyledger" not in x else "")
def test_each_query_of_the_dashboard(server, title, expression):
    result = server.query(filled(expression))
    if MAY_BE_EMPTY.get(title, lambda p: True)(server):
        assert wait_for(lambda: server.query(filled(expression)), seconds=60), f"{title} has no data: {expression}"
        result = server.query(filled(expression))
    assert all(value == value for _, value in result), result


def test_dashboard_and_rules_name_only_what_is_exported():
    table = subprocess.run([BUILD / "copyledger-exporter", "--metrics"], capture_output=True, text=True, check=True).stdout
    exported = set(re.findall(r"^\| `(\w+)`", table, re.M))
    recorded = {"copyledger_copies_per_byte", "copyledger_copied_after_all"}  # within names of recorded series
    named = rule_metrics() | {m for _, e in dashboard_queries() for m in re.findall(r"\bcopyledger_\w+", e)}
    assert "copyledger_up" in named and named - recorded <= exported, named - exported


def test_the_dashboard_is_whole():
    ids = [p["id"] for p in DASHBOARD["panels"]]
    assert len(set(ids)) == len(ids) and len({p["title"] for p in DASHBOARD["panels"]}) == len(ids)
    taken = set()
    for p in DASHBOARD["panels"]:
        g = p["gridPos"]
        cells = {(x, y) for x in range(g["x"], g["x"] + g["w"]) for y in range(g["y"], g["y"] + g["h"])}
        assert g["x"] + g["w"] <= 24 and not cells & taken, f"{p['title']} lies over another one"
        taken |= cells
        assert p["type"] == "row" or p["datasource"]["uid"] == "${datasource}" and p["targets"]


@needs("promtool")
def test_the_rules_are_good_and_fire_when_they_should():
    """Each alert fires in one case of the rules' own test, and is silent in another."""
    env, cases = {**os.environ, "PATH": PATH}, TOP / "tests/prometheus/copyledger.rules.test.yml"
    done = subprocess.run(["promtool", "check", "rules", RULES], capture_output=True, text=True, timeout=60, env=env)
    assert done.returncode == 0 and "SUCCESS" in done.stdout, done.stdout + done.stderr
    done = subprocess.run(["promtool", "test", "rules", cases], capture_output=True, text=True, timeout=120, env=env)
    assert done.returncode == 0 and "SUCCESS" in done.stdout, done.stdout + done.stderr
    text = cases.read_text()
    for alert in re.findall(r"- alert: (\w+)", RULES.read_text()):
        checks = re.findall(rf"alertname: {alert}\n +exp_alerts:(.*)(?:\n +(.*))?", text)
        assert {c[0].strip() for c in checks} == {"", "[]"}, f"{alert}: a case each of firing and silence"
        assert any("exp_labels" in c[1] for c in checks)
