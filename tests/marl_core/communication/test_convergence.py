"""What anti-entropy promises: replicas agree soon, whatever the links do, within the budget of each."""

from dataclasses import replace
from math import inf

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from benchmarks.crowds import CONFIG as CROWD
from benchmarks.resync import SMALL, STARVED, TICK_S, Fleet, Member, bad_link_run, topology_run
from marl_core.communication.budget import Budget
from marl_core.communication.communicator import CommunicationConfig
from marl_core.communication.topology import TOPOLOGIES, TopologyConfig
from marl_core.types import LayerId
from sim.channel import ChannelConfig

EVERYWHERE = np.argwhere(np.ones(SMALL.tiles_shape, bool)).astype(np.int32)


def fleet_of(count: int, channel: ChannelConfig | None = None, config: CommunicationConfig | None = None) -> Fleet:
    return Fleet([Member(f'robot_{k + 1}', config) for k in range(count)], channel)


@pytest.mark.parametrize('seed', range(10))
def test_bad_links_agree_within_five_seconds_of_the_last_change(seed):
    assert bad_link_run(seed)[0] <= 5.0


@given(seed=st.integers(0, 10**6), loss=st.floats(0.0, 0.6), duplication=st.floats(0.0, 0.5),
       delay_s=st.floats(0.0, 3.0), replicas=st.integers(2, 6))
@settings(max_examples=10, deadline=None)
def test_replicas_never_diverge(seed, loss, duplication, delay_s, replicas):
    channel = ChannelConfig(loss=loss, duplication=duplication, delay_max_s=delay_s)
    assert bad_link_run(seed, channel, replicas=replicas)[0] < inf


def test_a_clean_link_carries_nothing_twice():
    agreement_s, fleet = bad_link_run(1, ChannelConfig(delay_max_s=0.1))
    assert agreement_s <= 2.0
    for member in fleet.members:
        assert set(member.link.sent) <= {'status', 'features', 'digest'}


@given(seed=st.integers(0, 10**6), loss=st.sampled_from((0.0, 0.3, 0.5)), rate=st.sampled_from((500.0, 2000.0)))
@settings(max_examples=6, deadline=None)
def test_more_than_fits_the_budget_arrives_in_the_end(seed, loss, rate):
    """Tiles that hardly compress: what nobody acknowledges must not be repeated for ever, nor keep the rest waiting."""
    budget = Budget(rate_bytes_per_s=rate, burst_bytes=2500.0)
    fleet = fleet_of(3, ChannelConfig(loss=loss, delay_max_s=0.5), CommunicationConfig(budget=budget))
    random = np.random.default_rng(seed)
    for member in fleet.members:
        noise(member, random, EVERYWHERE[random.integers(0, len(EVERYWHERE), 20)])
    assert fleet.agreement_s(20.0 * 3 * 20 * 400.0 / rate) < inf


@example(seed=0, rate=2000.0, loss=0.3, tick_s=0.7)
@given(seed=st.integers(0, 10**6), rate=st.sampled_from((300.0, 1000.0, 2000.0)), loss=st.sampled_from((0.0, 0.3)),
       tick_s=st.sampled_from((0.05, 0.1, 0.7)))
@settings(max_examples=6, deadline=None)
def test_no_window_of_any_length_exceeds_the_budget_and_a_burst(seed, rate, loss, tick_s):
    # The bucket must outlast the time between two ticks that speak, or what is full is the bucket and not the budget.
    budget = Budget(rate_bytes_per_s=rate, burst_bytes=max(2500.0, 3.0 * rate))
    members = [Member(f'robot_{k + 1}', CommunicationConfig(budget=budget)) for k in range(3)]
    random, heard = np.random.default_rng(seed), {member.name: [] for member in members}
    said = {member.name: [] for member in members}
    for step in range(round(12.0 / tick_s)):
        now_s = step * tick_s
        air, heard = heard, {member.name: [] for member in members}
        for member in members:
            for _ in range(random.poisson(4.0 * tick_s)):
                noise(member, random, EVERYWHERE[random.integers(0, len(EVERYWHERE), 3)])
            for packet in member.tick(air[member.name], now_s):
                said[member.name].append((now_s, len(packet)))
                for other in members:
                    if other is not member and random.random() >= loss:
                        heard[other.name].append(packet)
    for name, packets in said.items():
        assert sum(size for _, size in packets) > 6.0 * rate, f'{name} had more to say'
        # The largest sum over a window of what was said beyond the rate, over all windows at once.
        excess, before_s = 0.0, 0.0
        for now_s, size in packets:
            excess = max(0.0, excess - rate * (now_s - before_s)) + size
            before_s = now_s
            assert excess <= budget.burst_bytes + 1e-6


@given(seed=st.integers(0, 10**6))
@settings(max_examples=5, deadline=None)
def test_no_tile_starves(seed):
    """Sixteen tiles that always change and are worth something, one of no worth: it still is said in time."""
    random = np.random.default_rng(seed)
    config = CommunicationConfig(budget=Budget(rate_bytes_per_s=600.0, burst_bytes=2000.0))
    writer = Member('robot_1', config)
    value = random.uniform(0.5, 1.0, SMALL.tiles_shape)
    value[0, 0] = 0.0
    busy = EVERYWHERE[1:17]
    noise(writer, random, EVERYWHERE[:1])
    noise(writer, random, busy)
    own, said_s = writer.replica.layers[writer.replica.own], inf
    for tick in range(900):
        now_s = tick * TICK_S
        writer.link.send(None, writer.replica, now_s, lambda: value)
        noise(writer, random, busy)
        if own.versions[0]:
            said_s = now_s
            break
    # 10 s of patience outweigh any worth; the others take turns meanwhile, more than one per second.
    assert 2.0 < said_s < 60.0


@pytest.mark.parametrize('kind', TOPOLOGIES)
def test_what_one_does_not_listen_to_comes_by_way_of_others(kind):
    agreement_s, _, decoded = topology_run(kind, robots=9)
    assert agreement_s < 20.0
    assert (decoded == 1.0) == (kind == 'full')


def test_robots_out_of_each_others_range_share_through_a_third():
    config = replace(CROWD, topology=TopologyConfig('range', range_m=10.0))
    fleet = fleet_of(3, config=config)
    for k, member in enumerate(fleet.members):
        member.pose = member.pose._replace(x_m=8.0 * k)
    for _ in range(20):
        fleet.tick()
    for k, member in enumerate(fleet.members):
        member.look(EVERYWHERE[4 * k:4 * k + 3])
    assert fleet.agreement_s(20.0) < inf
    assert fleet.members[0].link.ignored > 0
    assert fleet.members[0].holds(LayerId('robot_3', 1), 3)


def test_a_partition_heals_within_five_seconds_at_two_kilobytes_per_second():
    fleet = fleet_of(6, ChannelConfig(range_m=10.0), CommunicationConfig(budget=STARVED))
    fleet.positions = {member.name: (100.0 * (k % 2), 0.0) for k, member in enumerate(fleet.members)}
    for second in range(60):
        for k, member in enumerate(fleet.members):
            member.look(EVERYWHERE[(second + 7 * k) % 64:][:1])
        for _ in range(10):
            fleet.tick()
    issued = fleet.issued()
    assert not fleet.all_hold(issued)
    fleet.positions = None
    for _ in range(50):
        fleet.tick()
    assert fleet.all_hold(issued)


def test_a_replica_that_lost_everything_gets_it_from_others_when_the_writer_is_gone():
    fleet = fleet_of(3)
    fleet.members[0].look(EVERYWHERE[:20])
    fleet.agreement_s()
    del fleet.members[0]
    fleet.members[1] = Member('robot_3', replica_config=None, writes=False)
    assert fleet.agreement_s(10.0) < inf
    assert fleet.members[1].holds(LayerId('robot_1', 1), 20)


def test_a_liar_about_versions_that_never_were_costs_little():
    fleet = fleet_of(3)
    for member in fleet.members:
        member.look(EVERYWHERE[:5])
    fleet.agreement_s()
    before = fleet.sent_bytes
    send = fleet.members[2].link.send
    fleet.members[2].link.send = lambda status, *rest: send(replace(status, issued=2**32 - 1), *rest)
    for _ in range(600):
        fleet.tick()
    assert (fleet.sent_bytes - before) / 3 / 60.0 < 400.0
    fleet.members[0].look(EVERYWHERE[9:12])
    for _ in range(30):
        fleet.tick()
    assert fleet.members[1].holds(LayerId('robot_1', 1), fleet.members[0].replica.issued)


def noise(member: Member, random: np.random.Generator, tiles: np.ndarray) -> None:
    """Tiles that hardly compress."""
    tiles = np.unique(tiles, axis=0)
    member.see(member.pose, tiles, random.integers(-1, 2, (len(tiles), 32, 32)).astype(np.int8))
