"""How soon replicas agree over bad links, after partitions and when they join late, and what that costs."""

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from math import inf
from statistics import fmean

import numpy as np
from numpy.typing import NDArray

from benchmarks.rows import CLOCK, Row
from benchmarks.sharing import BOUNDS as WIDE
from benchmarks.sharing import drive
from marl_core.communication.budget import MAP_NODE_BUDGET, Budget
from marl_core.communication.communicator import CommunicationConfig, Communicator
from marl_core.communication.teammates import TeammatesConfig
from marl_core.communication.topology import TOPOLOGIES, TopologyConfig
from marl_core.mapping.bounds import TILE, MapBounds
from marl_core.mapping.replica import Replica, ReplicaConfig
from marl_core.mapping.tile_value import tile_value
from marl_core.types import FREE, OCCUPIED, LayerId, Packet, Pose, RobotStatus, Twist, VersionRange
from marl_core.versions import covers
from sim.channel import Channel, ChannelConfig
from sim.worlds import load_world

SMALL = MapBounds(resolution_m=0.05, planning_factor=4, tiles_x=8, tiles_y=8)
TICK_S = 0.1
BAD_LINK = ChannelConfig(loss=0.3, duplication=0.1, delay_max_s=3.0)
BAD_LINK_RUNS = 300
QUICK_CODEC = 'rle-zstd'
"""Larger messages than those of the default, in a quarter of the processor time; the tests take the default."""
STARVED = Budget(rate_bytes_per_s=2000.0, burst_bytes=4000.0)
WORLDS = ('office:2@28x26', 'rooms:2@28x26', 'warehouse:2@28x26', 'office:3@28x26')

Sighting = tuple[float, Pose, NDArray[np.int32], list[NDArray[np.int8]]]
"""When tiles were seen [s], from where, which (ty, tx), and what they held."""


class Member:
    """A robot (or a map node, which neither moves nor writes) reduced to map and communication."""

    def __init__(self, name: str, config: CommunicationConfig | None = None, bounds: MapBounds = SMALL,
                 writes: bool = True, replica_config: ReplicaConfig | None = None) -> None:
        self.name, self.bounds = name, bounds
        self.replica = Replica(bounds, name, LayerId(name, 1) if writes else None, replica_config)
        self.link = Communicator(name, 1, config)
        self.classes = np.zeros(bounds.shape, np.int8)
        self.pose, self.goal = Pose(0.0, 0.0, 0.0), (0.0, 0.0)
        self.cpu_s = 0.0
        self.value: Callable[[], NDArray[np.floating]] | None = None
        self._looks = 0

    def look(self, tiles: NDArray[np.int32]) -> None:
        """See free ground and a cross of walls in tiles: enough of a change that none of it may wait."""
        for ty, tx in tiles:
            self._looks += 1
            tile = self.classes[ty * TILE:(ty + 1) * TILE, tx * TILE:(tx + 1) * TILE]
            tile[:] = FREE
            tile[self._looks % TILE] = tile[:, 7 * self._looks % TILE] = OCCUPIED
        self.replica.write(self.replica.own, tiles, self.classes)

    def see(self, pose: Pose, tiles: NDArray[np.int32], contents: Sequence[NDArray[np.int8]]) -> None:
        """See what another saw from there."""
        self.pose = pose
        for (ty, tx), content in zip(tiles, contents):
            self.classes[ty * TILE:(ty + 1) * TILE, tx * TILE:(tx + 1) * TILE] = content
        self.replica.write(self.replica.own, tiles, self.classes)

    def holds(self, layer: LayerId, last: int) -> bool:
        """Whether all versions of a layer up to one are known here."""
        return not last or layer in self.replica.layers and covers(self.replica.layers[layer].known,
                                                                   (VersionRange(1, last),))

    def tick(self, inbox: list[Packet], now_s: float) -> list[Packet]:
        """Hear and speak once."""
        started_s = CLOCK()
        self.link.receive(inbox, self.replica, now_s)
        status = RobotStatus(self.name, 1, now_s, self.pose, Twist(0.0, 0.0), *self.goal, 0.0,
                             issued=self.replica.issued) if self.replica.own else None
        outbox = self.link.send(status, self.replica, now_s, self.value)
        self.cpu_s += CLOCK() - started_s
        return outbox


class Fleet:
    """Members on one radio, tick by tick."""

    def __init__(self, members: Sequence[Member], channel: ChannelConfig | None = None, seed: int = 0,
                 latecomers: Sequence[str] = ()) -> None:
        self.members, self.now_s = list(members), 0.0
        self.channel = Channel(channel, [*(member.name for member in members), *latecomers], seed)
        self.positions: dict[str, tuple[float, float]] | None = None

    @property
    def sent_bytes(self) -> int:
        """By all members so far."""
        return sum(self.channel.sent_bytes.values())

    def tick(self) -> None:
        """Let everybody hear and speak."""
        self.now_s += TICK_S
        for member in self.members:
            for packet in member.tick(self.channel.deliver(member.name, self.now_s), self.now_s):
                self.channel.send(member.name, packet, self.now_s, self.positions)

    def issued(self) -> dict[LayerId, int]:
        """What has been published."""
        return {member.replica.own: member.replica.issued for member in self.members if member.replica.own}

    def all_hold(self, issued: dict[LayerId, int]) -> bool:
        """Whether everybody knows what was published at a time."""
        return all(member.holds(*entry) for member in self.members for entry in issued.items())

    @property
    def agrees(self) -> bool:
        """Whether all said what they saw and know the same versions of the same layers."""
        known = {frozenset(member.replica.digest()) for member in self.members}
        return len(known) == 1 and not any(member.replica.waiting_tiles for member in self.members)

    def agreement_s(self, within_s: float = 120.0) -> float:
        """Time until all hold the same, bit for bit [s], infinite if they do not within a time [s]."""
        started_s = self.now_s
        while not self.agrees:
            if self.now_s - started_s >= within_s:
                return inf
            self.tick()
        same = len({member.replica.state_hash() for member in self.members}) == 1
        return self.now_s - started_s if same else inf


def measure(runs: int = BAD_LINK_RUNS) -> list[Row]:
    """Simulated time and exact bytes of whole fleets; a replica that ends with another map counts as infinitely late.

    A change is what must not wait: small changes of what others know already are held back for up to 5 s by design.
    """
    return [*_bad_links(runs), *_partitions(), *_late_joiners(), *_topologies(), *_order()]


def bad_link_run(seed: int, channel: ChannelConfig = BAD_LINK, config: CommunicationConfig | None = None,
                 replicas: int | None = None, codec: str = 'context') -> tuple[float, Fleet]:
    """2 to 16 robots write at random for some seconds over a link; how long after the last change all agree [s]."""
    random = np.random.default_rng([seed, 0x5E])
    count = replicas or int(random.integers(2, 17))
    fleet = Fleet([Member(f'robot_{k + 1}', config, replica_config=ReplicaConfig(codec=codec)) for k in range(count)],
                  channel, seed)
    stop_s, periods_s = random.uniform(4.0, 8.0), random.uniform(0.2, 2.0, count)
    due_s = random.uniform(0.0, 2.0, count)
    while fleet.now_s < stop_s:
        for k in np.flatnonzero(due_s <= fleet.now_s):
            fleet.members[k].look(_tiles(random, int(random.integers(1, 4))))
            due_s[k] += periods_s[k]
        fleet.tick()
    fleet.members[int(random.integers(count))].look(_tiles(random, 2))
    return fleet.agreement_s(), fleet


def _tiles(random: np.random.Generator, count: int) -> NDArray[np.int32]:
    return np.unique(random.integers(0, SMALL.tiles_shape, (count, 2)), axis=0).astype(np.int32)


def _bad_links(runs: int) -> list[Row]:
    times_s, rates = [], []
    for seed in range(runs):
        time_s, fleet = bad_link_run(seed, codec=QUICK_CODEC)
        times_s.append(time_s)
        rates.append(fleet.sent_bytes / len(fleet.members) / fleet.now_s)
    clean = fmean(fleet.sent_bytes / len(fleet.members) / fleet.now_s
                  for fleet in (bad_link_run(seed, ChannelConfig(), codec=QUICK_CODEC)[1] for seed in range(20)))
    late, what = sum(time_s > 5.0 for time_s in times_s), f'30 % loss, 10 % doubled, 0-3 s delay, {runs:,} runs'
    return [
        Row(f'{what}: agreement after the last change, slowest', max(times_s), 's', 5.0, at_least=False),
        Row(f'{what}: agreement after the last change, mean', fmean(times_s), 's', 5.0, at_least=False),
        Row(f'{what}: later than 5 s or diverged', 100.0 * late / runs, '%', 0.0, at_least=False),
        Row(f'{what}: all that a robot says', fmean(rates), 'B/s', 2000.0, at_least=False,
            peer='that of the same runs on a clean link (lower is better)', ratio=fmean(rates) / clean),
    ]


@cache
def _recorded() -> list[list[Sighting]]:
    """What robots see that explore worlds for 80 s."""
    runs = []
    for seed, world in enumerate(WORLDS):
        runs.append([(step.now, Pose(step.x_m, step.y_m, 0.0), step.tiles, _contents(step.own.classes, step.tiles))
                     for step in drive(load_world(world), 80.0, seed)])
    return runs


def _contents(classes: NDArray[np.int8], tiles: NDArray[np.int32]) -> list[NDArray[np.int8]]:
    return [classes[ty * TILE:(ty + 1) * TILE, tx * TILE:(tx + 1) * TILE].copy() for ty, tx in tiles]


def partition_run(robots: int, channel: ChannelConfig | None = None, cut_s: float = 60.0) -> tuple[float, Fleet]:
    """Robots explore, apart in two halves for a while; how long after healing all hold what was published then [s]."""
    config = CommunicationConfig(budget=STARVED)
    fleet = Fleet([Member(f'robot_{k + 1}', config, WIDE) for k in range(robots)],
                  replace(channel or ChannelConfig(), range_m=100.0))
    runs = [iter(_recorded()[k % len(WORLDS)]) for k in range(robots)]
    sightings = [next(run) for run in runs]

    def explore() -> None:
        for k, member in enumerate(fleet.members):
            while sightings[k] is not None and sightings[k][0] <= fleet.now_s:
                member.see(*sightings[k][1:])
                sightings[k] = next(runs[k], None)
        fleet.tick()

    while fleet.now_s < 10.0:
        explore()
    fleet.positions = {member.name: (1000.0 * (k % 2), 0.0) for k, member in enumerate(fleet.members)}
    while fleet.now_s < 10.0 + cut_s:
        explore()
    fleet.positions, healed_s, issued = None, fleet.now_s, fleet.issued()
    while not fleet.all_hold(issued) and fleet.now_s < healed_s + 120.0:
        explore()
    return fleet.now_s - healed_s, fleet


def _partitions() -> list[Row]:
    rows = []
    for robots in (2, 8, 16):
        healing_s, fleet = partition_run(robots)
        same = fleet.agreement_s() < inf
        rows.append(Row(f'{robots} robots cut in half for 60 s, 2 kB/s each: healing', healing_s if same else inf, 's',
                        5.0, at_least=False))
    healing_s, fleet = partition_run(8, ChannelConfig(loss=0.3))
    same = fleet.agreement_s() < inf
    return [*rows, Row('8 robots cut in half for 60 s, 2 kB/s each, and 30 % loss: healing', healing_s if same else inf,
                       's', 15.0, at_least=False)]


def _mapped() -> Fleet:
    """Four robots and a map node that agree on an office of 1,000 m^2."""
    fleet = Fleet([*(Member(f'robot_{k + 1}', None, WIDE) for k in range(4)),
                   Member('map', CommunicationConfig(budget=MAP_NODE_BUDGET), WIDE, writes=False)],
                  latecomers=('late',))
    known = 0
    for number, step in enumerate(drive(load_world('office:4@46x30'), 1200.0)):
        classes = step.own.classes
        if number % 20 == 0 and (known := np.count_nonzero(classes) * WIDE.resolution_m**2) >= 1000.0:
            break
        writer = fleet.members[number // 400 % 4]
        writer.see(Pose(step.x_m, step.y_m, 0.0), step.tiles, _contents(classes, step.tiles))
    if known < 1000.0:
        raise AssertionError(f'only {known:.0f} m^2 were explored')
    fleet.agreement_s()
    for _ in range(300):  # The links fall idle.
        fleet.tick()
    return fleet


def _late_joiners() -> list[Row]:
    fleet, rows = _mapped(), []
    all_five = list(fleet.members)
    for who, left in (('4 robots and a map node', all_five), ('a map node, the robots gone for 10 s', all_five[4:]),
                      ('4 robots', all_five[:4])):
        fleet.members = list(left)
        fleet.channel = Channel(None, [*(member.name for member in left), 'late'])
        for _ in range(100):
            fleet.tick()
        fleet.members.append(Member('late', None, WIDE, writes=False))
        joining_s = fleet.agreement_s()
        rows.append(Row(f'late joiner holds 1,000 m2, told by {who}', joining_s, 's', 3.0, at_least=False))
    rows.append(Row('bytes for it', fleet.sent_bytes / 1000.0, 'kB', 40.0, at_least=False))
    return rows


def topology_run(kind: str, robots: int = 16) -> tuple[float, float, float]:
    """Robots 10 m apart write for 20 s: agreement after the last change [s], bytes per robot and s, part decoded."""
    random = np.random.default_rng(0)
    config = CommunicationConfig(teammates=TeammatesConfig(max_teammates=255), topology=TopologyConfig(kind))
    fleet = Fleet([Member(f'robot_{k + 1}', config) for k in range(robots)], ChannelConfig(delay_max_s=0.05))
    for k, member in enumerate(fleet.members):
        member.pose = Pose(10.0 * (k % 4), 10.0 * (k // 4), 0.0)
        member.goal = tuple(random.uniform(0.0, 30.0, 2))
    while fleet.now_s < 20.0:
        fleet.members[int(random.integers(robots))].look(_tiles(random, 2))
        fleet.tick()
    agreement_s = fleet.agreement_s()
    ignored = sum(member.link.ignored for member in fleet.members) / fleet.channel.counts.delivered
    return agreement_s, fleet.sent_bytes / robots / fleet.now_s, 1.0 - ignored


def _topologies() -> list[Row]:
    rows, full_rate = [], topology_run('full')[1]
    for kind in TOPOLOGIES:
        agreement_s, rate, decoded = topology_run(kind)
        what = f'16 robots, topology {kind}'
        rows += [Row(f'{what}: agreement after the last change', agreement_s, 's', 15.0, at_least=False),
                 Row(f'{what}: all that a robot says', rate, 'B/s', 1000.0, at_least=False,
                     peer='topology full (lower is better)', ratio=rate / full_rate),
                 Row(f'{what}: packets that are decoded', 100.0 * decoded, '%', 100.0, at_least=False)]
    return rows


def ordered_run(by_value: bool) -> float:
    """Four robots explore on links too slow for all that they see.

    Returns:
        Of what one robot knows within 5 m of another's goal, the part that the other was told; mean over time.
    """
    config = CommunicationConfig(budget=Budget(rate_bytes_per_s=130.0, burst_bytes=2000.0))
    fleet = Fleet([Member(f'robot_{k + 1}', config, WIDE) for k in range(4)])
    random, told = np.random.default_rng(0), []
    runs = [iter(run) for run in _recorded()]
    centers_m = [np.array([origin_m + (k + 0.5) * TILE * WIDE.resolution_m for k in range(count)])
                 for origin_m, count in ((WIDE.origin_y_m, WIDE.tiles_y), (WIDE.origin_x_m, WIDE.tiles_x))]
    for k, member in enumerate(fleet.members if by_value else ()):
        others = [*fleet.members[:k], *fleet.members[k + 1:]]
        own = member.replica.layers[member.replica.own]
        member.value = lambda others=others, own=own: tile_value(
            WIDE, own.waiting_cells, own.versions, np.array([mate.goal for mate in others]))
    for second in range(75):
        if second % 15 == 0:
            for member in fleet.members:
                member.goal = tuple(random.uniform(-8.0, 8.0, 2))
        for _ in range(5):
            for member, run in zip(fleet.members, runs):
                member.see(*next(run)[1:])
            fleet.tick()
            fleet.tick()
        for member in fleet.members if second > 15 else ():
            near = np.hypot(centers_m[0][:, None] - member.goal[1], centers_m[1] - member.goal[0]).ravel() < 5.0
            for mate in fleet.members:
                if mate is not member and mate.replica.own in member.replica.layers:
                    seen = _by_tile(mate.classes)[near]
                    held = member.replica.layers[mate.replica.own].tiles[near]
                    told.append(np.mean(held[seen != 0] == seen[seen != 0]) if (seen != 0).any() else 1.0)
    return fmean(told)


def _by_tile(classes: NDArray[np.int8]) -> NDArray[np.int8]:
    return classes.reshape(WIDE.tiles_y, TILE, WIDE.tiles_x, TILE).swapaxes(1, 2).reshape(-1, TILE * TILE)


def _order() -> list[Row]:
    valued, plain = ordered_run(True), ordered_run(False)
    return [Row('links of 130 B/s: cells near a goal that whoever goes there was told', 100.0 * valued, '%', 50.0,
                peer='the tiles first that changed most', ratio=valued / plain)]


def main() -> int:
    """The runs over bad links alone, as many as wished."""
    parser = argparse.ArgumentParser(prog='python -m benchmarks.resync', description=main.__doc__)
    parser.add_argument('--runs', type=int, default=1000)
    for row in _bad_links(parser.parse_args().runs):
        sys.stdout.write(f'{row}\n')
    return 0


if __name__ == '__main__':
    sys.exit(main())
