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
        intervals, span_s = len(recent) - 1, recent[-1] - recent[0]
        if now - recent[-1] > 2 * span_s / intervals:  # it stopped: the rate falls at once
            span_s = now - recent[0]
        return intervals / max(span_s, 1e-6)

    def age_s(self, now_s: float | None = None) -> float | None:
        """Seconds since the last arrival; None before the first."""
        now = monotonic() if now_s is None else now_s
        return now - self._arrivals[-1] if self._arrivals else None


@dataclass(frozen=True)
class Fault:
    """Words for a trouble, and when they were last used."""

    text: str
    last_s: float


class Faults:
    """Troubles by kind: counted, logged no more often than every few seconds, soon forgotten."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self._faults: dict[str, Fault] = {}
        self._logged: dict[str, Fault] = {}  # outlives ``clear``: troubles may come and go

    def add(self, kind: str, text: str, now_s: float | None = None) -> bool:
        """Note a fault; True where it should be logged now: new words, or long not said."""
        now = monotonic() if now_s is None else now_s
        self.counts[kind] += 1
        self._faults[kind] = Fault(text, now)
        logged = self._logged.get(kind)
        if logged is not None:  # texts that alternate must wait too
            quiet_s = LOG_EVERY_S if logged.text == text else LOG_EVERY_S / 5
            if now - logged.last_s < quiet_s:
                return False
        self._logged[kind] = Fault(text, now)
        return True

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
