"""Progress of long tasks: log lines with rate and remaining time."""

from __future__ import annotations

import logging
import time

log = logging.getLogger(__name__)


def duration(seconds: float) -> str:
    """Format seconds for readers: ``42 s``, ``3:05 min``, ``2:07 h``."""
    seconds = round(seconds)
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60}:{seconds % 60:02d} min"
    return f"{seconds // 3600}:{seconds % 3600 // 60:02d} h"


def quantity(number: float) -> str:
    """Format a number with three digits and a unit prefix: ``950``, ``12.3k``, ``4.56M``."""
    for unit in ("", "k", "M", "G"):
        if abs(number) < 999.5 or unit == "G":
            digits = 0 if unit == "" and number == int(number) else max(0, 2 - len(str(int(abs(number)))) + 1)
            return f"{number:.{digits}f}{unit}"
        number /= 1000
    raise AssertionError("unreachable")


class Progress:
    """Logger of progress, at most every ``interval`` seconds and once at the end.

    Args:
        what: what is being done, such as ``"tokens counted"``.
        total: the amount of work, in ``unit``; ``None`` if unknown.
        unit: unit of the amounts.
        interval: least number of seconds between two lines.
    """

    def __init__(self, what: str, total: float | None, unit: str, *, interval: float = 5.0):
        """Start the clock."""
        self.what, self.total, self.unit, self.interval = what, total, unit, interval
        self.done = 0.0
        self.start = self.last = time.monotonic()

    def advance(self, amount: float = 1, note: str = "") -> None:
        """Add finished work and log a line if it is time for one."""
        self.done += amount
        now = time.monotonic()
        if now - self.last >= self.interval:
            self.last = now
            log.info("%s", self.line(now, note))

    def line(self, now: float, note: str = "") -> str:
        """Return the progress line."""
        elapsed = max(now - self.start, 1e-9)
        rate = self.done / elapsed
        text = f"{self.what}: {quantity(self.done)}"
        if self.total:
            text += f" of {quantity(self.total)} {self.unit} ({100 * self.done / self.total:.0f} %)"
        else:
            text += f" {self.unit}"
        text += f", {quantity(rate)} {self.unit}/s"
        if self.total and 0 < self.done < self.total:
            text += f", {duration((self.total - self.done) / rate)} left"
        return f"{text}, {note}" if note else text

    def close(self, note: str = "") -> None:
        """Log the final line with the time taken."""
        now = time.monotonic()
        log.info("%s, took %s", self.line(now, note), duration(now - self.start))
