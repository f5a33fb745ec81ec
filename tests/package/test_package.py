# SPDX-License-Identifier: MIT
"""The Debian package: how it is built, what lintian says, its life in a chroot and under systemd, from installation to purge."""
import ast
import fcntl
import json
import os
import re
import shutil
import subprocess
import tempfile
import zlib
from pathlib import Path

import pytest

from support import BUILD, TOP, wait_for

SUITE = re.search(r"^VERSION_CODENAME=(\w+)", Path("/etc/os-release").read_text(), re.M)[1]
VERSION = re.search(r"^VERSION := (\S+)", (TOP / "Makefile").read_text(), re.M)[1]
CACHE = Path(os.environ.get("COPYLEDGER_VM_CACHE")
             or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "copyledger/vm")
DEB = BUILD / f"copyledger_{VERSION}_amd64.deb"
EXPORTER_DEB = BUILD / f"copyledger-exporter_{VERSION}_amd64.deb"
CONFIG = "etc/copyledger/copyledgerd.conf"
STATE = "var/lib/copyledger"
SOCKET = "run/copyledger/control.sock"
WANTED = "etc/systemd/system/sockets.target.wants/copyledgerd.socket"
# What dpkg and the making of a user leave whatever is purged.
ACCOUNTS = r"etc/(passwd|group|shadow|gshadow|subuid|subgid)-?|etc/\.pwd\.lock"
TRACES = re.compile(rf"({ACCOUNTS}|var/log/.*|var/lib/dpkg/.*|var/cache/(apt|debconf|ldconfig)/.*|var/lib/apt/.*|srv/package.deb)")


def run(*command, timeout=600, **kwargs):
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, timeout=timeout,
                          stdin=subprocess.DEVNULL, **kwargs)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


# ---- the build ----

@pytest.fixture(scope="module")
def unpacked(tmp_path_factory):
    """Both packages: they share no file."""
    root = tmp_path_factory.mktemp("package")
    for deb in (DEB, EXPORTER_DEB):
        run("dpkg-deb", "-x", deb, root)
    return root


def field(name, deb=DEB):
    return run("dpkg-deb", "-f", deb, name).strip()


def test_lintian_finds_nothing():
    (changes,) = (BUILD / "deb").glob("*.changes")
    done = subprocess.run(["lintian", "--fail-on", "error,warning", "--allow-root", changes], capture_output=True, text=True,
                          timeout=600)
    assert done.returncode == 0, done.stdout


def test_it_says_what_it_is():
    assert field("Version") == VERSION and field("Architecture") == "amd64" and field("Package") == "copyledger"
    author, address = field("Maintainer").rstrip(">").split(" <")
    assert author and "@" in address
    assert run("dpkg-deb", "-I", DEB, "conffiles").split() == ["/" + CONFIG]


def test_the_configuration_is_what_the_daemon_prints(unpacked):
    text = (unpacked / CONFIG).read_text()
    assert text == run(unpacked / "usr/sbin/copyledgerd", "--print-config")
    assert not [line for line in text.splitlines() if line and not line.startswith("#")]


def test_the_manual_is_in_it(unpacked):
    pages = sorted(p.name for p in (unpacked / "usr/share/man").glob("man*/*"))
    assert pages == sorted(p.name.replace(".scd", ".gz") for p in (TOP / "doc/man").glob("*.scd"))


@pytest.mark.parametrize("program", ["usr/sbin/copyledgerd", "usr/bin/copyledger", "usr/sbin/copyledger-exporter",
                                     "usr/libexec/copyledger/copyledger-loadgen"])
def test_the_flags_of_dpkg_reach_the_programs(unpacked, program):
    text = run("readelf", "--wide", "-h", "-l", "-d", "--dyn-syms", unpacked / program)
    assert re.search(r"Type:\s+DYN", text) and "GNU_RELRO" in text and re.search(r"FLAGS.*NOW", text), text
    assert "__stack_chk_fail" in text and re.search(r" __(\w*printf|memcpy|memset|str\w+|read)_chk\b", text), text


def test_the_flags_of_dpkg_reach_each_file():
    log = (BUILD / "deb/build.log").read_text().splitlines()
    compiled = [line for line in log if re.match(r"\S*g?cc .* -c ", line)]
    assert len(compiled) >= len([p for d in ("common", "loadgen", "daemon", "cli") for p in (TOP / d).glob("*.c")])
    for line in compiled:
        assert line.count("-D_FORTIFY_SOURCE=2") == 1 and "-ffile-prefix-map=" in line and "-Wdate-time" in line, line


def test_the_bpf_programs_are_those_of_make(unpacked):
    """Whatever flags C gets: the objects that make puts into the daemon are in the packaged one, byte by byte."""
    run("make", "-s", "all", f"BUILD={BUILD}", cwd=TOP)
    daemon = (unpacked / "usr/sbin/copyledgerd").read_bytes()
    skeletons = sorted((BUILD / "bpf").glob("*.skel.h"))
    assert len(skeletons) == 2
    for path in skeletons:
        text = re.search(r'\(const void \*\)("\\\n\\x7f\\x45.*?");', path.read_text(), re.S)[1].replace("\\\n", "")
        assert ast.literal_eval("b" + text) in daemon, path
    assert str(TOP).encode() not in daemon


def tree(root):
    """path: (time, size) of all files but those of git and of builds."""
    found = {}
    for folder, folders, files in os.walk(root):
        folders[:] = [f for f in folders if f not in (".git", "build", "results", "__pycache__", ".pytest_cache")]
        for name in files + folders:
            at = os.lstat(os.path.join(folder, name))
            found[os.path.relpath(os.path.join(folder, name), root)] = (at.st_mtime_ns, at.st_size)
    return found


def test_without_git_it_is_the_same_package_and_the_tree_stays_clean(tmp_path):
    copy, out = tmp_path / "tree", tmp_path / "out"
    shutil.copytree(TOP, copy, symlinks=True, ignore=shutil.ignore_patterns(".git", "build", "results", "__pycache__"))
    before = tree(copy)
    run(copy / "tools/deb.sh", out, env={**os.environ, "CFLAGS": "-O0", "MAKEFLAGS": "BUILD=elsewhere"})
    assert tree(copy) == before
    (built,) = out.glob("copyledger_*.deb")
    assert built.read_bytes() == DEB.read_bytes()


# ---- a build that cannot go on ----

def failing_build(folder):
    done = subprocess.run([TOP / "tools/deb.sh", folder], capture_output=True, text=True, timeout=300, stdin=subprocess.DEVNULL)
    assert done.returncode == 1 and not list(folder.glob("*.deb")), done
    return done.stderr


def test_two_builds_in_one_folder(tmp_path):
    with open(tmp_path / ".deb.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert failing_build(tmp_path) == f"deb: another make deb is at work in {tmp_path}\n"


@pytest.mark.skipif(os.geteuid() != 0, reason="a full disk of the test's own is mounted by root")
def test_a_full_disk(tmp_path):
    run("mount", "-t", "tmpfs", "-o", "size=1M", "none", tmp_path)
    try:
        said = failing_build(tmp_path)
        assert "cannot copy the sources" in said and len(said.splitlines()) == 1, said
    finally:
        run("umount", tmp_path)


# ---- its life in a chroot ----

def dependencies(prefer):
    """One package for each relation, the preferred one of alternatives."""
    for relation in field("Depends").split(","):
        names = [alternative.split()[0] for alternative in relation.split("|")]
        yield prefer if prefer in names else names[0]


def debian(*packages):
    """A minimal Debian with these packages, as a tarball; made once."""
    if os.geteuid() != 0:
        pytest.skip("a chroot is for root")
    packages = sorted(packages)
    path = CACHE / "chroot" / f"{SUITE}_{zlib.crc32(repr((packages, field('Depends'))).encode()):08x}.tar"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        mirror = run(TOP / "tools/mirror.sh").strip()
        with tempfile.TemporaryDirectory(dir=path.parent) as folder:
            run("mmdebstrap", "--variant=apt", f"--include={','.join(packages)}", SUITE, f"{folder}/base.tar",
                f"deb {mirror} {SUITE} main")
            Path(folder, "base.tar").rename(path)
    return path


@pytest.fixture(scope="session")
def base():
    """Without systemd, which makes no users in a chroot that something smaller could not make."""
    return debian(*dependencies("systemd-standalone-sysusers"), "systemd-standalone-tmpfiles")


class Chroot:
    """Commands run in a mount namespace of their own, so that no mount outlives them."""

    SCRIPT = 'mount -t proc proc "$0/proc" && mount --rbind /sys "$0/sys" && exec chroot "$0" "$@"'
    ENV = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive", "HOME": "/nonexistent"}

    def __init__(self, root):
        self.root = Path(root)

    def command(self, *args):
        return ["unshare", "--mount", "sh", "-c", self.SCRIPT, str(self.root), *args]

    def run(self, *args):
        return run(*self.command(*args), env=self.ENV)

    def install(self, deb):
        shutil.copy(deb, self.root / "srv/package.deb")
        self.run("apt-get", "-y", "-o", "Dpkg::Options::=--force-confold", "--no-install-recommends", "install",
                 "/srv/package.deb")

    def path(self, name):
        return self.root / name

    def files(self):
        """path: content, of all that is not of the running kernel and not the traces of dpkg."""
        found = {}
        for folder, folders, files in os.walk(self.root):
            for name in files + folders:
                path = Path(folder, name)
                key = str(path.relative_to(self.root))
                if not key.startswith(("proc/", "sys/", "dev/", "tmp/")) and not TRACES.fullmatch(key):
                    found[key] = (os.readlink(path) if path.is_symlink() else
                                  path.read_bytes() if key.startswith("etc/") and path.is_file() else None)
        return found


@pytest.fixture
def chroot(base):
    with tempfile.TemporaryDirectory(prefix="copyledger-chroot.") as folder:
        run("tar", "-C", folder, "-xf", base)
        yield Chroot(folder)


@pytest.fixture(scope="module")
def older(tmp_path_factory):
    """The same package as an older version."""
    folder = tmp_path_factory.mktemp("older")
    run("dpkg-deb", "-R", DEB, folder / "tree")
    control = folder / "tree/DEBIAN/control"
    control.write_text(re.sub(r"^Version: .*", f"Version: {VERSION}~test", control.read_text(), flags=re.M))
    run("dpkg-deb", "--root-owner-group", "-b", folder / "tree", folder / "older.deb")
    return folder / "older.deb"


def installed(chroot):
    return chroot.run("dpkg-query", "-W", "-f", "${db:Status-Status} ${Version}", "copyledger")


def with_daemon(chroot, *commands):
    """The daemon as an administrator without systemd would start it; what the commands print."""
    chroot.path(SOCKET).parent.mkdir(exist_ok=True)
    process = subprocess.Popen(chroot.command("copyledgerd", "--socket", f"/{SOCKET}", "--state-dir", f"/{STATE}",
                                              "--config", f"/{CONFIG}"),
                               env=Chroot.ENV, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:
        assert wait_for(lambda: process.poll() is not None or chroot.path(SOCKET).exists())
        return [chroot.run("copyledger", *command) for command in commands]
    finally:
        process.terminate()
        _, log = process.communicate(timeout=20)
        assert process.returncode == 0, log


def test_it_installs_and_runs(chroot):
    chroot.install(DEB)
    assert installed(chroot) == f"installed {VERSION}"
    assert chroot.run("copyledger", "--version") == f"copyledger {VERSION}\n"
    assert chroot.run("copyledgerd", "--version") == f"copyledgerd {VERSION}\n"
    assert re.fullmatch(r"copyledger:x:\d+:", chroot.run("getent", "group", "copyledger").strip())
    user = chroot.run("getent", "passwd", "copyledger").strip().split(":")
    assert user[5:] == [f"/{STATE}", "/usr/sbin/nologin"] and int(user[2]) < 1000
    assert chroot.path(WANTED).is_symlink(), "the socket listens from the next boot on"
    assert not chroot.path("etc/systemd/system/multi-user.target.wants/copyledgerd.service").is_symlink(), "it starts the service"
    assert not list(chroot.path("etc/sysctl.d").glob("*copyledger*"))
    assert (chroot.path("usr/share/copyledger/sysctl/60-copyledger-perf.conf").read_text()
            == (TOP / "packaging/60-copyledger-perf.conf").read_text())
    chroot.run("copyledgerd", "--check-config", "--config", f"/{CONFIG}")
    probe, listed, info = with_daemon(chroot, ["probe"], ["list"], ["info"])
    assert "tx_copy" in probe and listed == "no runs\n" and f"copyledgerd {VERSION}" in info


def test_an_upgrade_keeps_what_the_administrator_set(chroot, older):
    chroot.install(older)
    assert installed(chroot) == f"installed {VERSION}~test"
    config = chroot.path(CONFIG)
    config.write_text(config.read_text() + "threads_max = 7\n")
    chroot.path(WANTED).unlink()
    with_daemon(chroot, ["list"])
    kept = {p.name for p in chroot.path(STATE).iterdir()}
    assert kept
    chroot.install(DEB)
    assert installed(chroot) == f"installed {VERSION}"
    assert config.read_text().endswith("threads_max = 7\n")
    assert {p.name for p in chroot.path(STATE).iterdir()} == kept
    assert not chroot.path(WANTED).is_symlink(), "a socket that was disabled stays so"
    (info,) = with_daemon(chroot, ["info"])
    assert re.search(r"threads_max\s+7$", info, re.M), "the new daemon reads the old file"


def test_removed_it_keeps_results_and_purged_it_leaves_nothing(chroot, older):
    before = chroot.files()
    chroot.install(older)
    chroot.install(DEB)
    with_daemon(chroot, ["list"])
    chroot.run("apt-get", "-y", "remove", "copyledger")
    assert installed(chroot).startswith("config-files")
    assert list(chroot.path(STATE).iterdir()) and chroot.path(CONFIG).exists()
    assert not chroot.path("usr/sbin/copyledgerd").exists() and not chroot.path("lib/systemd/system/copyledgerd.socket").exists()
    chroot.run("apt-get", "-y", "purge", "copyledger")
    after = chroot.files()
    assert sorted(after.keys() - before.keys()) == [] and sorted(before.keys() - after.keys()) == []
    assert [key for key in before if before[key] != after[key]] == []
    left = [line.split(":")[0] for name in ("passwd", "group") for line in chroot.path(f"etc/{name}").read_text().splitlines()
            if "copyledger" in line]
    assert left == ["copyledger", "copyledger"], "its user and group alone: an id that files may have is not given away"


# ---- under systemd ----

# Each step is a name and a command; its output and exit status go into a file of that name.
LIFE = {
    "install": "apt-get -y install /srv/older.deb",
    "states": "systemctl is-active copyledgerd.socket copyledgerd.service; systemctl is-enabled copyledgerd.socket copyledgerd.service",
    "first": "copyledger list",
    "started": "systemctl is-active copyledgerd.service; systemctl show -P MainPID copyledgerd.service",
    "run": "copyledger run --mode one-copy --path veth --duration 100ms --warmup 0 --json",
    "reload": "echo threads_max = 7 >>/etc/copyledger/copyledgerd.conf; systemctl reload copyledgerd && copyledger info",
    "bad": "echo x >>/etc/copyledger/copyledgerd.conf; systemctl reload copyledgerd",
    "kept": "sed -i '$d' /etc/copyledger/copyledgerd.conf; copyledger info",
    "upgrade": "apt-get -y -o Dpkg::Options::=--force-confold install /srv/package.deb",
    "restarted": "systemctl is-active copyledgerd.service; systemctl show -P MainPID copyledgerd.service; copyledger list",
    "idle": "systemctl stop copyledgerd.service; dpkg -i /srv/package.deb; systemctl is-active copyledgerd.service",
    "again": "copyledger list",
    "remove": "apt-get -y remove copyledger; systemctl is-active copyledgerd.socket copyledgerd.service; ls /var/lib/copyledger",
    "purge": "apt-get -y purge copyledger",
    "left": "find / -xdev -name '*copyledger*' -not -path '/srv/*'; cat /proc/[0-9]*/comm | grep copyledger",
    "failed": "systemctl --failed --no-legend",
}
UNIT = """[Unit]
After=dbus.service
[Service]
Type=oneshot
ExecStart=/bin/bash /srv/life
"""


@pytest.fixture(scope="module")
def life(older):
    """What the steps said, in a container that systemd runs: name: (status, text)."""
    if not shutil.which("systemd-nspawn"):
        pytest.skip("no systemd-nspawn (package systemd-container)")
    container = ["systemd-nspawn", "--quiet", "--register=no", "--keep-unit", "--link-journal=no", "--capability=all",
                 "--system-call-filter=bpf perf_event_open"]
    with tempfile.TemporaryDirectory(prefix="copyledger-container.") as folder:
        run("tar", "-C", folder, "-xf", debian(*dependencies("systemd"), "systemd-sysv", "dbus"))
        tried = subprocess.run([*container, "-D", folder, "true"], capture_output=True, text=True, timeout=60,
                               stdin=subprocess.DEVNULL)
        if tried.returncode != 0:
            pytest.skip(f"systemd-nspawn does not go here: {tried.stderr.strip()[-200:]}")
        srv, units = Path(folder, "srv"), Path(folder, "etc/systemd/system")
        shutil.copy(older, srv / "older.deb")
        shutil.copy(DEB, srv / "package.deb")
        (srv / "life").write_text("export DEBIAN_FRONTEND=noninteractive\n" + "".join(
            f"{{ {command}; }} >/srv/said.{name} 2>&1; echo $? >/srv/status.{name}\n" for name, command in LIFE.items())
            + "systemctl poweroff\n")
        (units / "life.service").write_text(UNIT)
        (units / "multi-user.target.wants").mkdir(exist_ok=True)
        (units / "multi-user.target.wants/life.service").symlink_to("../life.service")
        done = subprocess.run([*container, "-D", folder, "--boot"], capture_output=True, text=True, timeout=300, errors="replace",
                              stdin=subprocess.DEVNULL)
        assert (srv / "status.failed").exists(), done.stdout[-2000:] + done.stderr[-2000:]
        return {name: (int((srv / f"status.{name}").read_text()), (srv / f"said.{name}").read_text()) for name in LIFE}


def test_the_socket_listens_and_starts_the_daemon(life):
    assert life["install"][0] == 0, life["install"]
    assert life["states"][1].split() == ["active", "inactive", "enabled", "disabled"]
    assert life["first"] == (0, "no runs\n") and life["started"][1].startswith("active\n")


def test_the_service_measures(life):
    status, text = life["run"]
    assert status == 0, text
    result = json.loads(text)
    assert result["state"] == "done" and result["ledger"]["balanced"] and result["app"]["bytes_received"] > 0


def test_a_reload_takes_the_new_configuration_and_no_bad_one(life):
    assert life["reload"][0] == 0 and re.search(r"threads_max\s+7$", life["reload"][1], re.M), life["reload"]
    assert life["bad"][0] != 0 and re.search(r"threads_max\s+7$", life["kept"][1], re.M), life["kept"]


def test_an_upgrade_starts_the_new_daemon_if_one_ran(life):
    assert life["upgrade"][0] == 0, life["upgrade"]
    active, pid, *listed = life["restarted"][1].splitlines()
    assert active == "active" and pid not in ("0", life["started"][1].split()[1]) and "done" in " ".join(listed)
    assert life["idle"][1].endswith("\ninactive\n"), life["idle"]
    assert life["again"][0] == 0 and "done" in life["again"][1]


def test_removal_stops_both(life):
    assert life["remove"][1].endswith("\ninactive\ninactive\ncopyledger.db\n"), life["remove"]
    assert life["purge"][0] == 0 and life["left"][1] == ""
    assert life["failed"] == (0, "")
