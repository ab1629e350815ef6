"""Faults on order, to see what a fleet makes of them: links that lose, repeat, delay and cut, and a robot that lies.

Only nodes that were started with ``allow_faults:=true`` listen to the topic ``<fleet>/faults``. Whoever may publish
there can silence them and turn them into liars, so no real fleet is started that way; ``marl_fleet chaos`` does it.
"""

import heapq
import json
import time
import zlib
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from itertools import count
from math import isfinite

import numpy as np
from numpy.typing import NDArray
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from std_msgs.msg import String

from marl_core.communication import wire
from marl_core.config import from_mapping
from marl_core.errors import ConfigError, MessageError
from marl_core.mapping.bounds import TILE, MapBounds
from marl_core.mapping.replica import Replica
from marl_core.types import FREE, OCCUPIED, LayerId, Packet
from marl_nodes.fleet_topics import FleetTopics
from marl_nodes.qos import LATCHED

RELEASE_PERIOD_S = 0.02
WALL_M = 1.0
"""Length of a phantom wall [m]."""
AREA_PER_WALL_M2 = 4.0


@dataclass(frozen=True, slots=True)
class LinkFaults:
    """What every link does to packets.

    Attributes:
        loss: part that never arrives [0..1]. duplication: part that arrives twice [0..1].
        delay_s: each is late by any time up to this, so that they overtake each other [s; wall clock].
    """

    loss: float = 0.0
    duplication: float = 0.0
    delay_s: float = 0.0

    def __post_init__(self) -> None:
        for name in ('loss', 'duplication'):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ValueError(f'{name} must be within 0 and 1, got {getattr(self, name)}')
        if not (isfinite(self.delay_s) and 0.0 <= self.delay_s <= 60.0):
            raise ValueError(f'delay_s must be within 0 and 60, got {self.delay_s}')


@dataclass(frozen=True, slots=True)
class FaultState:
    """All that is wrong at one time.

    Attributes:
        partition: groups of names; nobody hears anybody of another group, and those not named are one more group.
        links: of everybody. lie: robots that publish walls which are not there.
        still: robots add nothing more to the map, but still hear and say what there is.
    """

    partition: tuple[tuple[str, ...], ...] = ()
    links: LinkFaults = field(default_factory=LinkFaults)
    lie: tuple[str, ...] = ()
    still: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, 'partition', tuple(names_of('partition', group) for group in self.partition))
        object.__setattr__(self, 'lie', names_of('lie', self.lie))
        names = [name for group in self.partition for name in group]
        if len(set(names)) != len(names):
            raise ValueError(f'partition: a name is in two groups of {self.partition}')

    def separates(self, one: str, other: str) -> bool:
        """Whether two cannot hear each other."""
        return self._group(one) != self._group(other)

    def to_json(self) -> str:
        """As it travels."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> 'FaultState':
        """Back from there.

        Raises:
            ConfigError: it is none; names the key.
        """
        try:
            return from_mapping(cls, json.loads(text), 'faults')
        except ValueError as error:
            raise ConfigError(f'faults: {error}') from error

    def _group(self, name: str) -> int:
        return next((number for number, group in enumerate(self.partition) if name in group), -1)


def names_of(key: str, value: object) -> tuple[str, ...]:
    """A list of names as a tuple.

    Raises:
        ValueError: it is none.
    """
    if not isinstance(value, list | tuple) or not all(isinstance(name, str) for name in value):
        raise ValueError(f'{key}: expected a list of names, got {value!r}')
    return tuple(value)


class Links:
    """Keeps, repeats and delays what one node is to hear. Times are the caller's."""

    def __init__(self, name: str, hear: Callable[[Packet], None]) -> None:
        """Args: name: of who hears. hear: called with each packet that gets through."""
        self.state = FaultState()
        self._name, self._hear = name, hear
        self._random = np.random.default_rng(zlib.crc32(f'{name} faults'.encode()))
        self._late: list[tuple[float, int, Packet]] = []
        self._count = count()

    def take(self, packet: Packet, now_s: float) -> None:
        """Let a packet that came through or not; what nobody can read goes through."""
        try:
            sender = wire.peek(packet).robot
        except MessageError:
            sender = self._name
        faults = self.state.links
        if sender != self._name and (self.state.separates(sender, self._name) or self._random.random() < faults.loss):
            return
        for _ in range(2 if self._random.random() < faults.duplication else 1):
            if faults.delay_s > 0.0:
                due_s = now_s + self._random.uniform(0.0, faults.delay_s)
                heapq.heappush(self._late, (due_s, next(self._count), packet))
            else:
                self._hear(packet)

    def release(self, now_s: float) -> None:
        """Hand over what was delayed until now."""
        while self._late and self._late[0][0] <= now_s:
            self._hear(heapq.heappop(self._late)[2])


class Scribe:
    """Stands between a robot and its replica: writes what the robot saw, or lies, or writes nothing.

    The replica holds the lie as it would hold the truth, with versions of its own, and so the robot itself believes
    in it: what is published under one version must be the same for all, or replicas could never agree.
    """

    def __init__(self, replica: Replica) -> None:
        """Args: replica: of the robot; its ``write`` goes through here until ``close``."""
        self._replica, self._write = replica, replica.write
        self._told, self._walls = np.zeros((0, 0), np.int8), np.zeros((0, 0), bool)
        self._is_lying = self._is_turning = False
        self.is_still = False
        replica.write = self._write_as_told

    def lie(self, is_lying: bool) -> None:
        """Lie, or tell the truth, about all of the map from the next scan on."""
        self._is_turning |= is_lying != self._is_lying
        self._is_lying = is_lying

    def close(self) -> None:
        """Leave the replica alone."""
        self._replica.write = self._write

    def _write_as_told(self, layer: LayerId, tiles: NDArray[np.int32], classes: NDArray[np.int8]) -> int:
        if self.is_still:
            return 0
        if self._is_turning:
            self._is_turning, self._told = False, classes.copy()
            self._walls = phantom_walls(self._replica.bounds, self._replica.name)
            every = self._replica.layers[layer].seen.any(axis=1).reshape(self._replica.bounds.tiles_shape)
            every[tiles[:, 0], tiles[:, 1]] = True
            tiles = np.argwhere(every).astype(np.int32)
        if not self._is_lying:
            return self._write(layer, tiles, classes)
        for ty, tx in tiles:
            tile = np.s_[ty * TILE:(ty + 1) * TILE, tx * TILE:(tx + 1) * TILE]
            self._told[tile] = np.where(self._walls[tile] & (classes[tile] == FREE), OCCUPIED, classes[tile])
        return self._write(layer, tiles, self._told)


def phantom_walls(bounds: MapBounds, name: str) -> NDArray[np.bool_]:
    """Where a robot of that name sees walls if it lies: along x or y, two cells thick. Shape: bounds.shape."""
    random = np.random.default_rng(zlib.crc32(f'{name} lies'.encode()))
    walls = np.zeros(bounds.shape, bool)
    long = round(WALL_M / bounds.resolution_m)
    number = round(walls.size * bounds.resolution_m**2 / AREA_PER_WALL_M2)
    for row, col, is_along_x in zip(*(random.integers(0, edge - long, number) for edge in bounds.shape),
                                    random.random(number) < 0.5):
        walls[row:row + (2 if is_along_x else long), col:col + (long if is_along_x else 2)] = True
    return walls


class FaultyTopics(FleetTopics):
    """A node's ends of the fleet's topics, with the faults that ``<fleet>/faults`` orders in between."""

    def __init__(self, node: Node, namespace: str, hear: Callable[[Packet], None], replica: Replica) -> None:
        """As FleetTopics; ``replica`` is the node's, by whose name faults know it."""
        self._links = Links(replica.name, hear)
        self._name = replica.name
        self._scribe = Scribe(replica) if replica.own is not None else None
        super().__init__(node, namespace, lambda packet: self._links.take(packet, time.monotonic()))
        self._orders = node.create_subscription(String, f'{namespace}/faults', self._obey, LATCHED)
        self._timer = node.create_timer(RELEASE_PERIOD_S, lambda: self._links.release(time.monotonic()),
                                        clock=Clock(clock_type=ClockType.STEADY_TIME))
        node.get_logger().warning(f'FAULTS ARE ALLOWED: whoever publishes on {namespace}/faults can cut {replica.name} '
                                  'off and make it lie. Never start a real fleet with allow_faults:=true')

    def close(self) -> None:
        """Neither hear nor say any more."""
        self._node.destroy_timer(self._timer)
        self._node.destroy_subscription(self._orders)
        if self._scribe is not None:
            self._scribe.close()
        super().close()

    def _obey(self, message: String) -> None:
        try:
            state = FaultState.from_json(message.data)
        except ConfigError as error:
            self._node.get_logger().error(str(error))
            return
        self._node.get_logger().warning(f'faults from now on: {message.data}')
        self._links.state = state
        if self._scribe is not None:
            self._scribe.lie(self._name in state.lie)
            self._scribe.is_still = state.still


def open_topics(node: Node, namespace: str, hear: Callable[[Packet], None], replica: Replica,
                allow_faults: bool) -> FleetTopics:
    """A node's ends of the fleet's topics, as reliable as they are unless faults are allowed."""
    return FaultyTopics(node, namespace, hear, replica) if allow_faults else FleetTopics(node, namespace, hear)
