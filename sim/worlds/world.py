"""A world to explore: where matter is, and where robots start."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from marl_core.errors import WorldError

START_GAP_M = 0.2
"""Free space between the footprints of two robots at their starts, and between a footprint and a wall."""


@dataclass(frozen=True)
class WorldSize:
    """Extent of a generated world.

    Attributes:
        width_m, height_m: outer size, walls included [m].
        resolution_m: edge of a cell [m].
    """

    width_m: float = 20.0
    height_m: float = 15.0
    resolution_m: float = 0.05

    def __post_init__(self) -> None:
        if not 0.01 <= self.resolution_m <= 0.2:
            raise ValueError(f'resolution_m must be within 0.01 .. 0.2 m, got {self.resolution_m}')
        if min(self.width_m, self.height_m) < 6.0 or max(self.width_m, self.height_m) > 200.0:
            raise ValueError(f'a world must be 6 .. 200 m wide and high, got {self.width_m} x {self.height_m} m')


@dataclass(frozen=True, eq=False)
class World:
    """Solid matter on a grid, in the map frame.

    Attributes:
        name: how ``load_world`` was asked for it.
        occupied: where matter is. Shape: (rows, cols), bool; row 0 is the lowest y.
        resolution_m: edge of a cell [m].
        origin_x_m, origin_y_m: lower left corner of cell (0, 0) [m; map frame].
        anchor_x_m, anchor_y_m: centre of the area where robots start [m; map frame].

    Raises:
        WorldError: no free cell, or the start area is not in free space.
    """

    name: str
    occupied: NDArray[np.bool_]
    resolution_m: float
    origin_x_m: float
    origin_y_m: float
    anchor_x_m: float
    anchor_y_m: float

    def __post_init__(self) -> None:
        if self.occupied.ndim != 2 or self.occupied.dtype != np.bool_:
            raise WorldError(f'world {self.name}: occupied must be a bool array [rows, cols]')
        if self.occupied.all():
            raise WorldError(f'world {self.name}: has no free space')
        if not self.is_free(self.anchor_x_m, self.anchor_y_m):
            raise WorldError(f'world {self.name}: its start ({self.anchor_x_m:.2f}, {self.anchor_y_m:.2f}) m '
                             'is not in free space')

    @property
    def width_m(self) -> float:
        """Extent along x [m]."""
        return self.occupied.shape[1] * self.resolution_m

    @property
    def height_m(self) -> float:
        """Extent along y [m]."""
        return self.occupied.shape[0] * self.resolution_m

    @cached_property
    def reachable(self) -> NDArray[np.bool_]:
        """Free cells that are 4-connected with the start. Shape: (rows, cols)."""
        components, _ = ndimage.label(~self.occupied)
        return components == components[self.cell_of(self.anchor_x_m, self.anchor_y_m)]

    @cached_property
    def clearance_m(self) -> NDArray[np.float32]:
        """Distance from a cell's centre to the centre of the nearest occupied cell [m]. Shape: (rows, cols).

        All that lies outside of the grid counts as occupied.
        """
        padded = np.pad(~self.occupied, 1)
        distance = ndimage.distance_transform_edt(padded)[1:-1, 1:-1]
        return (distance * self.resolution_m).astype(np.float32)

    @cached_property
    def starts(self) -> NDArray[np.float64]:
        """Up to 16 clustered start poses for robots of 0.25 m radius [m, m, rad; map frame]. Shape: (S, 3)."""
        return self._clustered_poses(16, 0.25)

    def start_poses(self, count: int, radius_m: float = 0.25) -> NDArray[np.float64]:
        """Clustered start poses, nearest to the start area's centre first, each heading away from it.

        Returns:
            [m, m, rad; map frame]. Shape: (count, 3).

        Raises:
            WorldError: the start area is too small for that many robots of that radius.
        """
        poses = self._clustered_poses(count, radius_m)
        if len(poses) < count:
            raise WorldError(f'world {self.name}: has room for {len(poses)} robots of {radius_m} m radius around '
                             f'its start, asked for {count}')
        return poses

    def cell_of(self, x_m: float, y_m: float) -> tuple[int, int]:
        """Row and column of a point [m; map frame]; may be outside of the grid."""
        return (int(np.floor((y_m - self.origin_y_m) / self.resolution_m)),
                int(np.floor((x_m - self.origin_x_m) / self.resolution_m)))

    def is_free(self, x_m: float, y_m: float) -> bool:
        """Whether a point [m; map frame] is inside of the grid and in a free cell."""
        row, col = self.cell_of(x_m, y_m)
        rows, cols = self.occupied.shape
        return 0 <= row < rows and 0 <= col < cols and not self.occupied[row, col]

    def fits(self, x_m: float, y_m: float, radius_m: float) -> bool:
        """Whether a disc [m; map frame] touches no occupied cell and nothing outside of the grid."""
        if not self.is_free(x_m, y_m):
            return False
        row, col = self.cell_of(x_m, y_m)
        reach = int(radius_m / self.resolution_m) + 1
        rows, cols = np.mgrid[row - reach:row + reach + 1, col - reach:col + reach + 1]
        inside = (rows >= 0) & (rows < self.occupied.shape[0]) & (cols >= 0) & (cols < self.occupied.shape[1])
        solid = ~inside
        solid[inside] = self.occupied[rows[inside], cols[inside]]
        gap_x = _gap(x_m - self.origin_x_m, cols[solid], self.resolution_m)
        gap_y = _gap(y_m - self.origin_y_m, rows[solid], self.resolution_m)
        return not bool(np.any(gap_x * gap_x + gap_y * gap_y < radius_m * radius_m))

    def _clustered_poses(self, count: int, radius_m: float) -> NDArray[np.float64]:
        roomy = self.clearance_m > radius_m + START_GAP_M / 2 + self.resolution_m
        components, _ = ndimage.label(roomy)
        rows, cols = np.nonzero(roomy & self.reachable)
        if not len(rows):
            return np.zeros((0, 3))
        x_m = self.origin_x_m + (cols + 0.5) * self.resolution_m
        y_m = self.origin_y_m + (rows + 0.5) * self.resolution_m
        distance_m = np.hypot(x_m - self.anchor_x_m, y_m - self.anchor_y_m)
        # Only the side of a wall where the anchor's nearest roomy cell is: a cluster is not split by walls.
        nearest = int(np.argmin(distance_m))
        same = components[rows, cols] == components[rows[nearest], cols[nearest]]
        order = np.argsort(np.where(same, distance_m, np.inf), kind='stable')[:int(same.sum())]
        chosen: list[int] = []
        for index in order:
            taken = np.array(chosen, dtype=int)
            gaps_m = np.hypot(x_m[taken] - x_m[index], y_m[taken] - y_m[index])
            if not len(taken) or gaps_m.min() >= 2 * radius_m + START_GAP_M:
                chosen.append(int(index))
                if len(chosen) == count:
                    break
        heading_rad = np.arctan2(y_m[chosen] - self.anchor_y_m, x_m[chosen] - self.anchor_x_m)
        return np.column_stack([x_m[chosen], y_m[chosen], heading_rad])


def _gap(offset_m: float, cells: NDArray[np.int64], resolution_m: float) -> NDArray[np.float64]:
    """Distance along one axis from a point to the nearest part of each cell [m]."""
    return np.maximum(0.0, np.maximum(cells * resolution_m - offset_m, offset_m - (cells + 1) * resolution_m))
