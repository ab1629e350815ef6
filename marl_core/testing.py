"""Conformance checks that ship with the project: every entry of a registry must pass them, own ones and yours.

Each raises AssertionError saying what broke which promise.
"""

from dataclasses import fields, replace

import numpy as np
from numpy.typing import NDArray

from marl_core.decision.observation import Observation, observe
from marl_core.decision.policies.base import Policy
from marl_core.specs import FAR_M, HOLD, MAX_CANDIDATES, MAX_TEAM, OBSERVATION
from marl_core.types import FREE, OCCUPIED, UNKNOWN


def random_observation(generator: np.random.Generator, candidates: int, robots: int) -> Observation:
    """An observation made by the real kernels from a random map, with exactly the given rows.

    Args:
        generator: source of randomness.
        candidates: K, may be 0.
        robots: T, at least 1.
    """
    side, resolution_m = 80, 0.25
    state = generator.choice(np.array([FREE, UNKNOWN, OCCUPIED], np.int8), (side, side), p=(0.6, 0.35, 0.05))
    cells = generator.integers(0, side, (candidates, 2)).astype(np.int32)
    team_poses = np.column_stack((generator.uniform(0.0, side * resolution_m, (robots, 2)),
                                  generator.uniform(-np.pi, np.pi, robots)))
    team_goals_m = generator.uniform(0.0, side * resolution_m, (robots, 2))
    team_goals_m[generator.random(robots) < 0.3] = np.nan
    centres_m = (cells[:, ::-1] + 0.5) * resolution_m
    straight_m = np.linalg.norm(team_poses[:, None, :2] - centres_m, axis=-1)
    detour = generator.uniform(1.0, 1.5, (robots, candidates))
    return observe(state, resolution_m, 0.0, 0.0, 8.0, cells, generator.integers(2, 20, candidates).astype(np.int32),
                   team_poses, team_goals_m, generator.uniform(0.0, 20.0, robots), generator.uniform(0.0, 5.0, robots),
                   (5.0 * straight_m * detour / resolution_m).astype(np.int32), int(generator.integers(robots)))


def padded(observation: Observation, candidates: int, robots: int, generator: np.random.Generator) -> Observation:
    """The same observation in larger arrays, whose padding holds rubbish [0..FAR_M] and is masked.

    Args:
        observation: without padding.
        candidates: K to pad to.
        robots: T to pad to.
        generator: source of rubbish.
    """
    sizes = {'K': candidates, 'T': robots}
    changed: dict[str, NDArray[np.generic]] = {}
    for spec in OBSERVATION:
        array = getattr(observation, spec.name)
        shape = tuple(sizes.get(str(size), size) for size in spec.shape)
        larger = np.zeros(shape, np.bool_) if spec.dtype == 'bool' else generator.uniform(0.0, FAR_M, shape)
        larger[tuple(slice(length) for length in array.shape)] = array
        changed[spec.name] = larger.astype(spec.dtype)
    return replace(observation, **changed)


def check_observation(observation: Observation) -> None:
    """Check arrays against specs.OBSERVATION: shape, dtype, range, no NaN."""
    sizes = {'K': len(observation.candidate_mask), 'T': len(observation.team_mask)}
    for spec in OBSERVATION:
        array = getattr(observation, spec.name)
        shape = tuple(sizes.get(str(size), size) for size in spec.shape)
        assert array.shape == shape, f'{spec.name}: expected shape {shape}, got {array.shape}'
        assert array.dtype == spec.dtype, f'{spec.name}: expected dtype {spec.dtype}, got {array.dtype}'
        assert np.isfinite(array).all(), f'{spec.name}: holds values that are not finite'
        inside = (array >= spec.low) & (array <= spec.high)
        assert inside.all(), f'{spec.name}: expected {spec.low} to {spec.high}, got {array[~inside].tolist()}'


def check_policy(policy: Policy, observations: int = 60, may_hold: bool = False, seed: int = 0) -> None:
    """Check what the agent relies on, for 0 to MAX_CANDIDATES candidates and 1 to MAX_TEAM robots.

    A policy has a name; holds when there is no candidate and otherwise chooses one that is not masked; gives the
    same choice for the same observation, whatever it was asked in between; leaves the observation as it was; and
    does not mind padding, whatever that holds.

    Args:
        policy: to check.
        observations: how many random ones.
        may_hold: whether the policy documents that it may hold although there are candidates.
        seed: of the observations.
    """
    assert isinstance(policy.name, str), f'name must be a str, got {policy.name!r}'
    assert policy.name, 'name must not be empty'
    generator = np.random.default_rng(seed)
    asked: list[tuple[Observation, int]] = []
    for number in range(observations):
        count = (0, 1, MAX_CANDIDATES)[number] if number < 3 else int(generator.integers(MAX_CANDIDATES + 1))
        robots = (1, MAX_TEAM)[number] if number < 2 else int(generator.integers(1, MAX_TEAM + 1))
        observation = random_observation(generator, count, robots)
        described = f'{policy.name}, {count} candidates, {robots} robots, seed {seed}, observation {number}'
        before = {entry.name: np.copy(getattr(observation, entry.name)) for entry in fields(observation)}
        choice = policy.choose(observation)
        for name, array in before.items():
            assert np.array_equal(array, getattr(observation, name)), f'{described}: changed {name}'
        _check_choice(choice, count, may_hold, described)
        larger = padded(observation, MAX_CANDIDATES, MAX_TEAM, generator)
        assert policy.choose(larger) == choice, f'{described}: padding changed the choice'
        asked.append((observation, choice))
    for number in generator.permutation(len(asked)):
        observation, choice = asked[number]
        assert policy.choose(observation) == choice, f'{policy.name}: observation {number}: not deterministic'


def _check_choice(choice: int, count: int, may_hold: bool, described: str) -> None:
    assert isinstance(choice, int), f'{described}: chose {choice!r}, expected an int'
    if count == 0:
        assert choice == HOLD, f'{described}: chose {choice}, expected HOLD'
    elif choice == HOLD:
        assert may_hold, f'{described}: held although there are candidates'
    else:
        assert 0 <= choice < count, f'{described}: chose {choice}, which is no candidate'
