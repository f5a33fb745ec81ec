# SPDX-License-Identifier: MIT
"""What grows with numbers other than lanes: a store of many results, a watch of many sockets."""
import os
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

from contenders import Failed, process, start_daemon

RESULTS = 100_000
SOCKETS = 10_000
WATCH_MS, INTERVAL_MS = 5000, 500
REPEATS = 5
DAY = 86400
# What is asked of the full store: a name, and the command's words; RUN is a run in the middle of it.
QUESTIONS = (("list, the newest 100", ("list",)), ("list, the newest 1,000", ("list", "--limit", "1000")),
             ("list by mode", ("list", "--mode", "two-copy")), ("list by label", ("list", "--label", "label-7")),
             ("list by state, none", ("list", "--state", "failed")), ("show one", ("show", "RUN")),
             ("export one as CSV", ("export", "--csv", "RUN")), ("export 100 as CSV", ("export", "--csv", "label:label-7")),
             ("info", ("info",)))


# ---- a store of many results ----

def copies_of(row, n):
    """n rows like this one, a second apart, each with an id, a time and a label of its own; modes by turns."""
    for i in range(n):
        begin = row["started"] // 10**9 - 1 - i
        run = time.strftime("%Y%m%d-%H%M%S-", time.gmtime(begin)) + f"{i & 0xffff:04x}"
        yield {**row, "id": run, "started": begin * 10**9, "ended": begin * 10**9 + 10**8, "label": f"label-{i % 1000}",
               "mode": ("one-copy", "two-copy")[i % 2], "document": row["document"].replace(row["id"], run)}


def fill(path, n):
    """Repeats the only result of a store; returns a run in the middle, and the bytes of a document."""
    with sqlite3.connect(path) as db:
        db.row_factory = sqlite3.Row
        row = dict(db.execute("SELECT * FROM runs").fetchone())
        names = ", ".join(f":{name}" for name in row)
        db.executemany(f"INSERT INTO runs VALUES({names})", copies_of(row, n))
    db.close()
    return next(c for i, c in enumerate(copies_of(row, n)) if i == n // 2)["id"], len(row["document"])


def milliseconds(daemon, words):
    begin = time.monotonic()
    done = daemon.cli(*words)
    if done.returncode:
        raise Failed(f"copyledger {words[0]}: {done.stderr.strip()}")
    return 1e3 * (time.monotonic() - begin)


def store(_env, folder, results=RESULTS):
    """Times in ms of what is asked of a store with so many results, and what it takes."""
    room = os.statvfs(folder)
    daemon = start_daemon(folder)
    try:
        daemon.run(mode="one-copy", warmup_ms=0, duration_ms=20)
        daemon.stop()
        path = next(p for p in daemon.state.iterdir() if p.suffix == ".db")
        with sqlite3.connect(path) as db:
            size = db.execute("SELECT length(document) FROM runs").fetchone()[0]
        if room.f_bavail * room.f_frsize < 3 * size * results:
            return {"reason": f"{results} results of {size} bytes have no room below {folder}"}
        run, size = fill(path, results)
        daemon.start()
        times = {name: [milliseconds(daemon, [run if w == "RUN" else w for w in words]) for _ in range(REPEATS)]
                 for name, words in QUESTIONS}
        return {"results": daemon.call("GetInfo")["parameters"]["stored"], "document_bytes": size, "ms": times,
                "file_bytes": path.stat().st_size, "rss_mib": daemon.memory() / 2**20}
    except (Failed, StopIteration, sqlite3.Error) as e:
        return {"reason": str(e)}
    finally:
        daemon.stop()


# ---- a watch of many sockets ----

def watch(_env, folder, sockets=SOCKETS):
    """How regular a watch of so many sockets replies, what it holds, and what it costs."""
    seconds = WATCH_MS / 1000 + 30
    daemon = start_daemon(folder)
    command = [sys.executable, "-B", Path(__file__).with_name("talk.py"), sockets, seconds]
    try:
        daemon.call("Probe")
        with process(command, stdout=subprocess.PIPE, text=True) as child:
            if child.stdout.readline() != "ready\n":
                raise Failed(f"{sockets} sockets could not be made")
            before, begin, gaps, last = daemon.memory(), time.monotonic(), [], None
            with daemon.connect() as v:
                for reply in v.stream("Watch", {"pid": child.pid, "by": "socket", "interval_ms": INTERVAL_MS,
                                                "duration_ms": WATCH_MS, "top": 20}):
                    if "error" in reply:
                        raise Failed(f"watch: {reply}")
                    gaps.append(1e3 * (time.monotonic() - begin))
                    begin, last = time.monotonic(), reply["parameters"]["watch"]
        return {"sockets": last["sockets"]["seen"], "gap_ms": gaps[1:], "interval_ms": INTERVAL_MS,
                "daemon_bytes": daemon.memory() - before,
                **{name: last[name] for name in ("hook_share", "map_bytes_max", "socket_bytes")}}
    except Failed as e:
        return {"reason": str(e)}
    finally:
        daemon.stop()
