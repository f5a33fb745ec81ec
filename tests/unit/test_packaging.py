# SPDX-License-Identifier: MIT
"""What the Debian package says must agree with what the tree says."""
import re
import subprocess

from support import BUILD, TOP

CONTROL = (TOP / "debian/control").read_text()


def names(relations):
    return {re.match(r"[\w.+-]+", relation.strip())[0] for relation in relations.split(",") if relation.strip()}


def test_one_version():
    (made,) = re.findall(r"^VERSION := (\S+)$", (TOP / "Makefile").read_text(), re.M)
    changelog = re.match(r"copyledger \((\S+)\) \w+; urgency=\w+\n", (TOP / "debian/changelog").read_text())[1]
    assert changelog == made
    for program in ("copyledger", "copyledgerd"):
        done = subprocess.run([BUILD / program, "--version"], capture_output=True, text=True, timeout=20)
        assert done.stdout == f"{program} {made}\n"


def test_what_the_package_is_built_with_is_what_make_deb_installs():
    (relations,) = re.findall(r"^Build-Depends: (.*?)\n(?=\S|\n)", CONTROL, re.M | re.S)
    sets = dict(re.findall(r'^\t\[([\w-]+)\]="([^"]*)"', (TOP / "tools/deps.sh").read_text(), re.M))
    wanted = {"debhelper" if name.startswith(("dh-sequence-", "debhelper-")) else name for name in names(relations)}
    assert wanted <= set(sets["build"].split()) | set(sets["deb"].split())
    # the compiler and make are in every build
    assert set(sets["build"].split()) - wanted <= {"gcc", "make", "llvm"}
