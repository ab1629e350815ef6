"""A robot's mind: readings and messages in, a velocity command and messages out.

Nothing here does I/O or reads a clock, so the same agent runs in training, in evaluation and on the robot, and a
recorded trace of inputs always gives the same commands.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import cos, hypot, inf, isfinite, nan, sin

import numpy as np
from numpy.typing import NDArray

from marl_core.communication.authentication import Seal
from marl_core.communication.communicator import CommunicationConfig, Communicator
from marl_core.decision.deadlock import Advice, teammate_discs
from marl_core.decision.navigator import NOWHERE, NavigationConfig, Navigator
from marl_core.decision.observation import Observation, observe
from marl_core.decision.path import shortcut
from marl_core.decision.policies.base import Policy
from marl_core.decision.policies.fallback import FallbackPolicy
from marl_core.errors import MapError, PolicyError
from marl_core.mapping.bounds import MapConfig
from marl_core.mapping.frontiers import Candidates
from marl_core.mapping.geodesics import DistanceField
from marl_core.mapping.trust import Trust, TrustConfig
from marl_core.mapping.world_model import Disc, WorldModel
from marl_core.specs import HOLD, MAX_CANDIDATES, MAX_TEAM, Candidate
from marl_core.types import (
    STOP,
    Activity,
    Inbox,
    LaserScan,
    LayerId,
    Outbox,
    Pose,
    Readings,
    RobotModel,
    RobotStatus,
    Twist,
)

JUDGE_PERIOD_S = 1.0
"""Time between two looks at who may be believed [s]."""


@dataclass(frozen=True, slots=True)
class ExplorationConfig:
    """When a robot decides anew, and what counts as worth going to.

    Attributes:
        travel_m: farthest travel before the next decision [m]. Shorter is quicker, and costs decisions.
        patience_s: longest time before the next decision [s].
        turns: a robot that turned away from its goal more often than this, and learnt nothing between, sways between
            like goals: each further turn doubles the travel and the time before the next decision.
        news_m2: change of the known area from which on a robot has learnt something [m2].
        hold_s: time before a robot without a goal looks again [s].
        arrival_m: distance at which a goal is reached [m].
        split_ranges: longest edge of a frontier piece [sensor ranges].
        minimum_frontier_m: shorter frontiers are not worth a visit [m].
        visited_radius_m: around a goal that was reached, what is still unknown cannot be seen, and is left [m].
        avoid_s: how long a goal that could not be reached is left alone [s].
        teammate_margin_m: lidar returns this close around a teammate are the teammate [m].
        clearance_m: what paths keep between the robot's edge and walls [m].
    """

    travel_m: float = 0.4
    patience_s: float = 10.0
    turns: int = 8
    news_m2: float = 0.25
    hold_s: float = 1.0
    arrival_m: float = 0.35
    split_ranges: float = 0.6
    minimum_frontier_m: float = 0.4
    visited_radius_m: float = 0.5
    avoid_s: float = 20.0
    teammate_margin_m: float = 0.15
    clearance_m: float = 0.05


@dataclass(frozen=True, slots=True)
class AgentConfig:
    """Everything about an agent that is not its robot, name or policy."""

    map: MapConfig = field(default_factory=MapConfig)
    exploration: ExplorationConfig = field(default_factory=ExplorationConfig)
    navigation: NavigationConfig = field(default_factory=NavigationConfig)
    communication: CommunicationConfig = field(default_factory=CommunicationConfig)
    trust: TrustConfig = field(default_factory=TrustConfig)


@dataclass(frozen=True, slots=True)
class Goal:
    """Where the robot is going.

    Attributes:
        x_m: place [m; map frame]. y_m: place [m; map frame].
        cell: row and column of its planning cell.
        cells: path over planning cells from where it was chosen. Shape: (n, 2).
        travelled_m: the robot's odometer when it was chosen [m]. stamp_s: the time then [s].
    """

    x_m: float
    y_m: float
    cell: tuple[int, int]
    cells: NDArray[np.int32]
    travelled_m: float
    stamp_s: float


class Agent:
    """One robot's mapping, communication and decision, composed.

    Attributes:
        name: the robot's, unique in the fleet. epoch: which of its lives.
        model: its body.
        policy: what chooses its goals, MinPos standing in when it fails.
        world: its map and the fleet's. communicator: its radio. trust: whom of the fleet it believes.
        navigator: its path follower and safety filter.
        activity: what it is doing. goal: where it is going.
        decisions: how many were taken.
        faults: what was wrong with readings and clock, by reason.
    """

    def __init__(self, name: str, epoch: int, model: RobotModel, policy: Policy,
                 config: AgentConfig | None = None, seal: Seal | None = None) -> None:
        """Start without a map.

        Args:
            name, epoch, model: see the attributes.
            policy: chooses goals; a FallbackPolicy says who else may.
            config: all other settings.
            seal: closes and opens packets (None: plain, as in simulations).
        """
        self.name, self.epoch, self.model = name, epoch, model
        self.policy = policy if isinstance(policy, FallbackPolicy) else FallbackPolicy(policy)
        self.config = config or AgentConfig()
        self.world = WorldModel(LayerId(name, epoch), model.radius_m, self.config.exploration.clearance_m,
                                self.config.map)
        self.communicator = Communicator(name, epoch, self.config.communication, seal)
        self.trust = Trust(self.world.bounds, self.config.trust)
        self.navigator = Navigator(name, model, self.config.navigation)
        self.activity = Activity.IDLE
        self.goal: Goal | None = None
        self.decisions = 0
        self.faults: Counter[str] = Counter()
        self._now_s = -inf
        self._pose: Pose | None = None
        self._twist = STOP
        self._new_scan: LaserScan | None = None
        self._sensed = False
        self._team: list[RobotStatus] = []
        self._travelled_m = self._known_m2 = 0.0
        self._turns = 0
        self._continuing = np.empty(0, np.int64)  # candidates that continue the goal
        self._look_again_s = self._judged_s = -inf
        self._avoided: list[tuple[Disc, float]] = []
        self._pending: tuple[DistanceField, Candidates] | None = None
        self._blocked: list[Disc] = []
        self._clock_ran_back = False

    def tick(self, readings: Readings, inbox: Inbox, now_s: float) -> tuple[Twist, Outbox]:
        """Take in what is new, decide if it is time, and act.

        Args:
            readings: what the sensors said since the last tick.
            inbox: packets heard since the last tick, in order of arrival.
            now_s: the robot's clock [s]; if it runs backwards the robot stops for a tick and starts anew from there.

        Returns:
            Velocity to command until the next tick, and packets to send.
        """
        self.perceive(readings, inbox, now_s)
        if self.decision_due:
            observation = self.observe()
            self.decide(HOLD if observation is None else self.policy.choose(observation))
        return self.act()

    def perceive(self, readings: Readings, inbox: Inbox, now_s: float) -> None:
        """First part of a tick: bring teammates, pose and map up to date."""
        self._set_clock(round(now_s, 6))  # what clocks and messages carry, so that every host gives the same number
        heard_tiles = self.communicator.receive(inbox, self.world.replica, self._now_s)
        self._team = [mate.status for mate in self.communicator.teammates(self._now_s)]
        self._judge(is_busy=heard_tiles > 0)
        self._twist = readings.twist
        if readings.pose is not None:
            self._move(readings.pose)
        self._new_scan = readings.scan
        if readings.scan is None or self._pose is None:
            self.world.refresh()
            return
        try:
            self.world.sense(readings.scan, self._lidar_pose(self._pose), self._pose, self._teammates_in_view())
            self._sensed = True
        except MapError:
            self.faults['bad-scan'] += 1
            self._new_scan = None

    @property
    def decision_due(self) -> bool:
        """Whether the robot should choose a goal now."""
        if self._pose is None or not self._sensed or self._clock_ran_back:
            return False
        goal, rules = self.goal, self.config.exploration
        if goal is None:
            return self._now_s >= self._look_again_s
        hesitation = 2.0 ** max(0, min(self._turns - rules.turns, 16))
        return (self._arrived or self._travelled_m - goal.travelled_m >= rules.travel_m * hesitation
                or self._now_s - goal.stamp_s >= rules.patience_s * hesitation
                or self.navigator.advice in (Advice.REPLAN_AROUND, Advice.GIVE_UP_GOAL)
                or not self.world.is_traversable(goal.cells))

    def observe(self) -> Observation | None:
        """What the policy may choose from now; None if there is nothing to explore within reach."""
        rules, range_m = self.config.exploration, self.model.lidar.range_max_m
        self._avoid_what_did_not_work()
        team = self._nearest_teammates()
        around = self.navigator.advice is Advice.REPLAN_AROUND
        discs = teammate_discs(self._pose, team, self.model.radius_m) if around else ()
        self._blocked = [tuple(disc) for disc in discs]
        fields = self.world.fields([self._pose, *(mate.pose for mate in team)], self._blocked)
        found = self.world.candidates(fields[0], rules.split_ranges * range_m, rules.minimum_frontier_m,
                                      MAX_CANDIDATES, [disc for disc, _ in self._avoided])
        self._pending = fields[0], found
        if not len(found.cells):
            return None
        goal = (self.goal.x_m, self.goal.y_m) if self.goal else (nan, nan)
        bounds = self.world.bounds
        observation = observe(
            self.world.planning.state, bounds.planning_resolution_m, bounds.origin_x_m, bounds.origin_y_m, range_m,
            found.cells, found.sizes,
            team_poses=np.array([self._pose, *(mate.pose for mate in team)]),
            team_goals_m=np.array([goal, *((mate.goal_x_m, mate.goal_y_m) for mate in team)]),
            team_to_go_m=np.array([self.navigator.distance_to_go_m, *(mate.distance_to_go_m for mate in team)]),
            team_ages_s=np.array([0.0, *(max(0.0, self._now_s - mate.stamp_s) for mate in team)]),
            team_costs=np.stack([way.cost[found.cells[:, 0], found.cells[:, 1]] for way in fields]),
            own_rank=sum(mate.robot < self.name for mate in team))
        self._continuing = np.flatnonzero(observation.candidates[:, Candidate.IS_GOAL])
        return observation

    def decide(self, choice: int) -> None:
        """Second part of a tick, when a decision is due: go to a candidate of the last observation, or HOLD.

        Raises:
            PolicyError: there was no observation, or the choice is no candidate.
        """
        if self._pending is None:
            raise PolicyError('decide() needs an observation first: call observe()')
        way, found = self._pending
        self._pending = None
        self.decisions += 1
        if choice == HOLD:
            self.goal = None
            self.navigator.follow(NOWHERE)
            self._look_again_s = self._now_s + self.config.exploration.hold_s
            self.activity = Activity.IDLE if len(found.cells) or self._blocked else Activity.DONE
            return
        if not 0 <= choice < len(found.cells):
            raise PolicyError(f'choice {choice} is no candidate; valid: 0 to {len(found.cells) - 1}, or HOLD ({HOLD})')
        row, col = map(int, found.cells[choice])
        cells, bounds = way.path_to(row, col), self.world.bounds
        self._note_turn(turned=choice not in self._continuing)
        self.goal = Goal(*bounds.planning_center_of(row, col), (row, col), cells, self._travelled_m, self._now_s)
        self.navigator.follow(shortcut(cells, self.world.planning.traversable, bounds.planning_resolution_m,
                                       bounds.origin_x_m, bounds.origin_y_m))
        self.activity = Activity.EXPLORING

    def _note_turn(self, turned: bool) -> None:
        """Count turns away from the goal since the robot last learnt something or arrived."""
        known_m2, rules = self.world.replica.known_area_m2, self.config.exploration
        if self.goal is None or self._arrived or abs(known_m2 - self._known_m2) >= rules.news_m2:
            self._known_m2, self._turns = known_m2, 0
        else:
            self._turns += turned

    def act(self) -> tuple[Twist, Outbox]:
        """Last part of a tick: the command, and what to send."""
        command = STOP
        if self._pose is not None and not self._clock_ran_back:
            command = self.navigator.command(self._now_s, self._pose, self._twist, self._new_scan, self._team)
        return command, self.communicator.send(self.status, self.world.replica, self._now_s, self._tile_value)

    @property
    def status(self) -> RobotStatus | None:
        """What teammates are told, in the precision that messages carry; None before the first pose."""
        if self._pose is None:
            return None
        goal = (self.goal.x_m, self.goal.y_m) if self.goal else (nan, nan)
        values = (*self._pose, *self._twist, *goal, self.navigator.distance_to_go_m, self.model.radius_m)
        single = [float(np.float32(value)) for value in values]
        return RobotStatus(self.name, self.epoch, self._now_s, Pose(*single[:3]), Twist(*single[3:5]), *single[5:],
                           self.activity, self.world.replica.issued)

    def diagnostics(self) -> dict[str, str]:
        """State in words, for a human or a diagnostics topic."""
        radio = self.communicator
        return {
            'activity': self.activity.name.lower(),
            'policy': self.policy.name,
            'policy failures': str(self.policy.failures),
            'policy error': self.policy.last_error,
            'decisions': str(self.decisions),
            'safety': self.navigator.reason,
            'advice': self.navigator.advice.value,
            'travelled [m]': f'{self._travelled_m:.1f}',
            'known area [m2]': f'{self.world.replica.known_area_m2:.1f}',
            'teammates': ', '.join(mate.robot for mate in self._team),
            'not trusted': '; '.join(self.trust.complaints()),
            'faults': _counts(self.faults),
            'sent [bytes]': _counts(radio.sent_bytes),
        }

    def _tile_value(self) -> NDArray[np.float32]:
        """What teammates would have of each tile, by where they are and where they go. Shape: bounds.tiles_shape."""
        places_m = [place for mate in self._team for place in (mate.pose[:2], (mate.goal_x_m, mate.goal_y_m))]
        return self.world.tile_value(np.array(places_m, np.float64).reshape(-1, 2))

    @property
    def _arrived(self) -> bool:
        goal, pose = self.goal, self._pose
        return (goal is not None and pose is not None
                and hypot(goal.x_m - pose.x_m, goal.y_m - pose.y_m) <= self.config.exploration.arrival_m)

    def _set_clock(self, now_s: float) -> None:
        self._clock_ran_back = now_s < self._now_s
        if self._clock_ran_back:
            self.faults['clock-backwards'] += 1
            self._look_again_s, self._avoided, self.goal = -inf, [], None
            self.navigator.reset()
        self._now_s = now_s

    def _judge(self, is_busy: bool) -> None:
        """Now and then, weigh the votes of the others by whether their maps agree with what was seen here.

        A tick that had tiles to decode leaves it to the next, but not twice as long.
        """
        waited_s = abs(self._now_s - self._judged_s)
        if waited_s >= (2.0 * JUDGE_PERIOD_S if is_busy else JUDGE_PERIOD_S):
            self._judged_s = self._now_s
            self.trust.update(self.world.replica, self._team, LayerId(self.name, self.epoch), self._now_s)

    def _move(self, pose: Pose) -> None:
        if not all(map(isfinite, pose)):
            self.faults['bad-pose'] += 1
            return
        pose = Pose(round(pose.x_m, 6), round(pose.y_m, 6), round(pose.heading_rad, 9))
        if self._pose is not None:
            self._travelled_m += hypot(pose.x_m - self._pose.x_m, pose.y_m - self._pose.y_m)
        self._pose = pose

    def _lidar_pose(self, pose: Pose) -> Pose:
        ahead_m = self.model.lidar.x_m
        return Pose(pose.x_m + ahead_m * cos(pose.heading_rad), pose.y_m + ahead_m * sin(pose.heading_rad),
                    pose.heading_rad)

    def _teammates_in_view(self) -> NDArray[np.float64]:
        """Discs (x, y, radius) in which lidar returns are teammates and no walls. Shape: (n, 3)."""
        margin_m = self.config.exploration.teammate_margin_m
        discs = []
        for mate in self._team:
            age_s = min(1.0, max(0.0, self._now_s - mate.stamp_s))
            moved_m = mate.twist.linear_mps * age_s
            discs.append((mate.pose.x_m + 0.5 * moved_m * cos(mate.pose.heading_rad),
                          mate.pose.y_m + 0.5 * moved_m * sin(mate.pose.heading_rad),
                          mate.radius_m + margin_m + 0.5 * abs(moved_m)))
        return np.array(discs, np.float64).reshape(-1, 3)

    def _nearest_teammates(self) -> list[RobotStatus]:
        """At most as many as a policy may see, by name."""
        def apart_m(mate: RobotStatus) -> float:
            return hypot(mate.pose.x_m - self._pose.x_m, mate.pose.y_m - self._pose.y_m)
        return sorted(sorted(self._team, key=apart_m)[:MAX_TEAM - 1], key=lambda mate: mate.robot)

    def _avoid_what_did_not_work(self) -> None:
        """What is still unknown at a goal that was reached cannot be seen from there; a blocked goal can wait."""
        rules, goal = self.config.exploration, self.goal
        self._avoided = [(disc, until_s) for disc, until_s in self._avoided if until_s > self._now_s]
        if goal is None:
            return
        disc = goal.x_m, goal.y_m, rules.visited_radius_m
        if self._arrived:
            self._avoided.append((disc, inf))
        elif self.navigator.advice is Advice.GIVE_UP_GOAL:
            self._avoided.append((disc, self._now_s + rules.avoid_s))


def _counts(counts: Mapping[str, int]) -> str:
    return ', '.join(f'{key}: {value}' for key, value in sorted(counts.items()))
