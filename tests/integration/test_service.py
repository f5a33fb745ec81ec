# SPDX-License-Identifier: MIT
"""What an administrator has to do with: the configuration and its reload, the journal, what systemd is told, the units."""
import os
import re
import shutil
import signal
import socket
import subprocess

import pytest

from support import BUILD, TOP, Daemon, running, wait_for

SHORT = {"mode": "one-copy", "warmup_ms": 0, "duration_ms": 20}
SYSTEMD_ANALYZE = shutil.which("systemd-analyze")
needs_systemd_analyze = pytest.mark.skipif(not SYSTEMD_ANALYZE, reason="no systemd-analyze (package systemd)")
UNITS = sorted([*TOP.glob("packaging/*.service"), *TOP.glob("packaging/*.socket")])


def printed_config():
    done = subprocess.run([BUILD / "copyledgerd", "--print-config"], capture_output=True, text=True, timeout=20)
    assert done.returncode == 0 and not done.stderr
    return done.stdout


def settings():
    """name: (lowest, highest, default) of each setting, as the program prints them."""
    found = re.findall(r"# From (\d+) to (\d+)\.\n#(\w+) = (\d+)\n", printed_config())
    return {name: tuple(map(int, numbers)) for *numbers, name in ((low, high, default, name) for low, high, name, default in found)}


# ---- the configuration ----

def test_the_printed_configuration_is_a_good_one_and_complete(tmp_path):
    known = settings()
    assert len(known) == printed_config().count("# From ") >= 18
    active = "".join(f"{name} = {default}\n" for name, (_, _, default) in known.items())
    for text in (printed_config(), active):
        (tmp_path / "c.conf").write_text(text)
        done = subprocess.run([BUILD / "copyledgerd", "--check-config", "--config", tmp_path / "c.conf"], capture_output=True,
                              text=True, timeout=20)
        assert done.returncode == 0, done
    with running(tmp_path) as d:
        limits = d.call("GetInfo")["parameters"]["limits"]
    assert {name: limits[name] for name in known} == {name: default for name, (_, _, default) in known.items()}


@pytest.mark.parametrize("command", [["copyledgerd", "--print-config"], ["copyledgerd", "--help"],
                                     ["copyledger-exporter", "--metrics"], ["copyledger-exporter", "--help"]], ids=" ".join)
def test_what_is_printed_to_a_full_disk_is_no_success(command):
    with open("/dev/full", "w") as full:
        done = subprocess.run([BUILD / command[0], *command[1:]], stdout=full, stderr=subprocess.PIPE, text=True, timeout=20)
    assert done.returncode == 1 and "cannot write" in done.stderr and "No space left" in done.stderr, done


def test_a_configuration_that_is_a_folder(tmp_path):
    done = subprocess.run([BUILD / "copyledgerd", "--check-config", "--config", tmp_path], capture_output=True, text=True, timeout=20)
    assert done.returncode == 1 and f"{tmp_path}: Is a directory" in done.stderr, done


@pytest.mark.parametrize("name", sorted(settings()))
def test_each_setting_has_its_bounds(tmp_path, name):
    low, high, default = settings()[name]
    assert low <= default <= high
    config = tmp_path / "c.conf"
    for value, good in ((low, True), (high, True), (high + 1, False), (low - 1, False)):
        config.write_text(f"{name} = {value}\n")
        done = subprocess.run([BUILD / "copyledgerd", "--check-config", "--config", config], capture_output=True, text=True,
                              timeout=20)
        assert (done.returncode == 0) == good, (value, done)
        assert good or (f"{config}:1" in done.stderr and name in done.stderr), done


@pytest.mark.parametrize("line, method, parameters, value", [
    ("size_max = 64", "StartRun", {"spec": {**SHORT, "size": 65, "fields": 1}}, 65),
    ("fields_max = 2", "StartRun", {"spec": {**SHORT, "fields": 3}}, 3),
    ("threads_max = 2", "StartRun", {"spec": {**SHORT, "threads": 3}}, 3),
    ("warmup_ms_max = 0", "StartRun", {"spec": {**SHORT, "warmup_ms": 1}}, 1),
    ("duration_ms_max = 10", "StartRun", {"spec": {**SHORT, "duration_ms": 11}}, 11),
    ("sockbuf_max = 4096", "StartRun", {"spec": {**SHORT, "rcvbuf": 4097}}, 4097),
    ("size_max = 64", "StartSweep", {"spec": {"sizes": [65], "repeat": 1}}, 65),
    ("sweep_cells = 2", "StartSweep", {"spec": {"sizes": [64, 128, 256], "modes": ["one-copy"], "threads": [1]}}, 3),
    ("sweep_repeat = 4", "StartSweep", {"spec": {"repeat": 5}}, 5),
    ("sweep_runs = 5", "StartSweep", {"spec": {"sizes": [64], "modes": ["one-copy"], "threads": [1, 2], "repeat": 3}}, 6),
    ("watch_top = 3", "Watch", {"all": True, "duration_ms": 10, "top": 4}, 4),
])
def test_a_lowered_limit_is_refused_with_its_name_and_value(tmp_path, line, method, parameters, value):
    (tmp_path / "c.conf").write_text(line)
    with running(tmp_path, "--config", tmp_path / "c.conf") as d:
        reply = d.call(method, parameters)
        assert reply.get("error") == "io.copyledger.LimitExceeded", reply
        name, most = line.split(" = ")
        wrong = reply["parameters"]
        assert (wrong["limit"], wrong["max"], wrong["value"]) == (name, int(most), value)


def test_as_many_watches_and_sweeps_as_allowed(tmp_path):
    (tmp_path / "c.conf").write_text("watches = 1\nsweep_queue = 1\n")
    with running(tmp_path, "--config", tmp_path / "c.conf") as d, d.connect() as one:
        one.send("Watch", {"port": 1, "interval_ms": 50}, more=True)
        assert "error" not in one.receive()
        wrong = d.call("Watch", {"port": 2, "duration_ms": 10})
        assert wrong["error"] == "io.copyledger.LimitExceeded" and wrong["parameters"]["limit"] == "watches", wrong
        assert (wrong["parameters"]["value"], wrong["parameters"]["max"]) == (2, 1)
        first = d.call("StartSweep", {"spec": {"sizes": [64], "modes": ["one-copy"], "threads": [1], "duration_ms": 60000}})
        second = d.call("StartSweep", {"spec": {"sizes": [64]}})
        assert second["error"] == "io.copyledger.QueueFull" and second["parameters"]["limit"] == 1, second
        d.call("CancelSweep", {"id": first["parameters"]["id"]})


def test_the_newest_results_are_kept(tmp_path):
    (tmp_path / "c.conf").write_text("results_max = 3\n")
    with running(tmp_path, "--config", tmp_path / "c.conf") as d:
        ids = [d.run(**SHORT)["id"] for _ in range(5)]
        assert [r["id"] for r in d.call("ListRuns", {})["parameters"]["runs"]] == ids[:1:-1]
        assert d.call("GetInfo")["parameters"]["stored"] == 3
        assert d.call("GetRun", {"id": ids[0]})["error"] == "io.copyledger.NoSuchRun"


# ---- reload ----

def limit_of(d, name="threads_max"):
    return d.call("GetInfo")["parameters"]["limits"][name]


def test_reload(tmp_path):
    config = tmp_path / "c.conf"
    config.write_text("threads_max = 7\nresults_max = 2\n")
    with running(tmp_path, "--config", config) as d, d.connect() as v:
        run = v.call("StartRun", {"spec": {**SHORT, "threads": 4, "duration_ms": 1500}})["parameters"]["id"]
        config.write_text("threads_max = 3\n")
        d.process.send_signal(signal.SIGHUP)
        assert wait_for(lambda: limit_of(d) == 3) and limit_of(d, "results_max") == settings()["results_max"][2]
        assert v.call("StartRun", {"spec": {**SHORT, "threads": 4}})["error"] == "io.copyledger.LimitExceeded"
        config.write_text("threads_max = 5\nnonsense\n")
        d.process.send_signal(signal.SIGHUP)
        assert wait_for(lambda: "c.conf:2" in d.log.read_text() and "stay as they are" in d.log.read_text()), d.log.read_text()
        assert limit_of(d) == 3
        config.unlink()
        d.process.send_signal(signal.SIGHUP)
        assert wait_for(lambda: d.log.read_text().count("stay as they are") == 2) and limit_of(d) == 3
        result = v.call("FollowRun", {"id": run})["parameters"]["result"]
        assert result["state"] == "done" and result["spec"]["threads"] == 4


def test_a_file_of_the_configuration_directory_may_come_and_go(tmp_path):
    d = Daemon(tmp_path, env={"CONFIGURATION_DIRECTORY": str(tmp_path)}).start()
    try:
        assert limit_of(d) == 1000
        for text, most in (("threads_max = 3\n", 3), (None, 1000)):
            (tmp_path / "copyledgerd.conf").write_text(text) if text else (tmp_path / "copyledgerd.conf").unlink()
            d.process.send_signal(signal.SIGHUP)
            assert wait_for(lambda: limit_of(d) == most), limit_of(d)
    finally:
        assert d.stop() == 0


# ---- what systemd is told ----

class Datagrams:
    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(path))
        self.seen = []

    def until(self, condition):
        """Everything that has come when the condition holds for it."""
        def look():
            while True:
                try:
                    self.seen.append(self.socket.recv(65536, socket.MSG_DONTWAIT).decode())
                except BlockingIOError:
                    return condition(self.seen)
        assert wait_for(look), self.seen
        return self.seen


def test_systemd_is_told_the_state(tmp_path):
    told = Datagrams(tmp_path / "notify")
    d = Daemon(tmp_path, env={"NOTIFY_SOCKET": str(tmp_path / "notify")}).start()
    try:
        told.until(lambda seen: any("READY=1" in s and "STATUS=idle" in s for s in seen))
        with d.connect() as v:
            v.send("Watch", {"port": 1, "interval_ms": 50}, more=True)
            v.receive()
            told.until(lambda seen: "STATUS=idle; 1 watch" in seen)
            run = d.run(**SHORT)["id"]
        told.until(lambda seen: any(s.startswith(f"STATUS=run {run}: one-copy over loopback, ") and s.endswith("; 1 watch")
                                    for s in seen) and seen[-1] == "STATUS=idle")
        before = len(told.seen)
        d.process.send_signal(signal.SIGHUP)
        seen = told.until(lambda seen: len(seen) >= before + 3 and seen[-1] == "STATUS=idle")[before:]
        assert re.fullmatch(r"RELOADING=1\nMONOTONIC_USEC=\d+\nSTATUS=.*", seen[0]) and seen[1] == "READY=1", seen
    finally:
        assert d.stop() == 0
    told.until(lambda seen: "STOPPING=1" in seen)


def test_the_watchdog_is_fed_by_the_loop_and_not_by_a_stopped_daemon(tmp_path):
    told = Datagrams(tmp_path / "notify")
    d = Daemon(tmp_path, env={"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "400000"}).start()
    try:
        told.until(lambda seen: seen.count("WATCHDOG=1") >= 3)
    finally:
        assert d.stop() == 0


# ---- the journal ----

@pytest.mark.skipif(os.geteuid() != 0, reason="a mount namespace with a journal of its own takes root")
def test_the_journal_gets_fields(tmp_path):
    """A socket of the test in the journal's place, in a mount namespace of the daemon's."""
    journal = Datagrams(tmp_path / "journal")
    setup = ('mount -t tmpfs none /run && mkdir -p /run/systemd/journal && : >/run/systemd/journal/socket && '
             f'mount --bind "{tmp_path}/journal" /run/systemd/journal/socket && '
             'export JOURNAL_STREAM=$(stat -L -c %d:%i /proc/self/fd/2) && exec "$@"')
    d = Daemon(tmp_path, prefix=("unshare", "--mount", "sh", "-c", setup, "sh")).start()
    try:
        run = d.run(**SHORT)["id"]
        sweep = d.call("StartSweep", {"spec": {"sizes": [64], "modes": ["one-copy"], "threads": [1], "repeat": 1,
                                               "duration_ms": 20, "warmup_ms": 0}})["parameters"]["id"]
        journal.until(lambda seen: any(f"COPYLEDGER_SWEEP={sweep}" in s and "MESSAGE=" in s and ": done" in s for s in seen))
        lines = [dict(line.split("=", 1) for line in s.splitlines() if "=" in line) for s in journal.seen]
        of_run = [line for line in lines if line.get("COPYLEDGER_RUN") == run]
        assert [line["MESSAGE"] for line in of_run][-1] == f"run {run}: done" and len(of_run) == 2
        assert {line["PRIORITY"] for line in lines} == {"6"}
        assert not any("COPYLEDGER_RUN" in line for line in lines if line["MESSAGE"].startswith("version"))
        assert "run " not in d.log.read_text(), "lines went to stderr beside the journal"
    finally:
        d.stop()


def test_a_journal_that_is_not_there_leaves_stderr(tmp_path):
    d = Daemon(tmp_path, prefix=("sh", "-c", 'export JOURNAL_STREAM=$(stat -L -c %d:%i /proc/self/fd/2); exec "$@"', "sh"))
    if os.path.exists("/run/systemd/journal/socket"):
        pytest.skip("this machine has a journal, which would take the lines")
    d.start()
    run = d.run(**SHORT)["id"]
    assert d.stop() == 0
    assert f"<6>run {run}: done" in d.log.read_text()


# ---- the units ----

@needs_systemd_analyze
@pytest.mark.parametrize("unit", [u for u in UNITS if u.suffix == ".service"], ids=lambda u: u.name)
def test_exposure(unit):
    done = subprocess.run([SYSTEMD_ANALYZE, "security", "--offline=yes", "--threshold=22", unit], capture_output=True, text=True,
                          timeout=60, env={**os.environ, "SYSTEMD_COLORS": "0"})
    assert done.returncode == 0, done.stdout + done.stderr
    assert float(re.search(r"exposure level for \S+: ([\d.]+)", done.stdout)[1]) <= 2.2


@needs_systemd_analyze
@pytest.mark.parametrize("unit", UNITS, ids=lambda u: u.name)
def test_the_unit_is_a_good_one(tmp_path, unit):
    """As installed, with programs that are there."""
    for path in UNITS:
        text = re.sub(r"(?<==)/usr/s?bin/copyledger[\w-]*", "/bin/true", path.read_text())
        (tmp_path / path.name).write_text(re.sub(r"(?m)^Documentation=.*\n", "", text))
    done = subprocess.run([SYSTEMD_ANALYZE, "verify", "--man=no", tmp_path / unit.name], capture_output=True, text=True, timeout=60,
                          env={**os.environ, "SYSTEMD_UNIT_PATH": f"{tmp_path}:"})
    mine = [line for line in done.stderr.splitlines() if "copyledger" in line]
    assert done.returncode == 0 and mine == [], done


def test_capabilities_are_those_two():
    text = (TOP / "packaging/copyledgerd.service").read_text()
    for line in ("AmbientCapabilities", "CapabilityBoundingSet"):
        assert re.findall(rf"(?m)^{line}=(.*)$", text) == ["CAP_BPF CAP_PERFMON"]
    assert "RuntimeDirectory=" not in text and "PrivateUsers=" not in text and "IPAddress" not in text
