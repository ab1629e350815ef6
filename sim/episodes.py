"""Playing single episodes with any policy of the robots, to compare policies on the same worlds."""

from dataclasses import dataclass
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from marl_core.decision.observation import Observation
from marl_core.decision.policies import Policy
from marl_core.specs import OBSERVATION
from sim.conditions import Conditions
from sim.fast import CoarseGrid, FastConfig, FastExploration
from sim.worlds import World

BASE_RULE = 'base'
"""Name of the policy that takes the best of ``base_logits``."""


@dataclass(frozen=True, eq=False, slots=True)
class EpisodeResult:
    """What an episode came to.

    Attributes:
        world, policy: names.
        robots: size of the team.
        seed: of the episode.
        milestones: coverage at which makespans were taken, see ``FastConfig``.
        makespans_m: way until each milestone, inf where it was not reached [m].
        distances_m: way of each robot [m].
        coverage: in the end [0..1].
        decisions: of the whole team together.
        wall_s: time that playing took [s].
    """

    world: str
    policy: str
    robots: int
    seed: int
    milestones: tuple[float, ...]
    makespans_m: tuple[float, ...]
    distances_m: tuple[float, ...]
    coverage: float
    decisions: int
    wall_s: float

    @property
    def complete(self) -> bool:
        """Whether the last milestone was reached."""
        return self.makespans_m[-1] < np.inf


def run_episode(world: World | CoarseGrid, policy: Policy | None, robots: int = 4, seed: int = 0,
                sensor_range_m: float = 8.0, resolution_m: float = 0.2, random_start: bool = False,
                limit_m: float = 5000.0, config: FastConfig | None = None,
                conditions: Conditions | None = None) -> EpisodeResult:
    """Play one episode on the fast host.

    Args:
        world: what to explore.
        policy: decides for every robot from its own, unpadded observation; None: the base rule, compiled.
        robots: size of the team.
        seed: of the robots' first headings and of a random start.
        sensor_range_m: reach of the lidars [m].
        resolution_m: edge of a planning cell [m]; ignored for a CoarseGrid.
        random_start: start around a random cell instead of the world's start.
        limit_m: give up after this way [m].
        config: see FastConfig.
        conditions: what makes it hard, None: see FastExploration.

    Raises:
        WorldError: the world is too narrow, or has no room for the robots.
        SimulationError: too many robots, or the policy chose what is no candidate.
        PolicyError: the policy cannot decide.
    """
    grid = world if isinstance(world, CoarseGrid) else CoarseGrid.from_world(world, resolution_m)
    rng = np.random.default_rng([seed, 0x5374])
    starts = grid.clustered_starts(robots, grid.random_cell(rng) if random_start else None)
    episode = FastExploration(grid, robots, sensor_range_m, config, conditions)
    started = perf_counter()
    episode.reset(starts, seed, limit_m)
    if policy is None:
        decisions = episode.play_out()
    else:
        decisions = 0
        while not (episode.done or episode.out_of_time):
            episode.step(decide(episode, policy))
            decisions += 1
    wall_s = perf_counter() - started
    return EpisodeResult(
        getattr(world, 'name', 'grid'), BASE_RULE if policy is None else policy.name, robots, seed,
        episode.config.milestones, tuple(map(float, episode.milestones_m)), tuple(map(float, episode.travelled_m)),
        episode.coverage, decisions, wall_s)


def decide(episode: FastExploration, policy: Policy) -> NDArray[np.int64]:
    """Choices of all robots of an episode; without a candidate a robot stays. Shape: (N,)."""
    return np.array([policy.choose(observation_of(episode, robot)) for robot in range(episode.robots)], np.int64)


def observation_of(episode: FastExploration, robot: int) -> Observation:
    """A robot's current observation as on the robot, without padding; its arrays change with the next step."""
    arrays = episode.observations
    sizes = {'K': int(np.count_nonzero(arrays['candidate_mask'][robot])),
             'T': int(np.count_nonzero(arrays['team_mask'][robot]))}
    own = {spec.name: arrays[spec.name][robot][tuple(slice(sizes.get(size, size)) for size in spec.shape)]
           for spec in OBSERVATION}
    return Observation(**own, own_rank=int(episode.own_ranks[robot]))
