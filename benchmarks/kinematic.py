"""The batched kinematic environment against VMAS with the same walls and rays."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from benchmarks.rows import CLOCK, Row
from marl_core.types import LidarModel, RobotModel
from sim.kinematic import BatchedExploration
from sim.worlds import WORLDS, World, WorldSize
from sim.worlds.boxes import rectangles

SIZE = WorldSize(25.0, 20.0, 0.1)
TEAMS, ROBOTS = 64, 4
MODEL = RobotModel(lidar=LidarModel(beams=360, range_max_m=12.0))
SETTLE, STEPS = 50, 100
PEER_STEPS = 2


def measure() -> list[Row]:
    """Teams roam rooms: driving, noisy lidar, mapping, and frontiers every tenth step. VMAS drives and casts only."""
    world = WORLDS['rooms'](0, SIZE)
    per_s = TEAMS * ROBOTS / _seconds_per_step(Roaming([WORLDS['rooms'](seed, SIZE) for seed in range(8)]).step,
                                               SETTLE, STEPS)
    boxes = len(rectangles(world.occupied))
    name = f'{TEAMS} teams of {ROBOTS}, 360 rays, map, frontiers, robot-steps'
    try:
        peer = _make_vmas(world)
    except ModuleNotFoundError as error:
        return [Row(f'{name} (not compared: no module {error.name})', per_s, '1/s', 12_000.0)]
    ratio = per_s * _seconds_per_step(peer, 1, PEER_STEPS) / (TEAMS * ROBOTS)
    return [Row(name, per_s, '1/s', 12_000.0, peer=f'VMAS navigation with the {boxes} walls, 360 rays, no map',
                ratio=ratio, ratio_target=50.0)]


class Roaming:
    """Robots that drive ahead, and turn where something is near ahead."""

    def __init__(self, worlds: list[World]) -> None:
        self._batch = BatchedExploration(worlds, TEAMS, MODEL, ROBOTS)
        self._side = np.where(np.arange(ROBOTS) % 2, 1.0, -1.0)

    def step(self) -> float:
        """One control period of all teams. Returns the CPU time of the environment's part [s]."""
        ahead = self._batch.ranges_m[:, :, 140:220].min(axis=2)
        blocked = ahead < 0.6
        commands = np.stack((np.where(blocked, 0.0, 0.5), np.where(blocked, 1.2, 0.1) * self._side), axis=-1)
        started = CLOCK()
        self._batch.step(commands)
        return CLOCK() - started


def _seconds_per_step(step: Callable[[], float], settle: int, steps: int) -> float:
    for _ in range(settle):
        step()
    return sum(step() for _ in range(steps)) / steps


def _make_vmas(world: World) -> Callable[[], float]:
    """A step of VMAS's `navigation` in a world of boxes, with robots at the same starts; one thread, as ours."""
    import torch
    from vmas import make_env
    from vmas.scenarios.navigation import Scenario
    from vmas.simulator.core import Box, Landmark
    torch.set_num_threads(1)

    class Walled(Scenario):
        """`navigation` between walls that stop robots and rays."""

        def make_world(self, batch_dim: int, device: object, **options: object) -> object:
            made = super().make_world(batch_dim, device, **options)
            self.walls = _wall_boxes(world)
            for index, (_, _, length_m, width_m) in enumerate(self.walls):
                made.add_landmark(Landmark(f'wall {index}', collide=True, movable=False,
                                           shape=Box(float(length_m), float(width_m))))
            for agent in made.agents:
                for sensor in agent.sensors:
                    sensor.entity_filter = lambda entity: not entity.name.startswith('goal')
            return made

        def reset_world_at(self, env_index: int | None = None) -> None:
            super().reset_world_at(env_index)
            for landmark, (x_m, y_m, _, _) in zip(self.world.landmarks[-len(self.walls):], self.walls):
                landmark.set_pos(torch.tensor([x_m, y_m], dtype=torch.float32), batch_index=env_index)
            starts = torch.tensor(world.start_poses(ROBOTS, MODEL.radius_m)[:, :2], dtype=torch.float32)
            for agent, start in zip(self.world.agents, starts):
                agent.set_pos(start, batch_index=env_index)

    env = make_env(Walled(), TEAMS, continuous_actions=True, seed=0, n_agents=ROBOTS, n_lidar_rays=MODEL.lidar.beams,
                   lidar_range=MODEL.lidar.range_max_m, agent_radius=MODEL.radius_m)
    env.reset()
    actions = [torch.full((TEAMS, 2), 0.5) for _ in range(ROBOTS)]

    def step() -> float:
        started = CLOCK()
        env.step(actions)
        return CLOCK() - started
    return step


def _wall_boxes(world: World) -> NDArray[np.float64]:
    """Centre and extent of rectangles that cover all solid cells [m]. Shape: (B, 4)."""
    edge_m, found = world.resolution_m, rectangles(world.occupied)
    low, high = found[:, 1::-1] * edge_m, found[:, 3:1:-1] * edge_m  # x before y
    return np.hstack(((low + high) / 2 + (world.origin_x_m, world.origin_y_m), high - low))
