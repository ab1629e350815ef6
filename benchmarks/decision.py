"""Deciding and driving: what one robot computes between its map and its motors."""

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.rows import Row, seconds_per_call
from marl_core.decision.controller import PathFollower
from marl_core.decision.features import fill_observation, survey_candidates
from marl_core.decision.observation import Observation, observe
from marl_core.decision.path import shortcut
from marl_core.decision.policies import POLICIES, make_policy
from marl_core.decision.safety import SafetyFilter, teammates_in_base
from marl_core.specs import MAX_CANDIDATES, MAX_TEAM, OBSERVATION
from marl_core.types import FREE, OCCUPIED, STOP, UNKNOWN, LaserScan, Pose, RobotModel, RobotStatus, Twist
from models.coordinator import Coordinator
from sim.learning.export import export

CANDIDATES, ROBOTS, RANGE_M, RESOLUTION_M = 32, 5, 8.0, 0.2


def measure() -> list[Row]:
    """The largest decision of training (32 candidates, 5 robots), and control with a lidar of 360 beams."""
    return [*_observations(), *_policies(), *_control()]


def _observations() -> list[Row]:
    seen = _situation()
    whole_s = seconds_per_call(lambda: observe(*seen))
    state, resolution_m, x_m, y_m, range_m, cells, sizes, poses, goals_m, to_go_m, ages_s, costs, rank = seen
    survey = (np.empty(CANDIDATES, np.float32), np.empty(CANDIDATES, np.float32),
              np.empty((CANDIDATES, CANDIDATES), np.float32))
    survey_candidates(state, resolution_m, cells, range_m, *survey)
    out = Observation.empty(MAX_CANDIDATES, MAX_TEAM, range_m)
    arrays = tuple(getattr(out, spec.name) for spec in OBSERVATION if spec.name != 'sensor_range_m')
    own_s = seconds_per_call(lambda: fill_observation(
        resolution_m, x_m, y_m, range_m, cells, sizes, *survey, poses, goals_m, to_go_m, ages_s, costs, rank, *arrays))
    return [Row('observation, 32 candidates, 5 robots', 1e3 * whole_s, 'ms', 0.5, at_least=False),
            Row('of it what robots with one map do not share', 1e3 * own_s, 'ms', 0.05, at_least=False)]


def _policies() -> list[Row]:
    observation = observe(*_situation())
    classical = [make_policy(name) for name in POLICIES]
    slowest_ms = max(1e3 * seconds_per_call(lambda policy=policy: policy.choose(observation), 0.1)
                     for policy in classical)
    actor = Coordinator().eval()
    inputs = [torch.from_numpy(observation.arrays[spec.name]) for spec in OBSERVATION]
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with TemporaryDirectory() as folder, torch.inference_mode():
        path = Path(folder) / 'coordinator.onnx'
        export(actor, path, {})
        policy = make_policy(path)
        learned_s = seconds_per_call(lambda: policy.choose(observation))
        torch_s = seconds_per_call(lambda: actor.score(*inputs))
    torch.set_num_threads(threads)
    return [Row('choice of the ONNX coordinator, 32 candidates, 5 robots', 1e3 * learned_s, 'ms', 0.35, at_least=False,
                peer='the same network in torch, eager', ratio=torch_s / learned_s, ratio_target=2.0),
            Row('choice of the slowest classical policy', slowest_ms, 'ms', 0.5, at_least=False)]


def _control() -> list[Row]:
    path_cells = np.array([(10 + abs(step % 80 - 40), step) for step in range(5, 205)], np.int32)
    traversable = np.ones((220, 220), np.uint8)
    traversable[35:, 45] = traversable[:15, 85] = 0
    waypoints_m = shortcut(path_cells, traversable, RESOLUTION_M, 0.0, 0.0)
    follower, pose = PathFollower(RobotModel()), Pose(*waypoints_m[1], 0.5)
    calls: dict[str, tuple[Callable[[], object], float]] = {
        'path of 200 cells to waypoints': (
            lambda: shortcut(path_cells, traversable, RESOLUTION_M, 0.0, 0.0), 1000.0),
        'command of the path follower': (lambda: follower.command(pose, waypoints_m, 0.0), 30.0),
        'safety filter, 360 beams, open': (_filtering(4.0), 30.0),
        'safety filter, 360 beams, corridor of 0.9 m, 4 teammates': (_filtering(0.45), 30.0),
        'safety filter, 360 beams, wedged in': (_filtering(0.22), 30.0),
    }
    return [Row(name, 1e6 * seconds_per_call(call), 'us', target, at_least=False)
            for name, (call, target) in calls.items()]


def _filtering(half_width_m: float) -> Callable[[], object]:
    """A call of the filter between two walls, for a curve that it has to judge in full."""
    angles = np.arange(360) * np.radians(1.0) - np.pi
    ranges_m = np.minimum(half_width_m / np.maximum(np.abs(np.sin(angles)), 0.05), 8.0).astype(np.float32)
    scan = LaserScan(0.0, -np.pi, np.radians(1.0), 0.12, 8.0, ranges_m)
    mates = [RobotStatus(str(number), 1, 0.0, Pose(1.0 + number, 0.1, np.pi), Twist(0.3, 0.0)) for number in range(4)]
    discs = teammates_in_base(mates, Pose(0.0, 0.0, 0.0), 0.1)
    guard, command, twist = SafetyFilter(RobotModel()), Twist(0.5, 0.2), Twist(0.4, 0.1)
    if half_width_m < 0.3:
        twist = STOP
    return lambda: guard.filter(command, scan, 0.1, twist, discs)


def _situation() -> tuple[NDArray[np.int8], float, float, float, float, NDArray[np.int32], NDArray[np.int32],
                          NDArray[np.float64], NDArray[np.float64], NDArray[np.float64], NDArray[np.float64],
                          NDArray[np.int32], int]:
    """Arguments of ``observe``: a map of 200 m with an explored part of 60 m full of obstacles."""
    generator = np.random.default_rng(7)
    state = np.full((1024, 1024), UNKNOWN, np.int8)
    state[360:660, 360:660] = FREE
    for row, col in generator.integers(360, 655, (250, 2)):
        state[row:row + generator.integers(1, 10), col:col + generator.integers(1, 10)] = OCCUPIED
    state[480:520, 400:600] = UNKNOWN
    cells = generator.integers(370, 650, (CANDIDATES, 2)).astype(np.int32)
    poses = np.column_stack((generator.uniform(-25, 25, (ROBOTS, 2)), generator.uniform(-3, 3, ROBOTS)))
    costs = generator.integers(20, 2000, (ROBOTS, CANDIDATES)).astype(np.int32)
    return (state, RESOLUTION_M, -102.4, -102.4, RANGE_M, cells, generator.integers(2, 30, CANDIDATES).astype(np.int32),
            poses, generator.uniform(-25, 25, (ROBOTS, 2)), np.full(ROBOTS, 5.0), np.zeros(ROBOTS), costs, 2)
