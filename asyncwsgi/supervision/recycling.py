"""When a worker has served for long enough, by what it was told of requests and of memory."""

from __future__ import annotations

import random
import sys
from pathlib import Path

from asyncwsgi.supervision.options import ProcessOptions

if sys.platform != "win32":
    import resource

_STATM = Path("/proc/self/statm")


class Wear:
    """Whether a worker is to be replaced, looked at from time to time.

    Args:
        options: what the limits are; this worker's share of the jitter is drawn here.
    """

    def __init__(self, options: ProcessOptions) -> None:
        self._most_memory = options.max_worker_memory
        self._most_requests = options.max_requests
        if self._most_requests:
            self._most_requests += random.randint(0, options.max_requests_jitter)

    @property
    def has_limits(self) -> bool:
        return bool(self._most_requests or self._most_memory)

    def why_over(self, request_count: int) -> str:
        """Why it is to be replaced; empty if it is not.

        Never before its first request: a limit that is less than what the application takes by
        itself would have no worker serve anybody.
        """
        if not request_count:
            return ""
        if self._most_requests and request_count >= self._most_requests:
            return f"it has served {request_count} requests"
        memory = resident_size() if self._most_memory else 0
        if memory > self._most_memory:
            return f"it takes {memory} bytes of memory, of max_worker_memory {self._most_memory}"
        return ""


def resident_size() -> int:
    """Bytes of memory that this process takes; the most that it has taken where no more is said."""
    try:
        return int(_STATM.read_text().split()[1]) * resource.getpagesize()
    except OSError:  # no Linux
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024
