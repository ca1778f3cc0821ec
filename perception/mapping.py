# SPDX-License-Identifier: Apache-2.0
"""Observations of one or more cameras, fused over poses into one cost map."""

from perception.config import CostConfig, MapConfig
from perception.costmap import rolling_grid
from perception.grid_loops import UNKNOWN
from perception.polar_geometry import same_cells
from perception.polar_map import PolarMap
from perception.projection import place
from perception.types import Costmap, Float, Observation


class Mapper:
    """The last stage of the chain; its only state is the map."""

    def __init__(self, map_config: MapConfig, cost: CostConfig) -> None:
        self.map = PolarMap(map_config)
        self.cost = cost

    def reset(self) -> None:
        """Forget everything."""
        self.map.reset()

    def reconfigured(self, map_config: MapConfig, cost: CostConfig) -> 'Mapper':
        """Mapper of other settings that keeps the map, unless its cells changed."""
        other = Mapper(map_config, cost)
        if same_cells(map_config, self.map.config):
            other.map.restore(self.map.save())
        return other

    def fuse(
        self, observation: Observation, odom_from_camera: Float, robot_xy: tuple[float, float],
        stamp_ns: int, *, cameras: int = 1,
    ) -> Costmap:
        """
        Add one frame and give the cost map around the robot.

        Parameters
        ----------
        odom_from_camera : (4, 4) float64
            Pose of the camera at the stamp.
        robot_xy : float, float
            Robot in odom [m]: the map's centre.
        cameras : int
            Cameras that feed this map: each lets old evidence fade by its share, so that the
            map forgets as fast as with one.
        """
        self.map.move_to(*robot_xy)
        self.map.decay(1.0 / cameras)
        self.map.add(place(observation, odom_from_camera))
        return rolling_grid(self.map, self.cost, stamp_ns)


def unknown_like(costmap: Costmap, stamp_ns: int) -> Costmap:
    """The same grid with nothing known, as for a dead input."""
    data = costmap.data.copy()
    data[:] = UNKNOWN
    return Costmap(data, costmap.resolution_m, costmap.origin_m, stamp_ns, costmap.frame_id)
