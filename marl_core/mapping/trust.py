"""Who may be believed: finds robots whose published map the others' maps contradict.

Nobody knows the truth; evidence is what robots claim of the same places (marl_core.mapping.consistency). Two robots
that contradict each other more than noise and wrong poses explain accuse each other. Who is accused most, by two at
least who are not accused as much, is set apart and the rest judged again, so that an honest robot is not blamed for
contradicting a liar. What that leaves open (two robots, two camps) is reported as a conflict and nobody is blamed,
except that a robot believes its own sensors more than one other.

Standing changes the weight of a robot's votes in this replica's fused map, never what is held or passed on.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from math import exp, log
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from marl_core.mapping.bounds import MapBounds
from marl_core.mapping.consistency import AGREEMENTS, CONFLICTS, OVERLAP, Consistency
from marl_core.mapping.paths import PathConfig, PathWatch
from marl_core.mapping.replica import Replica
from marl_core.types import LayerId, RobotStatus

Standing = Literal['trusted', 'doubted', 'quarantined']
STANDINGS: tuple[Standing, ...] = ('quarantined', 'doubted', 'trusted')
"""By the weight of their votes."""

JOINT_SHARE = 1.0 / 3.0
"""Accusers of one robot saw the same of it in part: so much of what they say together counts."""

OPERATOR = 'ordered by the operator'
RESTORED = 'found before the last start'


@dataclass(frozen=True, slots=True)
class TrustConfig:
    """What counts as a lie, and how long it takes to say so.

    Attributes:
        tolerance_m: edge of the blocks compared, and what walls may be apart, at least [m]. Two degrees make 0.28 m
            at 8 m, the reach of the default lidar.
        honest_rate: part of their walls that two honest robots contradict each other about.
        lying_rate: the same of an honest robot and one that lies.
        independence: part of the blocks that say something new: neighbours are contradicted together.
        prior: probability that a robot of which nothing is known is honest.
        doubt_below: score below which a robot is doubted. quarantine_below: below which it is quarantined.
        trust_above: score from which a doubted robot is trusted again.
        confirm_s: how long a score must be low before it costs a standing [s].
        recover_s: how long it must be high again before a robot is trusted again [s].
        path: when a map counts as frozen.
    """

    tolerance_m: float = 0.4
    honest_rate: float = 0.01
    lying_rate: float = 0.05
    independence: float = 0.25
    prior: float = 0.9
    doubt_below: float = 0.5
    quarantine_below: float = 0.02
    trust_above: float = 0.8
    confirm_s: float = 3.0
    recover_s: float = 10.0
    path: PathConfig = PathConfig()

    def __post_init__(self) -> None:
        if not self.tolerance_m > 0.0:
            raise ValueError(f'tolerance_m must be positive, got {self.tolerance_m}')
        if not 0.0 < self.honest_rate < self.lying_rate < 1.0:
            raise ValueError(f'expected 0 < honest_rate < lying_rate < 1, got {self.honest_rate}, {self.lying_rate}')
        if not 0.0 < self.independence <= 1.0:
            raise ValueError(f'independence must be above 0 and at most 1, got {self.independence}')
        if not 0.0 < self.quarantine_below < self.doubt_below < self.trust_above <= self.prior < 1.0:
            raise ValueError(f'expected 0 < quarantine_below < doubt_below < trust_above <= prior < 1, got {self}')
        if not min(self.confirm_s, self.recover_s) >= 0.0:
            raise ValueError(f'confirm_s and recover_s must be 0 or more, got {self.confirm_s}, {self.recover_s}')


@dataclass(frozen=True, slots=True)
class TrustState:
    """What is thought of a robot.

    Attributes:
        score: probability that it is honest, 0 to 1, in the eyes of the second of its accusers (one alone proves
            nothing), or of all together if two of those who are not blamed accuse it. Exactly ``doubt_below`` if it is
            contradicted and nothing tells who is right. A map that does not grow where the robot goes, or one that
            only a robot's own sensors contradict, has no less than ``quarantine_below``.
        standing: what follows from the score, with hysteresis, or from the operator.
        reason: for people; empty if there is nothing to say.
        overlap_m2: largest area that it and one other robot know; without any, the score is the prior [m^2].
    """

    score: float
    standing: Standing = 'trusted'
    reason: str = ''
    overlap_m2: float = 0.0


class VerdictChange(NamedTuple):
    """A robot's standing changed."""

    robot: str
    before: Standing
    after: TrustState


class Conflict(NamedTuple):
    """Two robots whose maps contradict each other over an area [m^2], while nothing tells who is right."""

    robot: str
    other: str
    area_m2: float


class Trust:
    """Judges the robots of a replica, and weighs their votes accordingly.

    Attributes:
        conflicts: pairs that contradict each other without a verdict, as of the last update.
    """

    def __init__(self, bounds: MapBounds, config: TrustConfig | None = None) -> None:
        """Start without any evidence.

        Raises:
            MapError: the tolerance is larger than a tile.
        """
        self.config = config or TrustConfig()
        self.conflicts: tuple[Conflict, ...] = ()
        self._consistency = Consistency(bounds, self.config.tolerance_m)
        self._paths = PathWatch(self.config.path)
        self._states: dict[str, TrustState] = {}
        self._leaning: dict[str, tuple[bool, float]] = {}
        self._orders: dict[str, Standing] = {}
        self._forgiven: dict[frozenset[str], int] = {}

    def state(self, robot: str) -> TrustState:
        """What is thought of a robot; one that was never heard of is trusted."""
        return self._states.get(robot, TrustState(self.config.prior))

    def complaints(self) -> list[str]:
        """Who is not trusted and why, and who contradicts whom, a sentence each; empty if all is well."""
        said = [f'{robot} is {state.standing}: {state.reason}' for robot, state in sorted(self._states.items())
                if state.standing != 'trusted']
        return said + [f'{one} and {other} contradict each other over {area_m2:.1f} m2'
                       for one, other, area_m2 in self.conflicts]

    def quarantine(self, robot: str) -> None:
        """Operator: leave a robot out of the fused map, from the next update until it is reinstated."""
        self._orders[robot] = 'quarantined'

    def reinstate(self, robot: str) -> None:
        """Operator: believe a robot again from the next update. What contradicts it now is forgiven, more is not."""
        self._orders[robot] = 'trusted'

    def verdicts(self) -> tuple[dict[str, Standing], dict[frozenset[str], int]]:
        """What a later life of this replica should know: who is not trusted, and blocks forgiven by pair of robots."""
        return ({robot: state.standing for robot, state in self._states.items() if state.standing != 'trusted'},
                {pair: blocks for pair, blocks in self._forgiven.items() if blocks > 0})

    def restore(self, standings: Mapping[str, Standing], forgiven: Mapping[frozenset[str], int]) -> None:
        """Think as ``verdicts`` said, from the next update on."""
        for robot, standing in standings.items():
            self._states[robot] = TrustState(self.config.prior, standing, RESTORED)
        self._forgiven |= forgiven

    def update(self, replica: Replica, statuses: Sequence[RobotStatus], own: LayerId | None,
               now: float) -> list[VerdictChange]:
        """Look at what changed in a replica, judge, and set the weights in its fused map.

        Args:
            replica: of this robot, or of the map node.
            statuses: newest status of each robot heard.
            own: this robot's layer, whose sensors it believes more. Its own votes keep their weight whatever its
                standing, which then says that the others contradict this robot.
            now: time [s]; one that jumps back makes verdicts wait anew.
        """
        self._consistency.update(replica)
        self._paths.update(replica, statuses, now)
        robots = sorted({layer.robot for layer in replica.layers})
        blocks = self._consistency.tally(robots)
        changes = self._obey(robots, blocks[CONFLICTS])
        self._forgive(robots, blocks[CONFLICTS])
        own_index = robots.index(own.robot) if own is not None and own.robot in robots else -1
        for robot, finding in zip(robots, self._findings(robots, blocks, own_index)):
            before = self.state(robot).standing
            after = self._settled(robot, before, finding, now)
            self._states[robot] = after
            if after.standing != before:
                changes.append(VerdictChange(robot, before, after))
        for robot, state in self._states.items():
            if own is None or robot != own.robot:
                replica.set_weight(robot, STANDINGS.index(state.standing))
        return changes

    def _obey(self, robots: list[str], conflicts: NDArray[np.int64]) -> list[VerdictChange]:
        """Carry out what the operator ordered since the last update."""
        changes = []
        for robot, standing in self._orders.items():
            before = self.state(robot)
            self._states[robot] = replace(before, score=self.config.prior, standing=standing, reason=OPERATOR)
            self._leaning.pop(robot, None)
            if standing == 'trusted' and robot in robots:
                self._paths.forget(robot)
                row = conflicts[robots.index(robot)]
                self._forgiven |= {frozenset((robot, other)): int(count) for other, count in zip(robots, row) if count}
            if standing != before.standing:
                changes.append(VerdictChange(robot, before.standing, self._states[robot]))
        self._orders.clear()
        return changes

    def _forgive(self, robots: list[str], conflicts: NDArray[np.int64]) -> None:
        """Take from the conflicts what was forgiven, in place; what was corrected since is not forgiven again."""
        for pair, forgiven in self._forgiven.items():
            one, other = sorted(pair)
            if one in robots and other in robots:
                i, j = robots.index(one), robots.index(other)
                self._forgiven[pair] = forgiven = min(forgiven, int(conflicts[i, j]))
                conflicts[i, j] -= forgiven
                conflicts[j, i] -= forgiven

    def _findings(self, robots: list[str], blocks: NDArray[np.int64], own: int) -> list[TrustState]:
        """Score and reason of each robot, before hysteresis; ``own`` is the own one's index or -1."""
        config, block_m2 = self.config, self._consistency.block_area_m2
        honesty = self._honesty(blocks)
        hostile = honesty < config.doubt_below
        quarantined = np.array([self.state(robot).standing == 'quarantined' for robot in robots], bool)
        scores, is_active = judge(honesty, quarantined, config.doubt_below, config.prior)
        self.conflicts = tuple(
            Conflict(robots[i], robots[j], blocks[CONFLICTS, i, j] * block_m2)
            for i, j in combinations(np.flatnonzero(is_active).tolist(), 2) if hostile[i, j])
        findings = []
        for i, robot in enumerate(robots):
            score, accusers = float(scores[i]), np.flatnonzero(hostile[i] & is_active)
            names = ', '.join(robots[j] for j in accusers)
            reason = f'contradicted by {names} over {blocks[CONFLICTS, i, accusers].sum() * block_m2:.1f} m2'
            if not accusers.size:
                reason = ''
            elif is_active[i]:
                reason += ', nothing tells who is right'
                if own in accusers:
                    score = max(float(honesty[i, own]), config.quarantine_below)
                    reason = f'contradicted by own sensors over {blocks[CONFLICTS, i, own] * block_m2:.1f} m2'
            pace = max(self._paths.score(robot), config.quarantine_below)
            if pace < min(score, config.doubt_below):
                score, reason = pace, 'moves where its own map does not grow: frozen?'
            findings.append(TrustState(score, 'trusted', reason, blocks[OVERLAP, i].max(initial=0) * block_m2))
        return findings

    def _honesty(self, blocks: NDArray[np.int64]) -> NDArray[np.float64]:
        """Probability that nobody of a pair lies, by the likelihood ratio of its conflicts. Shape: (R, R)."""
        config = self.config
        for_lie = (blocks[CONFLICTS] * log(config.lying_rate / config.honest_rate)
                   - blocks[AGREEMENTS] * log((1.0 - config.honest_rate) / (1.0 - config.lying_rate)))
        log_odds = log(config.prior / (1.0 - config.prior)) - config.independence * for_lie
        return 1.0 / (1.0 + np.exp(-np.clip(log_odds, -50.0, 50.0)))

    def _settled(self, robot: str, standing: Standing, finding: TrustState, now: float) -> TrustState:
        """A finding with the standing that it leads to: one step at a time, and only after a while."""
        config = self.config
        if standing == 'quarantined':
            reason = self.state(robot).reason if not finding.reason else finding.reason
            return replace(finding, standing=standing, reason=reason)
        falls = finding.score < (config.doubt_below if standing == 'trusted' else config.quarantine_below)
        rises = standing == 'doubted' and finding.score >= config.trust_above
        leaning = self._leaning.pop(robot, None)
        if not (falls or rises):
            return replace(finding, standing=standing)
        if leaning is None or leaning[0] != falls or now < leaning[1]:
            leaning = falls, now
        if now - leaning[1] < (config.confirm_s if falls else config.recover_s):
            self._leaning[robot] = leaning
            return replace(finding, standing=standing)
        return replace(finding, standing=STANDINGS[STANDINGS.index(standing) + (-1 if falls else 1)])


def judge(honesty: NDArray[np.float64], is_apart: NDArray[np.bool_], doubt_below: float,
          prior: float) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Whom the accusations of pairs are to be blamed on.

    Args:
        honesty: probability that nobody of a pair lies; symmetric. Shape: (R, R).
        is_apart: robots that accuse nobody, because they were found out before. Shape: (R,).
        doubt_below: pairs below this accuse each other.
        prior: score of a robot that fewer than two others could accuse.

    Returns:
        Scores as in TrustState, and which robots are not blamed. Shapes: (R,), (R,).
    """
    hostile, is_active = honesty < doubt_below, ~is_apart
    np.fill_diagonal(hostile, False)
    while True:
        accusers = np.where(is_active, (hostile & is_active).sum(axis=1), 0)
        worst = is_active & (accusers == accusers.max(initial=0))
        if not worst.any() or ((hostile & is_active & ~worst).sum(axis=1)[worst] < 2).any():
            break
        is_active &= ~worst
    scores, prior_log_odds = np.full(len(honesty), prior), log(prior / (1.0 - prior))
    log_odds = np.log(honesty) - np.log1p(-np.minimum(honesty, 1.0 - 1e-12))
    for i in range(len(honesty)):
        by = is_active.copy()
        by[i] = False
        if by.sum() >= 2:
            scores[i] = np.partition(honesty[i, by], 1)[1]
        if is_active[i] and (hostile[i] & is_active).any():
            scores[i] = doubt_below
        elif not is_active[i]:
            against = prior_log_odds - log_odds[i, hostile[i] & is_active]
            scores[i] = min(scores[i], 1.0 / (1.0 + exp(JOINT_SHARE * against.sum() - prior_log_odds)))
    return scores, is_active
