"""Compiles every kernel of the robot's runtime into numba's cache: ``python -m marl_core.warm_up``.

Run it once after installation, so that no robot spends its first minute compiling.
"""

import sys
from math import hypot, inf, pi
from time import perf_counter

import numpy as np

from marl_core.agent import Agent
from marl_core.decision.policies import POLICIES
from marl_core.types import STOP, LaserScan, Pose, Readings, RobotModel, Twist

BEAMS = 360


def warm_up() -> float:
    """Let two agents look around in a room with open sides and talk. Returns the time it took [s]."""
    started_s = perf_counter()
    model = RobotModel()
    agents = [Agent(name, 1, model, make()) for name, make in zip('ab', POLICIES.values())]
    spare = [make() for make in list(POLICIES.values())[2:]]
    inbox = []
    for step in range(45):
        outbox = []
        for index, agent in enumerate(agents):
            pose = Pose(2.0 * index - 1.0 + 0.01 * step, 0.0, 0.1 * step)
            readings = Readings(_scan(0.1 * step, pose), pose, Twist(0.1, 0.0) if step else STOP)
            agent.perceive(readings, inbox, 0.1 * step)
            if agent.decision_due and (observation := agent.observe()) is not None:
                for policy in spare:
                    policy.choose(observation)
                agent.decide(agent.policy.choose(observation))
            outbox += agent.act()[1]
        inbox = outbox
    agents[0].world.replica.set_weight('b', 1)  # what happens when a robot is doubted
    return perf_counter() - started_s


def _scan(stamp_s: float, pose: Pose) -> LaserScan:
    """What a lidar sees at the centre of a room of 4 m whose quarter-turns are open every other sector."""
    angles = np.linspace(-pi, pi, BEAMS, endpoint=False)
    walls = 2.0 / np.maximum(np.abs(np.cos(angles)), np.abs(np.sin(angles)))
    ranges = np.where((angles * 4 / pi).astype(int) % 2 == 0, walls, inf).astype(np.float32)
    ranges[:3] = min(hypot(pose.x_m, pose.y_m) + 0.5, 2.0)
    return LaserScan(stamp_s, -pi, 2 * pi / BEAMS, 0.12, 8.0, ranges)


if __name__ == '__main__':
    sys.stdout.write(f'kernels are compiled and cached ({warm_up():.1f} s)\n')
