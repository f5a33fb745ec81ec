# SPDX-License-Identifier: MIT
"""copyledger(1) as a person or a script meets it: texts, documents, exit statuses, terminals, signals, pipes."""
import contextlib
import fcntl
import json
import os
import pty
import re
import shutil
import signal
import socket
import struct
import subprocess
import termios
import threading
import time
from pathlib import Path

import pytest

from contract import CONTRACT, INTERFACE, STANDARD, check_call, strict_json
from support import BUILD, TOP, check_result, running, wait_for

QUICK = ("--duration", "60ms", "--warmup", "0")
COMMANDS = ["run", "sweep", "probe", "list", "show", "export", "compare", "explain", "plot", "report", "trace", "watch", "cancel", "bridge",
            "info", "help"]
ESCAPE = "\x1b"


@pytest.fixture(scope="module")
def daemon(tmp_path_factory):
    """With one finished run of each mode, and no colour or terminal in its environment."""
    with running(tmp_path_factory.mktemp("cli"), env={"TERM": "xterm", "NO_COLOR": "", "LC_ALL": "C.UTF-8"}) as d:
        d.results = {mode: d.run_moving(mode=mode, warmup_ms=0, duration_ms=60, label=f"of {mode}", size=size)
                     for mode, size in (("two-copy", 4096), ("one-copy", 1000), ("zero-copy", 65536))}
        yield d


@pytest.fixture
def long_run(daemon):
    with daemon.connect() as v:
        run = v.call("StartRun", {"spec": {"mode": "one-copy", "workload": "rr", "warmup_ms": 0, "duration_ms": 60000}})[
            "parameters"]["id"]
        assert wait_for(lambda: moves(daemon, run))
        yield run
        v.call("CancelRun", {"id": run})
        v.call("FollowRun", {"id": run})


def moves(daemon, run=None):
    """Whether bytes of the running run have arrived."""
    reply = daemon.call("TraceStats", {"id": run} if run else {})
    return "error" not in reply and reply["parameters"]["trace"]["delivered"] > 0


def only_document(text):
    """The one document on stdout, which nothing else may share."""
    assert text.endswith("\n") and not text.startswith((" ", "\n"))
    return strict_json(text)


def fails(done, status, *words):
    """One sentence on stderr, nothing on stdout."""
    assert done.returncode == status and not done.stdout, done
    assert done.stderr.startswith("copyledger: ") and done.stderr.endswith("\n"), done.stderr
    for word in words:
        assert word in done.stderr, done.stderr


# ---- texts ----

@pytest.mark.parametrize("mode, copies, verdict", [
    ("two-copy", 3, r"two-copy: each delivered byte was copied 3\.00 times: packed 1\.00, user to kernel 1\.00, kernel to user 1\.00"),
    ("one-copy", 2, r"one-copy: each delivered byte was copied 2\.00 times: user to kernel 1\.00, kernel to user 1\.00"),
    ("zero-copy", 2, r"zero-copy asked, 100 % of [\d.]+ [kMG]?B copied after all: .*loop.* local socket(?: \(derived\))?")])
def test_the_ledger_as_text(daemon, mode, copies, verdict):
    result = daemon.results[mode]
    done = daemon.cli("show", result["id"])
    assert done.returncode == 0 and not done.stderr, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].startswith(f"{mode}, messages of ") and "stream over loopback" in lines[0]
    assert result["id"] in lines[1] and f'"of {mode}"' in lines[1]
    assert re.fullmatch(verdict, lines[-1]), lines[-1]
    total = result["ledger"]["copies_per_byte"]["total"]
    assert copies <= total < copies + 0.2
    assert any(re.match(rf"\s*copies per byte\s+{total:.2f} = ", line) for line in lines), done.stdout
    for equation in result["ledger"]["balance"]:
        (line,) = [x for x in lines if re.match(rf"\s*{equation['rule']}\s+(ok|unavailable|DIFFERS)", x)]
        assert line.split()[1] == {True: "ok", False: "DIFFERS", None: "unavailable"}[equation["holds"]]
        assert equation["holds"] is None or f"{equation['right']:,}" in line
    assert any("books: balanced" in line and ("exact" in line) for line in lines)
    for site in result["ledger"]["sites"]:
        assert site["site"] in done.stdout
    sums = {s["site"]: s for s in result["ledger"]["sites"]}
    (row,) = [line for line in lines if re.match(r"\s*rx_copy\s.*skb_copy|\s*rx_copy\s+[\d.]+ [kMG]?B\s+1\.00", line)]
    assert f"{sums['rx_copy']['hits']:,}" in row
    assert re.search(r"^throughput\s+[\d.]+ [kMG]bit/s", done.stdout, re.M) and re.search(r"^latency\s+mean [\d.]+ ", done.stdout, re.M)
    for event, counted in result["perf"]["sender"].items():
        assert event.removesuffix("_ns") in done.stdout
        assert counted["value"] is not None or counted["reason"][:40] in done.stdout


def test_run_shows_what_show_shows(daemon):
    done = daemon.cli("run", "--mode", "one-copy", *QUICK)
    assert done.returncode == 0 and not done.stderr, done.stderr
    assert daemon.cli("show").stdout == done.stdout


def test_list(daemon):
    done = daemon.cli("list")
    assert done.returncode == 0 and not done.stderr
    lines = done.stdout.splitlines()
    for mode, result in daemon.results.items():
        (line,) = [x for x in lines if x.startswith(result["id"])]
        assert f" {mode} " in line and line.endswith(f"of {mode}") and result["started"][:19] in line
        assert f"{result['ledger']['copies_per_byte']['total']:.2f}" in line
    title = lines[0]
    for word in ("id", "started", "state", "mode", "size", "threads", "copies", "books", "label"):
        assert word in title
    assert [x.split()[0] for x in lines[1:]] == [r["id"] for r in json.loads(daemon.cli("list", "--json").stdout)["runs"]]


def ids(done):
    assert done.returncode == 0, done.stderr
    return [r["id"] for r in json.loads(done.stdout)["runs"]]


def test_list_filters(daemon):
    two, one, zero = (r["id"] for r in daemon.results.values())
    assert ids(daemon.cli("list", "--json", "--label", "of zero-copy")) == [zero]
    assert ids(daemon.cli("list", "--json", "--mode", "two-copy", "--label=of two-copy", "--state", "done")) == [two]
    assert len(ids(daemon.cli("list", "--json", "-n", "2"))) == 2
    at = daemon.results["one-copy"]["started"]
    assert ids(daemon.cli("list", "--json", "--until", at)) == [one, two]
    assert two not in ids(daemon.cli("list", "--json", "--since", at))
    assert daemon.cli("list", "--label", "nobody's").stdout == "no runs\n"


def test_info(daemon):
    info = daemon.call("GetInfo")["parameters"]
    done = daemon.cli("info")
    assert done.returncode == 0 and not done.stderr
    assert done.stdout.startswith(f"copyledgerd {info['version']}, process {info['pid']}, idle\n")
    assert str(daemon.state) in done.stdout
    for name, value in info["limits"].items():
        assert re.search(rf"^\s*{name}\s+{value:,}$", done.stdout, re.M), name


def test_probe(daemon):
    probe = json.loads(daemon.cli("probe", "--json").stdout)
    done = daemon.cli("probe")
    assert done.returncode == 0 and not done.stderr
    for site in probe["sites"]:
        assert re.search(rf"^\s*{site['site']}\s.*{site['evidence']}", done.stdout, re.M)
        assert (site["hook"] or site["reason"]) in done.stdout
    for event in probe["events"]:
        assert event["name"] in done.stdout and (event["available"] or event["reason"] in done.stdout)
    for mode in probe["modes"]:
        assert mode["name"] in done.stdout
    for line in probe["summary"]:
        assert line in done.stdout
    hooks = daemon.cli("probe", "--hooks").stdout
    assert all(h["program"] in hooks and h["attach"] in hooks for h in probe["hooks"])


def test_trace_of_a_finished_run(daemon):
    result = daemon.results["two-copy"]
    done = daemon.cli("trace", result["id"])
    assert done.returncode == 0 and not done.stderr
    assert result["id"] in done.stdout and "done" in done.stdout.splitlines()[0]
    assert f"{result['ledger']['copies_per_byte']['total']:.2f} copies" in done.stdout
    for site in ("app_pack", "tx_copy", "rx_copy"):
        assert re.search(rf"^\s*{site}\s", done.stdout, re.M)


def test_trace_while_it_runs(daemon):
    with daemon.connect() as v:
        run = v.call("StartRun", {"spec": {"mode": "one-copy", "warmup_ms": 0, "duration_ms": 500}})["parameters"]["id"]
        assert wait_for(lambda: moves(daemon, run))
        done = daemon.cli("trace", "--json", "--interval", "50ms")
        assert done.returncode == 0 and not done.stderr
        traces = [strict_json(line) for line in done.stdout.splitlines()]
        assert len(traces) > 2 and {t["id"] for t in traces} == {run} and traces[-1]["state"] == "done"
        for trace in traces:
            check_call(INTERFACE + ".TraceStats", {}, {"parameters": {"trace": trace}})
        assert traces[0]["delivered"] < traces[-1]["delivered"]
        v.call("FollowRun", {"id": run})


# ---- documents ----

@pytest.mark.parametrize("args, method", [
    (["info"], "GetInfo"), (["probe"], "Probe"), (["list"], "ListRuns"), (["list", "--label", "none"], "ListRuns"),
    (["trace", "last"], "TraceStats")])
def test_json_is_the_reply_and_nothing_else(daemon, args, method):
    done = daemon.cli(*args, "--json")
    assert done.returncode == 0 and not done.stderr
    document = only_document(done.stdout)
    check_call(f"{INTERFACE}.{method}", {}, {"parameters": {"trace": document} if method == "TraceStats" else document})


def test_show_json_is_the_result(daemon):
    for result in daemon.results.values():
        for args in (["show", result["id"], "--json"], ["--json", "show", result["id"]], ["show", "-j", result["id"]]):
            done = daemon.cli(*args)
            assert done.returncode == 0 and not done.stderr and only_document(done.stdout) == result


def test_run_json_is_the_result(daemon):
    done = daemon.cli("run", "--mode", "zero-copy", *QUICK, "--json")
    assert done.returncode == 0 and not done.stderr
    result = check_result(only_document(done.stdout))
    assert result == daemon.call("GetRun", {"id": "last"})["parameters"]["result"]


def test_every_member_of_a_spec_has_its_option(daemon):
    args = {"mode": ("--mode", "two-copy"), "workload": ("--workload", "rr"), "path": ("--path", "veth"), "size": ("--size", "2K"),
            "fields": ("--fields", "3"), "threads": ("--threads", "2"), "warmup_ms": ("--warmup", "20ms"),
            "duration_ms": ("--duration", "0.06s"), "verify": ("--verify",), "pin": ("--no-pin",), "perf": ("--no-perf",),
            "ledger": ("--ledger", "off"), "hook_times": ("--hook-times",), "nodelay": ("--no-delay",),
            "ip": ("--ipv6",), "congestion": ("--congestion", "reno"), "sndbuf": ("--sndbuf", "64KiB"), "rcvbuf": ("--rcvbuf", "65537"), "label": ("--label", "Größe \"1\" 100 %s"), "receive": ("--receive", "recv")}
    expected = {"mode": "two-copy", "workload": "rr", "path": "veth", "size": 2048, "fields": 3, "threads": 2, "warmup_ms": 20,
                "duration_ms": 60, "verify": True, "pin": False, "perf": False, "ledger": "off", "hook_times": True,
                "nodelay": True, "ip": 6, "congestion": "reno", "sndbuf": 65536, "rcvbuf": 65537, "label": "Größe \"1\" 100 %s", "receive": "recv"}
    assert set(args) == set(CONTRACT["type"]["Spec"])
    done = daemon.cli("run", "--json", *[word for words in args.values() for word in words])
    assert done.returncode == 0, done.stderr
    result = check_result(only_document(done.stdout))
    assert result["spec"] == expected and result["state"] == "done"
    assert result["ledger"] is None and result["perf"] is None
    text = daemon.cli("show").stdout
    assert result["ledger_reason"] in text and result["perf_reason"] in text and expected["label"] in text


def test_detach_and_cancel(daemon, long_run):
    done = daemon.cli("run", "--detach", "--mode", "one-copy", *QUICK)
    assert done.returncode == 0 and not done.stderr
    run = done.stdout.strip()
    fails(daemon.cli("show", run), 1, run, "queued")
    done = daemon.cli("cancel", run)
    assert done.returncode == 0 and run in done.stdout and "cancelled" in done.stdout
    fails(daemon.cli("cancel", run), 1, run, "ended")
    done = daemon.cli("show", run)
    assert done.returncode == 1 and "cancelled" in done.stdout
    detached = only_document(daemon.cli("run", "--detach", "--json", "--mode", "one-copy", *QUICK).stdout)
    assert set(detached) == {"id", "position"} and detached["position"] == 1
    assert only_document(daemon.cli("cancel", "--json", detached["id"]).stdout) == {"id": detached["id"], "state": "cancelled"}


# ---- exit statuses ----

@pytest.mark.parametrize("args, words", [
    (["run"], ["--mode"]), (["run", "--mode"], ["--mode", "needs an argument"]), (["run", "--mode", "three-copy"], ["mode", "three-copy", "zero-copy"]),
    (["run", "--mode", "one-copy", "--size", "12X"], ["--size", "12X"]), (["run", "--mode", "one-copy", "--size", "-1"], ["--size", "-1"]),
    (["run", "--mode", "one-copy", "--size", "0"], ["size", "1", "67108864"]), (["run", "--mode", "one-copy", "--size", "65M"], ["size", "67108864"]),
    (["run", "--mode", "one-copy", "--size", "99999999999999999999"], ["--size"]), (["run", "--mode", "one-copy", "--size", ""], ["--size"]),
    (["run", "--mode", "one-copy", "--duration", "-1"], ["--duration", "-1"]), (["run", "--mode", "one-copy", "--duration", "5 s"], ["--duration"]),
    (["run", "--mode", "one-copy", "--duration", "1e3"], ["--duration"]), (["run", "--mode", "one-copy", "--duration", "nan"], ["--duration", "nan"]),
    (["run", "--mode", "one-copy", "--duration", "2h"], ["duration_ms", "3600000"]), (["run", "--mode", "one-copy", "--duration", "9ms"], ["duration_ms", "10"]),
    (["run", "--mode", "one-copy", "--threads", "0"], ["threads", "1000"]), (["run", "--mode", "one-copy", "--threads", "1001"], ["threads", "1000"]),
    (["run", "--mode", "one-copy", "--threads", "2.5"], ["--threads", "2.5"]), (["run", "--mode", "one-copy", "--threads", "99999999999999999999"], ["--threads"]),
    (["run", "--mode", "one-copy", "--fields", "65"], ["fields", "64"]), (["run", "--mode", "one-copy", "--label", "x" * 65], ["label", "64"]),
    (["run", "--mode", "one-copy", "--label", "a\x1b[31m"], ["label"]), (["run", "--mode", "one-copy", "--path", "moon"], ["path", "moon", "veth"]),
    (["run", "--mode", "one-copy", "--no-such"], ["--no-such"]), (["run", "--mode", "one-copy", "-Z"], ["Z"]), (["run", "--mode", "one-copy", "word"], ["word"]),
    (["run", "--mode", "one-copy", "--verify=yes"], ["--verify"]),
    (["run", "--mode", "one-copy", "--peer-address", "127.0.0.1"], ["--peer-address", "--via"]),
    (["run", "--mode", "one-copy", "--via", "false", "--peer-address", "127.0.0.1", "--path", "veth"], ["--path", "two hosts"]),
    (["run", "--mode", "one-copy", "--peer", "localhost", "--path", "loopback"], ["--path", "two hosts"]),
    (["run", "--mode", "one-copy", "--peer", "localhost", "--detach"], ["--detach", "two hosts"]),
    (["show", "a", "b"], ["b"]), (["show", "nothing-like-it"], ["nothing-like-it"]), (["show", ""], ["id"]), (["trace", "nothing-like-it"], ["nothing-like-it"]),
    (["cancel"], ["ID"]), (["cancel", "nothing-like-it"], ["nothing-like-it"]), (["trace", "last", "--interval", "1ms"], ["interval_ms", "50"]),
    (["list", "--limit", "0"], ["limit", "1000"]), (["list", "--since", "yesterday"], ["since", "yesterday"]), (["list", "--state", "dancing"], ["dancing", "done"]),
    (["dance"], ["dance"]), (["--no-such"], ["--no-such"]), (["help", "dance"], ["dance"]), (["info", "x"], ["x"]),
], ids=lambda x: " ".join(x)[:50] if x else "none")
def test_wrong_usage_is_2_with_a_sentence(daemon, args, words):
    before = daemon.call("GetInfo")["parameters"]["stored"]
    done = daemon.cli(*args)
    fails(done, 2, *words)
    assert done.stderr.replace("\n", "").isprintable(), ascii(done.stderr)
    assert daemon.call("GetInfo")["parameters"]["stored"] == before


def test_no_command_shows_the_commands(daemon):
    done = daemon.cli()
    assert done.returncode == 2 and not done.stdout and all(name in done.stderr for name in COMMANDS)


def test_a_failed_run_is_1(daemon):
    done = daemon.cli("run", "--mode", "one-copy", "--congestion", "nosuchcc", *QUICK)
    assert done.returncode == 1 and done.stdout.splitlines()[-1].startswith("failed") and "nosuchcc" in done.stdout
    run = daemon.call("GetRun", {"id": "last"})["parameters"]["id"]
    done = daemon.cli("show", run, "--json")
    assert done.returncode == 1 and check_result(only_document(done.stdout))["error"]["message"]


@pytest.mark.parametrize("args", [["run", "--mode", "one-copy"], ["list"], ["show"], ["probe"], ["info"], ["cancel", "x"], ["trace"], ["watch", "--all"]], ids=" ".join)
def test_no_daemon_is_3(tmp_path, args):
    absent, stale, file, long = tmp_path / "absent", tmp_path / "stale", tmp_path / "file", "/tmp/" + "x" * 200
    with socket.socket(socket.AF_UNIX) as s:
        s.bind(str(stale))
    file.write_text("")
    for path in (absent, stale, file, long):
        done = subprocess.run([BUILD / "copyledger", *args, "--socket", path], capture_output=True, text=True, timeout=20)
        fails(done, 3, str(path) if path is not long else "107")
    assert "systemctl start" in subprocess.run([BUILD / "copyledger", "info", "--socket", absent], capture_output=True, text=True).stderr


def test_the_socket_of_the_environment_and_of_the_option(daemon, tmp_path):
    done = subprocess.run([BUILD / "copyledger", "info", "--socket", daemon.socket], capture_output=True, text=True,
                          env={**os.environ, "COPYLEDGER_SOCKET": str(tmp_path / "none")})
    assert done.returncode == 0
    assert str(daemon.state) in daemon.cli("info").stdout


def test_a_daemon_that_dies_meanwhile_is_3(tmp_path):
    with running(tmp_path) as d:
        cli = start_cli(d, "run", "--mode", "one-copy", "--duration", "60s", "--warmup", "0")
        assert wait_for(lambda: moves(d))
        d.kill()
        out, err = cli.communicate(timeout=20)
        assert cli.returncode == 3 and not out and "connection" in err and "copyledger show" in err
        d.start()
        run = d.call("GetRun", {"id": "last"})["parameters"]["result"]
        assert check_result(run)["state"] == "failed" and run["id"] in err


@contextlib.contextmanager
def fake_daemon(folder, replies):
    """Answers each request with the next of these bytes."""
    path = folder / "fake.sock"
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(path))
    server.listen(1)

    def serve():
        c, _ = server.accept()
        with c:
            for reply in replies:
                if c.recv(65536):
                    c.sendall(reply)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield path
    thread.join(timeout=20)
    server.close()


def ask_fake(folder, reply, *args):
    with fake_daemon(folder, [reply]) as path:
        return subprocess.run([BUILD / "copyledger", *args, "--socket", path], capture_output=True, text=True, timeout=20,
                              errors="replace", env={**os.environ, "LC_ALL": "C.UTF-8"})


def test_books_that_do_not_balance_are_4(daemon, tmp_path):
    result = json.loads(json.dumps(daemon.results["one-copy"]))
    row = next(e for e in result["ledger"]["balance"] if e["rule"] == "sent")
    row.update(right=row["right"] - 1024, difference=1024, holds=False)
    result["ledger"].update(balanced=False, exact=False)
    reply = json.dumps({"parameters": {"id": result["id"], "state": "done", "result": result}}).encode() + b"\0"
    done = ask_fake(tmp_path, reply, "show")
    assert done.returncode == 4
    assert re.search(r"^\s*sent\s+DIFFERS.*difference 1,024", done.stdout, re.M) and "do NOT balance" in done.stdout
    last = done.stdout.splitlines()[-1]
    assert "the books do not balance" in last and "'sent' is off by 1,024 bytes" in last
    (tmp_path / "fake.sock").unlink()
    assert ask_fake(tmp_path, reply, "show", "--json").returncode == 4


@pytest.mark.parametrize("reply", [b"", b"\0", b"hello\0", b"[]\0", b"{}\0", b'{"parameters":[]}\0', b'{"parameters":{"result":5}}\0', b"{" * 100000 + b"\0",
                                   b'{"error":5}\0', b'{"error":"x"}\0', b'{"error":"io.copyledger.Failed","parameters":{"message":"a\\u001b[31m"}}\0',
                                   b'{"parameters":{"id":"\\u001b[2J","state":"done\\n","result":{"id":"\\u001b","state":"done","spec":{"mode":"\\u202e\\u0007"}}}}\0',
                                   b'{"parameters":{"result":{"state":"done","app":{"throughput_gbps":1e308,"messages":-5,"elapsed_ns":9e18}}}}\0'])
@pytest.mark.parametrize("args", [["show"], ["info"], ["list"], ["probe"], ["trace", "x"], ["watch", "--all"]], ids=" ".join)
def test_a_daemon_that_talks_nonsense(tmp_path, reply, args):
    """Never a crash, never a byte that steers the terminal."""
    done = ask_fake(tmp_path, reply, *args)
    assert 0 <= done.returncode <= 4, done
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e]", done.stdout + done.stderr), ascii(done.stdout + done.stderr)
    assert done.returncode == 0 or done.stderr or done.stdout


# ---- help ----

def options_of(command):
    """Names in the option tables of a command's source, and of the common one."""
    text = (TOP / f"cli/cmd_{command}.c").read_text() + (TOP / "cli/commands.c").read_text()
    rows = re.findall(r"struct opt \w+\[\] = \{(.*?)\n\t\{\}", text, re.S)
    return re.findall(r'\{"([\w-]+)", (?:0|\'\w\'),', "".join(rows))


@pytest.mark.parametrize("command", COMMANDS)
def test_help_names_every_option(tmp_path, command):
    env = {**os.environ, "COPYLEDGER_SOCKET": str(tmp_path / "none")}
    done = subprocess.run([BUILD / "copyledger", command, "--help"], capture_output=True, text=True, env=env, timeout=20)
    assert done.returncode == 0 and not done.stderr
    assert done.stdout.startswith(f"Usage: copyledger {command} ") and "Exit status:" in done.stdout
    options = options_of(command)
    assert {"socket", "json", "help"} <= set(options) and (command != "run" or len(options) > 20)
    for option in options:
        assert re.search(rf"^\s+(-\w, )?--{option}\b", done.stdout, re.M), option
    for args in ([command, "-h"], ["help", command], ["--help", command]):
        assert subprocess.run([BUILD / "copyledger", *args], capture_output=True, text=True, env=env, timeout=20).stdout == done.stdout
    assert all(len(line) < 200 for line in done.stdout.splitlines())


def test_help_names_every_command():
    done = subprocess.run([BUILD / "copyledger", "--help"], capture_output=True, text=True, timeout=20)
    listed = re.findall(r"^  (\w+)  ", done.stdout, re.M)
    assert done.returncode == 0 and listed == COMMANDS
    version = subprocess.run([BUILD / "copyledger", "--version"], capture_output=True, text=True, timeout=20).stdout
    assert re.fullmatch(r"copyledger \d+\.\d+\.\d+\n", version)


# ---- signals ----

def start_cli(daemon, *args, **kwargs):
    return subprocess.Popen([BUILD / "copyledger", *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL,
                            text=True, env={**daemon.env, "COPYLEDGER_SOCKET": str(daemon.socket)}, **kwargs)


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("as_json", [False, True])
def test_an_interrupted_run_shows_what_was_measured(daemon, sign, as_json):
    cli = start_cli(daemon, "run", "--mode", "one-copy", "--duration", "60s", "--warmup", "0", *["--json"] * as_json)
    assert wait_for(lambda: moves(daemon))
    time.sleep(0.1)
    cli.send_signal(sign)
    out, err = cli.communicate(timeout=20)
    result = check_result(daemon.call("GetRun", {"id": "last"})["parameters"]["result"])
    assert cli.returncode == 1 and result["state"] == "cancelled" and result["id"] in err and "cancel" in err
    assert result["app"]["bytes_received"] > 0
    if as_json:
        assert only_document(out) == result
    else:
        assert "rx_copy" in out and "books: balanced" in out and out.splitlines()[-1].startswith("cancelled after ")


def test_a_second_signal_leaves_a_daemon_that_hangs(tmp_path):
    with running(tmp_path) as d:
        cli = start_cli(d, "run", "--mode", "one-copy", "--duration", "60s", "--warmup", "0")
        assert wait_for(lambda: moves(d))
        run = d.call("GetInfo")["parameters"]["running"]
        d.process.send_signal(signal.SIGSTOP)
        try:
            cli.send_signal(signal.SIGINT)
            assert "once more" in cli.stderr.readline()
            cli.send_signal(signal.SIGINT)
            out, err = cli.communicate(timeout=10)
        finally:
            d.process.send_signal(signal.SIGCONT)
            cli.kill()
        assert cli.returncode == 1 and not out and run in err and "left" in err
        d.call("CancelRun", {"id": run})
        d.call("FollowRun", {"id": run})


def children(process):
    """The command lines of its children, by their ids."""
    found = {}
    for pid in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split():
        with contextlib.suppress(OSError):
            found[int(pid)] = Path(f"/proc/{pid}/cmdline").read_bytes()
    return found


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_leaves_a_peer_that_does_not_answer(daemon, sign):
    cli = start_cli(daemon, "run", "--mode", "one-copy", "--via", "exec sleep 300", "--peer-address", "127.0.0.1")
    try:
        assert wait_for(lambda: b"sleep\x00300\x00" in children(cli).values())
        (bridge,) = children(cli)
        cli.send_signal(sign)
        out, err = cli.communicate(timeout=20)
    finally:
        cli.kill()
    assert cli.returncode == 1 and not out and err.startswith("copyledger: interrupted before"), err
    assert not Path(f"/proc/{bridge}").exists()


def test_a_bridge_can_be_told_to_end(daemon):
    """It ignores the Ctrl-C that it sees on a terminal, as the runs are to end in order; nothing else is kept from it."""
    done = daemon.cli("run", "--mode", "one-copy", "--via", "exec cat /proc/self/status >&2", "--peer-address", "127.0.0.1")
    assert done.returncode == 3 and "receiver's daemon" in done.stderr
    blocked, ignored = (int(re.search(rf"^{name}:\s+(\w+)$", done.stderr, re.M)[1], 16) for name in ("SigBlk", "SigIgn"))
    assert blocked == 0 and ignored & 1 << signal.SIGINT - 1 and not ignored & 1 << signal.SIGTERM - 1


def test_an_interrupted_trace_leaves_the_run_alone(daemon, long_run):
    cli = start_cli(daemon, "trace", "--interval", "50ms")
    assert long_run in cli.stdout.readline()
    cli.send_signal(signal.SIGINT)
    _, err = cli.communicate(timeout=20)
    assert cli.returncode == 0 and not err
    assert daemon.call("GetRun", {"id": long_run})["parameters"]["state"] == "measuring"


# ---- pipes, locales, terminals ----

@pytest.mark.parametrize("args", ["list", "show", "show --json", "probe", "info", "run --help", "trace last", f"run --mode one-copy {' '.join(QUICK)}"])
def test_a_pipe_that_is_closed_early(daemon, args):
    script = f'"$0" {args} | head -1; exit "${{PIPESTATUS[0]}}"'
    done = subprocess.run(["bash", "-c", script, BUILD / "copyledger"], capture_output=True, text=True, timeout=60,
                          env={**daemon.env, "COPYLEDGER_SOCKET": str(daemon.socket)})
    assert done.returncode in (0, 1, 128 + signal.SIGPIPE) and not done.stderr, done
    assert len(done.stdout.splitlines()) == 1


@pytest.mark.parametrize("args", [["show"], ["show", "--json"], ["list"], ["trace", "last"], ["--help"]], ids=" ".join)
def test_a_full_disk_is_no_success(daemon, args):
    with open("/dev/full", "w") as full:
        done = subprocess.run([BUILD / "copyledger", *args], stdout=full, stderr=subprocess.PIPE, text=True, timeout=20,
                              env={**daemon.env, "COPYLEDGER_SOCKET": str(daemon.socket)})
    assert done.returncode == 1 and "copyledger: cannot write" in done.stderr and "No space left" in done.stderr, done


@pytest.fixture(scope="module")
def german(tmp_path_factory):
    """An environment in which a decimal point is a comma."""
    if not shutil.which("localedef") or not os.path.exists("/usr/share/i18n/locales/de_DE"):
        pytest.skip("localedef and the sources of de_DE (package locales) are not installed")
    folder = tmp_path_factory.mktemp("locale")
    subprocess.run(["localedef", "-i", "de_DE", "-f", "UTF-8", folder / "de_DE.UTF-8"], capture_output=True)
    # glibc itself loses 28 bytes over LOCPATH, which LeakSanitizer would report
    env = {"LOCPATH": str(folder), "LC_ALL": "de_DE.UTF-8", "LANG": "de_DE.UTF-8", "ASAN_OPTIONS": "detect_leaks=0"}
    shown = subprocess.run(["/usr/bin/printf", "%.1f", "0,5"], capture_output=True, text=True, env={**os.environ, **env}).stdout
    assert shown == "0,5", "the locale was made, but is not taken"
    return env


def test_a_decimal_comma_changes_nothing(daemon, german, tmp_path):
    env = {**daemon.env, **german, "COPYLEDGER_SOCKET": str(daemon.socket)}
    for args in (["show"], ["show", "--json"], ["list"], ["trace", "last"], ["probe", "--json"], ["list", "--json"]):
        plain = daemon.cli(*args)
        done = subprocess.run([BUILD / "copyledger", *args], capture_output=True, text=True, env=env, timeout=20)
        assert (done.returncode, done.stderr) == (plain.returncode, plain.stderr)
        if "--json" in args:
            strict_json(done.stdout)
        assert args[0] == "probe" or done.stdout == plain.stdout
    done = subprocess.run([BUILD / "copyledger", "run", "--mode", "one-copy", "--duration", "0.06s", "--warmup", "0", "--json"],
                          capture_output=True, text=True, env=env, timeout=60)
    assert done.returncode == 0 and only_document(done.stdout)["spec"]["duration_ms"] == 60, done.stderr
    with running(tmp_path, env=german) as d:
        result = d.run(mode="zero-copy", warmup_ms=0, duration_ms=60)
        assert isinstance(result["app"]["throughput_gbps"], float)
        assert "error" not in d.call("Probe") and d.call("ListRuns")["parameters"]["runs"][0]["throughput_gbps"] > 0


def test_without_utf8_no_byte_is_above_127(daemon):
    run = daemon.run(mode="one-copy", warmup_ms=0, duration_ms=20, label="Größe 測試")["id"]
    for args in (["show", run], ["list"], ["trace", run]):
        done = subprocess.run([BUILD / "copyledger", *args], capture_output=True, timeout=20,
                              env={**daemon.env, "LC_ALL": "C", "COPYLEDGER_SOCKET": str(daemon.socket)})
        assert done.returncode == 0 and done.stdout.isascii(), done.stdout
    assert "Größe 測試" in daemon.cli("show", run).stdout


def on_terminal(daemon, *args, columns=100, rows=30, env=None, seen=lambda text: None):
    """Runs it with stdout and stderr on a terminal; what the terminal got, and the exit status. seen: is told what it has got
    so far."""
    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    base = {k: x for k, x in daemon.env.items() if k not in ("NO_COLOR", "COLUMNS")}
    process = subprocess.Popen([BUILD / "copyledger", *args], stdin=follower, stdout=follower, stderr=follower, start_new_session=True,
                               env={**base, "TERM": "xterm", "COPYLEDGER_SOCKET": str(daemon.socket), **(env or {})})
    os.close(follower)
    data = b""
    with contextlib.suppress(OSError):  # EIO: nobody holds the other side any more
        while chunk := os.read(leader, 65536):
            data += chunk
            seen(data)
    os.close(leader)
    return data.decode(), process.wait(timeout=20)


def visible(text):
    return re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", text)


COLOR = re.compile(r"\x1b\[[0-9;]+m")


def test_a_terminal_gets_progress_and_then_the_table(daemon):
    text, status = on_terminal(daemon, "run", "--mode", "one-copy", "--duration", "700ms", "--warmup", "0")
    assert status == 0
    *progress, rest = text.split("\r\x1b[K")
    assert any("measuring" in p and re.search(r"\d\.\d s left", visible(p)) and "bit/s" in p for p in progress), text[:2000]
    assert all("\n" not in p and len(visible(p)) <= 100 for p in progress), progress
    assert "rx_copy" in rest and "books: " in rest and "measuring" not in rest and COLOR.search(rest)
    assert visible(rest).rstrip().endswith("kernel to user 1.00")


@pytest.mark.parametrize("columns", [20, 40, 79, 200])
def test_progress_never_wraps(daemon, columns):
    text, status = on_terminal(daemon, "run", "--mode", "one-copy", "--duration", "300ms", "--warmup", "0", columns=columns)
    *progress, rest = text.split("\r\x1b[K")
    assert status == 0 and progress and all(len(visible(p)) <= columns for p in progress), progress


def test_a_terminal_sees_which_slice_runs(daemon):
    text, status = on_terminal(daemon, "run", "--mode", "one-copy", "--overhead", "--pairs", "2", "--duration", "1200ms", "--warmup", "0", columns=72)
    *progress, rest = text.split("\r\x1b[K")
    assert status == 0 and all("\n" not in p and len(visible(p)) <= 72 for p in progress), progress
    seen = [m[0] for p in progress if (m := re.search(r"^pair \d of 2, ledger (on|off)", visible(p)))]
    assert list(dict.fromkeys(seen)) == ["pair 1 of 2, ledger on", "pair 1 of 2, ledger off", "pair 2 of 2, ledger off", "pair 2 of 2, ledger on"]
    assert "throughput (Gbit/s)" in rest and "measuring" not in rest


@pytest.mark.parametrize("args, env, colored", [
    ([], {}, True), ([], {"NO_COLOR": "1"}, False), ([], {"NO_COLOR": ""}, True), ([], {"TERM": "dumb"}, False),
    (["--no-color"], {}, False), (["--color"], {"NO_COLOR": "1"}, True)])
def test_colour_on_a_terminal(daemon, args, env, colored):
    for command in (["show", daemon.results["zero-copy"]["id"]], ["list"], ["probe"]):
        text, status = on_terminal(daemon, *command, *args, env=env)
        assert status == 0 and bool(COLOR.search(text)) == colored
        assert not COLOR.sub("", text).count(ESCAPE)


def test_no_escape_codes_elsewhere(daemon):
    for args in (["show"], ["list"], ["probe"], ["info"], ["trace", "last"], ["run", "--mode", "one-copy", *QUICK], ["dance"], ["--help"]):
        done = daemon.cli(*args)
        assert ESCAPE not in done.stdout + done.stderr and "\r" not in done.stdout + done.stderr
    assert COLOR.search(daemon.cli("show", "--color").stdout)
    assert ESCAPE not in daemon.cli("show", "--color", "--json").stdout


def test_trace_on_a_terminal_says_that_the_run_waits(daemon, long_run):
    with daemon.connect() as v:
        waiting = v.call("StartRun", {"spec": {"mode": "one-copy", "warmup_ms": 0, "duration_ms": 300}})["parameters"]["id"]
    text, status = on_terminal(daemon, "trace", waiting, "--interval", "50ms",
                               seen=lambda text: b"1 run ahead" in text and daemon.call("CancelRun", {"id": long_run}))
    *progress, rest = text.split("\r\x1b[K")
    assert status == 0 and any("queued" in p for p in progress), text[:2000]
    assert waiting in rest and "rx_copy" in rest and "queued" not in rest


def test_trace_on_a_terminal_redraws(daemon):
    with daemon.connect() as v:
        run = v.call("StartRun", {"spec": {"mode": "one-copy", "warmup_ms": 0, "duration_ms": 500}})["parameters"]["id"]
        assert wait_for(lambda: moves(daemon, run))
        text, status = on_terminal(daemon, "trace", "--interval", "100ms", columns=60)
        assert status == 0
        frames = re.split(r"\x1b\[\d+A\x1b\[J", text)
        assert len(frames) > 2 and all(run in frame and "rx_copy" in frame for frame in frames)
        for frame in frames:
            assert all(len(visible(line)) <= 60 for line in frame.splitlines()), frame
        for frame, up in zip(frames, re.findall(r"\x1b\[(\d+)A\x1b\[J", text)):
            assert frame.count("\n") == int(up), "the redrawn table does not cover the one before"
        v.call("FollowRun", {"id": run})


def test_it_asks_nothing_of_the_standard_interface_in_vain():
    """The two interfaces of the contract are all that a client of this repository needs."""
    text = "".join(p.read_text() for p in (TOP / "cli").glob("*.c"))
    called = set(re.findall(r'(?:cli_call|client_call|client_call_more)\(\w+, "(\w+)"', text))
    assert called and called <= set(CONTRACT["method"]) | set(STANDARD["method"])
