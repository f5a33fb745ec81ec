# SPDX-License-Identifier: MIT
"""The tools beside the programs: the house's checks find what they are for, and packages are installed only when missing."""
import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
TOOLS = ROOT / "tools"
C_HEAD = "// SPDX-License-Identifier: MIT\n/* A file of the test. */\n"
BPF_HEAD = "// SPDX-License-Identifier: GPL-2.0-only\n/* A file of the test. */\n"


def run(*command, **env):
    return subprocess.run([str(c) for c in command], capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL,
                          env={**os.environ, **env})


def test_the_house_follows_its_rules():
    done = run(TOOLS / "check-includes.sh")
    assert done.returncode == 0, done.stdout


def test_the_house_keeps_its_measures():
    done = run(TOOLS / "check-style")
    assert done.returncode == 0, done.stdout


def test_nothing_that_is_made_is_tracked():
    if not (ROOT / ".git").exists():
        pytest.skip("no git checkout: nothing says what is tracked")
    done = run("git", "-C", ROOT, "-c", f"safe.directory={ROOT}", "ls-files", "-ci", "--exclude-standard")
    assert done.returncode == 0 and done.stdout == "", done.stdout + done.stderr


@pytest.mark.parametrize("path, text, finding", [
    ("common/a.c", C_HEAD + '#include "b.h"\n', None),
    ("daemon/a.c", C_HEAD + '#include "wire.h"\n#include "shared.h"\n#include <json.h>\n', None),
    ("cli/a.c", C_HEAD + '#include "b.h"\n#include <json.h>\n', None),
    ("cli/a.c", C_HEAD + '#include "c.h"\n', None),
    ("client/a.c", C_HEAD + '#include "c.h"\n#include <json.h>\n', None),
    ("daemon/a.c", C_HEAD + '#include "c.h"\n', "daemon/a.c:3: daemon/ may not include client/c.h"),
    ("exporter/a.c", C_HEAD + '#include "c.h"\n#include <microhttpd.h>\n', None),
    ("exporter/a.c", C_HEAD + '#include "d.h"\n', "exporter/a.c:3: exporter/ may not include daemon/d.h"),
    ("common/a.c", C_HEAD + '#include "../daemon/d.h"\n', "common/a.c:3: common/ may not include daemon/d.h"),
    ("loadgen/a.c", C_HEAD + '#include "d.h"\n', "loadgen/a.c:3: loadgen/ may not include daemon/d.h"),
    ("daemon/a.c", C_HEAD + '#include "lane.h"\n', "daemon/a.c:3: daemon/ may not include loadgen/lane.h"),
    ("cli/a.c", C_HEAD + '#include "wire.h"\n', "cli/a.c:3: cli/ may not include loadgen/wire.h"),
    ("common/a.c", C_HEAD + '#include "nowhere.h"\n', "common/a.c:3: no such header: nowhere.h"),
    ("loadgen/a.c", C_HEAD + "#include <json-c/json.h>\n", "loadgen/a.c:3: loadgen/ must do without <json-c/json.h>"),
    ("cli/a.c", C_HEAD + "\n#include <bpf/bpf.h>\n", "cli/a.c:4: cli/ must do without <bpf/bpf.h>"),
    ("daemon/a.c", C_HEAD + "#ifdef __bpf__\n#endif\n", "daemon/a.c:3: __bpf__ is asked only in bpf/shared.h"),
    ("bpf/a.bpf.c", BPF_HEAD + '#include "shared.h"\n#include <bpf/bpf_helpers.h>\n', None),
    ("bpf/a.bpf.c", C_HEAD, "bpf/a.bpf.c:1: bpf/ is GPL-2.0-only"),
    ("daemon/a.c", BPF_HEAD, "daemon/a.c:1: the licence here is MIT"),
    ("daemon/a.c", "\n/* A sentence. */\n", "daemon/a.c:1: the first line is no SPDX-License-Identifier"),
    ("daemon/a.c", C_HEAD.split("\n")[0] + '\n#include "d.h"\n', "daemon/a.c:2: the file does not open with a sentence"),
])
def test_includes_and_openings(tmp_path, path, text, finding):
    for name, head in (("common/b.h", C_HEAD), ("loadgen/wire.h", C_HEAD), ("loadgen/lane.h", C_HEAD),
                       ("daemon/d.h", C_HEAD), ("client/c.h", C_HEAD), ("bpf/shared.h", BPF_HEAD), (path, text)):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(head)
    (tmp_path / "cli").mkdir(exist_ok=True)
    done = run(TOOLS / "check-includes.sh", tmp_path)
    assert done.returncode == (1 if finding else 0), done.stdout
    if finding:
        assert done.stdout.startswith(finding) and "1 findings" in done.stdout, done.stdout


@pytest.mark.parametrize("text, over", [
    ("int f(void)\n{\n" + "\tx();\n" * 77 + "}\n", []),
    ("int f(void)\n{\n" + "\tx();\n" * 78 + "}\n", ["f() has 81 lines", "longest function: 81.0", "median function"]),
    ("int f(int a,\n\tint b)\n{\n" + "\tx();\n" * 77 + "}\n", ["f() has 81 lines"]),
    ('SEC("x")\nint BPF_PROG(g, int a)\n{\n' + "\tx();\n" * 77 + "}\n", ["g() has 81 lines"]),
    ("int f(void)\n{\n\tgoto out;\nout:\n\treturn 0;\n}\n" + "\n" * 150, ["gotos: "]),
    ("#ifdef A\n#endif\nint f(void)\n{\n\treturn 0;\n}\n" + "\n" * 300, ["#if: "]),
    ('/* goto out; */\nint f(void)\n{\n\treturn g("goto a;");\n}\n', []),
])
def test_measures(tmp_path, text, over):
    (tmp_path / "daemon").mkdir()
    (tmp_path / "daemon" / "a.c").write_text(text)
    short = "".join(f"int s{i}(void)\n{{\n}}\n\n" for i in range(3))
    if "median function" not in over:
        (tmp_path / "daemon" / "b.c").write_text(short)
    done = run(TOOLS / "check-style", tmp_path)
    assert done.returncode == (1 if over else 0), done.stdout
    for line in over:
        assert line in done.stdout, done.stdout


@pytest.fixture
def debian(tmp_path):
    """A Debian that lacks what the file missing names, and whose apt-get notes its calls and fails as often as told."""
    programs = {
        "dpkg-query": 'grep -qx "${@: -1}" "$HOME/missing" || printf installed',
        "apt-cache": '[ ! -e "$HOME/nolists" ]',
        "id": 'echo "${FAKE_UID:-0}"',
        "apt-get": 'echo "${@: -2}" >> "$HOME/calls"; n=$(cat "$HOME/failures" || echo 0); [[ $* != *install* || $n = 0 ]]'
                   ' || { echo $((n - 1)) > "$HOME/failures"; exit 100; }',
    }
    (tmp_path / "bin").mkdir()
    for name, text in programs.items():
        (tmp_path / "bin" / name).write_text(f"#!/bin/bash\n{text}\n")
        (tmp_path / "bin" / name).chmod(0o755)
    (tmp_path / "missing").write_text("")
    (tmp_path / "calls").write_text("")

    def deps(*sets, **env):
        done = run(TOOLS / "deps.sh", *sets, HOME=str(tmp_path), PATH=f"{tmp_path}/bin:{os.environ['PATH']}", **env)
        verbs = ["update" if line.endswith("update") else "install" for line in
                 (tmp_path / "calls").read_text().splitlines()]
        return done, verbs

    deps.home = tmp_path
    return deps


def test_nothing_missing_needs_no_root(debian):
    done, verbs = debian("build", "check", "vm", "bench", FAKE_UID="1000")
    assert done.returncode == 0 and verbs == []
    assert len(done.stdout.splitlines()) == 1 and "are installed" in done.stdout


def test_missing_packages_are_installed(debian):
    (debian.home / "missing").write_text("iperf3\nlibmnl-dev\n")
    done, verbs = debian("build", "check")
    assert done.returncode == 0 and verbs == ["install"], done.stderr
    assert "iperf3 libmnl-dev" in done.stdout
    assert (debian.home / "calls").read_text() == "iperf3 libmnl-dev\n"


def test_empty_lists_are_fetched_first(debian):
    (debian.home / "missing").write_text("iperf3\n")
    (debian.home / "nolists").touch()
    done, verbs = debian("check")
    assert done.returncode == 0 and verbs == ["update", "install"]


def test_stale_lists_are_fetched_once(debian):
    (debian.home / "missing").write_text("iperf3\n")
    (debian.home / "failures").write_text("1")
    done, verbs = debian("check")
    assert done.returncode == 0 and verbs == ["install", "update", "install"]
    (debian.home / "failures").write_text("9")
    (debian.home / "calls").write_text("")
    done, verbs = debian("check")
    assert done.returncode == 1 and verbs == ["install", "update", "install"]
    assert "could not install: iperf3" in done.stderr


def test_without_root_it_says_what_to_type(debian):
    (debian.home / "missing").write_text("clang\nmake\n")
    done, verbs = debian("build", FAKE_UID="1000")
    assert done.returncode == 1 and verbs == []
    assert "missing: clang make" in done.stderr
    assert "apt-get install -y --no-install-recommends clang make" in done.stderr


def test_an_unknown_set_names_the_known(debian):
    for sets in ((), ("bild",)):
        done, verbs = debian(*sets)
        assert done.returncode == 1 and verbs == []
        assert "bench build check deb deb-check programs vm" in done.stderr


def test_install_puts_each_file_in_its_place(tmp_path):
    built = tmp_path / "built"
    built.mkdir()
    done = run(TOOLS / "install.sh", built, tmp_path / "root", "/opt/x")
    assert done.returncode == 1 and "copyledgerd is missing" in done.stderr
    for name in ("copyledgerd", "copyledger", "copyledger-loadgen", "copyledger-exporter"):
        (built / name).write_text(name)
        (built / name).chmod(0o755)
    (built / "man").mkdir()
    (built / "man/copyledgerd.8").write_text("/usr/sbin/copyledgerd\n")
    done = run(TOOLS / "install.sh", built, tmp_path / "root", "/opt/x")
    assert done.returncode == 0, done.stderr
    at = tmp_path / "root/opt/x"
    for name in ("sbin/copyledgerd", "sbin/copyledger-exporter", "bin/copyledger", "libexec/copyledger/copyledger-loadgen"):
        assert (at / name).read_text() == Path(name).name
        assert os.access(at / name, os.X_OK)
    assert (at / "share/copyledger/schemas/io.copyledger.varlink").read_text() == \
        (ROOT / "schemas/io.copyledger.varlink").read_text()
    assert (at / "share/man/man8/copyledgerd.8").read_text() == "/opt/x/sbin/copyledgerd\n"
    assert (at / "share/copyledger/sysctl/60-copyledger-perf.conf").exists()
    assert "complete -F" in (at / "share/bash-completion/completions/copyledger").read_text()
    assert (at / "share/zsh/vendor-completions/_copyledger").read_text().startswith("#compdef copyledger\n")
    for unit in (at / "lib/systemd/system").glob("*.service"):
        assert "/usr/sbin/copyledger" not in unit.read_text() and f"=/opt/x/sbin/{unit.stem}\n" in unit.read_text()
    for name in ("prometheus/copyledger.rules.yml", "grafana/copyledger.json"):
        assert (at / "share/copyledger" / name).read_text() == (ROOT / "packaging" / name).read_text()
    assert (at / "lib/systemd/system/copyledger-exporter.socket").exists()
