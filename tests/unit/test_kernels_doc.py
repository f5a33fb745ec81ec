# SPDX-License-Identifier: MIT
"""The table of kernels: what guests saw becomes the document, and what differs from it is named, or only noted."""
import subprocess
from pathlib import Path

import pytest

TOOL = Path(__file__).parent.parent / "vm" / "kernels.py"
SITE = "site|tx_pin|observed: fexit/a, fexit/b\n"
RUN = "run|veth|zero-copy|recv|2.00 copied: looped to a local socket\n"


class Seen:
    def __init__(self, path):
        self.path, self.document = path / "seen", path / "kernels.md"

    def saw(self, row, release, facts):
        (self.path / row).mkdir(parents=True, exist_ok=True)
        (self.path / row / "facts").write_text(f"kernel|{release}|preemption full\n{facts}")

    def tool(self, *arguments):
        return subprocess.run([TOOL, *arguments], capture_output=True, text=True, timeout=60)

    def update(self):
        done = self.tool("--update", self.path, self.document)
        assert done.returncode == 0, done.stderr
        return self.document.read_text()

    def compare(self, *rows):
        return self.tool(self.path, self.document, *rows)


@pytest.fixture
def seen(tmp_path):
    s = Seen(tmp_path)
    s.saw("6.1", "6.1.0-56-amd64", SITE)
    s.saw("newest", "7.3.4+deb13-amd64", SITE + RUN)
    s.update()
    return s


def test_what_was_seen_is_the_document(seen):
    text = seen.document.read_text()
    assert "| tx_pin | observed: fexit/a, fexit/b | – | observed: fexit/a, fexit/b |" in text
    assert "| veth | zero-copy | recv | – | – | 2.00 copied: looped to a local socket |" in text
    assert "- `newest`: 7.3.4+deb13-amd64, preemption full" in text
    done = seen.compare("6.1", "newest")
    assert (done.returncode, done.stdout) == (0, ""), done.stdout
    assert (seen.path / "kernels.md").read_text() == text


def test_a_release_is_not_compared(seen):
    seen.saw("6.1", "6.1.0-99-amd64", SITE)
    done = seen.compare("6.1")
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize("row, release, facts, line", [
    ("6.1", "6.1.0-56-amd64", SITE.replace("observed", "derived"), "6.1: tx_pin: derived: fexit/a, fexit/b; the document says"),
    ("6.1", "6.1.0-56-amd64", SITE + RUN, "the document says nothing"),
    ("6.1", "6.1.0-56-amd64", SITE + SITE.replace("/b", "/c"), "6.1: tx_pin: once"),
    ("newest", "7.3.9", SITE + RUN.replace("2.00", "1.00"), "newest: veth zero-copy recv: 1.00"),
])
def test_what_differs_is_named(seen, row, release, facts, line):
    seen.saw(row, release, facts)
    done = seen.compare(row)
    assert done.returncode == 1 and line in done.stdout and "make vm-doc" in done.stdout, done.stdout


def test_another_newest_kernel_is_a_note(seen):
    seen.saw("newest", "8.0.1", SITE.replace("observed", "derived"))
    done = seen.compare("newest")
    assert done.returncode == 0 and "newest is now 8.0" in done.stdout and "newest: tx_pin: derived" in done.stdout
    text = seen.update()
    assert "derived" in text and "2.00" not in text  # the old one's facts are not the new one's


def test_what_was_not_seen_stays(seen):
    """A run that was skipped, or a kernel that could not be had: its check says so, the document keeps what it knew."""
    seen.saw("newest", "7.3.4+deb13-amd64", SITE)
    done = seen.compare("6.1", "6.12", "newest")
    assert done.returncode == 0 and done.stdout == "6.12: nothing was seen\n", done.stdout
    assert "| veth | zero-copy | recv | – | – | 2.00 copied: looped to a local socket |" in seen.update()
