# SPDX-License-Identifier: MIT
"""The exporter of a test's own, HTTP by hand, and a real Prometheus that scrapes it."""
import contextlib
import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import urllib.error
import urllib.parse
import urllib.request

from support import BUILD, wait_for

PATH = os.environ["PATH"] + ":/usr/sbin:/sbin"
OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"
TEXT = "text/plain; version=0.0.4; charset=utf-8"


class Exporter:
    def __init__(self, control, log):
        self.log = log
        self.process = subprocess.Popen([BUILD / "copyledger-exporter", "--listen", "127.0.0.1:0", "--socket", control],
                                        stderr=log.open("wb"), stdin=subprocess.DEVNULL)
        said = wait_for(lambda: self.process.poll() is not None or re.search(r"listening on 127\.0\.0\.1:(\d+)", self.said()))
        assert self.process.poll() is None and said, self.said()
        self.port = int(said.group(1))

    def said(self):
        return self.log.read_text()

    def get(self, path="/metrics", method="GET", timeout=30, body=None, **headers):
        """(status, headers, text) of one request."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        try:
            connection.request(method, path, body=body, headers=headers)
            reply = connection.getresponse()
            return reply.status, dict(reply.getheaders()), reply.read().decode()
        finally:
            connection.close()

    def scrape(self, **headers):
        """{sample as it is written: its value}."""
        status, _, text = self.get(timeout=60, **headers)
        assert status == 200
        return parse(text)

    def values(self, up=1, **headers):
        """The first scrape for which the daemon is up, or not: on a loaded machine it may not answer within the time-out."""
        found = wait_for(lambda: (v := self.scrape(**headers))["copyledger_up"] == up and v, seconds=60)
        assert found, f"copyledger_up is not {up}: {self.said() if hasattr(self, 'log') else ''}"
        return found

    def connect(self, timeout=30):
        return socket.create_connection(("127.0.0.1", self.port), timeout=timeout)

    def raw(self, data, timeout=60):
        """What comes back for some bytes until the end, or until a reset."""
        with self.connect(timeout) as s:
            reply = b""
            with contextlib.suppress(ConnectionError):
                s.sendall(data)
            with contextlib.suppress(OSError):  # it may have been reset meanwhile
                s.shutdown(socket.SHUT_WR)
            with contextlib.suppress(ConnectionError):
                while piece := s.recv(65536):
                    reply += piece
            return reply

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def memory(self):
        with open(f"/proc/{self.process.pid}/statm") as f:
            return int(f.read().split()[1]) * os.sysconf("SC_PAGESIZE")


def parse(text):
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    found = dict(line.rsplit(" ", 1) for line in lines)
    assert len(found) == len(lines), "a sample twice"
    return {name: float(value) for name, value in found.items()}


@contextlib.contextmanager
def exporting(control, folder):
    """An exporter for the block's time; at its end it must stop in order and have said nothing that could steer a terminal."""
    e = Exporter(control, folder / "exporter.log")
    try:
        yield e
    finally:
        if e.process.poll() is None:
            e.process.send_signal(signal.SIGCONT)
            e.process.terminate()
        status = e.process.wait(timeout=30)
    assert status == 0, e.said()
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f]", e.said()), ascii(e.said())
    assert "Sanitizer" not in e.said() and "runtime error" not in e.said(), e.said()


class Prometheus:
    """A server of its own with these targets, and perhaps rules."""

    def __init__(self, folder, exporter, rules=(), interval="1s"):
        self.folder = folder
        with socket.socket() as s:  # it must be told a port; that nobody takes it meanwhile is likely, and retried
            s.bind(("127.0.0.1", 0))
            self.port = s.getsockname()[1]
        config = {"global": {"scrape_interval": interval, "scrape_timeout": interval, "evaluation_interval": interval},
                  "rule_files": [str(r) for r in rules],
                  "scrape_configs": [{"job_name": "copyledger", "static_configs": [{"targets": [f"127.0.0.1:{exporter.port}"]}]}]}
        (folder / "prometheus.yml").write_text(json.dumps(config))
        self.process = subprocess.Popen(
            [shutil.which("prometheus", path=PATH), f"--config.file={folder}/prometheus.yml",
             f"--storage.tsdb.path={folder}/tsdb", f"--web.listen-address=127.0.0.1:{self.port}"],
            stdout=(folder / "prometheus.log").open("wb"), stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, cwd=folder)

    def ready(self):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/-/ready", timeout=10) as reply:
                return reply.status == 200
        except OSError:
            return False

    def api(self, path, **parameters):
        url = f"http://127.0.0.1:{self.port}/api/v1/{path}?" + urllib.parse.urlencode(parameters)
        try:
            with urllib.request.urlopen(url, timeout=30) as reply:
                answer = json.load(reply)
        except urllib.error.HTTPError as e:
            raise AssertionError(f"{path} {parameters}: {e.read().decode(errors='replace')}") from None
        assert answer["status"] == "success" and not answer.get("warnings"), answer
        return answer["data"]

    def query(self, expression):
        """[(labels without name, instance and job; value)]."""
        data = self.api("query", query=expression)
        assert data["resultType"] in ("vector", "scalar"), data
        if data["resultType"] == "scalar":
            return [({}, float(data["result"][1]))]
        return [({k: v for k, v in row["metric"].items() if k not in ("__name__", "instance", "job")}, float(row["value"][1]))
                for row in data["result"]]

    def samples(self, name):
        """{sample as the text format writes it: value}, to compare with the exporter's own."""
        return {name + ("{" + ",".join(f'{k}="{v}"' for k, v in sorted(labels.items())) + "}" if labels else ""): value
                for labels, value in self.query(name)}


@contextlib.contextmanager
def prometheus(folder, exporter, **kwargs):
    for _ in range(3):
        p = Prometheus(folder, exporter, **kwargs)
        if wait_for(lambda p=p: p.process.poll() is not None or p.ready(), seconds=60) and p.process.poll() is None:
            break
        p.process.kill()
        p.process.wait()
    assert p.process.poll() is None, (folder / "prometheus.log").read_text()[-2000:]
    try:
        yield p
    finally:
        p.process.terminate()
        try:
            p.process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            p.process.kill()
            p.process.wait()
