# SPDX-License-Identifier: MIT
"""The manual pages: formatters find no fault in them, and all that the programs and the interface offer is in them."""
import os
import re
import shutil
import subprocess

import pytest

from contract import CONTRACT
from support import BUILD, TOP

PAGES = sorted(p.name.removesuffix(".scd") for p in (TOP / "doc/man").glob("*.scd"))
COMMANDS = re.findall(r"^  ([a-z]+) +\S", subprocess.run([BUILD / "copyledger", "--help"], capture_output=True, text=True).stdout, re.M)
LINTERS = {
    "mandoc": ["mandoc", "-T", "lint", "-W", "warning"],
    "groff": ["groff", "-ww", "-z", "-man", "-T", "utf8"],
    "man": ["man", "--warnings", "-E", "UTF-8", "-l", "-Tutf8", "-Z"],
}


def run(*command, **kwargs):
    return subprocess.run([str(c) for c in command], capture_output=True, text=True, timeout=60, **kwargs)


def page(name):
    """The page as it is read, in lines so long that few are continued."""
    if not shutil.which("mandoc"):
        pytest.skip("no mandoc (package mandoc)")
    done = run("mandoc", "-T", "utf8", "-O", "width=1000", BUILD / "man" / name)
    assert done.returncode == 0 and done.stdout, done
    text, _, _footer = re.sub(r".\x08", "", done.stdout).rstrip().rpartition("\n")
    return text


def flat(text):
    return " ".join(text.split())


def section(text, title, indent=""):
    """From the heading to the next one of its kind."""
    (found,) = re.findall(rf"^{indent}{title}\n(.*?)(?=^{indent}\S|\Z)", text, re.M | re.S)
    return found


def options_in_help(*command):
    """(names and argument, text) of each option, in this test's own reading of the help."""
    text = run(*command, "--help").stdout
    text = re.sub(r"\n {10,}(?=[^-\s])", " ", text)
    found = [(flat(names), flat(meaning)) for names, meaning in re.findall(r"^ +(-.*?)  +(\S.*)$", text, re.M)]
    assert len(found) == len(re.findall(r"^ +(?:-\w, )?--", text, re.M)) > 0
    return found


@pytest.mark.parametrize("linter", LINTERS)
@pytest.mark.parametrize("name", PAGES)
def test_formatters_find_no_fault(name, linter):
    if not shutil.which(linter):
        pytest.skip(f"no {linter}")
    done = run(*LINTERS[linter], BUILD / "man" / name, env={**os.environ, "LC_ALL": "C.UTF-8", "MANWIDTH": "80"})
    assert done.returncode == 0 and not done.stderr and (linter == "man" or not done.stdout), done.stdout[:999] + done.stderr


@pytest.mark.parametrize("name", PAGES)
def test_each_page_has_its_parts(name):
    text = page(name)
    stem, _, number = name.rpartition(".")
    assert text.startswith(f"{stem}({number})")
    for title in ("NAME", "DESCRIPTION", "FILES", "EXAMPLES", "SEE ALSO"):
        assert section(text, title).strip()
    assert re.fullmatch(rf"{re.escape(stem)} (-|–) \S.*\S", section(text, "NAME").strip())
    others = set(re.findall(r"[\w.-]+\(\d\)", section(text, "SEE ALSO")))
    assert {f"{o.rpartition('.')[0]}({o[-1]})" for o in PAGES} - others == {f"{stem}({number})"}
    assert not re.search(r"^ *@\w+@", text, re.M)


@pytest.mark.parametrize("command", COMMANDS)
def test_each_option_of_each_command_is_there(command):
    text = page("copyledger.1")
    own, common = flat(section(section(text, "COMMANDS"), command, "   ")), flat(section(text, "OPTIONS"))
    everywhere = options_in_help(BUILD / "copyledger")
    for names, meaning in options_in_help(BUILD / "copyledger", command):
        assert f"{names} {meaning}" in (common if (names, meaning) in everywhere else own)
    help_text = flat(run(BUILD / "copyledger", command, "--help").stdout)
    usage, summary = re.match(rf"Usage: (copyledger {command} \S+(?: \[?[A-Z]+\]?)*) (.)", help_text).groups()
    assert own.startswith(f"{usage} {summary.upper()}")


def test_each_command_is_there():
    assert len(COMMANDS) > 10
    assert re.findall(r"^   (\S+)$", section(page("copyledger.1"), "COMMANDS"), re.M) == COMMANDS


def test_each_option_of_the_daemon_is_there():
    text = flat(section(page("copyledgerd.8"), "OPTIONS"))
    found = options_in_help(BUILD / "copyledgerd")
    assert len(found) >= 8
    for names, meaning in found:
        assert f"{names} {meaning}" in text


def test_each_setting_is_there_with_its_bounds_and_default():
    text = section(page("copyledgerd.conf.5"), "SETTINGS")
    printed = run(BUILD / "copyledgerd", "--print-config").stdout
    blocks = re.findall(r"((?:^# .*\n)+)#(\w+) = (\d+)$", printed, re.M)
    assert len(blocks) == len(re.findall(r"^#\w+ =", printed, re.M)) == len(re.findall(r"^ +\w+ = number$", text, re.M)) > 10
    for comment, name, default in blocks:
        assert f"{name} = number {flat(comment.replace('#', ''))} Default: {default}." in flat(text)


def described(kind):
    return section(page("io.copyledger.7"), {"method": "METHODS", "type": "TYPES", "error": "ERRORS"}[kind])


def members(struct):
    for name, kind in struct.items():
        prefix = ""
        while isinstance(kind, tuple):
            prefix += {"maybe": "?", "array": "[]", "map": "[string]"}[kind[0]]
            kind = kind[1]
        yield f"{name}: {prefix}{kind}"


@pytest.mark.parametrize("kind", ["method", "type", "error"])
def test_the_interface_is_there_whole(kind):
    text = described(kind)
    assert re.findall(r"^   (\S+)$", text, re.M) == list(CONTRACT[kind])
    for name, value in CONTRACT[kind].items():
        own = flat(section(text, name, "   "))
        structs = value if kind == "method" else (value,)
        assert f"{kind} {name}" + " -> ".join(f"({', '.join(members(s))})" for s in structs) in own.replace(f"{name} (", f"{name}(")


def test_each_comment_of_the_interface_is_there():
    """Word by word, whatever paragraphs they have become."""
    text = (TOP / "schemas/io.copyledger.varlink").read_text()
    shown = sorted(re.findall(r"[\w-]+", page("io.copyledger.7")))
    for word in set(re.findall(r"[\w-]+", " ".join(re.findall(r"^# *(.*)$", text, re.M)))):
        assert word in shown, word


@pytest.mark.parametrize("source, words", [("# A\n\n@nothing@\n", ["there is no '@nothing@'", "@methods@"])])
def test_a_part_that_nobody_makes_is_refused(tmp_path, source, words):
    (tmp_path / "a.1.scd").write_text("a(1)\n\n" + source)
    done = run(TOP / "tools/manpage", tmp_path / "a.1.scd", BUILD)
    assert done.returncode == 1 and not done.stdout
    assert all(word in done.stderr for word in words), done.stderr


def test_programs_that_are_not_built_are_named(tmp_path):
    done = run(TOP / "tools/manpage", TOP / "doc/man/copyledgerd.8.scd", tmp_path)
    assert done.returncode == 1 and str(tmp_path / "copyledgerd") in done.stderr
