"""A world as the coarse grid on which point robots explore it."""

from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from marl_core.errors import WorldError
from marl_core.mapping.geodesics import UNREACHED, DistanceField
from sim.worlds.world import World

START_GAP_CELLS = 2
"""Robots start at least this many cells apart, along rows or columns."""


@dataclass(frozen=True, eq=False)
class CoarseGrid:
    """Where point robots can be; connected, and closed by a ring of cells that are not free.

    Attributes:
        free: Shape: (rows, cols), bool; row 0 is the lowest y.
        resolution_m: edge of a cell [m].
        origin_x_m, origin_y_m: lower left corner of cell (0, 0) [m; map frame].
        anchor: cell around which robots start.

    Raises:
        WorldError: no free cell, an open border, free space in several pieces, or an anchor outside of it.
    """

    free: NDArray[np.bool_]
    resolution_m: float
    origin_x_m: float = 0.0
    origin_y_m: float = 0.0
    anchor: tuple[int, int] = (-1, -1)

    def __post_init__(self) -> None:
        if self.free.ndim != 2 or self.free.dtype != np.bool_:
            raise WorldError('a coarse grid must be a bool array [rows, cols]')
        if self.free[[0, -1]].any() or self.free[:, [0, -1]].any():
            raise WorldError('a coarse grid must be closed: no free cell on its border')
        if ndimage.label(self.free)[1] != 1:
            raise WorldError('a coarse grid must have free cells, all connected')
        rows, cols = self.free.shape
        row, col = self.anchor
        if not (0 <= row < rows and 0 <= col < cols and self.free[row, col]):
            raise WorldError(f'the anchor {self.anchor} is not a free cell of the coarse grid')

    @classmethod
    def from_free(cls, free: NDArray[np.bool_], resolution_m: float, anchor: tuple[int, int] | None = None,
                  origin_x_m: float = 0.0, origin_y_m: float = 0.0) -> Self:
        """Close the border, keep the largest connected part, and move the anchor to its nearest cell.

        Args:
            free: Shape: (rows, cols).
            resolution_m: edge of a cell [m].
            anchor: (row, col) in ``free``; None: its middle.
            origin_x_m, origin_y_m: lower left corner of ``free`` [m; map frame].

        Raises:
            WorldError: nothing is free.
        """
        components, count = ndimage.label(np.pad(np.asarray(free, np.bool_), 1))
        if not count:
            raise WorldError('no cell of the coarse grid is free: the world is too narrow for its resolution')
        largest = components == 1 + int(np.argmax(np.bincount(components.ravel())[1:]))
        row, col = (size // 2 for size in free.shape) if anchor is None else anchor
        cells = np.argwhere(largest)
        nearest = cells[int(np.argmin(((cells - (row + 1, col + 1)) ** 2).sum(axis=1)))]
        return cls(largest, resolution_m, origin_x_m - resolution_m, origin_y_m - resolution_m,
                   (int(nearest[0]), int(nearest[1])))

    @classmethod
    def from_world(cls, world: World, resolution_m: float = 0.2) -> Self:
        """Coarsen a world: a coarse cell is free if all of its cells are; only the largest part is kept.

        Args:
            world: what to explore.
            resolution_m: wanted edge of a cell [m]; rounded to a multiple of the world's.

        Raises:
            WorldError: no coarse cell is free.
        """
        factor = max(1, round(resolution_m / world.resolution_m))
        rows, cols = world.occupied.shape
        padded = np.pad(~world.occupied, ((0, -rows % factor), (0, -cols % factor)))
        blocks = padded.reshape(padded.shape[0] // factor, factor, padded.shape[1] // factor, factor)
        row, col = world.cell_of(world.anchor_x_m, world.anchor_y_m)
        return cls.from_free(blocks.all(axis=(1, 3)), factor * world.resolution_m, (row // factor, col // factor),
                             world.origin_x_m, world.origin_y_m)

    @cached_property
    def area_m2(self) -> float:
        """Free area [m2]."""
        return float(self.free.sum()) * self.resolution_m ** 2

    def clustered_starts(self, robots: int, anchor: tuple[int, int] | None = None) -> NDArray[np.int32]:
        """Cells around the anchor, nearest by way first.

        Args:
            robots: how many.
            anchor: another free cell to start around.

        Returns:
            Shape: (robots, 2).

        Raises:
            WorldError: too little free space for that many robots.
        """
        field = DistanceField(self.free.shape)
        field.compute(self.free.astype(np.uint8), *(self.anchor if anchor is None else anchor))
        chosen = np.full((robots, 2), -START_GAP_CELLS - 1, np.int32)
        count = 0
        for index in np.argsort(field.cost, axis=None, kind='stable'):
            row, col = divmod(int(index), self.free.shape[1])
            if count == robots or field.cost[row, col] >= UNREACHED:
                break
            if np.abs(chosen[:count] - (row, col)).max(axis=1, initial=0).min(initial=99) >= START_GAP_CELLS:
                chosen[count] = row, col
                count += 1
        if count < robots:
            raise WorldError(f'the world has room for {count} robots, asked for {robots}')
        return chosen

    def random_cell(self, rng: np.random.Generator) -> tuple[int, int]:
        """A free cell drawn evenly."""
        rows, cols = np.nonzero(self.free)
        index = int(rng.integers(len(rows)))
        return int(rows[index]), int(cols[index])
