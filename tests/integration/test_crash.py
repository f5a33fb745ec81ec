# SPDX-License-Identifier: MIT
"""Sudden ends: of the daemon, of its child, of the disk. Nothing is left behind, and the next run balances."""
import glob
import json
import os
import pwd
import resource
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

import pytest

import support
from support import Daemon, check_books, check_result, loaded_programs, until_balanced, wait_for

SHORT = {"warmup_ms": 50, "duration_ms": 100}
LONG = {"warmup_ms": 0, "duration_ms": 20000}


@pytest.fixture
def new_daemon():
    """Starts daemons; those that are still alive at the end must end well."""
    made = []

    def start_one(*args, **kwargs):
        made.append(Daemon(*args, **kwargs))
        return made[-1].start()

    yield start_one
    alive = [d for d in made if d.process.poll() is None]
    assert [d.stop() for d in alive] == [0] * len(alive), [d.log.read_text() for d in alive]


@pytest.fixture
def daemon(new_daemon, tmp_path):
    return new_daemon(tmp_path)


def state_of(daemon, run):
    return daemon.call("GetRun", {"id": run})["parameters"]["state"]


def start(daemon, until="measuring", **spec):
    """Starts a run, and returns its id when it is in that state and has moved bytes."""
    reply = daemon.call("StartRun", {"spec": {"mode": "zero-copy", **LONG, **spec}})
    assert "error" not in reply, reply
    run = reply["parameters"]["id"]
    if until:
        assert wait_for(lambda: state_of(daemon, run) == until), state_of(daemon, run)
    if until == "measuring":
        with daemon.connect() as v:
            v.send("FollowRun", {"id": run}, more=True)
            while not v.receive()["parameters"]["progress"]["bytes"]:
                pass
    return run


def result_of(daemon, run):
    final = daemon.call("FollowRun", {"id": run})
    assert "error" not in final, final
    return check_result(final["parameters"]["result"])


def next_run_balances(daemon, **spec):
    until_balanced(lambda: daemon.run(**{"mode": "zero-copy", "path": "veth", **SHORT, **spec}))


def is_alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] not in "ZX"
    except OSError:
        return False


def namespaces(pid):
    """Network and user namespaces of all of a process's threads and open descriptors, but for our own."""
    own = {os.readlink(f"/proc/self/ns/{kind}") for kind in ("net", "user")}
    found = set()
    # glob.glob() passes over what ends meanwhile, Path.glob() does not
    for path in (p for where in ("task/*/ns/net", "task/*/ns/user", "fd/*") for p in glob.glob(f"/proc/{pid}/{where}")):
        try:
            name = os.readlink(path)
        except OSError:
            continue
        if name.startswith(("net:", "user:")):
            found.add(name)
    return found - own


def all_namespaces():
    return set().union(*(namespaces(p.name) for p in Path("/proc").iterdir() if p.name.isdigit()))


def links():
    """Interfaces and named namespaces, but for those that another test has made for its time ("clt-...")."""
    done = subprocess.run(["ip", "-j", "link"], capture_output=True, text=True, check=True,
                          env={**os.environ, "PATH": os.environ["PATH"] + ":/usr/sbin:/sbin"})
    named = (os.path.basename(p) for p in glob.glob("/run/netns/*"))
    return sorted(n for n in [*(x["ifname"] for x in json.loads(done.stdout)), *named] if not n.startswith("clt-"))


class Traces:
    """What a run has in the kernel and among the processes while it measures; gone() when none of it is left."""

    def __init__(self, daemon):
        self.programs, self.children = daemon.programs(), daemon.children()
        self.namespaces = set().union(*map(namespaces, self.children))

    def gone(self):
        return not (self.programs & set(loaded_programs()) or any(map(is_alive, self.children)) or
                    self.namespaces & all_namespaces())

    def check_gone(self):
        assert wait_for(self.gone), (self.programs & set(loaded_programs()),
                                     [p for p in self.children if is_alive(p)], self.namespaces & all_namespaces())


@pytest.mark.parametrize("mode, path", (("zero-copy", "loopback"), ("zero-copy", "veth"), ("two-copy", "veth")))
def test_daemon_is_killed(daemon, mode, path):
    before = links()
    run = start(daemon, mode=mode, path=path, threads=2)
    traces = Traces(daemon)
    assert traces.programs and len(traces.children) == 1 and bool(traces.namespaces) == (path == "veth")
    daemon.kill()
    traces.check_gone()
    assert wait_for(lambda: links() == before)
    daemon.start()  # on the same socket path and state directory
    row = next(r for r in daemon.call("ListRuns")["parameters"]["runs"] if r["id"] == run)
    assert row["state"] == "failed"
    result = check_result(daemon.call("GetRun", {"id": run})["parameters"]["result"])
    assert result["state"] == "failed" and "daemon" in result["error"]["message"]
    assert result["spec"]["mode"] == mode and result["ended"] is not None
    next_run_balances(daemon, mode=mode, path=path)


def test_daemon_is_killed_at_many_moments(new_daemon, tmp_path):
    """Again and again, a little later each time, with a run waiting behind the running one."""
    before, runs, traces = links(), [], []
    for i in range(10):
        daemon = new_daemon(tmp_path)
        runs += [start(daemon, until=None, path=("loopback", "veth")[i % 2], mode=("zero-copy", "one-copy")[i // 2 % 2])
                 for _ in range(2)]
        time.sleep(0.02 * i)
        traces.append(Traces(daemon))
        daemon.kill()
    daemon = new_daemon(tmp_path)
    for t in traces:
        t.check_gone()
    assert wait_for(lambda: links() == before)
    states = {r["id"]: r["state"] for r in daemon.call("ListRuns", {"limit": 100})["parameters"]["runs"]}
    assert {r: states.get(r) for r in runs} == {r: "failed" for r in runs}
    next_run_balances(daemon)


@pytest.mark.parametrize("path", ("loopback", "veth"))
@pytest.mark.parametrize("name", ("KILL", "SEGV"))
def test_child_is_killed(daemon, name, path):
    if name == "SEGV" and support.SAN:
        pytest.skip("a sanitizer turns the signal into an exit status")
    before = links()
    run = start(daemon, path=path, threads=2)
    traces, daemon_pid = Traces(daemon), daemon.process.pid
    os.kill(traces.children[0], signal.Signals["SIG" + name])
    result = result_of(daemon, run)
    assert result["state"] == "failed" and result["error"]["signal"] == name
    assert "SIG" + name in result["error"]["message"] and "measuring" in result["error"]["message"]
    # what was measured until then is kept
    assert result["app"]["bytes_received"] > 0 and result["app"]["elapsed_ns"] > 0
    assert result["app"]["throughput_gbps"] > 0 and result["app"]["latency_us"]["samples"] > 0
    assert next(s for s in result["ledger"]["sites"] if s["site"] == "rx_copy")["bytes"] > 0
    assert result["ledger"]["balance"]
    traces.check_gone()
    assert wait_for(lambda: links() == before)
    assert daemon.process.poll() is None and daemon.call("GetInfo")["parameters"]["pid"] == daemon_pid
    next_run_balances(daemon, path=path)


def test_child_is_stopped(daemon):
    """A child that hangs is ended when its phase has had its time and the grace."""
    run = start(daemon, path="veth", duration_ms=400, until="measuring")
    traces = Traces(daemon)
    os.kill(traces.children[0], signal.SIGSTOP)
    result = result_of(daemon, run)
    assert result["state"] == "failed" and result["error"]["code"] == "phase_timeout"
    assert "measuring" in result["error"]["message"]
    assert result["app"]["bytes_received"] > 0
    traces.check_gone()
    next_run_balances(daemon)


@pytest.mark.parametrize("path", ("loopback", "veth"))
def test_daemon_is_terminated(new_daemon, tmp_path, path):
    before = links()
    daemon = new_daemon(tmp_path)
    run, waiting = start(daemon, path=path), start(daemon, until=None)
    traces = Traces(daemon)
    assert daemon.stop() == 0, daemon.log.read_text()
    traces.check_gone()
    assert wait_for(lambda: links() == before) and not daemon.socket.exists()
    daemon.start()
    for ident in (run, waiting):
        result = check_result_of_ended(daemon, ident)
        assert result["state"] == "cancelled"


def check_result_of_ended(daemon, run):
    document = daemon.call("GetRun", {"id": run})["parameters"]["result"]
    if "app" in document:  # a run that never began has nothing measured
        check_result(document)
    return document


def check_nothing_measured(result):
    """Its window never began: no figure of one, and why; the ledger has what the warm-up moved."""
    app = result["app"]
    assert app["whole_life"]["bytes_received"] > 0
    assert app["elapsed_ns"] == app["messages"] == app["bytes_received"] == 0
    assert app["throughput_gbps"] is None and app["messages_per_s"] is None and app["start_to_window_ns"] is None
    for figure in (app["latency_us"], app["round_trip_us"], *result["derived"].values(),
                   *(e for side in ("sender", "receiver") for e in result["perf"][side].values())):
        assert figure["value"] is None and figure["reason"], figure
    assert "window" in app["latency_us"]["reason"] and "window" in result["perf"]["sender"]["task_clock_ns"]["reason"]


def test_child_is_killed_in_its_warm_up(daemon):
    run = start(daemon, until="warmup", warmup_ms=20000)
    traces = Traces(daemon)
    assert wait_for(lambda: daemon.call("TraceStats", {"id": run})["parameters"]["trace"]["delivered"] > 0)
    os.kill(traces.children[0], signal.SIGKILL)
    result = result_of(daemon, run)
    assert result["state"] == "failed" and "warmup" in result["error"]["message"]
    check_nothing_measured(result)
    traces.check_gone()


@pytest.mark.parametrize("path", ("loopback", "veth"))
@pytest.mark.parametrize("phase", ("starting", "warmup", "measuring"))
def test_cancel(daemon, phase, path):
    lanes = 64 if phase == "starting" else 2
    spec = {"warmup_ms": 20000} if phase == "warmup" else {}
    run = start(daemon, path=path, threads=lanes, until=None if phase == "starting" else phase, **spec)
    if phase == "warmup":
        assert wait_for(lambda: daemon.call("TraceStats", {"id": run})["parameters"]["trace"]["delivered"] > 0)
    reply = daemon.call("CancelRun", {"id": run})
    assert "error" not in reply, reply
    result = result_of(daemon, run)
    assert result["state"] == "cancelled" and "error" not in result
    if phase == "warmup":
        check_nothing_measured(result)
    if phase == "measuring":
        # an orderly end: all that was sent came through and is booked
        assert result["app"]["bytes_received"] > 0
        check_books({**result, "state": "done"})
    assert daemon.call("CancelRun", {"id": run})["error"] == "io.copyledger.NotRunning"
    assert wait_for(lambda: not daemon.children())
    next_run_balances(daemon, path=path)


def test_cancel_while_closing(daemon):
    """Its figures are complete already: it may end either way, but never as failed."""
    with daemon.connect() as v:
        run = start(daemon, until=None, threads=64, size=64, warmup_ms=0, duration_ms=100)
        v.send("FollowRun", {"id": run}, more=True)
        while (reply := v.receive())["parameters"].get("progress") and \
                reply["parameters"]["progress"]["state"] != "closing":
            pass
        answer = daemon.call("CancelRun", {"id": run})
        assert answer.get("error", "io.copyledger.NotRunning") == "io.copyledger.NotRunning"
    result = result_of(daemon, run)
    assert result["state"] in ("done", "cancelled")
    check_books({**result, "state": "done"})


def test_cancel_while_queued(daemon):
    first, second, third = (start(daemon, until=None) for _ in range(3))
    with daemon.connect() as v:
        v.send("FollowRun", {"id": third}, more=True)
        progress = v.receive()["parameters"]["progress"]
        assert (progress["state"], progress["position"]) == ("queued", 2)
        assert daemon.call("CancelRun", {"id": second})["parameters"]["state"] == "cancelled"
        while (progress := v.receive()["parameters"]["progress"])["position"] == 2:
            pass
        assert progress["position"] == 1
    assert state_of(daemon, second) == "cancelled" and state_of(daemon, first) in ("starting", "warmup", "measuring")
    for run in (first, third):
        daemon.call("CancelRun", {"id": run})
        assert result_of(daemon, run)["state"] == "cancelled"


def test_queue_keeps_its_order(daemon):
    replies = [daemon.call("StartRun", {"spec": {"mode": m, **SHORT}})["parameters"]
               for m in ("zero-copy", "two-copy", "one-copy")]
    assert [r["position"] for r in replies] == [0, 1, 2]
    results = [result_of(daemon, r["id"]) for r in replies]
    assert [r["spec"]["mode"] for r in results] == ["zero-copy", "two-copy", "one-copy"]
    for a, b in zip(results, results[1:]):
        assert a["ended"] <= b["started"]
    for r in results:
        check_books(r)


def test_client_vanishes(daemon):
    def once():
        with daemon.connect() as v:
            spec = {"mode": "one-copy", "warmup_ms": 50, "duration_ms": 500}
            run = v.call("StartRun", {"spec": spec})["parameters"]["id"]
            v.send("FollowRun", {"id": run}, more=True)
            v.receive()
        return result_of(daemon, run)

    until_balanced(once)


# ---- the disk ----

def mounting(folder, options):
    """A prefix that mounts memory as the state directory, for the daemon's eyes only."""
    (folder / "state").mkdir()
    mount = f"mount --make-rprivate / && mount -t tmpfs -o {options} nodev '{folder}/state' && exec \"$@\""
    prefix = ["unshare", "-m", "sh", "-c", mount, "sh"]
    if subprocess.run([*prefix, "true"], capture_output=True).returncode:
        pytest.skip("a file system cannot be mounted here")
    return prefix


def check_not_stored(daemon):
    """The run ends well, its client has the result, and a typed warning says where it is not."""
    before = daemon.call("GetTotals")["parameters"]["runs_not_stored"]
    result = daemon.run(mode="zero-copy", **SHORT)
    check_books(result)
    totals = daemon.call("GetTotals")["parameters"]
    on_disk = daemon.call("GetInfo")["parameters"]["state_directory"] is not None
    assert totals["stored_on_disk"] == on_disk and totals["runs_not_stored"] == before + on_disk
    warnings = {w["code"]: w["message"] for w in result["warnings"]}
    assert "not_stored" in warnings and len(warnings["not_stored"]) > 10
    # for as long as this daemon lives it still knows the result
    got = daemon.call("GetRun", {"id": result["id"]})["parameters"]["result"]
    assert got["state"] == "done" and got["app"] == result["app"]
    return result


def check_stored(daemon):
    result = daemon.run(mode="zero-copy", **SHORT)
    check_books(result)
    assert "not_stored" not in [w["code"] for w in result["warnings"]]
    return result


def test_disk_full(new_daemon, tmp_path):
    daemon = new_daemon(tmp_path, prefix=mounting(tmp_path, "size=1m"))
    kept = check_stored(daemon)
    filler = Path(f"/proc/{daemon.process.pid}/root{daemon.state}/filler")
    with filler.open("wb", buffering=0) as f, pytest.raises(OSError):
        while True:
            f.write(b"x" * 4096)
    lost = check_not_stored(daemon)
    filler.unlink()
    again = check_stored(daemon)
    listed = [r["id"] for r in daemon.call("ListRuns")["parameters"]["runs"]]
    assert listed == [again["id"], lost["id"], kept["id"]]


def test_files_may_not_grow(daemon):
    """Not even the memory that is shared with the child can be made: a typed error, and all is well afterwards."""
    kept = check_stored(daemon)
    resource.prlimit(daemon.process.pid, resource.RLIMIT_FSIZE, (1, resource.RLIM_INFINITY))
    reply = daemon.call("StartRun", {"spec": {"mode": "zero-copy", **SHORT}})
    assert reply["error"] == "io.copyledger.Failed" and "File too large" in reply["parameters"]["message"]
    assert daemon.call("GetInfo")["parameters"]["state"] == "idle"
    resource.prlimit(daemon.process.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    again = check_stored(daemon)
    assert [r["id"] for r in daemon.call("ListRuns")["parameters"]["runs"]] == [again["id"], kept["id"]]


def test_disk_is_read_only(new_daemon, tmp_path):
    daemon = new_daemon(tmp_path, prefix=mounting(tmp_path, "ro"))
    info = daemon.call("GetInfo")["parameters"]
    assert info["state_directory"] is None and any(str(daemon.state) in w for w in info["warnings"]), info
    check_not_stored(daemon)


def test_store_is_rubbish(new_daemon, tmp_path):
    """A damaged store does not keep the daemon from starting and measuring, and it says what it found."""
    daemon = new_daemon(tmp_path)
    check_stored(daemon)
    assert daemon.stop() == 0
    damaged = [p for p in daemon.state.iterdir() if p.is_file()]
    assert damaged
    for p in damaged:
        p.write_bytes(b"\x00rubbish" * 1000)
    daemon.start()
    assert daemon.call("GetInfo")["parameters"]["warnings"]
    until_balanced(lambda: daemon.run(mode="one-copy", **SHORT))


# ---- what is missing ----

def test_no_load_generator(new_daemon, tmp_path):
    daemon = new_daemon(tmp_path, "--loadgen", "/nonexistent/load")
    reply = daemon.call("StartRun", {"spec": {"mode": "one-copy", **SHORT}})
    if "error" in reply:
        assert reply["error"] == "io.copyledger.Failed" and reply["parameters"]["code"] == "no_loadgen"
        text = reply["parameters"]["message"]
    else:
        result = result_of(daemon, reply["parameters"]["id"])
        assert result["state"] == "failed"
        text = result["error"]["message"]
    assert "/nonexistent/load" in text and "No such file" in text
    assert daemon.call("GetInfo")["parameters"]["state"] == "idle"
    assert not daemon.children() and not daemon.programs()


def test_load_generator_that_ends_at_once(new_daemon, tmp_path):
    daemon = new_daemon(tmp_path, "--loadgen", "/bin/false")
    result = result_of(daemon, start(daemon, until=None))
    assert result["state"] == "failed" and "status 1" in result["error"]["message"]
    assert result["error"]["signal"] is None
    assert not daemon.children() and not daemon.programs()


@pytest.fixture
def nobodys_folder():
    """Outside pytest's own folders, which only root may enter; with the programs, wherever they were built."""
    if os.geteuid():
        pytest.skip("only root can become somebody else")
    folder = Path(tempfile.mkdtemp())
    for name in ("copyledgerd", "copyledger-loadgen"):
        shutil.copy(support.BUILD / name, folder)
    who = pwd.getpwnam("nobody")
    os.chown(folder, who.pw_uid, who.pw_gid)
    yield folder
    shutil.rmtree(folder)


AS_NOBODY = ["setpriv", "--reuid", "nobody", "--regid", "nogroup", "--clear-groups"]


def test_not_root(nobodys_folder, new_daemon):
    daemon = new_daemon(nobodys_folder, prefix=AS_NOBODY, program=nobodys_folder / "copyledgerd")
    # a host may forbid user namespaces, or what is done in them; then the sysctl is named
    namespaces_work = subprocess.run([*AS_NOBODY, "unshare", "-U", "-r", "-n", "ip", "link", "add", "va", "type", "veth"],
                                     env={**os.environ, "PATH": os.environ["PATH"] + ":/usr/sbin:/sbin"}).returncode == 0
    for path in ("loopback", "veth"):
        result = daemon.run(mode="zero-copy", path=path, **SHORT)
        if path == "veth" and not namespaces_work:
            assert result["state"] == "failed" and "kernel.unprivileged_userns_clone" in result["error"]["message"], result["state"]
            continue
        assert result["state"] == "done" and result["app"]["bytes_received"] > 0
        assert result["ledger"] is None and "CAP_BPF" in result["ledger_reason"], result["ledger_reason"]
        assert "no_ledger" in [w["code"] for w in result["warnings"]]
        assert result["zerocopy"]["verdict"] in ("copied", "mixed")
        assert result["zerocopy"]["verdict_from"] != "the ledger"
    sites = daemon.call("Probe")["parameters"]["sites"]
    assert all(s["reason"] for s in sites if s["evidence"] == "unavailable")
    assert "unavailable" in [s["evidence"] for s in sites]
