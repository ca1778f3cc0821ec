# SPDX-License-Identifier: Apache-2.0
"""Plots of the report as SVG files; matplotlib is imported only when one is drawn."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from perception.draw import CLASS_COLOURS
from perception.judge import CANDIDATES, RANGES_M
from perception.online_metrics import CourseSample
from perception.types import CLASSES, Float

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FRESH, FALL_BACK, BAR, LIGHT, TEXT = '#1f5fa8', '#e07b00', '#4c78a8', '#c3d3e6', '#222222'
CANDIDATE_COLOURS = ('#8a939c', '#1f5fa8', '#e07b00')  # w0, near, far
STYLE: dict[Any, Any] = {
    'font.family': 'DejaVu Sans', 'font.size': 10, 'axes.spines.top': False,
    'axes.spines.right': False, 'axes.edgecolor': '#888888', 'axes.labelcolor': TEXT,
    'xtick.color': '#555555', 'ytick.color': '#555555', 'axes.grid': True,
    'grid.color': '#e6e6e6', 'axes.axisbelow': True, 'svg.hashsalt': 'lagr',
}


@dataclass(frozen=True)
class PlaneSample:
    """
    Ground plane of one frame: time [s] since the first, angles [rad], height [m], share.

    ``source`` as in PlaneEstimate, or 'none', then the numbers are NaN.
    """

    time_s: float
    pitch_rad: float
    roll_rad: float
    height_m: float
    inlier_share: float
    source: str


def plane_plot(samples: Sequence[PlaneSample]) -> bytes | None:
    """Pitch, roll, height and inliers over time as SVG; None where there never was a plane."""
    if all(s.source == 'none' for s in samples):
        return None
    time = np.array([s.time_s for s in samples])
    fresh = np.array([s.source in ('hough', 'tracked') for s in samples])
    series = {
        'pitch (deg)\ndown is +': np.degrees([s.pitch_rad for s in samples]),
        'roll (deg)\nright down is +': np.degrees([s.roll_rad for s in samples]),
        'camera height\n(m)': np.array([s.height_m for s in samples]),
        'points on the\nplane (%)': 100 * np.array([s.inlier_share for s in samples]),
    }
    figure, axes = _figure(len(series), 6.4)
    for axis, (name, values) in zip(axes, series.items(), strict=True):
        _fresh_and_fallen(axis, time, np.asarray(values), fresh)
        axis.set_ylabel(name)
    axes[-1].set_ylim(0, 100)
    axes[-1].set_xlabel('time since the first frame (s)')
    handles, names = axes[0].get_legend_handles_labels()
    figure.legend(handles, names, loc='outside upper right', ncols=2, frameon=False)
    return _svg(figure)


def stage_plot(stages: Mapping[str, Mapping[str, float]]) -> bytes:
    """Bars of p50 and p99 [ms] for each stage, {name: {'p50', 'p99'}}. SVG."""
    figure, (axis,) = _figure(1, 0.9 + 0.34 * len(stages))
    rows = np.arange(len(stages))
    p50, p99 = (np.array([stage[key] for stage in stages.values()]) for key in ('p50', 'p99'))
    axis.barh(rows, p99, 0.66, color=LIGHT, label='p99: 99 of 100 frames are faster')
    axis.barh(rows, p50, 0.66, color=BAR, label='p50: half of the frames are faster')
    for row, (middle, high) in enumerate(zip(p50, p99, strict=True)):
        axis.annotate(f'{middle:.1f} / {high:.1f}', (high, row), (5, 0), va='center',
                      textcoords='offset points', color=TEXT, fontsize=9)
    axis.set_yticks(rows, list(stages))
    axis.invert_yaxis()
    axis.grid(axis='y', visible=False)
    axis.set_xlim(0, 1.18 * max(float(p99.max()), 1e-3))
    axis.set_xlabel('milliseconds a frame')
    figure.legend(loc='outside upper right', ncols=2, frameon=False)
    return _svg(figure)


def share_plot(counts: Mapping[str, NDArray[np.integer]]) -> bytes:
    """One stacked bar of class shares for each source of labels. SVG."""
    figure, (axis,) = _figure(1, 0.9 + 0.5 * len(counts))
    rows = np.arange(len(counts))
    shares = np.array([100 * c / c.sum() for c in counts.values()])
    left = np.zeros(len(counts))
    for k, name in enumerate(CLASSES):
        axis.barh(rows, shares[:, k], 0.62, left, color=web_colour(CLASS_COLOURS[k]),
                  edgecolor='white', linewidth=0.8, label=name.replace('_', '-'))
        _write_shares(axis, left, shares[:, k], dark=k in (1, 3, 4))
        left += shares[:, k]
    axis.set_yticks(rows, list(counts))
    axis.invert_yaxis()
    axis.grid(visible=False)
    axis.set_xlim(0, 100)
    axis.set_xlabel('share of the labelled windows (%)')
    figure.legend(loc='outside upper center', ncols=len(CLASSES), frameon=False)
    return _svg(figure)


def course_plot(samples: Sequence[CourseSample]) -> bytes | None:
    """Errors of W0 and of what served, by range, and what served, as SVG; None where unknown."""
    default, served = (np.array([getattr(s, name) for s in samples]).reshape(-1, len(RANGES_M))
                       for name in ('default', 'served'))
    if not np.isfinite(default).any():
        return None
    time = np.array([s.time_s for s in samples])
    figure, axes = _figure(len(RANGES_M) + 1, 6.4)
    for k, (axis, name) in enumerate(zip(axes, _range_names())):
        axis.plot(time, 100 * default[:, k], color=LIGHT, linewidth=3, label='default weights')
        axis.plot(time, 100 * served[:, k], color=FRESH, linewidth=1.3, label='weights in use')
        axis.set_ylabel(f'wrong, {name}\n(%)')
        axis.set_ylim(0, 60)
        axis.margins(x=0.01)
    _draw_use(axes[-1], time, [s.in_use for s in samples])
    axes[-1].set_xlabel('time since the first frame (s)')
    handles, names = axes[0].get_legend_handles_labels()
    figure.legend(handles, names, loc='outside upper right', ncols=2, frameon=False)
    return _svg(figure)


def _range_names() -> list[str]:
    """Where each range lies, in words."""
    names = [f'{near:.0f}-{far:.0f} m' for near, far in zip(RANGES_M, RANGES_M[1:])]
    return [*names, f'from {RANGES_M[-1]:.0f} m']


def _draw_use(axis: 'Axes', time: Float, in_use: Sequence[tuple[str, ...]]) -> None:
    """One line of coloured marks for each range: which weights served."""
    served = np.array(in_use)
    for name, colour in zip(CANDIDATES, CANDIDATE_COLOURS, strict=True):
        when, row = np.nonzero(served == name)
        axis.scatter(time[when], row, s=18, marker='s', color=colour, label=name)
    axis.set_yticks(range(len(RANGES_M)), _range_names())
    axis.set_ylim(len(RANGES_M) - 0.4, -0.6)
    axis.set_ylabel('in use')
    axis.legend(loc='center left', bbox_to_anchor=(1, 0.5), frameon=False)


def web_colour(bgr: Any) -> str:
    """BGR triple as ``#rrggbb``."""
    blue, green, red = (int(value) for value in bgr)
    return f'#{red:02x}{green:02x}{blue:02x}'


def _figure(rows: int, height: float) -> tuple['Figure', list['Axes']]:
    """Figure of page width with ``rows`` axes that share time."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(9.2, height), layout='constrained')
        axes = figure.subplots(rows, 1, sharex=True, squeeze=False)
    return figure, list(axes[:, 0])


def _svg(figure: 'Figure') -> bytes:
    """Write the figure with the report's style."""
    import matplotlib as mpl

    data = io.BytesIO()
    with mpl.rc_context(STYLE):
        figure.savefig(data, format='svg', metadata={'Date': None})
    return data.getvalue()


def _fresh_and_fallen(
    axis: 'Axes', time: Float, values: Float, fresh: NDArray[np.bool_]
) -> None:
    """Draw a series, gaps where the plane was not fitted, and those frames as open circles."""
    few = len(time) <= 200
    axis.plot(time, np.where(fresh, values, np.nan), color=FRESH, linewidth=1.4,
              marker='o' if few else None, markersize=2.6, label='fitted to this frame')
    axis.plot(time[~fresh], values[~fresh], linestyle='', marker='o', markersize=4,
              markerfacecolor='none', markeredgecolor=FALL_BACK, label='fall-back (not counted)')
    axis.margins(x=0.01, y=0.15)
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    if high - low < 1e-3:
        axis.set_ylim(low - 0.5, high + 0.5)


def _write_shares(axis: 'Axes', left: Float, share: Float, *, dark: bool) -> None:
    """Write percentages into bars that are wide enough."""
    for row, (start, width) in enumerate(zip(left, share, strict=True)):
        if width >= 4:
            axis.annotate(f'{width:.0f}', (start + width / 2, row), ha='center', va='center',
                          color='white' if dark else 'black', fontsize=9)
