"""Plays an episode with whole agents: the code of the robots, on kinematic or physical bodies, over a radio."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

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
        channel: the radio between them; the conditions of an episode, if it has some, have their own.
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
        works: which of them work; the others stand, and neither hear nor say anything. Shape: (N,), bool.
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
        self.works = np.ones(len(names), np.bool_)
        self._readings = self.simulation.readings()

    def perceive(self) -> None:
        """First part of every agent's tick."""
        now_s = self.simulation.time_s
        for agent, readings in self.working(self._readings):
            inbox = self.channel.deliver(agent.name, now_s)
            agent.perceive(readings, inbox, now_s)

    def act(self) -> None:
        """Last part of every agent's tick, and the way to the next."""
        commands = np.zeros((len(self.agents), 2))
        for agent, row in self.working(range(len(self.agents))):
            commands[row], outbox = agent.act()
            for message in outbox:
                self.channel.send(agent.name, message, self.simulation.time_s, self.simulation.true_poses[:, :2])
        self._readings = self.simulation.step(commands)

    def tick(self) -> None:
        """A whole tick of agents that decide for themselves."""
        self.perceive()
        for agent, _ in self.working(self.agents):
            if agent.decision_due:
                observation = agent.observe()
                agent.decide(HOLD if observation is None else agent.policy.choose(observation))
        self.act()

    @property
    def is_done(self) -> bool:
        """Whether every robot that works says that nothing is left to explore."""
        return all(agent.activity is Activity.DONE for agent, _ in self.working(self.agents))

    def working(self, beside: Iterable[Any]) -> list[tuple[Agent, Any]]:
        """Agents that work, each with what belongs to it."""
        return [(agent, other) for agent, other, works in zip(self.agents, beside, self.works) if works]


class AgentHost:
    """A Host (see sim.hosts) on a SimulatedFleet.

    Robots decide together whenever one of them has to; under conditions each decides for itself, as on the road.
    """

    def __init__(self, config: AgentHostConfig | None = None) -> None:
        self.config = config or AgentHostConfig()
        self._fleet: SimulatedFleet | None = None
        self._observations: dict[str, NDArray[np.generic]] = {}
        self._own_ranks = np.zeros(0, np.int64)

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

    @property
    def own_ranks(self) -> NDArray[np.int64]:
        """See Host."""
        return self._own_ranks

    @property
    def hidden_m2(self) -> None:
        """Is not measured here."""
        return None

    def reset(self, episode: Episode) -> None:
        """See Host."""
        if self._fleet is not None:
            self._fleet.simulation.close()
        names = [f'robot_{index}' for index in range(episode.robots)]
        self._conditions = episode.conditions
        self._fleet = SimulatedFleet(episode.world, names, _suited(self.config, episode), episode.seed)
        self._coverage = Coverage(episode.world, episode.planning_resolution_m)
        self._known = np.zeros(self._coverage.places, np.bool_)
        self._limit_s = episode.limit_m / self.config.model.max_linear_mps
        self._milestones_s = np.full(len(MILESTONES), np.inf)
        self._travelled_m = np.zeros(episode.robots)
        self._join_and_die()
        self._fleet.perceive()
        self._look()
        self._observe(self._fleet.works)

    def step(self, choices: NDArray[np.integer]) -> Outcome:
        """See Host."""
        fleet = self.fleet
        before_s = fleet.simulation.time_s
        while True:
            for row in np.flatnonzero(self._deciding):
                fleet.agents[row].decide(int(choices[row]))
            self._go_on()
            self._observe(fleet.works if self._is_over else self._who_decides())
            if self._is_over or self._is_done or self._observations['candidate_mask'].any():
                break
            choices = np.full(len(fleet.agents), HOLD)
        revealed, alone = self._look()
        elapsed_s = fleet.simulation.time_s - before_s
        return Outcome(elapsed_s * self.config.model.max_linear_mps, elapsed_s, revealed, alone, self._covered,
                       bool(np.isfinite(self._milestones_s[-1])) or self._is_done)

    def progress(self) -> Progress:
        """See Host."""
        elapsed_s = self.fleet.simulation.time_s
        return Progress(elapsed_s, elapsed_s * self.config.model.max_linear_mps, self._covered, self._milestones_s,
                        self._travelled_m, self._is_over,
                        np.array([*self.fleet.channel.sent_bytes.values()], np.int64),
                        self.fleet.simulation.collisions)

    def snapshot(self) -> Snapshot:
        """See Host."""
        coverage = self._coverage
        goals = [(agent.goal.x_m, agent.goal.y_m) if agent.goal else (np.nan, np.nan) for agent in self.fleet.agents]
        return Snapshot(coverage.grid.free, coverage.picture(self._known),
                        coverage.cells_of(self.fleet.simulation.true_poses[:, :2]), coverage.cells_of(np.array(goals)))

    def _go_on(self) -> None:
        """Move until somebody has to decide."""
        fleet = self.fleet
        while True:
            before = fleet.simulation.true_poses[:, :2].copy()
            fleet.act()
            self._travelled_m += np.hypot(*(fleet.simulation.true_poses[:, :2] - before).T)
            self._join_and_die()
            fleet.perceive()
            if self._is_over or self._who_decides().any():
                return

    def _who_decides(self) -> NDArray[np.bool_]:
        """Which robots decide now. Shape: (N,).

        Robots that have nothing to do keep asking; where all decide together, and others are on their way, theirs are
        the decisions.
        """
        agents, works = self.fleet.agents, self.fleet.works
        due = works & [agent.decision_due for agent in agents]
        if self._conditions is not None:
            return due
        going = np.array([agent.goal is not None for agent in agents])
        return works & np.any(due[going] if going.any() else due)

    @property
    def _is_done(self) -> bool:
        """Whether nobody has a candidate, and nobody is still to come."""
        if self._conditions is None:
            return not self._observations['candidate_mask'].any()
        return self.fleet.is_done and self._way_m >= max(self._conditions.joins_m)

    @property
    def _way_m(self) -> float:
        """Way that a moving robot could have gone by now [m]."""
        return self.fleet.simulation.time_s * self.config.model.max_linear_mps

    def _join_and_die(self) -> None:
        """Let those work whose time it is; what only the dead knew is not known any more."""
        if self._conditions is None:
            return
        fleet, way_m = self.fleet, self._way_m
        works = np.array([joins_m <= way_m < dies_m for joins_m, dies_m in
                          zip(self._conditions.joins_m, self._conditions.dies_m)])
        for row in np.flatnonzero(works & ~fleet.works):
            fleet.channel.deliver(fleet.agents[row].name, fleet.simulation.time_s)  # It did not hear that.
        died, fleet.works = bool((fleet.works & ~works).any()), works
        if died:
            self._known &= np.any([self._shown(agent.world.replica.fused, agent)
                                   for agent, _ in fleet.working(works)], axis=0)

    @property
    def _covered(self) -> float:
        return float(self._known.mean())

    @property
    def _is_over(self) -> bool:
        return self.fleet.simulation.time_s >= self._limit_s

    def _look(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Note what the robots' own maps show that was unknown [m2]: by each, and by each alone."""
        fleet, coverage = self.fleet, self._coverage
        shown = np.array([self._shown(agent.world.own.classes, agent) & works
                          for agent, works in zip(fleet.agents, fleet.works)])
        fresh = shown & ~self._known
        single = fresh & (fresh.sum(axis=0) == 1)
        self._known |= shown.any(axis=0)
        for index, part in enumerate(MILESTONES):
            if self._covered >= part:
                self._milestones_s[index] = min(self._milestones_s[index], fleet.simulation.time_s)
        place_m2 = coverage.area_m2 / coverage.places
        return fresh.sum(axis=1) * place_m2, single.sum(axis=1) * place_m2

    def _shown(self, classes: NDArray[np.int8], agent: Agent) -> NDArray[np.bool_]:
        bounds = agent.world.bounds
        return self._coverage.known(classes, bounds.resolution_m, bounds.origin_x_m, bounds.origin_y_m)

    def _observe(self, deciding: NDArray[np.bool_]) -> None:
        """Write the observations of robots that decide; others have no candidate. Shape: (N,)."""
        self._deciding = deciding.copy()
        arrays = {spec.name: np.zeros((len(self.fleet.agents), *_padded_shape(spec.shape)), spec.dtype)
                  for spec in OBSERVATION}
        self._own_ranks = np.zeros(len(self.fleet.agents), np.int64)
        for row in np.flatnonzero(deciding):
            observation = self.fleet.agents[row].observe()
            if observation is not None:
                self._own_ranks[row] = observation.own_rank
                _write(observation, {name: array[row] for name, array in arrays.items()})
        arrays['sensor_range_m'][:] = self.fleet.agents[0].model.lidar.range_max_m
        self._observations = arrays


def _padded_shape(shape: tuple[int | str, ...]) -> tuple[int, ...]:
    sizes = {'K': MAX_CANDIDATES, 'T': MAX_TEAM}
    return tuple(sizes[size] if isinstance(size, str) else size for size in shape)


def _write(observation: Observation, arrays: Mapping[str, NDArray[np.generic]]) -> None:
    for name, array in observation.arrays.items():
        arrays[name][tuple(slice(0, size) for size in array.shape)] = array


def _suited(config: AgentHostConfig, episode: Episode) -> AgentHostConfig:
    """With the lidars and, where it has some, the radio of an episode."""
    lidar: LidarModel = replace(config.model.lidar, range_max_m=episode.sensor_range_m)
    channel = config.channel if episode.conditions is None else episode.conditions.radio
    return replace(config, model=replace(config.model, lidar=lidar), channel=channel)
