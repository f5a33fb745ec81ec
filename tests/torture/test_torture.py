# SPDX-License-Identifier: MIT
"""The table of attacks and faults, row by row and to its bars: `make torture`. Rows that `make check` has whole are here with
their bar's numbers. TORTURE_SCALE (default 1) stretches the long ones, SOAK_S is the length of the soak."""
import contextlib
import os
import random
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "integration"))

from support import BUILD, TOP, Daemon, check_books, check_result, running, until_balanced, wait_for  # noqa: E402
from test_crash import AS_NOBODY, is_alive, links, mounting, nobodys_folder, Traces  # noqa: E402, F401  one is a fixture
from test_modes import namespaces  # noqa: E402, F401  a fixture
from test_watch import PATH  # noqa: E402

SCALE = float(os.environ.get("TORTURE_SCALE", "1"))
SOAK_S = float(os.environ.get("SOAK_S", "20"))
INJECT = BUILD / "inject.so"
FAULTS = [("copyledgerd", "malloc", 30), ("copyledgerd", "open", 30), ("copyledgerd", "socket", 12), ("copyledgerd", "bpf", 30),
          ("copyledgerd", "perf_event_open", 12), ("copyledgerd", "write", 20), ("copyledger-loadgen", "malloc", 20),
          ("copyledger-loadgen", "open", 8), ("copyledger-loadgen", "socket", 8), ("copyledger-loadgen", "write", 8),
          ("copyledger-loadgen", "pthread_create", 4)]
SHORT = {"warmup_ms": 0, "duration_ms": 20}
LONER = 64012  # an id that nobody has


@pytest.fixture(scope="module")
def daemon(tmp_path_factory):
    with running(tmp_path_factory.mktemp("torture")) as d:
        yield d


def percentile(values, p):
    return sorted(values)[min(len(values) - 1, int(len(values) * p))]


def timed(f):
    begin = time.monotonic()
    f()
    return time.monotonic() - begin


def descriptors(d):
    return len(os.listdir(f"/proc/{d.process.pid}/fd"))


def idle_descriptors(d):
    """Without the client that asked whether it answers: the daemon sees a moment later that it has gone."""
    least = descriptors(d)
    for _ in range(20):
        time.sleep(0.05)
        least = min(least, descriptors(d))
    return least


# ---- clients ----

def stay(path, n):
    """n idle connections; the daemon may close some at its limit."""
    found = []
    for _ in range(n):
        s = socket.socket(socket.AF_UNIX)
        s.setblocking(False)
        with contextlib.suppress(BlockingIOError, ConnectionError):
            s.connect(str(path))
            found.append(s)
    return found


def test_row_02_a_thousand_idle_clients(daemon, bar):
    """And a hundred that say a byte a second. Who is in is answered at once; who comes later gets in as places get free."""
    before, took = idle_descriptors(daemon), []
    with daemon.connect() as v:
        v.call("GetInfo")
        idle, slow = stay(daemon.socket, 1000), stay(daemon.socket, 100)
        try:
            for i in range(int(300 * SCALE)):
                for s in slow if i % 50 == 0 else ():
                    with contextlib.suppress(OSError):
                        s.send(b"{")
                took.append(timed(lambda: v.call("GetInfo")))
                time.sleep(0.02)
            bar("GetInfo p99", round(percentile(took, 0.99) * 1000, 1), 50, " ms")
            bar("descriptors", descriptors(daemon) - before, 300)
        finally:
            for s in idle + slow:
                s.close()
    assert wait_for(lambda: descriptors(daemon) <= before)
    assert "error" not in daemon.call("GetInfo")


def test_row_03_a_client_that_never_reads(daemon, bar):
    before, calls = daemon.memory(), 0
    with daemon.connect(timeout=1) as v:
        with contextlib.suppress(OSError):
            for calls in range(20000):
                v.sock.sendall(b'{"method":"org.varlink.service.GetInterfaceDescription",'
                               b'"parameters":{"interface":"io.copyledger"}}\0')
        wait_for(lambda: "error" not in daemon.call("GetInfo"))
        assert calls < 19999, "it takes requests without an end"
        bar("memory", round((daemon.memory() - before) / 2**20, 1), 4, " MiB")


def test_row_04_bombs(daemon, bar):
    bombs = [b"[" * 16000, b'{"a":' * 3000, b"[{}," * 4000, b'{"method":"x","parameters":' + b"[" * 9 + b"]" * 9 + b"}",
             b'"' + b"\\u0000" * 2000 + b'"', b"1" * 16000, b"1e400", b"NaN", b'{"a":1,"a":2}', b"\xff" * 100]
    before, took = daemon.memory(), []
    for _ in range(int(20 * SCALE)):
        for bomb in bombs:
            with daemon.connect() as v:
                begin = time.monotonic()
                v.send_raw(bomb + b"\0")
                reply = v.receive()
                took.append(time.monotonic() - begin)
                assert reply is None or "error" in reply, reply
    bar("slowest reply's p99", round(percentile(took, 0.99) * 1000, 1), 5, " ms")
    bar("memory", round((daemon.memory() - before) / 2**20, 1), 8, " MiB")


# ---- every n-th call fails ----

class Faulty(Daemon):
    """A daemon, or its load generators, of which one call fails; at 0: none, but they are counted."""

    def __init__(self, folder, program, call, at):
        folder.mkdir()
        self.count = folder / "count"
        super().__init__(folder, env={"LD_PRELOAD": str(INJECT), "FAULT_PROGRAM": program, "FAULT_CALL": call,
                                      "FAULT_AT": str(at), "FAULT_LOG": str(self.count)})

    def counted(self, column):
        """Calls (1) or failures (2) of the process that has most; a process that was killed has no line."""
        return max((int(line.split()[column]) for line in self.count.read_text().splitlines()), default=0)


def scenario(d):
    """What an afternoon has. What fails says so. Returns the state of the run, or None where it could not be started."""
    state = None
    with d.connect(timeout=20) as v:
        for method, parameters in (("GetInfo", None), ("Probe", None), ("StartRun", {"spec": {
                "mode": "zero-copy", "size": 4096, "threads": 2, **SHORT}}), ("FollowRun", {"id": "last"}), ("ListRuns", None)):
            reply = v.call(method, parameters)
            if reply is None:
                return None
            if "error" in reply:
                assert reply["parameters"]["message"]
            elif method == "FollowRun":
                result = reply["parameters"]["result"]
                state = result["state"]
                assert state == "done" or result["error"]["message"], result
    return state


def one_fault(folder, program, call, at):
    """The daemon starts or says why not, answers, ends in order, and is sound after the one call that failed. Returns how
    many calls failed."""
    d = Faulty(folder, program, call, at)
    try:
        d.start()
    except AssertionError:
        status = d.process.wait(timeout=5)
        assert status > 0 and d.log.read_text().strip(), f"{call} {at}: status {status}, log {d.log.read_text()}"
        return 1
    try:
        with contextlib.suppress(ConnectionError):
            begin = time.monotonic()
            scenario(d)
            assert time.monotonic() - begin < 15, f"{call} {at} took {time.monotonic() - begin:.0f} s"
        assert d.process.poll() is None, f"{call} {at}: ended with {d.process.returncode}: {d.log.read_text()[-500:]}"
        if program == "copyledgerd":  # each load generator counts anew
            again = d.run(mode="one-copy", **SHORT)
            assert again["state"] == "done", (call, at, again["error"])
        assert wait_for(lambda: not d.children() and not d.programs())
    finally:
        if d.process.poll() is None:
            d.process.terminate()
        d.process.wait(timeout=5)
    assert d.process.returncode == 0, (call, at, d.process.returncode, d.log.read_text()[-500:])
    return d.counted(2) if d.count.exists() else 0


@pytest.mark.parametrize("program, call, tries", FAULTS)
def test_row_06_every_nth_call_fails(tmp_path, program, call, tries):
    sound = Faulty(tmp_path / "sound", program, call, 0).start()
    assert scenario(sound) == "done" and sound.stop() == 0
    total, tries = sound.counted(1), int(tries * SCALE)
    assert total >= 1, f"{program} does not call {call}: nothing can fail"
    # the first ones one by one, the rest drawn evenly
    first = list(range(1, min(max(tries // 2, 1), total) + 1))
    rest = range(len(first) + 1, total + 1)
    rest = sorted(random.Random(6).sample(rest, min(tries - len(first), len(rest)))) if tries > len(first) else []
    failures = [one_fault(tmp_path / str(at), program, call, at) for at in first + rest]
    assert failures and sum(map(bool, failures)) >= len(failures) / 2, f"calls of {total} that failed: {failures}"


def test_row_06_the_first_run_asks_the_kernel_again(tmp_path):
    """What is not known to be refused is taken to work: one program that is not attached then costs a question, and no books."""
    def first_run(at):
        d = Faulty(tmp_path / str(at), "copyledgerd", "bpf_attach", at).start()
        result = check_result(d.run(mode="one-copy", **SHORT))
        assert d.stop() == 0
        check_books(result)
        return d.counted(1), d.counted(2)

    sound, failed = first_run(0)
    assert sound and not failed
    for at in sorted({1, sound // 2, sound}):
        calls, failed = first_run(at)
        assert failed == 1 and calls > sound, f"attached {calls} times with one failure at {at}, {sound} times without"


def test_row_06_the_sequence_numbers_cannot_be_taken(tmp_path):
    """The run goes on without a ledger and says why: books without the numbers that they begin with would be wrong."""
    d = Faulty(tmp_path / "faulty", "copyledgerd", "bpf_iter", 1).start()
    result = check_result(d.run(mode="one-copy", **SHORT))
    assert result["state"] == "done" and result["ledger"] is None, result["ledger"]["balance"]
    assert "sequence numbers" in result["ledger_reason"] and "memory" in result["ledger_reason"], result["ledger_reason"]
    assert "no_ledger" in [w["code"] for w in result["warnings"]]
    until_balanced(lambda: check_result(d.run_moving(mode="one-copy", **SHORT)))
    assert d.stop() == 0 and d.counted(2) == 1


# ---- sudden ends ----

@pytest.fixture
def in_memory():
    """A folder of no disk: one that others write to keeps a database's flush waiting, for seconds at times."""
    with tempfile.TemporaryDirectory(prefix="copyledger-", dir="/dev/shm") as path:
        yield Path(path)


def test_row_08_the_daemon_is_killed_at_any_moment(in_memory, bar):
    rng, before, back, traces = random.Random(8), links(), [], []
    d = Daemon(in_memory)
    for i in range(int(100 * SCALE)):
        back.append(timed(d.start))
        with d.connect() as v:
            v.call("StartRun", {"spec": {"mode": ("zero-copy", "two-copy")[i % 2], "path": ("loopback", "veth")[i // 2 % 2],
                                         "warmup_ms": 0, "duration_ms": 60000}})
        time.sleep(rng.random() * 0.4)
        traces.append(Traces(d))
        d.kill()
    d.start()
    for t in traces:
        t.check_gone()
    assert wait_for(lambda: links() == before)
    info = d.call("GetInfo")["parameters"]
    assert info["stored"] == len(traces), info
    assert check_result(d.run(mode="one-copy", **SHORT))["state"] == "done"
    assert d.stop() == 0
    bar("back after", round(max(back), 2), 3, " s")


@pytest.mark.parametrize("name", ("KILL", "SEGV", "STOP"))
def test_row_09_the_child_is_killed(daemon, name):
    with daemon.connect() as v:
        run = v.call("StartRun", {"spec": {"mode": "zero-copy", "warmup_ms": 0, "duration_ms": 1000}})["parameters"]["id"]
        child = wait_for(daemon.children)[0]
        assert wait_for(lambda: daemon.call("GetRun", {"id": run})["parameters"]["state"] == "measuring")
        time.sleep(0.1)
        os.kill(child, signal.Signals["SIG" + name])
        result = v.call("FollowRun", {"id": run})["parameters"]["result"]
    assert result["state"] == "failed" and result["app"]["whole_life"]["bytes_sent"] > 0
    assert name == "STOP" or f"SIG{name}" in result["error"]["message"]
    assert daemon.process.poll() is None and not is_alive(child)


def test_row_10_the_disk_is_full(tmp_path):
    with running(tmp_path, prefix=mounting(tmp_path, "size=256k")) as d:
        def once():
            for _ in range(21):
                result = check_result(d.run(mode="one-copy", **SHORT))
                if result["warnings"]:
                    break
            assert result["state"] == "done" and "not_stored" in [w["code"] for w in result["warnings"]], result["warnings"]
            return result

        until_balanced(once)


# ---- what a host may lack ----

def hidden(path):
    """A prefix for whom the file is not there: an empty one lies over it."""
    prefix = ["unshare", "-m", "sh", "-c", f"mount --make-rprivate / && mount --bind /dev/null {path} && exec \"$@\"", "sh"]
    if subprocess.run([*prefix, "true"], capture_output=True).returncode:
        pytest.skip("nothing can be mounted here")
    return prefix


def own_network(*commands):
    """A prefix with a network of its own, prepared by these commands."""
    script = " && ".join(("ip link set lo up", *commands, 'exec "$@"'))
    prefix = ["unshare", "-n", "-m", "sh", "-c", f"mount -t sysfs sys /sys && {script}", "sh"]
    done = subprocess.run([*prefix, "true"], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"no network of its own can be prepared here: {done.stderr.strip()}")
    return prefix


def test_row_12_without_btf(tmp_path):
    """The run is measured all the same; the ledger's absence has its reason, in the probe too."""
    with running(tmp_path, prefix=hidden("/sys/kernel/btf/vmlinux")) as d:
        sites = d.call("Probe")["parameters"]["sites"]
        assert any("BTF" in (s["reason"] or "") for s in sites if s["evidence"] == "unavailable"), sites
        result = check_result(d.run(mode="zero-copy", **SHORT))
    assert result["state"] == "done" and result["ledger"] is None and "BTF" in result["ledger_reason"], result["ledger_reason"]


def test_row_12_without_fentry(daemon):
    """This kernel may refuse them or not: a tier that is asked for is had, or its absence has a reason."""
    hooks = [h for h in daemon.call("Probe")["parameters"]["hooks"] if h["tier"] == "fentry"]
    assert hooks and all(h["available"] or h["reason"] for h in hooks)
    result = check_result(daemon.run(mode="one-copy", ledger="fentry", **SHORT))
    sites = {s["site"]: s for s in result["ledger"]["sites"]} if result["ledger"] else {}
    assert result["state"] == "done"
    assert all(s["evidence"] != "unavailable" or s["reason"] for s in sites.values())
    assert sites or result["ledger_reason"]


def little_locked(path, limit):
    """A daemon that RLIMIT_MEMLOCK binds: root is not bound by it, one without these capabilities is."""
    def lower():
        resource.setrlimit(resource.RLIMIT_MEMLOCK, (limit, limit))

    return running(path, preexec_fn=lower, prefix=["setpriv", "--bounding-set", "-ipc_lock,-sys_resource"])


@pytest.mark.parametrize("size", [4096, 1 << 20])
def test_row_12_little_locked_memory(nobodys_folder, size):  # noqa: F811
    """MSG_ZEROCOPY is charged to its user's RLIMIT_MEMLOCK: the ring, and the calls for a message that is larger than the limit, are
    made to fit. As a user of its own: others' pages would be charged to root or nobody as well."""
    def lower():
        resource.setrlimit(resource.RLIMIT_MEMLOCK, (65536, 65536))

    os.chown(nobodys_folder, LONER, LONER)
    prefix = ["setpriv", f"--reuid={LONER}", f"--regid={LONER}", "--clear-groups"]
    with running(nobodys_folder, preexec_fn=lower, prefix=prefix, program=nobodys_folder / "copyledgerd") as d:
        result = check_result(d.run_moving(mode="zero-copy", size=size, **SHORT))
    assert result["state"] == "done", result["error"]
    z, life = result["zerocopy"], result["app"]["whole_life"]
    assert z["completed_zero_copied"] + z["completed_copied"] == z["sends"] > 0
    assert z["bytes"] == life["bytes_received"] == life["bytes_sent"] > 0


@pytest.mark.parametrize("workload, lanes, size", (("stream", 8, 1 << 20), ("rr", 2, 4 << 20), ("rr", 4, 4 << 20)))
@pytest.mark.parametrize("mode", ("zero-copy", "uring-send-zc"))
def test_row_12_locked_memory_is_shared(tmp_path, mode, workload, lanes, size):
    """Debian's 8 MiB for users, of which each lane alone could take all: those that have ended their phase, or wait for an
    answer, give back what they had, and nobody starves."""
    with little_locked(tmp_path, 8 << 20) as d:
        row = next(m for m in d.call("Probe")["parameters"]["modes"] if m["name"] == mode)
        if not row["available"]:
            pytest.skip(f"this kernel lacks {mode}: {row['reason']}")
        result = check_result(d.run(mode=mode, workload=workload, threads=lanes, size=size, path="veth", warmup_ms=100,
                                    duration_ms=500))
    assert result["state"] == "done", result["error"]
    check_books(result)


def test_row_12_no_user_namespaces(tmp_path):
    script = 'echo 0 >/proc/sys/user/max_user_namespaces && exec "$@"'
    nobody = ["unshare", "-U", "-r", "sh", "-c", script, "sh"]
    if subprocess.run([*nobody, "true"], capture_output=True).returncode:
        pytest.skip("no user namespace can be made here at all")
    # in a namespace of its own its root may still make the network ones directly
    directly = subprocess.run([*nobody, "unshare", "-n", "true"], capture_output=True).returncode == 0
    with running(tmp_path, prefix=nobody) as d:
        assert check_result(d.run(mode="one-copy", **SHORT))["state"] == "done"
        result = check_result(d.run(mode="one-copy", path="veth", **SHORT))
    if directly:
        assert result["state"] == "done", result["error"]
    else:
        assert result["state"] == "failed" and "namespace" in result["error"]["message"], result["state"]


def test_row_12_no_user_namespaces_without_root(nobodys_folder):  # noqa: F811
    """Who is not root has no other way: it fails, and names the settings."""
    script = 'echo 0 >/proc/sys/user/max_user_namespaces && exec setpriv --ambient-caps=-all --inh-caps=-all "$@"'
    nobody = [*AS_NOBODY, "unshare", "-U", "--map-current-user", "--keep-caps", "sh", "-c", script, "sh"]
    done = subprocess.run([*nobody, "id", "-u"], capture_output=True, text=True)
    if done.returncode or done.stdout.strip() == "0":
        pytest.skip(f"nobody can make no user namespace here at all: {done.stderr.strip()}")
    with running(nobodys_folder, prefix=nobody, program=nobodys_folder / "copyledgerd") as d:
        assert check_result(d.run(mode="one-copy", **SHORT))["state"] == "done"
        result = check_result(d.run(mode="one-copy", path="veth", **SHORT))
    assert result["state"] == "failed", result["state"]
    for words in ("no user namespace", "kernel.unprivileged_userns_clone", "user.max_user_namespaces"):
        assert words in result["error"]["message"], result["error"]


def test_row_12_ports_are_used_up(tmp_path):
    with running(tmp_path, prefix=own_network("echo 40000 40003 >/proc/sys/net/ipv4/ip_local_port_range")) as d:
        result = check_result(d.run(mode="one-copy", threads=16, **SHORT))
        assert result["state"] == "failed" and "port" in result["error"]["message"].lower(), result["error"]
        assert check_result(d.run(mode="one-copy", threads=1, **SHORT))["state"] == "done"


def test_row_12_a_slow_path(daemon, namespaces):  # noqa: F811
    """The message that is on its way at the end takes longer than a phase may otherwise: as long as bytes move it is waited for."""
    slow = subprocess.run(["ip", "netns", "exec", namespaces[0], "tc", "qdisc", "add", "dev", "eth-s", "root", "tbf", "rate", "12mbit",
                           "burst", "64k", "limit", "300k"], capture_output=True, text=True, env={**os.environ, "PATH": PATH})
    if slow.returncode:
        pytest.skip(f"this kernel makes no path slow: {slow.stderr.strip()}")
    result = daemon.run(mode="one-copy", path="netns:" + ",".join(namespaces), size=32 << 20, sndbuf=65536, warmup_ms=0, duration_ms=500)
    assert check_result(result)["state"] == "done" and result["ledger"]["balanced"], result.get("error")
    assert result["app"]["messages"] >= 1 and result["app"]["bytes_sent"] == result["app"]["bytes_received"]


def test_row_05_fuzzing():
    """Framing, parameters and the reader of results, with ASan and UBSan: `make fuzz`."""
    seconds = os.environ.get("SECONDS_EACH", "10")
    done = subprocess.run(["make", "-s", "fuzz", f"SECONDS_EACH={seconds}"], cwd=TOP, capture_output=True, text=True, timeout=1200)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]


def test_row_14_soak(tmp_path, bar):
    """Runs, probes, lists and watches one after the other; what the daemon holds is taken after a warm-up and at the end."""
    with running(tmp_path) as d:
        samples, balanced, idle, end = [], 0, idle_descriptors(d), time.monotonic() + SOAK_S
        while time.monotonic() < end:
            balanced += not check_books(check_result(d.run(mode=("zero-copy", "one-copy", "two-copy")[len(samples) % 3], threads=2,
                                                           **SHORT)))
            d.call("ListRuns")
            d.call("Watch", {"pid": os.getpid(), "duration_ms": 50})
            # what the watch had, and the place of its client, are given back a moment after the reply
            assert wait_for(lambda: not d.programs() and descriptors(d) <= idle)
            samples.append((time.monotonic(), descriptors(d), len(os.listdir(f"/proc/{d.process.pid}/task")), d.memory()))
        assert len(samples) >= 10, "too short to say anything"
        assert balanced >= len(samples) / 2, f"of {len(samples)} runs the kernel ran every hook in {balanced} only"
        warm, last = samples[len(samples) // 3], samples[-1]
        assert warm[1:3] == last[1:3], (warm, last)
        hours = (last[0] - warm[0]) / 3600
        # a page of 4 KiB in some seconds is hundreds of KiB an hour: the bar counts from ten minutes on
        slope = (last[3] - warm[3]) / 2**20 / hours
        if SOAK_S >= 600:
            bar("memory", round(slope, 2), 1, " MiB/h")
        else:
            bar("memory", round((last[3] - warm[3]) / 2**20, 2), 4, " MiB")
