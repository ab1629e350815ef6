"""A robot without a body, as a process: draws at random while told to, and says what it and its neighbours hold.

Standard input takes ``draw`` and ``rest``; a line of JSON comes out twice a second.
"""

import json
import select
import sys
import time

import numpy as np
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.executors import SingleThreadedExecutor

from marl_core.communication.communicator import Communicator
from marl_core.mapping.bounds import MapBounds, MapConfig
from marl_core.mapping.replica import Replica
from marl_core.types import LayerId, Pose, RobotStatus, Twist
from marl_nodes.fleet_topics import FleetTopics
from marl_nodes.qos import DIAGNOSTICS

TICK_S, DRAW_S, SAY_S = 0.05, 0.5, 0.5
AREA_TILES = 8


class Member:
    """Its replica and its voice."""

    def __init__(self, name):
        self.name, self.epoch = name, int(time.time())
        self.node = rclpy.create_node(name)
        self.layer = LayerId(name, self.epoch)
        self.replica = Replica(MapBounds.from_config(MapConfig()), name, self.layer)
        self.communicator = Communicator(name, self.epoch)
        self.classes = np.zeros(self.replica.bounds.shape, np.int8)
        self.random = np.random.default_rng(sum(name.encode()))
        self.inbox, self.neighbours = [], {}
        self.topics = FleetTopics(self.node, '/fleet', self.inbox.append)
        self.node.create_subscription(DiagnosticArray, '/diagnostics', self.note, DIAGNOSTICS)

    def note(self, message):
        for status in message.status:
            values = {entry.key: entry.value for entry in status.values}
            self.neighbours[status.hardware_id] = [values['state_hash'], int(values['tiles_missing'])]

    def draw(self):
        """Some rectangle somewhere in the middle of the map, over several tiles."""
        middle = np.array(self.classes.shape) // 2
        row, col = middle + self.random.integers(-16 * AREA_TILES, 16 * AREA_TILES, 2)
        self.classes[row:row + 50, col:col + 50] = self.random.choice([-1, 1])
        first, last = (row // 32, col // 32), ((row + 49) // 32, (col + 49) // 32)
        tiles = [(ty, tx) for ty in range(first[0], last[0] + 1) for tx in range(first[1], last[1] + 1)]
        self.replica.write(self.layer, np.array(tiles, np.int32), self.classes)

    def tick(self):
        now_s = time.time()
        inbox, self.inbox[:] = list(self.inbox), []
        self.communicator.receive(inbox, self.replica, now_s)
        status = RobotStatus(self.name, self.epoch, now_s, Pose(0.0, 0.0, 0.0), Twist(0.0, 0.0),
                             issued=self.replica.issued)
        self.topics.send(self.communicator.send(status, self.replica, now_s))

    def say(self):
        said = {'hash': self.replica.state_hash(), 'issued': self.replica.issued,
                'waiting': self.replica.waiting_tiles, 'layers': len(self.replica.layers),
                'missing': len(self.communicator.missing), 'neighbours': self.neighbours}
        sys.stdout.write(f'{json.dumps(said)}\n')
        sys.stdout.flush()


def main():
    rclpy.init()
    member = Member(sys.argv[1])
    executor = SingleThreadedExecutor()
    executor.add_node(member.node)
    draws, due = False, dict.fromkeys(('tick', 'draw', 'say'), 0.0)
    while True:
        executor.spin_once(timeout_sec=0.02)
        now_s = time.monotonic()
        for name, period_s in (('draw', DRAW_S), ('tick', TICK_S), ('say', SAY_S)):
            if now_s >= due[name] and (draws or name != 'draw'):
                due[name] = now_s + period_s
                getattr(member, name)()
        if select.select([sys.stdin], [], [], 0.0)[0]:
            line = sys.stdin.readline()
            if not line:
                return
            draws = line.strip() == 'draw'


if __name__ == '__main__':
    main()
