"""Watches a fleet from outside: what its messages say, what they weigh, and how much of the truth its map shows."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import hypot

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray
from nav_msgs.msg import OccupancyGrid
from numpy.typing import NDArray
from rclpy.context import Context
from rclpy.node import Node

from marl_core.communication import wire
from marl_core.communication.authentication import unchecked
from marl_core.errors import MessageError
from marl_core.types import FREE, OCCUPIED, UNKNOWN, Activity, MapFeatures, Packet, Pose, RobotStatus
from marl_nodes import conversions, qos
from marl_nodes.fleet_topics import FleetTopics

Tap = Callable[[MapFeatures], None]

Measure = Callable[[NDArray[np.int8], float, float, float], float]
"""How much a map shows, from its classes, resolution [m], and origin x and y [m; map frame]."""


@dataclass
class RobotRecord:
    """What was seen of one robot."""

    activity: Activity = Activity.IDLE
    pose: Pose | None = None
    travelled_m: float = 0.0
    bytes_by_kind: Counter[str] = field(default_factory=Counter)

    def note(self, status: RobotStatus) -> None:
        """Take its newest status."""
        if self.pose is not None:
            self.travelled_m += hypot(status.pose.x_m - self.pose.x_m, status.pose.y_m - self.pose.y_m)
        self.pose, self.activity = status.pose, status.activity


@dataclass
class Map:
    """The map as last published. Shape of classes: (rows, columns)."""

    classes: NDArray[np.int8]
    resolution_m: float
    origin_x_m: float
    origin_y_m: float


class Monitor(Node):
    """Listens to everything and says nothing.

    Attributes:
        time_s: simulated time of the newest message [s].
        records: by robot.
        map: newest map, None before the first.
        coverage: (time [s], how much the map shows by the given measure) whenever the map changed.
        traffic: (time [s], bytes sent by all robots so far, by kind) at most once a simulated second.
        lacking: (time [s], tiles that all replicas lack together, age of the oldest [s]) as often.
        diagnostics: newest values by hardware id.
    """

    def __init__(self, robots: Sequence[str], fleet_namespace: str, map_frame: str, measure: Measure,
                 context: Context, tap: Tap | None = None) -> None:
        """Listen to these robots, to whoever speaks if none are given; ``tap`` gets all map features as well."""
        super().__init__('monitor', context=context)
        self.time_s = 0.0
        self.records = {robot: RobotRecord() for robot in robots}
        self.map: Map | None = None
        self.coverage: list[tuple[float, float]] = [(0.0, 0.0)]
        self.traffic: list[tuple[float, Counter[str]]] = [(0.0, Counter())]
        self.lacking: list[tuple[float, int, float]] = [(0.0, 0, 0.0)]
        self.diagnostics: dict[str, dict[str, str]] = {}
        self._measure, self._tap = measure, tap
        self._is_open = not robots
        self._done_since_s: float | None = None
        self._fleet = FleetTopics(self, fleet_namespace, self._hear)
        self.create_subscription(OccupancyGrid, '/map', self._on_map, qos.LATCHED)
        self.create_subscription(conversions.OccupancyGridUpdate, '/map_updates', self._on_update, qos.UPDATES)
        self.create_subscription(DiagnosticArray, '/diagnostics', self._on_diagnostics, qos.DIAGNOSTICS)

    @property
    def done_for_s(self) -> float:
        """How long every robot has said that nothing is left to explore [s]."""
        return self.time_s - self._done_since_s if self._done_since_s is not None else 0.0

    @property
    def done_s(self) -> float | None:
        """Since when they all say so [s], None if not all do."""
        return self._done_since_s

    @property
    def sent_bytes(self) -> int:
        """What all robots sent so far, headers included."""
        return sum(record.bytes_by_kind.total() for record in self.records.values())

    @property
    def sent_by_kind(self) -> Counter[str]:
        """The same by kind of message."""
        return sum((record.bytes_by_kind for record in self.records.values()), Counter())

    @property
    def travelled_m(self) -> float:
        """How far all robots went, added up [m]."""
        return sum(record.travelled_m for record in self.records.values())

    def first_time_s(self, coverage: float) -> float | None:
        """When the map first showed so much of the truth [s]."""
        return next((time_s for time_s, part in self.coverage if part >= coverage), None)

    def _hear(self, packet: Packet) -> None:
        try:
            header = wire.peek(packet)
            is_read = wire.KINDS[header.kind] in (('status', 'features') if self._tap is not None else ('status',))
            message = wire.decode(unchecked(packet), header) if is_read else None
        except MessageError:
            return  # Members count what is wrong.
        if isinstance(message, MapFeatures):
            self._tap(message)
        if self._is_open and isinstance(message, RobotStatus):
            self.records.setdefault(message.robot, RobotRecord())
        record = self.records.get(header.robot)
        if record is None:
            return
        record.bytes_by_kind[wire.KINDS[header.kind]] += len(packet)
        self.time_s = max(self.time_s, header.stamp_s)
        if self.time_s >= self.traffic[-1][0] + 1.0:
            self.traffic.append((self.time_s, self.sent_by_kind))
        if isinstance(message, RobotStatus):
            record.note(message)
            if not all(record.activity is Activity.DONE for record in self.records.values()):
                self._done_since_s = None
            elif self._done_since_s is None:
                self._done_since_s = message.stamp_s

    def _on_map(self, message: OccupancyGrid) -> None:
        classes = classes_of(message.data, message.info.height, message.info.width)
        position = message.info.origin.position
        self.map = Map(classes, message.info.resolution, position.x, position.y)
        self._note_coverage(message)

    def _on_update(self, message: conversions.OccupancyGridUpdate) -> None:
        if self.map is None:
            return
        rows, columns = self.map.classes.shape
        if message.y + message.height > rows or message.x + message.width > columns:
            return  # Belongs to a whole map that is still on its way.
        window = self.map.classes[message.y:message.y + message.height, message.x:message.x + message.width]
        window[:] = classes_of(message.data, message.height, message.width)
        self._note_coverage(message)

    def _note_coverage(self, message: OccupancyGrid | conversions.OccupancyGridUpdate) -> None:
        try:
            time_s = conversions.seconds_of(message.header.stamp)
        except MessageError:
            return
        part = self._measure(self.map.classes, self.map.resolution_m, self.map.origin_x_m, self.map.origin_y_m)
        # a map node that has not heard the clock yet stamps with 0
        self.coverage.append((max(time_s, self.time_s), part))

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            self.diagnostics[status.hardware_id] = {entry.key: entry.value for entry in status.values}
        if self.time_s >= self.lacking[-1][0] + 1.0:
            said = [values for values in self.diagnostics.values() if 'tiles_missing' in values]
            self.lacking.append((self.time_s, sum(int(values['tiles_missing']) for values in said),
                                 max((float(values['oldest_missing_s']) for values in said), default=0.0)))


def classes_of(data: Sequence[int], rows: int, columns: int) -> NDArray[np.int8]:
    """Map classes of the cells of an OccupancyGrid. Shape: (rows, columns)."""
    values = np.frombuffer(data, np.int8).reshape(rows, columns)
    return np.where(values < 0, UNKNOWN, np.where(values >= 50, OCCUPIED, FREE)).astype(np.int8)
