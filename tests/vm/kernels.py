#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Makes the table of kernels from what the guests of `make vm` saw, and compares it with the document that is kept.

kernels.py SEEN DOCUMENT ROW...   writes SEEN/kernels.md from SEEN/ROW/facts; exits 1, with a line for each difference, if
                                  DOCUMENT says otherwise
kernels.py --update SEEN DOCUMENT writes the document; what was not seen stays as it was

A fact is a line "table|key|...|cell". What changes with the archive (a kernel's release) is in no cell that is compared.
A row is whatever the archive has: once that is of another series than the document's, differences are notes.
"""
import pathlib
import re
import sys

ROWS = ("6.1", "6.12", "newest")
TABLES = {
    "site": (("site",), "Sites, with evidence and hook",
             "What each site of the ledger rests on, as `copyledger probe` says."),
    "run": (("path", "mode", "receive"), "Paths, modes, copies per byte",
            "Copies of each delivered byte, less those of bytes that were sent again; after it, of modes that pin, the "
            "verdict; and the cause of copies that nobody asked for. Every equation that is served held, difference 0. Where "
            "a figure has one digit it is that: a byte can be copied on its way out more than once."),
}
PATHS = """`wire`: two e1000 NICs joined outside of the machine, one in each network namespace. `tap`: the same, while tcpdump
captures at the sender. `veth-no-sg`: a veth pair with scatter-gather switched off. `virtio`: two virtio NICs on a hub,
without offloads. All are Debian's own kernels in a VM, and one build of copyledger."""
HEAD = """# Kernels

Written by `make vm-doc` from what `make vm` saw; `make vm` fails when it sees something else.
"""
KERNEL = re.compile(r"^- `(\S+)`: (\d+\.\d+)(\S*), (.*)$")
TITLE = re.compile(r"^## (.*)$")


def read_facts(path):
    """(release and the like, or None; {(table, key...): cell}); keys whose cell was not always the same."""
    kernel, cells, torn = None, {}, []
    for line in path.read_text().splitlines() if path.exists() else ():
        table, *key, cell = line.split("|")
        if table == "kernel":
            kernel = (*re.match(r"(\d+\.\d+)(.*)", key[0]).groups(), cell)
        elif table in TABLES and cells.setdefault((table, *key), cell) != cell:
            torn.append(f"{' '.join(key)}: once {cells[table, *key]}, once {cell}")
    return kernel, cells, torn


def read_document(text):
    """({row: kernel}, {row: cells}) of a document of render()."""
    kernels, cells, table, rows = {}, {row: {} for row in ROWS}, None, ()
    titles = {title: (name, len(keys)) for name, (keys, title, _) in TABLES.items()}
    for line in text.splitlines():
        if match := KERNEL.match(line):
            kernels[match[1]] = match.groups()[1:]
        elif match := TITLE.match(line):
            table, rows = titles.get(match[1]), ()
        elif table and line.startswith("| ") and not line.startswith("| ---"):
            fields = [field.strip() for field in line.strip("|").split("|")]
            name, keys = table
            if not rows:
                rows = fields[keys:]
                continue
            for row, cell in zip(rows, fields[keys:]):
                if cell != "–":
                    cells[row][(name, *fields[:keys])] = cell
    return kernels, cells


def table_lines(name, cells):
    keys, title, text = TABLES[name]
    order = dict.fromkeys(key for row in ROWS for key in cells[row] if key[0] == name)
    yield from ("", f"## {title}", "", text, "", "| " + " | ".join((*keys, *ROWS)) + " |",
                "| " + " | ".join(["---"] * (len(keys) + len(ROWS))) + " |")
    for key in order:
        yield "| " + " | ".join((*key[1:], *(cells[row].get(key, "–") for row in ROWS))) + " |"


def render(kernels, cells):
    lines = [HEAD]
    lines += [f"- `{row}`: {series}{rest}, {what}" for row, (series, rest, what) in kernels.items()]
    lines += ["", PATHS]
    for name in TABLES:
        lines += table_lines(name, cells)
    return "\n".join(lines) + "\n"


def differences(seen, kept):
    """Of one kernel. A fact that was not seen is none: its check has failed or was skipped, and says so."""
    for key, cell in seen.items():
        if kept.get(key) != cell:
            yield f"{' '.join(key[1:])}: {cell}; the document says {kept.get(key, 'nothing')}"


def update(seen, document):
    kernels, cells = read_document(document.read_text()) if document.exists() else read_document("")
    for row in ROWS:
        kernel, facts, _ = read_facts(seen / row / "facts")
        if kernel and row in kernels and kernel[0] != kernels[row][0]:
            cells[row] = {}
        if kernel:
            kernels[row] = kernel
        cells[row].update(facts)
    document.write_text(render({row: kernels[row] for row in ROWS if row in kernels}, cells))


def main(arguments):
    if arguments[0] == "--update":
        update(pathlib.Path(arguments[1]), pathlib.Path(arguments[2]))
        return 0
    seen, document, rows = pathlib.Path(arguments[0]), pathlib.Path(arguments[1]), arguments[2:]
    kept_kernels, kept = read_document(document.read_text() if document.exists() else "")
    kernels, cells, failures = {}, {row: {} for row in ROWS}, 0
    for row in ROWS:
        if row not in rows:
            continue
        kernel, cells[row], torn = read_facts(seen / row / "facts")
        if not kernel:
            print(f"{row}: nothing was seen")
            continue
        kernels[row] = kernel
        moved = row in kept_kernels and kernel[0] != kept_kernels[row][0]
        if moved:
            print(f"{row} is now {kernel[0]}, the document's is {kept_kernels[row][0]}: what differs is a note")
        for line in torn:
            print(f"{row}: {line}")
            failures += 1
        for line in differences(cells[row], kept[row]):
            print(f"{row}: {line}")
            failures += not moved
    (seen / "kernels.md").write_text(render(kernels, cells))
    if failures:
        print("if that is right: make vm-doc")
    return failures > 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
