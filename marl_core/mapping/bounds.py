"""Where the cells of a map lie, and how a map is configured.

The map frame is cut into square cells and tiles of 32 x 32 cells. A map has fixed bounds centred on the origin of
the map frame, so that arrays never grow and every robot of a fleet gives a tile the same name. Cell (row, col) of
an array covers x in [origin_x_m + col * resolution_m, + resolution_m) and y likewise with row; tile (ty, tx) holds
the cells (row // 32, col // 32).
"""

from dataclasses import dataclass
from math import ceil, floor, isfinite

from marl_core.errors import MapError
from marl_core.types import FAINT, OCCUPIED

TILE = 32
"""Edge of a tile [cells]: the unit in which changes are tracked, planned over and shared."""

EVIDENCE = {'trinary': OCCUPIED, 'graded': FAINT}
"""As what a wall begins: at once as sure as any, or faint until its evidence saturates."""


@dataclass(frozen=True, slots=True)
class MapConfig:
    """Geometry of a map and how evidence turns into classes.

    Log-odds are int8. A cell counts ``hit`` per scan that ends in it and ``miss`` per scan that sees through it;
    it becomes known at ``occupied_at`` / ``free_at`` and flips only when the other side saturates.

    Attributes:
        resolution_m: edge of a cell [m].
        planning_resolution_m: edge of a planning cell [m]; 1, 2, 4, 8, 16 or 32 cells.
        width_m: least extent along x [m]; rounded up to whole pairs of tiles.
        height_m: least extent along y [m]; likewise.
        hit: evidence of one hit. miss: evidence of one miss (negative).
        maximum: evidence saturates here. minimum: and here (negative).
        occupied_at: evidence that makes an unknown cell occupied.
        free_at: evidence that makes an unknown cell free (negative).
        known_range_m: evidence beyond this range is not taken [m].
        evidence: what robots tell of a cell, the same for the whole fleet; key in EVIDENCE
            (docs/decisions/0005-trinary-evidence.md has what either costs and buys).
    """

    resolution_m: float = 0.05
    planning_resolution_m: float = 0.2
    width_m: float = 201.6
    height_m: float = 201.6
    hit: int = 9
    miss: int = -4
    maximum: int = 35
    minimum: int = -20
    occupied_at: int = 18
    free_at: int = -8
    known_range_m: float = 30.0
    evidence: str = 'trinary'

    def __post_init__(self) -> None:
        for name in ('resolution_m', 'planning_resolution_m', 'width_m', 'height_m', 'known_range_m'):
            if not (isfinite(getattr(self, name)) and getattr(self, name) > 0.0):
                raise ValueError(f'{name} must be positive and finite, got {getattr(self, name)!r}')
        factor = self.planning_resolution_m / self.resolution_m
        if abs(factor - round(factor)) > 1e-6 or TILE % max(1, round(factor)):
            raise ValueError(f'planning_resolution_m must be 1, 2, 4, 8, 16 or 32 times resolution_m '
                             f'({self.resolution_m}), got {self.planning_resolution_m}')
        if not 0 < self.hit <= self.occupied_at <= self.maximum <= 63:
            raise ValueError('evidence must satisfy 0 < hit <= occupied_at <= maximum <= 63')
        if not 0 > self.miss >= self.free_at >= self.minimum >= -63:
            raise ValueError('evidence must satisfy 0 > miss >= free_at >= minimum >= -63')
        if self.evidence not in EVIDENCE:
            raise ValueError(f'evidence must be one of {", ".join(EVIDENCE)}, got {self.evidence!r}')


@dataclass(frozen=True, slots=True)
class MapBounds:
    """Maps metres to cells, planning cells and tiles.

    Attributes:
        resolution_m: edge of a cell [m].
        planning_factor: cells along the edge of a planning cell.
        tiles_x: tiles along x (even). tiles_y: tiles along y (even).
    """

    resolution_m: float
    planning_factor: int
    tiles_x: int
    tiles_y: int

    @classmethod
    def from_config(cls, config: MapConfig) -> 'MapBounds':
        """Bounds of the smallest map that holds the configured extent."""
        pair_m = 2 * TILE * config.resolution_m
        return cls(config.resolution_m, round(config.planning_resolution_m / config.resolution_m),
                   2 * ceil(config.width_m / pair_m - 1e-6), 2 * ceil(config.height_m / pair_m - 1e-6))

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of an array of cells."""
        return self.tiles_y * TILE, self.tiles_x * TILE

    @property
    def tiles_shape(self) -> tuple[int, int]:
        """Rows and columns of an array of tiles."""
        return self.tiles_y, self.tiles_x

    @property
    def origin_x_m(self) -> float:
        """Left edge of column 0 [m; map frame]."""
        return -(self.tiles_x // 2) * TILE * self.resolution_m

    @property
    def origin_y_m(self) -> float:
        """Lower edge of row 0 [m; map frame]."""
        return -(self.tiles_y // 2) * TILE * self.resolution_m

    @property
    def planning_resolution_m(self) -> float:
        """Edge of a planning cell [m]."""
        return self.resolution_m * self.planning_factor

    @property
    def planning_shape(self) -> tuple[int, int]:
        """Rows and columns of an array of planning cells."""
        rows, cols = self.shape
        return rows // self.planning_factor, cols // self.planning_factor

    def cell_of(self, x_m: float, y_m: float) -> tuple[int, int]:
        """Row and column of the cell at a point [m; map frame]; may lie outside the map.

        Raises:
            MapError: a coordinate is not finite.
        """
        return self._index(x_m, y_m, self.resolution_m)

    def planning_cell_of(self, x_m: float, y_m: float) -> tuple[int, int]:
        """Row and column of the planning cell at a point [m; map frame]; may lie outside the map.

        Raises:
            MapError: a coordinate is not finite.
        """
        return self._index(x_m, y_m, self.planning_resolution_m)

    def contains(self, row: int, col: int) -> bool:
        """Whether a cell lies in the map."""
        rows, cols = self.shape
        return 0 <= row < rows and 0 <= col < cols

    def center_of(self, row: int, col: int) -> tuple[float, float]:
        """Centre of a cell [m; map frame]."""
        return self.origin_x_m + (col + 0.5) * self.resolution_m, self.origin_y_m + (row + 0.5) * self.resolution_m

    def planning_center_of(self, row: int, col: int) -> tuple[float, float]:
        """Centre of a planning cell [m; map frame]."""
        edge_m = self.planning_resolution_m
        return self.origin_x_m + (col + 0.5) * edge_m, self.origin_y_m + (row + 0.5) * edge_m

    def _index(self, x_m: float, y_m: float, edge_m: float) -> tuple[int, int]:
        if not (isfinite(x_m) and isfinite(y_m)):
            raise MapError(f'a point must have finite coordinates, got ({x_m}, {y_m})')
        return floor((y_m - self.origin_y_m) / edge_m), floor((x_m - self.origin_x_m) / edge_m)
