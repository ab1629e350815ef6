"""Exploration on the fast host: what an episode costs while training and evaluating."""

from functools import partial
from statistics import fmean

import numpy as np
from numpy.typing import NDArray

from benchmarks.rows import Row, seconds_per_call
from marl_core.decision.policies import make_policy
from models.compiled_scorer import BASE_RULE, CONTEXTS, FEATURES
from sim.env import ExplorationEnv
from sim.episodes import run_episode
from sim.fast import CoarseGrid, FastExploration
from sim.worlds import WORLDS, load_world

ROBOTS = 4


def measure() -> list[Row]:
    """Episodes of four robots with 8 m lidars on one world of each kind, about 650 m2 of free space each."""
    worlds = [load_world(f'{kind}:7@28x26') for kind in WORLDS]
    grids = {resolution_m: [CoarseGrid.from_world(world, resolution_m) for world in worlds]
             for resolution_m in (0.4, 0.2)}
    burgard, base_ms = make_policy('burgard'), _milliseconds(grids[0.2])
    return [
        Row('episode of 4 robots, 0.4 m cells, base rule', _milliseconds(grids[0.4]), 'ms', 40.0, at_least=False),
        Row('episode of 4 robots, 0.2 m cells, base rule', base_ms, 'ms', 100.0, at_least=False),
        Row('episode of 4 robots, 0.2 m cells, a scorer relative to the base rule',
            _milliseconds(grids[0.2], np.full((CONTEXTS, FEATURES), 1e-6)) / base_ms, '×', 1.2, at_least=False),
        Row('episode of 4 robots, 0.2 m cells, any policy by Observation',
            1e3 * fmean(seconds_per_call(partial(run_episode, grid, burgard, ROBOTS), repeats=3)
                        for grid in grids[0.2]), 'ms', 120.0, at_least=False),
        Row('training environment, 0.2 m cells, robot decisions', _decisions_per_second(), '1/s', 2000.0),
    ]


def _milliseconds(grids: list[CoarseGrid], weights: NDArray[np.float64] = BASE_RULE) -> float:
    return 1e3 * fmean(seconds_per_call(partial(_play, FastExploration(grid, ROBOTS), weights), repeats=3)
                       for grid in grids)


def _play(episode: FastExploration, weights: NDArray[np.float64]) -> None:
    episode.reset()
    episode.play_out(weights)


def _decisions_per_second() -> float:
    """The whole of an environment's work: drawing worlds, observations, and the critic's image at every step."""
    environment = ExplorationEnv(robots=ROBOTS)
    decisions = 0

    def play() -> None:
        nonlocal decisions
        decisions = 0
        for seed in range(10):
            observations, _ = environment.reset(seed=seed)
            while environment.agents:
                environment.state()
                observations, *_ = environment.step({
                    agent: int(np.where(seen['candidate_mask'], seen['base_logits'], -np.inf).argmax())
                    for agent, seen in observations.items()})
                decisions += ROBOTS
    seconds = seconds_per_call(play, repeats=3)
    return decisions / seconds
