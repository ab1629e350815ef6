"""Plays single runs for evaluation, and notes of each what reports show."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pettingzoo import ParallelEnv

from marl_core.decision.observation import Observation
from marl_core.decision.policies import Policy, make_policy
from sim.learning.environments import make_environment
from sim.learning.rollout import Decide, Source, actor_logits, policy_logits
from sim.learning.trainer import load_actor

CURVE_TIMES = np.linspace(0.0, 2.0, 64)
"""When coverage is noted, as parts of the time that the base rule typically needs (``reference_m``). Shape: (64,)."""

Infos = Mapping[str, Mapping[str, Any]]
"""What the environment tells each agent."""


@dataclass(frozen=True, slots=True)
class Run:
    """What is noted of a run.

    Attributes:
        metrics: numbers of its end, see ``summary``, and ``decision_p50_ms`` and ``decision_p99_ms``: wall time of one
            choice of a robot [ms], not of checkpoints.
        coverage: at CURVE_TIMES [0..1].
    """

    metrics: dict[str, float]
    coverage: list[float]


class Playing:
    """Plays runs of one policy by their seeds; builds what it needs where it is first called.

    Attributes:
        source: what is played. policy: who plays, see ``decider_of``.
    """

    def __init__(self, source: Source, policy: str) -> None:
        self.source, self.policy = source, policy
        self._times_ms: list[float] = []

    def __call__(self, seed: int) -> Run:
        """Play the run of a seed."""
        self._times_ms.clear()
        told = [list(infos.values()) for infos in moments(self._environment, self._decide, seed)]
        metrics = summary(told[-1])
        if self._times_ms:
            p50_ms, p99_ms = np.percentile(self._times_ms, (50, 99))
            metrics |= {'decision_p50_ms': float(p50_ms), 'decision_p99_ms': float(p99_ms)}
        passed = np.cumsum([agents[0]['elapsed'] for agents in told]) / told[0][0]['reference_m']
        curve = np.interp(CURVE_TIMES, passed, [agents[0]['coverage'] for agents in told])
        return Run(metrics, [round(float(part), 4) for part in curve])

    @cached_property
    def _environment(self) -> ParallelEnv:
        return make_environment(self.source.environment, self.source.environment_options)

    @cached_property
    def _decide(self) -> Decide:
        return decider_of(self.policy, self._times_ms)


class _Timed:
    """A policy that notes how long each choice took."""

    def __init__(self, policy: Policy, times_ms: list[float]) -> None:
        self.name, self._policy, self._times_ms = policy.name, policy, times_ms

    def choose(self, observation: Observation) -> int:
        started = perf_counter()
        choice = self._policy.choose(observation)
        self._times_ms.append(1e3 * (perf_counter() - started))
        return choice


def decider_of(policy: str, times_ms: list[float] | None = None) -> Decide:
    """The function that decides for a checkpoint (.ckpt), or for what ``make_policy`` knows.

    Args:
        policy: path or name. times_ms: wall times of choices are appended to it, but not of checkpoints, which decide
            for the whole team at once and never on robots.

    Raises:
        TrainingError: the checkpoint is missing or damaged.
        PolicyError: the policy is unknown, or its model cannot be loaded or does not fit the specs.
    """
    if policy.endswith('.ckpt'):
        return actor_logits(load_actor(policy)[0])
    return policy_logits(_Timed(make_policy(policy), [] if times_ms is None else times_ms))


def moments(environment: ParallelEnv, decide: Decide, seed: int) -> Iterator[Infos]:
    """Play an exploration by its most probable actions; yields the infos of its start and after every decision."""
    observations, infos = environment.reset(seed=seed)
    yield infos
    while environment.agents:
        agents = list(environment.agents)
        rows = {name: np.stack([observations[agent][name] for agent in agents]) for name in observations[agents[0]]}
        ranks = np.array([infos[agent]['own_rank'] for agent in agents])
        chosen: NDArray[np.int64] = np.where(rows['candidate_mask'], decide(rows, ranks), -np.inf).argmax(axis=-1)
        observations, _, _, _, infos = environment.step(dict(zip(agents, chosen.tolist(), strict=True)))
        yield infos


def summary(agents: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Numbers of a finished run from what the environment told each agent last.

    Returns:
        ``makespan_s``, ``makespan_95_s`` [s], ``coverage`` [0..1]; ``team_travelled_m`` [m], ``most_share`` and
        ``least_share`` of one robot in it [0..1]; ``shown_alone``: part of the newly shown area (which counts for every
        robot that showed it between two decisions) that only one robot showed [0..1]; of whole agents
        ``bytes_per_robot`` and ``collisions``.
    """
    team = agents[0]
    numbers = {name: float(team[name]) for name in (
        'makespan_s', 'makespan_95_s', 'coverage', 'team_travelled_m', 'bytes_per_robot', 'collisions') if name in team}
    shown_m2 = sum(agent['revealed_m2'] for agent in agents)
    if shown_m2 > 0.0:
        numbers['shown_alone'] = float(team['alone_m2'] / shown_m2)
    if team['team_travelled_m'] > 0.0:
        numbers |= {f'{which}_share': float(team[f'{which}_travelled_m'] / team['team_travelled_m'])
                    for which in ('most', 'least')}
    return numbers
