"""A heuristic of the project solves the task, and policies of the robots run unchanged."""

import numpy as np
import pytest

from marl_core.decision.observation import Observation
from marl_core.decision.policies import POLICIES
from marl_core.specs import HOLD
from sim.episodes import run_episode
from sim.worlds import load_world

WORLDS = ('rooms:0', 'office:1', 'maze:2@14x14', 'cave:3', 'warehouse:4')


class RandomChoice:
    name = 'random'

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)

    def choose(self, observation: Observation) -> int:
        count = len(observation.candidate_mask)
        return int(self.rng.integers(count)) if count else HOLD


@pytest.mark.parametrize('name', WORLDS)
def test_burgard_solves_the_task_and_beats_random_choice(name: str) -> None:
    world = load_world(name)
    burgard = run_episode(world, POLICIES['burgard'](), robots=3, sensor_range_m=5.0)
    chance = run_episode(world, RandomChoice(0), robots=3, sensor_range_m=5.0)
    assert burgard.complete
    assert burgard.coverage >= 0.99
    assert list(burgard.makespans_m) == sorted(burgard.makespans_m)
    assert burgard.makespans_m[-1] < chance.makespans_m[-1]


@pytest.mark.parametrize('name', WORLDS[:2])
def test_compiled_base_rule_is_burgard(name: str) -> None:
    world = load_world(name)
    base, burgard = run_episode(world, None, robots=4), run_episode(world, POLICIES['burgard'](), robots=4)
    assert base.makespans_m == burgard.makespans_m
    assert base.distances_m == burgard.distances_m
    assert base.decisions == burgard.decisions
    assert (base.policy, burgard.policy) == ('base', 'burgard')


@pytest.mark.parametrize('policy', sorted(POLICIES))
def test_every_classical_policy_finishes(policy: str) -> None:
    result = run_episode(load_world('rooms:2@12x12'), POLICIES[policy](), robots=2, resolution_m=0.4)
    assert result.complete
    assert max(result.distances_m) <= result.makespans_m[-1] + 1e-6


def test_more_robots_are_quicker() -> None:
    world = load_world('office:7@30x20')
    alone, four = (run_episode(world, None, robots=robots).makespans_m[-1] for robots in (1, 4))
    assert four < 0.7 * alone


def test_a_limit_is_reported_as_not_reached() -> None:
    result = run_episode(load_world('maze:1'), None, robots=1, limit_m=4.0)
    assert not result.complete
    assert result.makespans_m[-1] == np.inf
    assert 0 < result.distances_m[0] <= 4.0


def test_random_starts_depend_on_the_seed_alone() -> None:
    world = load_world('cave:5')
    one, two, other = (run_episode(world, None, 2, seed, random_start=True).makespans_m for seed in (1, 1, 2))
    assert one == two
    assert one != other
