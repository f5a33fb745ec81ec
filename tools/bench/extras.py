# SPDX-License-Identifier: MIT
"""What is no throughput: how fast a run starts, what an idle daemon costs, how cost grows with lanes, and what the hooks are."""
import contextlib
import ctypes
import json
import os
import platform
import subprocess
import time
from pathlib import Path

from contenders import Failed, run_document, spec_of, start_daemon, until
from support import BUILD, loaded_programs

LANES = (1, 4, 16, 64, 256, 1000)
SCALE_ROUNDS = 5
# Of 1,000 lanes on two CPUs each has its turn every 1.5 s or so: all of them had one before, and have one or two in the window.
SCALE_SECONDS, SCALE_WARMUP = 3, 2
STARTS = 7
IDLE_SECONDS = 3
TABLE = Path(__file__).parent / "programs.json"
PROGRAM_RUNS = (("one-copy", 64), ("one-copy", 65536), ("zero-copy", 65536))


# ---- bar 5 ----

def first_byte_ms(env):
    """From asking for a run to the word that it measures, as a client sees it: bytes that it counts move from then on."""
    spec = {**spec_of(env, "one-copy", 65536, 1), "warmup_ms": 0, "duration_ms": 100}
    begin, seen = time.monotonic(), None
    with env.daemon.connect() as v:
        started = v.call("StartRun", {"spec": spec})
        if "error" in started:
            raise Failed(f"copyledger: {started['error']}")
        for reply in v.stream("FollowRun", {"id": started["parameters"]["id"]}):
            progress = (reply or {}).get("parameters", {}).get("progress") or {}
            if progress.get("state") == "measuring":
                seen = seen or time.monotonic()
    if not seen:
        raise Failed("copyledger: no reply said that it was measuring")
    return 1e3 * (seen - begin)


def probe_ms(env):
    begin = time.monotonic()
    done = env.daemon.cli("probe")
    if done.returncode:
        raise Failed("copyledger probe: " + done.stderr.strip())
    return 1e3 * (time.monotonic() - begin)


def idle_ticks(daemon):
    """Of CPU time that the daemon used in IDLE_SECONDS without a client."""
    def used():
        return sum(map(int, Path(f"/proc/{daemon.process.pid}/stat").read_text().rpartition(")")[2].split()[11:13]))
    before = used()
    time.sleep(IDLE_SECONDS)
    return used() - before


def with_fresh(env, folder, takes):
    """Takes each figure in turn from a daemon that was started for it, and has been asked nothing but whether it answers."""
    daemon = start_daemon(folder)
    try:
        return [take(env._replace(daemon=daemon)) for take in takes]
    finally:
        daemon.stop()


def idle_figures(env, folder):
    """What a daemon uses that is asked nothing: before its first run, and after some."""
    ticks, memory = [], []
    daemon = start_daemon(folder)
    try:
        for _ in range(2):
            ticks.append(idle_ticks(daemon))
            memory.append(daemon.memory() / 2 ** 20)
            for _ in range(3):
                own = env._replace(daemon=daemon, seconds=1, warmup=0)
                run_document(own, spec_of(own, "one-copy", 65536, 4))
    finally:
        daemon.stop()
    return {"idle_ticks": ticks, "idle_rss_mib": memory}


def start_figures(env, folder):
    """Lists of values, a key a bar."""
    found, reasons = {"probe_ms": [], "first_run_ms": [], "first_byte_ms": []}, {}
    rows = ((("probe_ms",), (probe_ms,)), (("first_run_ms", "first_byte_ms"), (first_byte_ms, first_byte_ms)))
    for keys, takes in rows * STARTS:
        try:
            for key, value in zip(keys, with_fresh(env, folder, takes)):
                found[key].append(value)
        except Failed as e:
            reasons |= dict.fromkeys(keys, str(e))
    try:
        found |= idle_figures(env, folder)
    except Failed as e:
        reasons |= dict.fromkeys(("idle_ticks", "idle_rss_mib"), str(e))
    return {**found, "reasons": reasons, "idle_seconds": IDLE_SECONDS}


# ---- bar 4 ----

def peak_memory(daemon):
    """The most that was ever resident, in bytes: a run's books are gone when its result is there."""
    status = Path(f"/proc/{daemon.process.pid}/status").read_text()
    return 1024 * int(status.partition("VmHWM:")[2].split()[0])


def scale_sample(env, lanes):
    result = run_document(env, spec_of(env, "one-copy", 1024, lanes, perf=True))
    clocks = [result["perf"][side]["task_clock_ns"]["value"] for side in ("sender", "receiver")]
    if None in clocks or not result["app"]["messages"]:
        raise Failed("no CPU time, or no message")
    return {"ns_per_message": sum(clocks) / result["app"]["messages"], "gbps": result["app"]["throughput_gbps"],
            "result_bytes": len(json.dumps(result, separators=(",", ":"))), "daemon_bytes": peak_memory(env.daemon)}


def scale(env, folder, lanes=LANES, rounds=SCALE_ROUNDS):
    """Rounds of {lanes: figures}, up and down in turns; a daemon of its own each round, whose memory has seen no more lanes."""
    found, failures = [], []
    for i in range(rounds):
        found.append({})
        for n in lanes if i % 2 == 0 else lanes[::-1]:
            daemon = start_daemon(folder)
            try:
                found[-1][str(n)] = scale_sample(env._replace(daemon=daemon, seconds=SCALE_SECONDS, warmup=SCALE_WARMUP), n)
            except Failed as e:
                failures.append(f"{n} lanes: {e}")
            finally:
                daemon.stop()
    return {"lanes": list(lanes), "rounds": found, "failures": failures, "size": 1024, "mode": "one-copy"}


# ---- the loaded programs ----

@contextlib.contextmanager
def program_times():
    """The kernel measures programs for the block's time; afterwards it is as it was, also if this process is killed."""
    number = {"x86_64": 321, "aarch64": 280}.get(platform.machine(), -1)
    attributes = ctypes.create_string_buffer(4)  # BPF_STATS_RUN_TIME is 0
    fd = ctypes.CDLL(None, use_errno=True).syscall(number, 32, attributes, 4)  # BPF_ENABLE_STATS
    try:
        yield fd >= 0
    finally:
        if fd >= 0:
            os.close(fd)


def is_measuring(daemon, run_id):
    with daemon.connect() as v:
        return v.call("GetRun", {"id": run_id})["parameters"]["state"] in ("measuring", "closing", "done", "failed") or None


def programs_of(env, mode, size):
    """({name: {instructions, verified, jited, runs, ns}}, tier) at the end of a run's window, or nearly."""
    with env.daemon.connect() as v:
        started = v.call("StartRun", {"spec": spec_of(env, mode, size, 1)})
        if "error" in started:
            raise Failed(f"copyledger: {started['error']}")
        run_id = started["parameters"]["id"]
        until(lambda: is_measuring(env.daemon, run_id), 20)
        time.sleep(0.7 * env.seconds)
        held, loaded = env.daemon.programs(), loaded_programs()
        result = v.call("FollowRun", {"id": run_id})["parameters"]["result"]
    if result["state"] != "done" or not result["ledger"]:
        raise Failed("copyledger: a run without a ledger")
    found = {p["name"]: {"instructions": p["bytes_xlated"] // 8, "verified": p.get("verified_insns"), "jited": p["bytes_jited"],
                         "runs": p.get("run_cnt", 0), "ns": p.get("run_time_ns", 0)}
             for i, p in loaded.items() if i in held}
    return found, result["ledger"]["tier"]


def programs(env):
    """Instructions of each program, and its mean time in each of the runs; None where it did not run."""
    rows, tier = {}, None
    try:
        with program_times() as timed:
            for mode, size in PROGRAM_RUNS:
                found, tier = programs_of(env, mode, size)
                for name, p in found.items():
                    entry = rows.setdefault(name, {k: p[k] for k in ("instructions", "verified", "jited")} | {"ns": {}})
                    entry["ns"][f"{mode} {size}"] = round(p["ns"] / p["runs"], 1) if timed and p["runs"] else None
    except (Failed, subprocess.CalledProcessError, OSError) as e:
        return {"reason": str(e)}
    series = ".".join(platform.release().split(".")[:2])
    return {"key": f"{series} {tier}", "programs": dict(sorted(rows.items()))}


def growth(kept, found):
    """[(name, instructions, difference or None, what to say)] of the table's programs and those that were found."""
    rows = []
    for name, now in sorted(found.items()):
        difference = now - kept[name] if name in kept else None
        rows.append((name, now, difference, "new" if difference is None else "GREW" if difference > 0 else ""))
    return rows + [(name, None, None, "not loaded") for name in sorted(kept) if name not in found]


def kept_counts(key, path=TABLE):
    return json.loads(path.read_text()).get(key, {}) if path.exists() else {}


def keep_counts(key, found, path=TABLE):
    table = json.loads(path.read_text()) if path.exists() else {}
    table[key] = {name: p["instructions"] for name, p in sorted(found.items())}
    path.write_text(json.dumps(dict(sorted(table.items())), indent=1) + "\n")


# ---- the host ----

def first_line(*command):
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, cwd=Path(__file__).parent)
        return done.stdout.strip().split("\n")[0] or None
    except (OSError, subprocess.TimeoutExpired):
        return None


def read_line(path):
    try:
        return Path(path).read_text().strip()
    except OSError:
        return None


def host_facts(daemon, bpftrace_binary):
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return {
        "kernel": platform.release(), "machine": platform.machine(), "cpu": model[0] if model else None, "cpus": os.cpu_count(),
        "congestion": read_line("/proc/sys/net/ipv4/tcp_congestion_control"),
        "bpf_stats_enabled": read_line("/proc/sys/kernel/bpf_stats_enabled"),
        "iperf3": first_line("iperf3", "--version"), "bpftrace": first_line(bpftrace_binary, "--version"),
        "copyledger": daemon.call("GetInfo")["parameters"]["version"],
        "commit": first_line("git", "describe", "--always", "--dirty", "--abbrev=12"), "build": BUILD.name,
        "load": list(os.getloadavg()),
    }
