"""Frontiers of a half-explored map: extraction and clustering, down to the places worth going to."""

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import label

from benchmarks.geodesics import BOUNDS, explored_classes, start_cell
from benchmarks.rows import Row, seconds_per_call
from marl_core.mapping.frontiers import FrontierFinder
from marl_core.mapping.geodesics import UNREACHED, DistanceField
from marl_core.mapping.planning import PlanningGrid
from marl_core.types import FREE, UNKNOWN


def measure() -> list[Row]:
    """On cells of 0.05 m (2048 x 2048, all of it searched) and on the planning grid's known window."""
    classes = explored_classes()
    return [_fine_row(classes), _planning_row(classes)]


def _fine_row(classes: NDArray[np.int8]) -> Row:
    """Beside the same frontier by shifted arrays and scipy's labels, which stop short of sizes and middles."""
    traversable = (classes == FREE).astype(np.uint8)
    field, finder = DistanceField(classes.shape), FrontierFinder(classes.shape)
    field.compute(traversable, *start_cell(traversable != 0))
    whole, everything = (0, classes.shape[0], 0, classes.shape[1]), 1 << 16
    found = finder.find(classes, field.cost, whole, everything, 1, everything)
    sizes = np.sort(np.bincount(_labels(classes, field.cost).ravel())[1:])
    if not np.array_equal(np.sort(found.sizes), sizes):
        raise AssertionError("the clusters differ from scipy's labels")
    each_s = seconds_per_call(lambda: finder.find(classes, field.cost, whole, 40, 3, 64))
    peer_s = seconds_per_call(lambda: _labels(classes, field.cost), repeats=3)
    rows, cols = classes.shape
    return Row(f'frontiers and clusters, {rows} x {cols} cells, {sizes.sum():,} on the frontier',
               1e3 * each_s, 'ms', 6.0, at_least=False, peer='numpy shifts and scipy.ndimage.label',
               ratio=peer_s / each_s, ratio_target=3.0)


def _labels(classes: NDArray[np.int8], cost: NDArray[np.int32]) -> NDArray[np.int32]:
    unknown = np.pad(classes == UNKNOWN, 1)
    beside = unknown[:-2, 1:-1] | unknown[2:, 1:-1] | unknown[1:-1, :-2] | unknown[1:-1, 2:]
    return label((classes == FREE) & beside & (cost < UNREACHED), np.ones((3, 3)))[0]


def _planning_row(classes: NDArray[np.int8]) -> Row:
    planning = PlanningGrid(BOUNDS, 0.2, 0.05)
    known = (classes != UNKNOWN).reshape(BOUNDS.tiles_y, 32, BOUNDS.tiles_x, 32).any(axis=(1, 3))
    planning.update(classes, np.argwhere(known))
    field, finder = DistanceField(planning.state.shape), FrontierFinder(planning.state.shape)
    field.compute(planning.traversable, *start_cell(planning.traversable != 0))
    each_s = seconds_per_call(lambda: finder.find(planning.state, field.cost, planning.known_window, 40, 2, 32))
    return Row('candidates on the planning grid of the same map', 1e3 * each_s, 'ms', 0.5, at_least=False)
