"""The environmental layer of one robot: what it measured, what the fleet shares, and the grid it plans on."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from marl_core.mapping.bounds import MapBounds, MapConfig
from marl_core.mapping.frontiers import Candidates, FrontierFinder
from marl_core.mapping.geodesics import DistanceField, nearest_traversable
from marl_core.mapping.grid import OccupancyMap
from marl_core.mapping.planning import PlanningGrid
from marl_core.mapping.replica import Replica, ReplicaConfig
from marl_core.mapping.tile_value import tile_value
from marl_core.types import LaserScan, LayerId, Pose

Disc = tuple[float, float, float]
"""A round place: x, y [m; map frame] and radius [m]."""

SNAP_M = 0.6
"""A robot that stands where none should (noise beside it, a wall too near) starts its paths within this distance."""


class WorldModel:
    """Turns scans and teammates' tiles into one fused map, and answers what planning asks of it.

    Attributes:
        bounds: geometry of all arrays.
        own: the robot's own log-odds and classes.
        replica: everybody's tiles and the fused map.
        planning: coarse grid of the fused map for a robot of this size.
    """

    def __init__(self, layer: LayerId, footprint_radius_m: float, clearance_m: float, config: MapConfig) -> None:
        self.bounds = MapBounds.from_config(config)
        self.own = OccupancyMap(self.bounds, config)
        self.replica = Replica(self.bounds, layer.robot, layer, ReplicaConfig.for_map(config))
        self.planning = PlanningGrid(self.bounds, footprint_radius_m, clearance_m)
        self._layer = layer
        self._footprint_radius_m = footprint_radius_m
        self._finder = FrontierFinder(self.bounds.planning_shape)
        self._ignored = np.zeros(self.bounds.planning_shape, np.uint8)
        self._fields: list[DistanceField] = []

    def sense(self, scan: LaserScan, lidar_pose: Pose, base_pose: Pose, moving: NDArray[np.float64]) -> None:
        """Take a scan into the own layer of the map; the ground under the robot is free.

        Args:
            scan: lidar sweep. lidar_pose: where the lidar was [map frame]. base_pose: where the robot was [map frame].
            moving: discs (x, y, radius) of teammates, which are no walls [m; map frame]. Shape: (n, 3).
        """
        self.own.integrate(scan, lidar_pose, moving)
        self.own.clear_disc(base_pose.x_m, base_pose.y_m, self._footprint_radius_m)
        changed = self.own.take_changed()
        if len(changed):
            self.replica.write(self._layer, changed, self.own.classes)
        self.refresh()

    def refresh(self) -> None:
        """Bring the planning grid up to date with the fused map (after others' tiles were joined)."""
        changed = self.replica.take_changed()
        if len(changed):
            self.planning.update(self.replica.fused, changed)

    def fields(self, poses: Iterable[Pose], blocked: Iterable[Disc] = ()) -> list[DistanceField]:
        """Distance fields over the planning grid, one from each pose; they live until the next call.

        A pose from which nothing can be reached gives a field that reaches nothing.

        Args:
            poses: where paths start [map frame].
            blocked: discs that the first pose's paths keep out of [map frame]; the others' paths may cross them.
        """
        fields = []
        for index, pose in enumerate(poses):
            if index == len(self._fields):
                self._fields.append(DistanceField(self.bounds.planning_shape))
            restore = self._block(blocked) if index == 0 else []
            row, col = self._start(pose)
            self._fields[index].compute(self.planning.traversable, row, col)
            for view, before in restore:
                view[:] = before
            fields.append(self._fields[index])
        return fields

    def candidates(self, field: DistanceField, split_m: float, minimum_m: float, maximum: int,
                   ignored: Iterable[Disc] = ()) -> Candidates:
        """Places at the frontier that a field reaches, nearest first.

        Args:
            field: of the robot itself.
            split_m: longest edge of a place [m]. minimum_m: shorter frontiers are dropped [m].
            maximum: how many are kept.
            ignored: discs in which a frontier does not count [map frame].
        """
        edge_m = self.bounds.planning_resolution_m
        views = [self._window(disc) for disc in ignored]
        for view in views:
            self._ignored[view] = 1
        found = self._finder.find(self.planning.state, field.cost, self.planning.known_window,
                                  max(1, round(split_m / edge_m)), max(1, round(minimum_m / edge_m)), maximum,
                                  self._ignored)
        for view in views:
            self._ignored[view] = 0
        return found

    def is_traversable(self, cells: NDArray[np.int32]) -> bool:
        """Whether a robot may still be at every one of some planning cells. Shape: (n, 2)."""
        return bool(np.all(self.planning.traversable[cells[:, 0], cells[:, 1]]))

    def tile_value(self, places_m: NDArray[np.float64]) -> NDArray[np.float32]:
        """What the news of each own tile are worth to others who are at or go to some places [m; map frame].

        Args:
            places_m: rows with NaN are left out. Shape: (n, 2).

        Returns:
            See marl_core.mapping.tile_value. Shape: bounds.tiles_shape.
        """
        own = self.replica.layers[self._layer]
        return tile_value(self.bounds, own.waiting_cells, own.versions, places_m)

    def _start(self, pose: Pose) -> tuple[int, int]:
        rows, cols = self.bounds.planning_shape
        row, col = self.bounds.planning_cell_of(pose.x_m, pose.y_m)
        row, col = min(max(row, 0), rows - 1), min(max(col, 0), cols - 1)
        near = nearest_traversable(self.planning.traversable, row, col,
                                   round(SNAP_M / self.bounds.planning_resolution_m))
        return near if near[0] >= 0 else (row, col)

    def _window(self, disc: Disc) -> tuple[slice, slice]:
        x_m, y_m, radius_m = disc
        low_row, low_col = self.bounds.planning_cell_of(x_m - radius_m, y_m - radius_m)
        high_row, high_col = self.bounds.planning_cell_of(x_m + radius_m, y_m + radius_m)
        return slice(max(low_row, 0), max(high_row + 1, 0)), slice(max(low_col, 0), max(high_col + 1, 0))

    def _block(self, discs: Iterable[Disc]) -> list[tuple[NDArray[np.uint8], NDArray[np.uint8]]]:
        """Close the squares around discs. Returns each closed part with what to restore, last closed first."""
        closed = []
        for disc in discs:
            view = self.planning.traversable[self._window(disc)]
            closed.append((view, view.copy()))
            view[:] = 0
        return closed[::-1]
