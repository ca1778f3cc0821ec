# SPDX-License-Identifier: Apache-2.0
"""
Labels in hindsight: what the robot finds out at a place labels the far views kept of it.

While the robot drives, some frames are kept with all their features, and places near the robot
are noted as points. Once the robot has come close to what a kept frame saw far away, the points
are projected into it and label its windows; so an obstacle hides what is behind it in the old
view too.

Source
    RSS07, label propagation in space and time; algorithms.md A5.1. Differs: RSS07 matches single
    places in a quad-tree; here the labelled points are projected, which labels whole windows.
"""

from collections import deque
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from perception.camera import levelled_base_from_camera
from perception.judge import RANGES_M
from perception.learning_loops import ranges_shown
from perception.places import Places, ViewLabels, label_view
from perception.pyramid import Pyramid
from perception.types import UNLABELED, DepthGrid, Float, GroundPlane, Mask

VIEW_EVERY_M, NOTE_EVERY_M, LOOK_BACK_EVERY_M = 1.5, 0.8, 10.0
NEAREST_M, FAR_FROM_M, FAR_TO_M = 3.0, RANGES_M[1], 60.0  # depth itself labels up to FAR_FROM_M


@dataclass
class View:
    """
    One frame that is kept: ``maps`` of the network as float16, where it was, what is done.

    ``range_m`` (N,) of the windows (see ``window_ranges``); ``odom_from_camera`` (4, 4) levelled
    on the ground plane; ``travelled_m`` when it was taken; ``open`` (N,) windows without a label;
    ``done_m`` driven when it was last looked back at.
    """

    pyramid: Pyramid
    maps: list[Float]
    range_m: Float
    odom_from_camera: Float
    travelled_m: float
    open: Mask
    done_m: float = 0.0


@dataclass(frozen=True)
class Hindsight:
    """New labels of a kept view: ``index`` of its windows (n,), and all its ``labels``."""

    view: View
    index: NDArray[np.intp]
    labels: ViewLabels


def levelled_pose(odom_from_camera: Float, plane: GroundPlane) -> Float:
    """
    Camera in odom as it stands on its ground plane: z = 0 there, tilt and height of the plane.

    Heading, x and y are kept. So views of different tilt meet on one flat ground.
    """
    ahead = odom_from_camera[:2, 2]
    cos, sin = ahead / max(float(np.hypot(*ahead)), 1e-9)
    turned = np.eye(4)
    turned[:2, :2] = [[cos, -sin], [sin, cos]]
    turned[:2, 3] = odom_from_camera[:2, 3]
    return np.asarray(turned @ levelled_base_from_camera(plane))


def window_ranges(pyramid: Pyramid, grid: DepthGrid | None) -> Float:
    """
    How far away is what each window shows, (N,) float64 [m].

    Depth at the centre where it is within reach of the teacher, else the ground under the centre;
    infinite above the horizon. The body of a near obstacle rises into windows whose ground lies
    far behind it.
    """
    windows = pyramid.windows
    if grid is None:
        return np.where(np.isnan(windows.distance), np.inf, windows.distance)
    measures = ((grid.step - 1) / 2, float(grid.step), grid.focal_baseline, FAR_FROM_M)
    return ranges_shown(np.ascontiguousarray(windows.uv.T), windows.distance,
                        np.ascontiguousarray(grid.disparity, np.float32), measures)


@dataclass
class Memory:
    """
    Kept views and noted places; both are bounded by ``capacity`` views.

    A pose that jumps by more than ``jump_m`` from frame to frame makes them worthless: all is
    forgotten, and counted in ``jumps``.
    """

    capacity: int
    jump_m: float
    views: deque[View] = field(default_factory=deque)
    places: deque[Places] = field(default_factory=deque)
    travelled_m: float = 0.0
    last_xy: Float | None = None
    jumps: int = 0

    def clear(self) -> None:
        """Forget views and places; the robot may be anywhere."""
        self.views.clear()
        self.places.clear()
        self.last_xy = None

    def move(self, xy: Float) -> None:
        """Follow the robot to (x, y) [m]; a jump forgets all."""
        if self.last_xy is not None:
            step = float(np.hypot(*(xy - self.last_xy)))
            if not step <= self.jump_m:
                self.jumps += 1
                self.clear()
            else:
                self.travelled_m += step
        self.last_xy = np.array(xy, float)

    @property
    def view_due(self) -> bool:
        """The robot went far enough since the last kept view."""
        return not self.views or self.travelled_m - self.views[-1].travelled_m >= VIEW_EVERY_M

    @property
    def note_due(self) -> bool:
        """The robot went far enough since places were last noted."""
        return not self.places or self.travelled_m - self.places[-1].travelled_m >= NOTE_EVERY_M

    def keep(
        self, pyramid: Pyramid, maps: list[Float], range_m: Float, odom_from_camera: Float
    ) -> None:
        """Keep this frame; the oldest goes when there are too many."""
        with np.errstate(invalid='ignore'):
            open_ = pyramid.windows.valid & (pyramid.windows.distance <= FAR_TO_M)
        open_ &= range_m > NEAREST_M
        with np.errstate(over='ignore'):  # what float16 cannot hold is not learned from
            small = [part.astype(np.float16) for part in maps]
        self.views.append(
            View(pyramid, small, range_m, odom_from_camera, self.travelled_m, open_))
        while len(self.views) > self.capacity:
            self.views.popleft()

    def note(self, places: Places) -> None:
        """Add places; those older than every view that still looks back are dropped."""
        self.places.append(places)
        oldest = next((view.travelled_m for view in self.views if view.done_m < FAR_TO_M),
                      self.travelled_m)
        while self.places and self.places[0].travelled_m < oldest:
            self.places.popleft()

    def due(self) -> View | None:
        """The kept view that has waited longest to be looked back at, or None."""
        waiting = [view for view in self.views if view.done_m < FAR_TO_M
                   and self.travelled_m - view.travelled_m - view.done_m >= LOOK_BACK_EVERY_M]
        return min(waiting, key=lambda view: view.travelled_m + view.done_m, default=None)

    def look_back(self, view: View) -> Hindsight:
        """Label what has become known since the view was last looked back at."""
        since_m = view.travelled_m + view.done_m
        view.done_m = self.travelled_m - view.travelled_m
        parts = [places for places in self.places if places.travelled_m >= view.travelled_m]
        labels = label_view(parts, since_m, view.odom_from_camera, view.pyramid)
        with np.errstate(invalid='ignore'):
            far = view.pyramid.windows.distance >= FAR_FROM_M
        index = np.flatnonzero(view.open & (labels.label != UNLABELED) & (labels.felt | far))
        view.open[index] = False
        return Hindsight(view, index, labels)
