#!/usr/bin/env python3
"""A replica of the fleet's map with duties: publishes it, keeps it on disk, and refills who comes late.

It is no master. Robots hear each other directly, go on when this node dies, and refill it when it returns.
"""

import signal

if __name__ == '__main__':  # Until run() listens, a signal ends this process in silence, imports or not.
    signal.signal(signal.SIGINT, signal.SIG_DFL)

import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from marl_coordination.msg import RobotTraffic
from marl_coordination.srv import GetCoverage, SaveMap, SetTrust
from nav_msgs.msg import OccupancyGrid
from numpy.typing import NDArray
from rclpy.clock import Clock, ClockType
from rclpy.node import Node

from marl_core.agent import AgentConfig
from marl_core.communication.authentication import MODES
from marl_core.communication.communicator import Communicator
from marl_core.config import load
from marl_core.errors import MapError, MarlError
from marl_core.mapping import persistence, verdicts
from marl_core.mapping.bounds import MapBounds
from marl_core.mapping.map_server import write_map
from marl_core.mapping.prior_map import join_prior
from marl_core.mapping.replica import Replica, ReplicaConfig
from marl_core.mapping.trust import Trust, TrustState
from marl_core.types import Packet, Pose
from marl_nodes import conversions, qos
from marl_nodes.diagnostics import IMPERSONATED, OK, WARN, Diagnostics, Drops, ReplicaHealth, in_words
from marl_nodes.faults import open_topics
from marl_nodes.key_files import load_seal
from marl_nodes.map_view import MapView, Window, areas_m2
from marl_nodes.parameters import declare, parameter
from marl_nodes.running import run
from marl_nodes.trust_service import obey

TICK_PERIOD_S = 0.05
DIAGNOSTICS_PERIOD_S = 1.0
INBOX_LIMIT = 10_000
"""Packets kept between two ticks; more are dropped and counted."""


@dataclass(frozen=True)
class MapParameters:
    """Parameters of map_node."""

    name: str = parameter('map', "Name under which this replica speaks to the fleet; no robot's name.")
    agent_config: str = parameter('', 'The YAML file given to the robots: map and communication are taken from it.')
    map_frame: str = parameter('map', 'The frame that all robots of the fleet share.')
    fleet_namespace: str = parameter('/fleet', 'Namespace of the topics features, status and digest.')
    security_mode: str = parameter('', f'Who may speak: {", ".join(MODES)} (docs/security.md). Has to be chosen.')
    keys_path: str = parameter('', 'Folder of the files that marl_fleet keys made; not read in mode plain.')
    initial_map: str = parameter('', 'A map_server YAML file to begin with, as a layer of its own. Empty: none.')
    publish_period_s: float = parameter(1.0, 'Least time between two messages on /map [s; wall clock].', 0.1, 3600.0)
    state_path: str = parameter('', 'File that keeps the replica, restored on start. Empty: kept in memory only.')
    save_period_s: float = parameter(5.0, 'Time between two saves, when something is new [s; wall clock].',
                                     0.1, 3600.0)
    map_path: str = parameter('map', 'Where the service save_map writes when its request names no path.')
    allow_faults: bool = parameter(False, 'Obey <fleet_namespace>/faults, for `marl_fleet chaos`; never on robots.')


class MapNode(Node):
    """Adapter between ROS and one Replica."""

    def __init__(self, **options: object) -> None:
        """Restore what was saved, and listen.

        Raises:
            MarlError: a parameter or file cannot be used.
        """
        super().__init__('map', **options)
        self.parameters = given = declare(self, MapParameters)
        config = load(AgentConfig, given.agent_config) if given.agent_config else AgentConfig()
        self.replica = Replica(MapBounds.from_config(config.map), given.name, config=ReplicaConfig.for_map(config.map))
        seal = load_seal(given.security_mode, given.keys_path, given.name)
        self.communicator = Communicator(given.name, int(time.time()), config.communication, seal)
        self.trust = Trust(self.replica.bounds, config.trust)
        self.view = MapView()
        self.drops = Drops()
        self._inbox: list[Packet] = []
        self._refused: set[str] = set()
        self._saved_hash = self._saved_verdicts = ''
        self._problem = ''
        self._restore()
        if given.initial_map:
            prior = join_prior(self.replica, given.initial_map, given.name)
            self.get_logger().info(f'{given.initial_map}: {prior}')
            self.view.note(self.replica.take_changed())
        self._map_publisher = self.create_publisher(OccupancyGrid, '/map', qos.LATCHED)
        self._update_publisher = self.create_publisher(conversions.OccupancyGridUpdate, '/map_updates', qos.UPDATES)
        self._fleet = open_topics(self, given.fleet_namespace, self._hear, self.replica, given.allow_faults)
        self._diagnostics, self._health = Diagnostics(self, given.name), ReplicaHealth()
        self.create_service(SaveMap, '~/save_map', self._on_save_map)
        self.create_service(GetCoverage, '~/coverage', self._on_coverage)
        self.create_service(SetTrust, '~/set_trust', self._on_set_trust)
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(TICK_PERIOD_S, self._tick, clock=steady)
        self.create_timer(given.publish_period_s, self._publish, clock=steady)
        self.create_timer(given.save_period_s, self._save, clock=steady)
        self.create_timer(DIAGNOSTICS_PERIOD_S, self._judge, clock=steady)
        self.create_timer(DIAGNOSTICS_PERIOD_S, self._diagnose, clock=steady)

    def close(self) -> None:
        """Keep what is new."""
        self._tick()
        self._save()

    @property
    def _now_s(self) -> float:
        return self.get_clock().now().nanoseconds * 1e-9

    # -- the replica --------------------------------------------------------------------------------------------

    def _hear(self, packet: Packet) -> None:
        if len(self._inbox) < INBOX_LIMIT:
            self._inbox.append(packet)
        elif self.drops.count('inbox-full'):
            self.get_logger().warning(f'{INBOX_LIMIT} packets wait for the next tick; more are dropped '
                                      '(further ones are only counted)')

    def _tick(self) -> None:
        inbox, self._inbox = self._inbox, []
        now_s = self._now_s
        self.communicator.receive(inbox, self.replica, now_s)
        for reason in self.communicator.drops.keys() - self._refused:
            self._refused.add(reason)
            self.get_logger().warning(f'a packet was dropped: {reason} (further ones are only counted)')
        self._fleet.send(self.communicator.send(None, self.replica, now_s))
        self.view.note(self.replica.take_changed())

    def _restore(self) -> None:
        if not self.parameters.state_path:
            return
        recovered = persistence.load(self.replica, self.parameters.state_path)
        if recovered.files or len(recovered.problems) > 1:
            self.get_logger().info(f'restored {recovered}')
        self.view.note(self.replica.take_changed())
        self._saved_hash = self.replica.state_hash() if recovered.complete else ''
        self._restore_verdicts(verdicts.path_beside(self.parameters.state_path))

    def _restore_verdicts(self, path: Path) -> None:
        try:
            if count := verdicts.load(self.trust, path):
                self.get_logger().info(f'{path}: {count} robots are not trusted')
        except MapError as error:
            self.get_logger().error(f'{error}; who may be believed is judged anew')
        self._saved_verdicts = verdicts.to_json(self.trust)
        self._judge()

    def _save(self) -> None:
        path = self.parameters.state_path
        if not path:
            return
        state, judged = self.replica.state_hash(), verdicts.to_json(self.trust)
        try:
            if judged != self._saved_verdicts:
                verdicts.save(self.trust, verdicts.path_beside(path))
                self._saved_verdicts = judged
            if state != self._saved_hash:
                persistence.save(self.replica, path)
                self._saved_hash = state
            self._problem = ''
        except MapError as error:
            if str(error) != self._problem:
                self.get_logger().error(str(error))
            self._problem = str(error)

    # -- who may be believed ------------------------------------------------------------------------------------

    def _judge(self) -> None:
        now_s = self._now_s
        statuses = [mate.status for mate in self.communicator.teammates(now_s)]
        for robot, before, after in self.trust.update(self.replica, statuses, None, now_s):
            self.get_logger().warning(f'{robot} was {before}, is now {after.standing}: {after.reason}')

    def _on_set_trust(self, request: SetTrust.Request, response: SetTrust.Response) -> SetTrust.Response:
        return obey(self.trust, self.replica, request, response)

    # -- the map ------------------------------------------------------------------------------------------------

    def _publish(self) -> None:
        bounds, frame = self.replica.bounds, self.parameters.map_frame
        grid = self.view.next_grid()
        if grid is not None:
            self._map_publisher.publish(conversions.grid_to_message(
                self._occupancy(grid), bounds.resolution_m, bounds.origin_x_m + grid.col0 * bounds.resolution_m,
                bounds.origin_y_m + grid.row0 * bounds.resolution_m, self._now_s, frame))
            return
        change = self.view.next_update()
        if change is not None:
            box = self.view.box
            self._update_publisher.publish(conversions.grid_update_to_message(
                self._occupancy(change), change.row0 - box.row0, change.col0 - box.col0, self._now_s, frame))

    def _occupancy(self, window: Window) -> NDArray[np.int8]:
        return self.replica.occupancy(slice(window.row0, window.row1), slice(window.col0, window.col1))

    def _on_save_map(self, request: SaveMap.Request, response: SaveMap.Response) -> SaveMap.Response:
        box, bounds = self.view.box, self.replica.bounds
        if box is None:
            response.message = 'nothing is known yet'
            return response
        stem = Path(request.path or self.parameters.map_path)
        origin = Pose(bounds.origin_x_m + box.col0 * bounds.resolution_m,
                      bounds.origin_y_m + box.row0 * bounds.resolution_m, 0.0)
        try:
            stem.parent.mkdir(parents=True, exist_ok=True)
            response.message = str(write_map(stem, box.of(self.replica.fused), bounds.resolution_m, origin,
                                             'png'))
            response.success = True
        except (MarlError, OSError) as error:
            response.message = str(error)
        return response

    def _on_coverage(self, request: GetCoverage.Request, response: GetCoverage.Response) -> GetCoverage.Response:
        if self.view.box is not None:
            response.free_m2, response.occupied_m2, response.unknown_m2 = areas_m2(
                self.view.box.of(self.replica.fused), self.replica.bounds.resolution_m)
        response.state_hash = self.replica.state_hash()
        now_s = self._now_s
        response.traffic = [RobotTraffic(
            robot=robot, features_bytes=traffic.bytes_by_kind['features'],
            status_bytes=traffic.bytes_by_kind['status'], digest_bytes=traffic.bytes_by_kind['digest'],
            messages=traffic.packets, age_s=now_s - traffic.last_s)
            for robot, traffic in sorted(self.communicator.traffic.items())]
        return response

    def _standings(self) -> list[tuple[str, TrustState]]:
        return [(robot, self.trust.state(robot)) for robot in sorted({layer.robot for layer in self.replica.layers})]

    def _diagnose(self) -> None:
        values = {'known_m2': f'{self.replica.known_area_m2:.1f}', 'layers': str(len(self.replica.layers)),
                  **{f'bytes_from_{robot}': in_words(traffic.bytes_by_kind)
                     for robot, traffic in sorted(self.communicator.traffic.items())},
                  **{f'trust_{robot}': f'{state.score:.3f} {state.standing}' for robot, state in self._standings()},
                  **self._health.values(self.replica, self.communicator, self.drops.by_reason, self._now_s)}
        impersonated = IMPERSONATED if self.communicator.drops.get('impersonated') else ''
        problem = self._problem or impersonated or '; '.join(self.trust.complaints())
        self._diagnostics.publish(self.get_clock().now(), WARN if problem else OK,
                                  problem or f'{len(self.communicator.traffic)} senders heard', values)


def main() -> int:
    """Entry point of the process."""
    return run('map', MapNode)


if __name__ == '__main__':
    sys.exit(main())
