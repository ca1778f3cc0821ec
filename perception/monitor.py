# SPDX-License-Identifier: Apache-2.0
"""What diagnostics report: rates by arrival, faults with a memory, times of stages."""

from collections import Counter, defaultdict, deque
from dataclasses import dataclass
from time import monotonic

import numpy as np

WINDOW_S = 5.0
"""Rates and recent faults look back this far."""

LOG_EVERY_S = 5.0
SAMPLES = 200  # times kept of each stage


class RateMeter:
    """Arrivals on a steady clock: never ``now - stamp``, as stamps may come from an old bag."""

    def __init__(self) -> None:
        self._arrivals: deque[float] = deque(maxlen=1000)
        self.count = 0

    def tick(self, now_s: float | None = None) -> None:
        """One arrival."""
        self.count += 1
        self._arrivals.append(monotonic() if now_s is None else now_s)

    def rate_hz(self, now_s: float | None = None) -> float:
        """Arrivals a second, over the last seconds."""
        now = monotonic() if now_s is None else now_s
        recent = [t for t in list(self._arrivals) if now - t <= WINDOW_S]
        if len(recent) < 2:
            return 0.0
        return (len(recent) - 1) / max(recent[-1] - recent[0], 1e-6)

    def age_s(self, now_s: float | None = None) -> float | None:
        """Seconds since the last arrival; None before the first."""
        now = monotonic() if now_s is None else now_s
        return now - self._arrivals[-1] if self._arrivals else None


@dataclass
class Fault:
    """One kind of trouble: its newest text, when it last happened and was last logged."""

    text: str
    last_s: float
    logged_s: float


class Faults:
    """Troubles by kind: counted, logged no more often than every few seconds, soon forgotten."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self._faults: dict[str, Fault] = {}

    def add(self, kind: str, text: str, now_s: float | None = None) -> bool:
        """Note a fault; True where it should be logged now: new words, or long not said."""
        now = monotonic() if now_s is None else now_s
        self.counts[kind] += 1
        old = self._faults.get(kind)
        due = old is None or old.text != text or now - old.logged_s >= LOG_EVERY_S
        if old is not None and now - old.logged_s < LOG_EVERY_S / 5:
            due = False  # texts that alternate
        self._faults[kind] = Fault(text, now, now if due or old is None else old.logged_s)
        return due

    def clear(self, kind: str) -> None:
        """Say that a trouble is over; its count stays."""
        self._faults.pop(kind, None)

    def recent(self, *kinds: str, now_s: float | None = None) -> str:
        """Newest text of these kinds within the last seconds, or nothing."""
        now = monotonic() if now_s is None else now_s
        found = [fault for kind, fault in list(self._faults.items())
                 if kind in kinds and now - fault.last_s <= WINDOW_S]
        return max(found, key=lambda fault: fault.last_s).text if found else ''


class StageTimes:
    """The newest times of each stage [ms]."""

    def __init__(self) -> None:
        self._samples: dict[str, deque[float]] = defaultdict(lambda: deque(maxlen=SAMPLES))

    def add(self, stage_ms: dict[str, float]) -> None:
        """Times of one frame, and their sum as ``total``."""
        for stage, value in stage_ms.items():
            self._samples[stage].append(value)
        self._samples['total'].append(sum(stage_ms.values()))

    def table(self) -> dict[str, tuple[float, float]]:
        """Median and 99th percentile of each stage [ms]."""
        return {stage: (float(np.percentile(values, 50)), float(np.percentile(values, 99)))
                for stage, values in ((s, list(v)) for s, v in list(self._samples.items()))}
