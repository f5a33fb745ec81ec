# SPDX-License-Identifier: MIT
"""Completion in bash and zsh as a person meets it, with a daemon that has runs and sweeps."""
import json
import os
import pty
import re
import select
import shutil
import subprocess
import time

import pytest

from support import BUILD, TOP, running

COMPLETION = TOP / "packaging/completion"
CONGESTION = open("/proc/sys/net/ipv4/tcp_available_congestion_control").read().split()
MODES = ["two-copy", "one-copy", "zero-copy", "sendfile", "splice", "uring-send", "uring-send-zc"]
# What zsh is told: each match that completion offers, and what the line has become, go into a file.
ZSH_SETUP = r"""
PS1='' RPS1='' LISTMAX=100000
fpath=({completion} $fpath)
autoload -Uz compinit && compinit -u -d {folder}/dump
zstyle ':completion:*' menu no
compadd() {{
	local -a __hits
	if [[ " $* " != *" -"[OAD]" "* ]]; then
		builtin compadd -A __hits "$@"
		(( $#__hits )) && print -rl -- hit:$^__hits >>{folder}/seen
	fi
	builtin compadd "$@"
}}
tell() {{ print -r -- "line:$BUFFER" >>{folder}/seen; print -r -- end: >>{folder}/seen; BUFFER='' }}
zle -N tell
bindkey '^I' complete-word
bindkey '^G' tell
print -r -- end: >>{folder}/seen
"""


@pytest.fixture(scope="module")
def daemon(tmp_path_factory):
    """With a run that has ended, one that goes on, one that waits, and a sweep that waits."""
    folder = tmp_path_factory.mktemp("completion")
    with running(folder) as d:
        d.ended = d.run_moving(mode="one-copy", warmup_ms=0, duration_ms=60)["id"]
        with d.connect() as v:
            d.open = [v.call("StartRun", {"spec": {"mode": "one-copy", "warmup_ms": 0, "duration_ms": 600000}})["parameters"]["id"]
                      for _ in range(2)]
            d.sweep = v.call("StartSweep", {"spec": {"modes": ["one-copy"], "sizes": [64], "threads": [1]}})["parameters"]["id"]
            yield d
            v.call("CancelSweep", {"id": d.sweep})
            for run in d.open[::-1]:
                v.call("CancelRun", {"id": run})


def environment(daemon):
    env = {"PATH": f"{BUILD}:{os.environ['PATH']}", "HOME": str(daemon.folder), "LC_ALL": "C.UTF-8", "TERM": "dumb",
           "COPYLEDGER_SOCKET": str(daemon.socket)}
    return {**env, **{k: v for k, v in os.environ.items() if k.endswith("SAN_OPTIONS")}}


class Bash:
    """Words are split as readline does, at = and : too."""

    def __init__(self, daemon, folder):
        self.env, self.folder = environment(daemon), folder

    def set_socket(self, path):
        self.env["COPYLEDGER_SOCKET"] = str(path)

    def offers(self, line):
        words = re.findall(r"[^\s=:]+|[=:]", line) + ([""] if line.endswith(" ") else [])
        script = ('source "$0"; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _copyledger copyledger; '
                  'printf "%s\\n" "${COMPREPLY[@]}"')
        done = subprocess.run(["bash", "--norc", "-c", script, COMPLETION / "copyledger.bash", *words], capture_output=True,
                              text=True, timeout=60, env=self.env, cwd=self.folder)
        assert done.returncode == 0 and not done.stderr, done.stderr
        return [word for word in done.stdout.split("\n") if word]


class Zsh:
    """An interactive zsh on a terminal of its own."""

    def __init__(self, daemon, folder):
        if not shutil.which("zsh"):
            pytest.skip("no zsh (package zsh)")
        self.folder, self.seen = folder, folder / "seen"
        self.leader, follower = pty.openpty()
        self.process = subprocess.Popen(["zsh", "-f", "-i"], stdin=follower, stdout=follower, stderr=follower, cwd=folder,
                                        start_new_session=True, env={**environment(daemon), "LINES": "500", "COLUMNS": "200"})
        os.close(follower)
        (folder / "setup").write_text(ZSH_SETUP.format(completion=COMPLETION, folder=folder))
        self.tell(f"source {folder}/setup\n")

    def set_socket(self, path):
        self.tell(f"export COPYLEDGER_SOCKET={path}; print -r -- end: >>{self.seen}\n")

    def tell(self, text):
        """What it writes to its file until it says end."""
        self.seen.write_text("")
        os.write(self.leader, text.encode())
        shown, end = b"", time.monotonic() + 60
        while not self.seen.read_text().endswith("end:\n"):
            assert time.monotonic() < end, (text, self.seen.read_text(), shown.decode(errors="replace")[-2000:])
            if select.select([self.leader], [], [], 0.02)[0]:  # it stops when nobody reads
                shown += os.read(self.leader, 65536)
        return self.seen.read_text().split("\n")

    def offers(self, line):
        found = self.tell(line + "\t\x07")
        self.line = next(x.removeprefix("line:") for x in found if x.startswith("line:"))
        return list(dict.fromkeys(x.removeprefix("hit:") for x in found if x.startswith("hit:")))

    def close(self):
        self.process.kill()
        self.process.wait()
        os.close(self.leader)


@pytest.fixture(scope="module", params=[Bash, Zsh], ids=["bash", "zsh"])
def shell(request, daemon, tmp_path_factory):
    folder = tmp_path_factory.mktemp("shell")
    for name in ("result.json", "other.json"):
        (folder / name).write_text("{}")
    (folder / "folder").mkdir()
    shell = request.param(daemon, folder)
    yield shell
    if hasattr(shell, "close"):
        shell.close()


def help_of(*command):
    return subprocess.run([BUILD / "copyledger", *command, "--help"], capture_output=True, text=True, timeout=20).stdout


COMMANDS = re.findall(r"^  ([a-z]+) +\S", help_of(), re.M)


def test_commands(shell):
    assert len(COMMANDS) > 10
    assert sorted(shell.offers("copyledger ")) == sorted(COMMANDS)
    assert sorted(shell.offers("copyledger help ")) == sorted(COMMANDS)
    assert sorted(shell.offers("copyledger --json e")) == ["explain", "export"]
    assert shell.offers("copyledger sw") == ["sweep"]


@pytest.mark.parametrize("command", COMMANDS)
def test_each_option_of_each_command(shell, command):
    options = re.findall(r"^ +(?:-\w, )?(--[\w-]+)", help_of(command), re.M)
    assert sorted(shell.offers(f"copyledger {command} -")) == sorted(options)


def test_options_before_the_command(shell):
    assert sorted(shell.offers("copyledger --")) == sorted(re.findall(r"^ +(?:-\w, )?(--[\w-]+)", help_of(), re.M))


@pytest.mark.parametrize("line, values", [
    ("copyledger run --mode ", MODES), ("copyledger run -m ", MODES), ("copyledger run --mode=", MODES),
    ("copyledger run --mode u", ["uring-send", "uring-send-zc"]), ("copyledger run --mode=u", ["uring-send", "uring-send-zc"]),
    ("copyledger list --mode ", MODES), ("copyledger sweep --modes ", MODES), ("copyledger sweep --modes one-copy,z", ["zero-copy"]),
    ("copyledger run --receive ", ["recv", "recv-trunc", "mmap"]), ("copyledger run -r m", ["mmap"]),
    ("copyledger run --workload ", ["stream", "rr"]), ("copyledger run --path ", ["loopback", "veth", "netns:"]),
    ("copyledger probe -p v", ["veth"]), ("copyledger sweep -p l", ["loopback"]), ("copyledger sweep -w ", ["stream", "rr"]),
    ("copyledger run --ledger ", ["auto", "fentry", "tracepoint", "off"]), ("copyledger watch --ledger t", ["tracepoint"]),
    ("copyledger watch --by ", ["process", "socket"]), ("copyledger list --state d", ["done"]),
    ("copyledger plot --format ", ["svg", "png", "both"]), ("copyledger plot --figure co", ["cost_size", "copies_size"]),
    ("copyledger compare -m l", ["latency_p99_us"]), ("copyledger run --congestion ", CONGESTION),
    ("copyledger run --size ", []), ("copyledger run --label ", []), ("copyledger run --duration ", []), ("copyledger info ", []),
])
def test_values(shell, line, values):
    offered = shell.offers(line)
    assert sorted(re.sub(r"^one-copy,", "", value) for value in offered) == sorted(values)


def test_runs_and_sweeps(daemon, shell):
    runs = [r["id"] for r in json.loads(daemon.cli("list", "--json").stdout)["runs"]]
    assert {daemon.ended, *daemon.open} <= set(runs)
    assert set(shell.offers("copyledger show ")) == {"last", daemon.sweep, *runs}
    assert set(shell.offers("copyledger trace ")) == {"last", *runs}
    cancellable = set(shell.offers("copyledger cancel "))
    assert {"last", daemon.sweep, *daemon.open} <= cancellable and daemon.ended not in cancellable
    assert shell.offers("copyledger sweep --resume ") == [daemon.sweep]
    assert shell.offers(f"copyledger show {daemon.ended[:-1]}") == [daemon.ended]


@pytest.mark.parametrize("command", ["export", "explain", "plot", "report", "compare", "compare last"])
def test_sources(daemon, shell, command):
    assert {"last", "label:", daemon.ended, daemon.sweep, "result.json"} <= set(shell.offers(f"copyledger {command} "))
    assert shell.offers(f"copyledger {command} res") == ["result.json"]


@pytest.mark.parametrize("line, offered", [
    ("copyledger run --socket res", ["result.json"]), ("copyledger --socket res", ["result.json"]),
    ("copyledger --socket=res", ["result.json"]), ("copyledger export -o o", ["other.json"]),
    ("copyledger plot --output f", ["folder"]), ("copyledger plot --output r", [])])
def test_files(shell, line, offered):
    assert [name.rstrip("/") for name in shell.offers(line)] == offered


def test_the_socket_of_the_line_is_asked(daemon, shell):
    assert daemon.ended in shell.offers("copyledger show ")
    shell.set_socket("/nowhere")
    try:
        assert daemon.ended not in shell.offers("copyledger show ")
        for line in (f"copyledger --socket {daemon.socket} show ", f"copyledger show --socket {daemon.socket} ",
                     f"copyledger --socket={daemon.socket} show "):
            assert daemon.ended in shell.offers(line)
    finally:
        shell.set_socket(daemon.socket)


def test_zsh_completes_the_line(daemon, shell):
    if not isinstance(shell, Zsh):
        pytest.skip("bash's readline does that")
    for line, becomes in (("copyledger ru", "copyledger run "), ("copyledger run --path ne", "copyledger run --path netns:"),
                          ("copyledger sweep --modes one-copy,z", "copyledger sweep --modes one-copy,zero-copy,"),
                          ("copyledger run --mode=ze", "copyledger run --mode=zero-copy "),
                          (f"copyledger show {daemon.ended[:-1]}", f"copyledger show {daemon.ended} ")):
        shell.offers(line)
        assert shell.line == becomes


def test_the_daemon_is_not_needed(shell, daemon, tmp_path):
    for command in ("show", "cancel", "sweep --resume"):
        offered = shell.offers(f"copyledger --socket {tmp_path}/none {command} ")
        assert [x for x in offered if x != "last"] == []

