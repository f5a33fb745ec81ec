# SPDX-License-Identifier: MIT
"""Who may do what: the socket's mode keeps strangers out, and who only may connect can read but not start runs."""
import grp
import json
import os
import shutil
import stat
import subprocess
import tempfile
from pathlib import Path

import pytest

from support import BUILD, check_result, running

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: it takes on other users"),
    pytest.mark.skipif(not shutil.which("setpriv"), reason="setpriv (util-linux) is not installed"),
]
SHORT = {"mode": "one-copy", "warmup_ms": 0, "duration_ms": 50}
STRANGER, GROUP, OWNER = 64001, 64002, 64003  # ids that nobody has
CALL = """
import socket, sys
s = socket.socket(socket.AF_UNIX)
try:
    s.connect(sys.argv[1])
except OSError as e:
    print(type(e).__name__)
    sys.exit()
s.sendall(sys.argv[2].encode() + b"\\0")
data = b""
while not data.endswith(b"\\0"):
    data += s.recv(65536)
sys.stdout.buffer.write(data[:-1])
"""


@pytest.fixture(scope="module")
def folder():
    """A folder that everybody can reach; those of pytest are for one user."""
    with tempfile.TemporaryDirectory(prefix="copyledger-access-") as path:
        os.chmod(path, 0o755)
        yield Path(path)


@pytest.fixture(scope="module")
def daemon(folder):
    (folder / "root").mkdir(mode=0o755)
    with running(folder / "root") as d:
        yield d


@pytest.fixture
def opened(daemon):
    """The socket's file is open to all."""
    os.chmod(daemon.socket, 0o666)
    yield daemon
    os.chmod(daemon.socket, 0o660)
    os.chown(daemon.socket, 0, 0)


def as_user(uid, gid=None, groups=()):
    return ["setpriv", f"--reuid={uid}", f"--regid={uid if gid is None else gid}",
            f"--groups={','.join(map(str, groups))}" if groups else "--clear-groups", "--"]


def call(d, method, parameters=None, uid=STRANGER, **who):
    """One call as somebody else; a string: why connecting failed."""
    request = json.dumps({"method": "io.copyledger." + method, "parameters": parameters or {}})
    done = subprocess.run([*as_user(uid, **who), "/usr/bin/python3", "-c", CALL, d.socket, request], capture_output=True,
                          text=True, timeout=60, cwd="/")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout) if done.stdout.startswith("{") else done.stdout.strip()


def denied(reply):
    assert isinstance(reply, dict) and reply.get("error") == "io.copyledger.Failed", reply
    assert reply["parameters"]["code"] == "permission_denied"
    message = reply["parameters"]["message"]
    assert "root" in message and "group" in message
    return message


def test_the_socket_is_for_owner_and_group(daemon):
    found = os.stat(daemon.socket)
    assert stat.S_ISSOCK(found.st_mode) and stat.S_IMODE(found.st_mode) == 0o660
    assert (found.st_uid, found.st_gid) == (0, os.getegid())


def test_the_mode_of_the_socket_does_not_follow_the_umask(folder):
    (folder / "umask").mkdir()
    for umask in (0, 0o777):
        with running(folder / "umask", preexec_fn=lambda umask=umask: os.umask(umask) and None) as d:
            assert stat.S_IMODE(os.stat(d.socket).st_mode) == 0o660


def opens(path, *who):
    """What somebody else is told who opens it: nothing, or why not."""
    done = subprocess.run([*as_user(*who), "head", "-c", "0", path], capture_output=True, text=True, timeout=60, cwd="/",
                          env={**os.environ, "LC_ALL": "C"})
    return done.stderr.strip()


def test_the_results_are_for_the_owner(daemon):
    """As the files' own modes and those of the folders above them have it together."""
    daemon.run(**SHORT)
    assert stat.S_IMODE(os.stat(daemon.state).st_mode) & 0o027 == 0
    paths = [p for p in daemon.state.rglob("*") if p.is_file()]
    assert paths and opens(daemon.log, STRANGER) == ""  # what lies beside is not out of reach
    for path in paths:
        assert stat.S_IMODE(os.stat(path).st_mode) & 0o077 == 0, path
        assert "Permission denied" in opens(path, STRANGER), path


def test_a_stranger_does_not_get_in(daemon):
    assert call(daemon, "GetInfo") == "PermissionError"


def test_a_member_of_the_group_gets_in_and_may_run(daemon):
    os.chown(daemon.socket, 0, GROUP)
    try:
        for who in ({"gid": GROUP}, {"groups": [64010, GROUP]}):
            assert "error" not in call(daemon, "GetInfo", **who)
            started = call(daemon, "StartRun", {"spec": SHORT}, **who)
            assert "error" not in started, started
            assert check_result(call(daemon, "FollowRun", started["parameters"] and {"id": started["parameters"]["id"]}, **who)[
                "parameters"]["result"])["state"] == "done"
    finally:
        os.chown(daemon.socket, 0, 0)


def test_whoever_may_connect_may_read(opened):
    run = opened.run(**SHORT)["id"]
    assert "error" not in call(opened, "GetInfo")
    assert "error" not in call(opened, "GetTotals")
    assert "error" not in call(opened, "Probe")
    assert run in [r["id"] for r in call(opened, "ListRuns")["parameters"]["runs"]]
    assert call(opened, "GetRun", {"id": run})["parameters"]["result"]["id"] == run
    assert call(opened, "FollowRun", {"id": run})["parameters"]["result"]["id"] == run
    assert call(opened, "TraceStats", {"id": run})["parameters"]["trace"]["id"] == run


def test_but_neither_start_nor_cancel(opened):
    before = opened.call("ListRuns", {"limit": 1000})
    denied(call(opened, "StartRun", {"spec": SHORT}))
    denied(call(opened, "StartRun", {"spec": SHORT}, groups=[64010, 64011]))
    # nothing of the parameters is looked at
    denied(call(opened, "StartRun", {"spec": {"mode": 5}}))
    denied(call(opened, "CancelRun", {"id": "no-such-run"}))
    with opened.connect() as v:
        run = v.call("StartRun", {"spec": {**SHORT, "duration_ms": 60000}})["parameters"]["id"]
        denied(call(opened, "CancelRun", {"id": run}))
        assert v.call("GetRun", {"id": run})["parameters"]["state"] != "cancelled"
        v.call("CancelRun", {"id": run})
        v.call("FollowRun", {"id": run})
    assert len(opened.call("ListRuns", {"limit": 1000})["parameters"]["runs"]) == len(before["parameters"]["runs"]) + 1


def test_groups_count_in_any_place(opened):
    os.chown(opened.socket, 0, GROUP)
    many = list(range(65000, 65060))
    denied(call(opened, "StartRun", {"spec": SHORT}, groups=many))
    started = call(opened, "StartRun", {"spec": SHORT}, groups=[*many, GROUP])
    assert "error" not in started
    opened.call("FollowRun", {"id": started["parameters"]["id"]})


@pytest.fixture(scope="module")
def unprivileged(folder):
    """A daemon of an ordinary user, its programs where he can reach them."""
    home = folder / "owner"
    home.mkdir()
    for name in ("copyledgerd", "copyledger-loadgen"):
        shutil.copy(BUILD / name, home / name)
    os.chown(home, OWNER, OWNER)
    with running(home, prefix=as_user(OWNER), program=home / "copyledgerd") as d:
        yield d


def test_a_daemon_without_privilege_measures_and_says_what_it_lacks(unprivileged):
    for path in ("loopback", "veth"):
        result = unprivileged.run(**SHORT, path=path)
        if path == "veth" and result["state"] == "failed":
            assert "sysctl" in result["error"]["message"] or "user namespace" in result["error"]["message"], result["error"]
            continue
        assert result["state"] == "done" and result["app"]["bytes_received"] > 0
        assert result["ledger"] is None and "CAP_BPF" in result["ledger_reason"]
        assert not unprivileged.programs()
    probe = unprivileged.call("Probe")["parameters"]
    assert all(h["reason"] for h in probe["hooks"] if not h["available"])
    assert all(m["available"] for m in probe["modes"])


def test_the_daemons_own_user_may_run_and_root_too(unprivileged):
    os.chmod(unprivileged.socket, 0o666)
    for uid, gid in ((OWNER, 64010), (0, 64010)):
        started = call(unprivileged, "StartRun", {"spec": SHORT}, uid=uid, gid=gid)
        assert "error" not in started, started
        unprivileged.call("FollowRun", {"id": started["parameters"]["id"]})
    assert "error" not in call(unprivileged, "GetInfo")
    denied(call(unprivileged, "StartRun", {"spec": SHORT}))


def test_the_command_line_says_who_may(folder, daemon):
    """Exit status 3 where the socket is closed to the user; a sentence where only the run is."""
    shutil.copy(BUILD / "copyledger", folder / "copyledger")

    def cli(*args):
        return subprocess.run([*as_user(STRANGER), folder / "copyledger", "--socket", daemon.socket, *args], capture_output=True,
                              text=True, timeout=60, cwd="/")

    group = next(g for g in grp.getgrall() if g.gr_gid != 0)
    for gid, words in ((0, "root"), (group.gr_gid, f"members of group {group.gr_name}")):
        os.chown(daemon.socket, 0, gid)
        done = cli("info")
        assert done.returncode == 3 and not done.stdout
        assert str(daemon.socket) in done.stderr and words in done.stderr
    os.chmod(daemon.socket, 0o666)
    try:
        assert cli("info").returncode == 0
        done = cli("run", "--mode", "one-copy", "--duration", "50ms")
        assert done.returncode == 3 and not done.stdout, done
        assert "group" in done.stderr and "root" in done.stderr
    finally:
        os.chmod(daemon.socket, 0o660)
        os.chown(daemon.socket, 0, 0)
