"""What authentication costs: bytes and time per message, and whether a flood of forged ones delays honest ones."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from itertools import count

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from benchmarks.rows import CLOCK, Row, seconds_per_call
from marl_core.communication import wire
from marl_core.communication.authentication import GroupMac, Seal, Signed
from marl_core.communication.communicator import Communicator
from marl_core.mapping.bounds import MapBounds, MapConfig
from marl_core.mapping.replica import Replica
from marl_core.types import Pose, RobotStatus, Twist

GROUP_KEY = bytes(range(32))
NAMES = ('robot_1', 'robot_2', 'robot_3', 'robot_4', 'map')
KEYS = {name: Ed25519PrivateKey.from_private_bytes(name.encode().ljust(32)) for name in NAMES}
PUBLIC_KEYS = {name: key.public_key() for name, key in KEYS.items()}
RECEIVER, VICTIM = 'robot_1', 'robot_2'
HONEST = NAMES[1:]
HONEST_PERIOD_S = 0.2
FORGED_PER_S = 10_000
DURATION_S = 10.0
MESSAGE_BYTES = 300
"""Of what is signed and verified here: about a message with some tiles."""


def signed(name: str, group_key: bytes = GROUP_KEY) -> Signed:
    """The seal of a member."""
    return Signed(KEYS[name], PUBLIC_KEYS, group_key)


def measure() -> list[Row]:
    """Costs of a message, then one flood after the other on a receiver that hears four members five times a second.

    A flood is played to a Communicator packet by packet as to a queue with one server: a packet waits for those before
    it, and its service takes the CPU time that was measured for it. Delay is from arrival to the end of its service.
    """
    return [*_costs(), *(row for attack in ATTACKS for row in _flood(attack))]


def _costs() -> Iterator[Row]:
    data = wire.encode(status_of(VICTIM, 1.0), 1, 1).ljust(MESSAGE_BYTES, b'x')
    for seal in (GroupMac(GROUP_KEY), signed(VICTIM)):
        packet, ticks = seal.close(data), count()
        yield Row(f'{seal.mode}: trailer of a message', seal.overhead_bytes, 'B', 80.0, at_least=False)
        close_s = seconds_per_call(partial(seal.close, data))
        open_s = seconds_per_call(lambda: seal.open(packet, VICTIM, float(next(ticks))))  # noqa: B023 - called here.
        yield Row(f'{seal.mode}: close a message of {MESSAGE_BYTES} B', 1e6 * close_s, 'us', 200.0, at_least=False)
        yield Row(f'{seal.mode}: open it', 1e6 * open_s, 'us', 200.0, at_least=False)


def status_of(robot: str, stamp_s: float) -> RobotStatus:
    """What a robot on its way says."""
    return RobotStatus(robot, 1, stamp_s, Pose(1.0, 2.0, 0.5), Twist(0.3, 0.0), 4.0, 5.0, 6.0)


@dataclass
class Member:
    """Somebody who speaks under a name, rightly or not."""

    robot: str
    seal: Seal
    sequence: int = 0

    def say(self, now: float) -> bytes:
        """Its next packet."""
        self.sequence += 1
        return self.seal.close(wire.encode(status_of(self.robot, now), 1, self.sequence))


class Strangers:
    """Names that nobody knows, a new one each time."""

    title = 'under unknown names'
    reasons = ('unknown-sender',)

    def __init__(self) -> None:
        self._seal, self._numbers = signed(VICTIM, bytes(32)), count()

    def forge(self, now: float, honest: bytes) -> bytes:
        """A packet."""
        return self._seal.close(wire.encode(status_of(f'stranger_{next(self._numbers)}', now), 1, 1))


class Outsiders:
    """Members' names in turn, without the group key."""

    title = 'under known names with a wrong MAC'
    reasons = ('forged',)

    def __init__(self) -> None:
        self._members = [Member(name, signed(name, bytes(32)), 1000) for name in HONEST]

    def forge(self, now: float, honest: bytes) -> bytes:
        """A packet."""
        self._members.append(self._members.pop(0))
        return self._members[0].say(now)


class Replays:
    """What a member just said, again and again."""

    title = 'that repeat honest ones'
    reasons = ('repeated',)

    def forge(self, now: float, honest: bytes) -> bytes:
        """A packet."""
        return honest


class Insider:
    """One member under another's name: right MAC, wrong signature, the sequence number that is due."""

    title = "by a member under another's name"
    reasons = ('impersonated', 'unchecked', 'repeated')
    victims = (VICTIM,)

    def __init__(self) -> None:
        self._members = [Member(name, Signed(KEYS[RECEIVER], PUBLIC_KEYS, GROUP_KEY)) for name in self.victims]

    def forge(self, now: float, honest: bytes) -> bytes:
        """A packet."""
        self._members.append(self._members.pop(0))
        self._members[0].sequence = int(now / HONEST_PERIOD_S) + 1
        return self._members[0].say(now)


class InsiderAsAll(Insider):
    """The same under all names in turn."""

    title = 'by a member under all names in turn'
    victims = HONEST


ATTACKS = (Strangers, Outsiders, Replays, Insider, InsiderAsAll)


def _flood(kind: type) -> Iterator[Row]:
    attack, random = kind(), np.random.default_rng(0)
    receiver = Communicator(RECEIVER, 1, seal=signed(RECEIVER))
    shared = Replica(MapBounds.from_config(MapConfig()), RECEIVER)
    members = [Member(name, signed(name)) for name in HONEST]
    arrivals = sorted(
        [(step * HONEST_PERIOD_S + random.uniform(0.0, HONEST_PERIOD_S), member)
         for step in range(int(DURATION_S / HONEST_PERIOD_S)) for member in range(len(members))]
        + [(moment, -1) for moment in random.uniform(0.0, DURATION_S, int(FORGED_PER_S * DURATION_S))])
    delays_s, heard, busy_s, free_s, latest = [], dict.fromkeys(HONEST, 0), 0.0, 0.0, members[0].say(0.0)
    for now, member in arrivals:
        if member < 0:
            packet = attack.forge(now, latest)
        else:
            packet = latest = members[member].say(now)
        before, began_s = sum(receiver.drops.values()), CLOCK()
        receiver.receive((packet,), shared, now)
        service_s = CLOCK() - began_s
        busy_s += service_s
        free_s = max(free_s, now) + service_s
        if member >= 0 and sum(receiver.drops.values()) == before:
            heard[members[member].robot] += 1
            delays_s.append(free_s - now)
    refused = sum(receiver.drops.get(reason, 0) for reason in attack.reasons)
    if refused < FORGED_PER_S * DURATION_S * 0.999:
        raise AssertionError(f'{kind.__name__}: only {refused} were refused for {attack.reasons}: {receiver.drops}')
    yield from _rows(f'{FORGED_PER_S:,} forged messages per s {attack.title}', getattr(attack, 'victims', ()), heard,
                     1e3 * float(np.percentile(delays_s, 99)), 100.0 * busy_s / DURATION_S)


def _rows(title: str, victims: tuple[str, ...], heard: dict[str, int], p99_ms: float, busy: float) -> Iterator[Row]:
    def part(names: tuple[str, ...]) -> float:
        return 100.0 * sum(heard[name] for name in names) / (len(names) * DURATION_S / HONEST_PERIOD_S)
    if victims:  # Nothing is promised to these: who has the group key can make a name hard to hear.
        title += f' (of whose own {part(victims):.0f} % are heard)'
    yield Row(f'{title}: delay of honest ones, p99', p99_ms, 'ms', 50.0, at_least=False)
    yield Row(f'{title}: processor time', busy, '%', 50.0, at_least=False)
    if spared := tuple(name for name in HONEST if name not in victims):
        yield Row(f'{title}: honest ones heard', part(spared), '%', 100.0)
