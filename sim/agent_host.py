"""Plays an episode with whole agents: the code of the robots, on kinematic or physical bodies, over a radio."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from marl_core.agent import Agent, AgentConfig
from marl_core.decision.observation import Observation
from marl_core.decision.policies import Policy, make_policy
from marl_core.errors import SimulationError
from marl_core.specs import HOLD, MAX_CANDIDATES, MAX_TEAM, OBSERVATION
from marl_core.types import Activity, LidarModel, RobotModel
from sim.channel import Channel, ChannelConfig
from sim.coverage import COMPLETE, Coverage
from sim.fast import Outcome
from sim.hosts import Progress, Snapshot
from sim.simulation import Simulation
from sim.tasks.exploration import Episode
from sim.worlds.world import World

MILESTONES = (0.9, 0.95, COMPLETE)


@dataclass(frozen=True, slots=True)
class AgentHostConfig:
    """Whom an AgentHost puts into a world.

    Attributes:
        physics: one of sim.simulation.PHYSICS. body: one of sim.simulation.BODIES.
        model: of every robot; the episode sets the reach of its lidar.
        agent: of every robot.
        channel: the radio between them.
    """

    physics: str = 'kinematic'
    body: str = 'cylinder'
    model: RobotModel = field(default_factory=RobotModel)
    agent: AgentConfig = field(default_factory=AgentConfig)
    channel: ChannelConfig = field(default_factory=ChannelConfig)


class SimulatedFleet:
    """Agents, their bodies and their radio, tick by tick.

    Attributes:
        simulation: bodies and sensors. agents: minds, in the same order. channel: what they say to each other.
    """

    def __init__(self, world: World, names: Sequence[str], config: AgentHostConfig, seed: int = 0,
                 policy: Callable[[], Policy] = lambda: make_policy('burgard')) -> None:
        """Put a fleet into a world.

        Raises:
            WorldError: the world has no room for the team.
        """
        self.simulation = Simulation(world, [(name, config.model) for name in names], physics=config.physics,
                                     body=config.body, seed=seed)
        self.agents = [Agent(name, 1, config.model, policy(), config.agent) for name in names]
        self.channel = Channel(config.channel, names, seed)
        self._readings = self.simulation.readings()

    def perceive(self) -> None:
        """First part of every agent's tick."""
        now_s = self.simulation.time_s
        for agent, readings in zip(self.agents, self._readings):
            agent.perceive(readings, self.channel.deliver(agent.name, now_s), now_s)

    def act(self) -> None:
        """Last part of every agent's tick, and the way to the next."""
        commands = np.zeros((len(self.agents), 2))
        for row, agent in enumerate(self.agents):
            commands[row], outbox = agent.act()
            for message in outbox:
                self.channel.send(agent.name, message, self.simulation.time_s, self.simulation.true_poses[:, :2])
        self._readings = self.simulation.step(commands)

    def tick(self) -> None:
        """A whole tick of agents that decide for themselves."""
        self.perceive()
        for agent in self.agents:
            if agent.decision_due:
                observation = agent.observe()
                agent.decide(HOLD if observation is None else agent.policy.choose(observation))
        self.act()

    @property
    def is_done(self) -> bool:
        """Whether every robot says that nothing is left to explore."""
        return all(agent.activity is Activity.DONE for agent in self.agents)


class AgentHost:
    """A Host (see sim.hosts) on a SimulatedFleet: robots decide together whenever one of them has to."""

    def __init__(self, config: AgentHostConfig | None = None) -> None:
        self.config = config or AgentHostConfig()
        self._fleet: SimulatedFleet | None = None
        self._observations: dict[str, NDArray[np.generic]] = {}

    @property
    def fleet(self) -> SimulatedFleet:
        """What is being played.

        Raises:
            SimulationError: before ``reset``.
        """
        if self._fleet is None:
            raise SimulationError('nothing is played before reset')
        return self._fleet

    @property
    def observations(self) -> Mapping[str, NDArray[np.generic]]:
        """See Host."""
        return self._observations

    def reset(self, episode: Episode) -> None:
        """See Host."""
        if self._fleet is not None:
            self._fleet.simulation.close()
        names = [f'robot_{index}' for index in range(episode.robots)]
        config = _with_range(self.config, episode.sensor_range_m)
        self._fleet = SimulatedFleet(episode.world, names, config, episode.seed)
        self._coverage = Coverage(episode.world, episode.planning_resolution_m)
        self._known = np.zeros(self._coverage.places, np.bool_)
        self._limit_s = episode.limit_m / self.config.model.max_linear_mps
        self._milestones_s = np.full(len(MILESTONES), np.inf)
        self._travelled_m = np.zeros(episode.robots)
        self._fleet.perceive()
        self._look()
        self._observe()

    def step(self, choices: NDArray[np.integer]) -> Outcome:
        """See Host."""
        fleet = self.fleet
        before_s = fleet.simulation.time_s
        for agent, choice in zip(fleet.agents, choices):
            agent.decide(int(choice))
        while True:
            before = fleet.simulation.true_poses[:, :2].copy()
            fleet.act()
            self._travelled_m += np.hypot(*(fleet.simulation.true_poses[:, :2] - before).T)
            fleet.perceive()
            if self._somebody_decides or self._is_over:
                break
        revealed, alone = self._look()
        self._observe()
        elapsed_s = fleet.simulation.time_s - before_s
        return Outcome(elapsed_s * self.config.model.max_linear_mps, elapsed_s, revealed, alone, self._covered,
                       bool(np.isfinite(self._milestones_s[-1])) or not self._observations['candidate_mask'].any())

    def progress(self) -> Progress:
        """See Host."""
        elapsed_s = self.fleet.simulation.time_s
        return Progress(elapsed_s, elapsed_s * self.config.model.max_linear_mps, self._covered, self._milestones_s,
                        self._travelled_m, self._is_over)

    def snapshot(self) -> Snapshot:
        """See Host."""
        coverage = self._coverage
        goals = [(agent.goal.x_m, agent.goal.y_m) if agent.goal else (np.nan, np.nan) for agent in self.fleet.agents]
        return Snapshot(coverage.grid.free, coverage.picture(self._known),
                        coverage.cells_of(self.fleet.simulation.true_poses[:, :2]), coverage.cells_of(np.array(goals)))

    @property
    def _somebody_decides(self) -> bool:
        """Robots that have nothing to do keep asking; while others are on their way, theirs are the decisions."""
        agents = self.fleet.agents
        return any(agent.decision_due for agent in [agent for agent in agents if agent.goal is not None] or agents)

    @property
    def _covered(self) -> float:
        return float(self._known.mean())

    @property
    def _is_over(self) -> bool:
        return self.fleet.simulation.time_s >= self._limit_s

    def _look(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Note what the robots' own maps show that was unknown [m2]: by each, and by each alone."""
        fleet, coverage = self.fleet, self._coverage
        shown = np.array([coverage.known(agent.world.own.classes, agent.world.bounds.resolution_m,
                                         agent.world.bounds.origin_x_m, agent.world.bounds.origin_y_m)
                          for agent in fleet.agents])
        fresh = shown & ~self._known
        single = fresh & (fresh.sum(axis=0) == 1)
        self._known |= shown.any(axis=0)
        for index, part in enumerate(MILESTONES):
            if self._covered >= part:
                self._milestones_s[index] = min(self._milestones_s[index], fleet.simulation.time_s)
        place_m2 = coverage.area_m2 / coverage.places
        return fresh.sum(axis=1) * place_m2, single.sum(axis=1) * place_m2

    def _observe(self) -> None:
        arrays = {spec.name: np.zeros((len(self.fleet.agents), *_padded_shape(spec.shape)), spec.dtype)
                  for spec in OBSERVATION}
        for row, agent in enumerate(self.fleet.agents):
            observation = agent.observe()
            if observation is not None:
                _write(observation, {name: array[row] for name, array in arrays.items()})
        arrays['sensor_range_m'][:] = self.fleet.agents[0].model.lidar.range_max_m
        self._observations = arrays


def _padded_shape(shape: tuple[int | str, ...]) -> tuple[int, ...]:
    sizes = {'K': MAX_CANDIDATES, 'T': MAX_TEAM}
    return tuple(sizes[size] if isinstance(size, str) else size for size in shape)


def _write(observation: Observation, arrays: Mapping[str, NDArray[np.generic]]) -> None:
    for name, array in observation.arrays.items():
        arrays[name][tuple(slice(0, size) for size in array.shape)] = array


def _with_range(config: AgentHostConfig, range_m: float) -> AgentHostConfig:
    lidar: LidarModel = replace(config.model.lidar, range_max_m=range_m)
    return replace(config, model=replace(config.model, lidar=lidar))
