"""What a team could reach that knew the map: a plan by simulated annealing, and a bound that no plan can beat.

The plan is an ordered list of viewpoints for each robot, walked by the rules of ``FastExploration``. It is what a
search found, so a better one may exist; the bound is a proof, and far below. Between them lies the best that could be
done, and what explorers lose to both is the price of not knowing.
"""

from dataclasses import dataclass
from math import ceil, pi

import numpy as np
from numba import njit
from numpy.typing import NDArray

from marl_core.errors import SimulationError
from marl_core.mapping.geodesics import STRAIGHT, UNREACHED, DistanceField, descend
from sim.fast.exploration import terrain_of
from sim.fast.grid import CoarseGrid
from sim.fast.motion import Terrain

WITNESSES = 2500
"""Free cells, drawn evenly, by which a plan in the making is judged."""
MOST_VIEWPOINTS = 220
ROUTE_CAPACITY = 160
ATTEMPTS = ((0.0, 1.0), (0.004, 1.0), (0.004, 4.0), (0.01, 10.0))
"""How much more than asked of the witnesses a plan has to see, and what each that is missing costs [m]."""
DETOUR = 1.09
"""A way over 8 neighbours is at most so much longer than the straight line."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Ways for all robots.

    Attributes:
        makespan_m: way after which the team has seen enough [m].
        routes: cells of each robot, its start first. Shapes: (L, 2), int32.
    """

    makespan_m: float
    routes: tuple[NDArray[np.int32], ...]


def lower_bound_m(grid: CoarseGrid, starts: NDArray[np.integer], sensor_range_m: float, coverage: float) -> float:
    """Way below which no team can have seen a part of the free cells, whatever it knows [m].

    The larger of two bounds: the way to where the last cell of the part comes into range, and the area that all robots
    together sweep (a disc each, and a strip as wide as the disc along the way).

    Args:
        grid: what is explored. starts: cells. Shape: (N, 2).
        sensor_range_m: of the lidars. coverage: part of the free cells [0..1].
    """
    nearest_m = np.full(grid.free.shape, np.inf)
    field = DistanceField(grid.free.shape)
    for row, col in np.asarray(starts).tolist():
        field.compute(grid.free.view(np.uint8), row, col)
        nearest_m = np.minimum(nearest_m, np.where(field.cost < UNREACHED, field.cost, np.inf))
    # Path costs exceed true lengths by up to 1 %; cells are seen by their middles, from middles.
    ways_m = np.sort(nearest_m[grid.free]) * (grid.resolution_m / STRAIGHT / 1.01)
    needed = ceil(coverage * ways_m.size - 1e-9)
    reach_m = sensor_range_m + grid.resolution_m
    by_way_m = ways_m[needed - 1] - DETOUR * reach_m
    area_m2 = needed * grid.resolution_m**2
    by_area_m = (area_m2 / len(starts) - pi * reach_m**2) / (2.0 * reach_m)
    return max(0.0, by_way_m, by_area_m)


def plan(grid: CoarseGrid, starts: NDArray[np.integer], sensor_range_m: float, coverage: float = 0.99,
         step_m: float = 0.4, iterations: int = 200_000, seed: int = 0) -> Plan:
    """Search the shortest plan of a team that knows the map.

    Args:
        grid: what is explored. starts: cells. Shape: (N, 2).
        sensor_range_m: of the lidars. coverage: part of the free cells that shall be seen [0..1].
        step_m: way between two looks [m]. iterations: of the annealing. seed: of all that is drawn.

    Raises:
        SimulationError: no plan was found that sees as much.
    """
    random = np.random.default_rng(seed)
    cells = np.argwhere(grid.free).astype(np.int32)
    index_of = np.full(grid.free.size, -1, np.int64)
    index_of[np.flatnonzero(grid.free)] = np.arange(len(cells))
    drawn = random.choice(len(cells), min(WITNESSES, len(cells)), replace=False)
    witness_of = np.full(grid.free.size, -1, np.int32)
    witness_of[np.flatnonzero(grid.free)[drawn]] = np.arange(len(drawn))
    terrain = terrain_of(grid, sensor_range_m)
    sight = _sight(terrain, cells, witness_of, len(drawn))
    viewpoints = _viewpoints(sight, drawn, random)
    sources = np.concatenate((np.asarray(starts, np.int32), cells[viewpoints]))
    distances_m, legs = _legs(grid, sources, cells[viewpoints], sight, index_of)
    best: Plan | None = None
    for margin, missing_m in ATTEMPTS:
        needed = min(len(drawn), ceil((coverage + margin) * len(drawn)))
        routes, lengths = _first_routes(distances_m, len(starts))
        _anneal(routes, lengths, distances_m, legs, needed, missing_m, iterations, seed)
        found = _walked(grid, terrain, starts, cells[viewpoints], routes, lengths, coverage, step_m)
        if found is not None and (best is None or found.makespan_m < best.makespan_m):
            best = found
    if best is None:
        raise SimulationError(f'no plan was found in {iterations} iterations that sees {100 * coverage:.0f} %')
    return best


@njit(cache=True, nogil=True)
def _look(terrain: Terrain, row: int, col: int, cells: NDArray[np.int64]) -> int:
    """Write which free cells are seen from one, itself first, as flat indices; returns how many."""
    free, here = terrain.free.reshape(-1), row * terrain.free.shape[1] + col
    cell, node, count = here, -1, 0
    while True:
        if free[cell]:
            cells[count] = cell
            count += 1
            node += 1
        else:
            node = terrain.after[node]
        if node >= terrain.after.size:
            return count
        cell = here + terrain.offsets[node]


@njit(cache=True, nogil=True)
def _sight(terrain: Terrain, cells: NDArray[np.int32], witness_of: NDArray[np.int32],
           witnesses: int) -> NDArray[np.uint64]:
    """Which witnesses are seen from each cell, as bits. Shape: (cells, words)."""
    seen = np.zeros((cells.shape[0], (witnesses + 63) // 64), np.uint64)
    in_sight = np.empty(terrain.after.size + 1, np.int64)
    for i in range(cells.shape[0]):
        for j in range(_look(terrain, cells[i, 0], cells[i, 1], in_sight)):
            k = witness_of[in_sight[j]]
            if k >= 0:
                seen[i, k >> 6] |= np.uint64(1) << np.uint64(k & 63)
    return seen


def _viewpoints(sight: NDArray[np.uint64], witnesses: NDArray[np.intp],
                random: np.random.Generator) -> NDArray[np.intp]:
    """A greedy set cover of the witnesses, and as many other cells again. Indices of free cells. Shape: (K,).

    Chosen among the witnesses themselves, who at least see each other where nobody else looks, and some more.
    """
    sample = np.unique(np.concatenate((witnesses, random.choice(len(sight), min(len(sight), 300), replace=False))))
    bits = np.unpackbits(sight[sample].view(np.uint8), axis=1, bitorder='little').astype(bool)
    left, chosen = np.ones(bits.shape[1], bool), []
    while len(chosen) < MOST_VIEWPOINTS // 2:
        gains = (bits & left).sum(axis=1)
        k = int(gains.argmax())
        if not gains[k]:
            break
        chosen.append(k)
        left &= ~bits[k]
    extra = random.choice(len(sample), min(len(sample), MOST_VIEWPOINTS - len(chosen), 2 * len(chosen) + 20),
                          replace=False)
    return sample[np.unique(np.concatenate((np.array(chosen, np.intp), extra)))]


def _legs(grid: CoarseGrid, sources: NDArray[np.int32], targets: NDArray[np.int32], sight: NDArray[np.uint64],
          index_of: NDArray[np.int64]) -> tuple[NDArray[np.float64], NDArray[np.uint64]]:
    """Lengths of the ways from sources to targets, and the witnesses seen along them.

    Returns:
        [m], Shape: (S, K); bits, Shape: (S, K, words).
    """
    field = DistanceField(grid.free.shape)
    lengths_m = np.empty((len(sources), len(targets)))
    seen = np.zeros((len(sources), len(targets), sight.shape[1]), np.uint64)
    traversable = grid.free.view(np.uint8)
    for k, (row, col) in enumerate(targets.tolist()):
        field.compute(traversable, row, col)
        lengths_m[:, k] = field.cost[sources[:, 0], sources[:, 1]] * (grid.resolution_m / STRAIGHT)
        for s, (from_row, from_col) in enumerate(sources.tolist()):
            way = descend(field.cost, from_row, from_col)
            seen[s, k] = np.bitwise_or.reduce(sight[index_of[way[:, 0] * grid.free.shape[1] + way[:, 1]]], axis=0)
    return lengths_m, seen


def _first_routes(distances_m: NDArray[np.float64], robots: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Every robot goes to the nearest viewpoint left, by turns. Shapes: (N, ROUTE_CAPACITY), (N,)."""
    routes, lengths = np.zeros((robots, ROUTE_CAPACITY), np.int64), np.zeros(robots, np.int64)
    at, gone_m = list(range(robots)), np.zeros(robots)
    left = set(range(distances_m.shape[1]))
    while left and lengths.min() < ROUTE_CAPACITY // 2:
        robot = int(gone_m.argmin())
        k = min(left, key=lambda target: distances_m[at[robot], target])
        left.remove(k)
        gone_m[robot] += distances_m[at[robot], k]
        routes[robot, lengths[robot]] = k
        lengths[robot] += 1
        at[robot] = robots + k
    return routes, lengths


@njit(cache=True, nogil=True)
def _cost(routes: NDArray[np.int64], lengths: NDArray[np.int64], distances_m: NDArray[np.float64],
          legs: NDArray[np.uint64], needed: int, missing_m: float, seen: NDArray[np.uint64]) -> float:
    """Longest way, a little of all ways, and what is missing [m]."""
    robots, longest_m, all_m = lengths.size, 0.0, 0.0
    seen[:] = 0
    for robot in range(robots):
        way_m, at = 0.0, robot
        for j in range(lengths[robot]):
            target = routes[robot, j]
            way_m += distances_m[at, target]
            for word in range(seen.size):
                seen[word] |= legs[at, target, word]
            at = robots + target
        longest_m = max(longest_m, way_m)
        all_m += way_m
    count = 0
    for word in range(seen.size):
        count += _ones(seen[word])
    return longest_m + 0.02 * all_m + missing_m * max(0, needed - count)


@njit(cache=True, nogil=True)
def _ones(word: np.uint64) -> int:
    word = word - ((word >> np.uint64(1)) & np.uint64(0x5555555555555555))
    word = (word & np.uint64(0x3333333333333333)) + ((word >> np.uint64(2)) & np.uint64(0x3333333333333333))
    word = (word + (word >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    return int((word * np.uint64(0x0101010101010101)) >> np.uint64(56))


@njit(cache=True, nogil=True)
def _anneal(routes: NDArray[np.int64], lengths: NDArray[np.int64], distances_m: NDArray[np.float64],
            legs: NDArray[np.uint64], needed: int, missing_m: float, iterations: int, seed: int) -> None:
    """Improve routes in place: viewpoints come, go and change, stretches are turned round or change hands."""
    np.random.seed(seed)
    robots, viewpoints = lengths.size, distances_m.shape[1]
    seen = np.zeros(legs.shape[2], np.uint64)
    cost = _cost(routes, lengths, distances_m, legs, needed, missing_m, seen)
    best, best_routes, best_lengths = cost, routes.copy(), lengths.copy()
    trial, trial_lengths, stretch = routes.copy(), lengths.copy(), np.empty(5, np.int64)
    for iteration in range(iterations):
        warmth_m = 4.0 * (1.0 - iteration / iterations)**2 + 1e-6
        trial[:] = routes
        trial_lengths[:] = lengths
        if not _change(trial, trial_lengths, viewpoints, robots, stretch):
            continue
        tried = _cost(trial, trial_lengths, distances_m, legs, needed, missing_m, seen)
        if tried < cost or np.random.random() < np.exp((cost - tried) / warmth_m):
            routes[:] = trial
            lengths[:] = trial_lengths
            cost = tried
            if cost < best:
                best = cost
                best_routes[:] = routes
                best_lengths[:] = lengths
    routes[:] = best_routes
    lengths[:] = best_lengths


@njit(cache=True, nogil=True)
def _change(routes: NDArray[np.int64], lengths: NDArray[np.int64], viewpoints: int, robots: int,
            stretch: NDArray[np.int64]) -> bool:
    """Make one random change in place; False if it was none."""
    draw, robot = np.random.random(), np.random.randint(robots)
    size = lengths[robot]
    if draw < 0.15:
        if size >= ROUTE_CAPACITY - 1:
            return False
        place = np.random.randint(size + 1)
        for j in range(size, place, -1):
            routes[robot, j] = routes[robot, j - 1]
        routes[robot, place] = np.random.randint(viewpoints)
        lengths[robot] += 1
        return True
    if size == 0:
        return False
    if draw < 0.4:
        for j in range(np.random.randint(size), size - 1):
            routes[robot, j] = routes[robot, j + 1]
        lengths[robot] -= 1
    elif draw < 0.55:
        routes[robot, np.random.randint(size)] = np.random.randint(viewpoints)
    elif draw < 0.75:
        first = np.random.randint(size)
        last = np.random.randint(first, size)
        while first < last:
            routes[robot, first], routes[robot, last] = routes[robot, last], routes[robot, first]
            first, last = first + 1, last - 1
    else:
        count = 1 + np.random.randint(min(5, size))
        first, other = np.random.randint(size - count + 1), np.random.randint(robots)
        for j in range(count):
            stretch[j] = routes[robot, first + j]
        for j in range(first, size - count):
            routes[robot, j] = routes[robot, j + count]
        lengths[robot] -= count
        if lengths[other] + count >= ROUTE_CAPACITY:
            return False
        place, turned = np.random.randint(lengths[other] + 1), np.random.random() < 0.5
        for j in range(lengths[other] + count - 1, place + count - 1, -1):
            routes[other, j] = routes[other, j - count]
        for j in range(count):
            routes[other, place + j] = stretch[count - 1 - j] if turned else stretch[j]
        lengths[other] += count
    return True


def _walked(grid: CoarseGrid, terrain: Terrain, starts: NDArray[np.integer], viewpoints: NDArray[np.int32],
            routes: NDArray[np.int64], lengths: NDArray[np.int64], coverage: float, step_m: float) -> Plan | None:
    """Walk routes by the rules of the grid host; None if too little is seen in the end."""
    field, ways = DistanceField(grid.free.shape), []
    for robot, start in enumerate(np.asarray(starts, np.int32)):
        way = [start[None]]
        for row, col in viewpoints[routes[robot, :lengths[robot]]].tolist():
            field.compute(grid.free.view(np.uint8), row, col)
            way.append(descend(field.cost, *way[-1][-1].tolist())[-2::-1])  # from where the robot is, itself left out
            if not len(way[-1]):
                way.pop()
        ways.append(np.concatenate(way))
    longest = max(len(way) for way in ways)
    padded = np.stack([np.concatenate((way, np.repeat(way[-1:], longest - len(way), axis=0))) for way in ways])
    needed = ceil(coverage * int(grid.free.sum()) - 1e-9)
    steps = _steps_needed(terrain, padded, np.array([len(way) for way in ways]), step_m / grid.resolution_m, needed)
    return None if steps < 0 else Plan(steps * step_m, tuple(ways))


@njit(cache=True, nogil=True)
def _steps_needed(terrain: Terrain, ways: NDArray[np.int32], lengths: NDArray[np.int64], step: float,
                  needed: int) -> int:
    """Steps after which all robots together have seen enough cells, -1 if never. Shape of ways: (N, L, 2)."""
    seen, in_sight = np.zeros(terrain.free.size, np.bool_), np.empty(terrain.after.size + 1, np.int64)
    at, carry, count, steps = np.zeros(lengths.size, np.int64), np.zeros(lengths.size), 0, 0
    while True:
        for robot in range(lengths.size):
            for j in range(_look(terrain, ways[robot, at[robot], 0], ways[robot, at[robot], 1], in_sight)):
                count += not seen[in_sight[j]]
                seen[in_sight[j]] = True
        if count >= needed:
            return steps
        steps += 1
        going = False
        for robot in range(lengths.size):
            carry[robot] += step
            while at[robot] < lengths[robot] - 1:
                going = True
                here, ahead = ways[robot, at[robot]], ways[robot, at[robot] + 1]
                length = 1.0 if here[0] == ahead[0] or here[1] == ahead[1] else 2.0**0.5
                if carry[robot] < length:
                    break
                carry[robot] -= length
                at[robot] += 1
        if not going:
            return -1
