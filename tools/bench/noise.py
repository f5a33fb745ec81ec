# SPDX-License-Identifier: MIT
"""What else the machine did while a sample was taken: time that the hypervisor took away, and time that others used.

Foreign time is the machine's busy time less what this process, the daemon, and the descendants of both that were waited for
used. A kernel with CONFIG_IRQ_TIME_ACCOUNTING charges time in interrupts to no process: there it is left out of the busy time,
since it cannot be told whose it was; elsewhere it is in both. /proc/stat counts in ticks, so that a sample of a second knows a
share to about a percent.
"""
import gzip
import os
import platform
import resource
from collections import namedtuple

HZ = os.sysconf("SC_CLK_TCK")

Reading = namedtuple("Reading", "total busy steal own")
Limits = namedtuple("Limits", "steal foreign")


def irqs_apart():
    """Whether processes are not charged with the interrupts above them; so where the kernel does not say."""
    for path, opener in (("/proc/config.gz", gzip.open), (f"/boot/config-{platform.release()}", open)):
        try:
            with opener(path, "rt") as f:
                return "CONFIG_IRQ_TIME_ACCOUNTING=y" in f.read()
        except OSError:
            pass
    return True


IRQS_APART = irqs_apart()


def parse_stat(text, apart):
    """(all, busy, steal) in ticks, of the first line of /proc/stat; guests are in user already."""
    user, nice, system, idle, iowait, irq, softirq, steal = map(int, text.split("\n")[0].split()[1:9])
    busy = user + nice + system + (0 if apart else irq + softirq)
    return user + nice + system + idle + iowait + irq + softirq + steal, busy, steal


def parse_process(text):
    """Ticks of a process and of its children that were waited for, of /proc/PID/stat."""
    return sum(map(int, text.rpartition(")")[2].split()[11:15]))


def read(daemon_pid):
    usages = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    own = sum(u.ru_utime + u.ru_stime for u in usages) * HZ
    with open(f"/proc/{daemon_pid}/stat") as f:
        own += parse_process(f.read())
    with open("/proc/stat") as f:
        return Reading(*parse_stat(f.read(), IRQS_APART), own)


def between(a, b):
    """Shares of the machine's time between two readings, in percent."""
    total = max(b.total - a.total, 1)
    foreign = max(b.busy - a.busy - (b.own - a.own), 0)
    return {"steal_percent": round(100 * (b.steal - a.steal) / total, 2), "foreign_percent": round(100 * foreign / total, 2)}


def complaints(shares, limits):
    """Why a sample is too noisy, or nothing."""
    rows = (("steal", shares["steal_percent"], limits.steal), ("foreign load", shares["foreign_percent"], limits.foreign))
    return [f"{name} {value:.1f} %" for name, value, limit in rows if value > limit]


def should_redo(all_complaints, redos, most):
    """Whether a chain whose samples have these complaints is taken anew, after so many times in its cell."""
    return any(all_complaints) and redos < most
