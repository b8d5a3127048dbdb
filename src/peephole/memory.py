"""What this process takes of the machine: memory measured, processors counted."""

from __future__ import annotations

import os
import resource
import sys
from pathlib import Path


def peak_rss() -> int:
    """The largest resident size that this process has had, in bytes."""
    if sys.platform == "linux":
        # Not ru_maxrss, which also remembers the process that started this one.
        status = Path("/proc/self/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # macOS counts in bytes, the others in KiB


def usable_cpus() -> int:
    """Processors that this process may run on, at least 1."""
    if hasattr(os, "sched_getaffinity"):
        return max(1, len(os.sched_getaffinity(0)))
    return max(1, os.cpu_count() or 1)
