from math import inf, nan

import numpy as np
import pytest

from marl_core.config import from_mapping
from marl_core.errors import ConfigError, SimulationError
from sim.channel import Channel, ChannelConfig

NAMES = ('ada', 'bob', 'eve')


def status(robot: str, stamp_s: float) -> bytes:
    """A packet of SIZE_BYTES: the channel does not care what is in it."""
    return f'{robot} {stamp_s:8.3f}'.encode().ljust(SIZE_BYTES)


SIZE_BYTES = 68


def robots(packets: list[bytes]) -> list[str]:
    return [packet.split()[0].decode() for packet in packets]


def stamps(packets: list[bytes]) -> list[float]:
    return [float(packet.split()[1]) for packet in packets]


def test_a_perfect_channel_delivers_everything_once_at_once_and_in_order() -> None:
    channel = Channel(names=NAMES)
    for stamp_s in (0.0, 0.1, 0.2):
        channel.send('ada', status('ada', stamp_s), stamp_s)
    channel.send('bob', status('bob', 0.2), 0.2)
    assert stamps(channel.deliver('eve', 0.1)) == [0.0, 0.1]
    heard = channel.deliver('eve', 0.2)
    assert (robots(heard), stamps(heard)) == (['ada', 'bob'], [0.2, 0.2])
    assert stamps(channel.deliver('bob', 9.0)) == [0.0, 0.1, 0.2]
    assert stamps(channel.deliver('ada', 9.0)) == [0.2]
    assert channel.deliver('eve', 9.0) == []
    assert channel.sent_bytes == {'ada': 3 * SIZE_BYTES, 'bob': SIZE_BYTES, 'eve': 0}
    assert (channel.counts.sent, channel.counts.delivered) == (4, 8)


@pytest.mark.parametrize('by_name', [False, True])
def test_range_is_measured_when_sending_and_the_removed_hear_nothing(by_name: bool) -> None:
    rows = np.array([[0.0, 0.0], [3.0, 4.0], [nan, nan]])
    positions = dict(zip(NAMES, rows.tolist())) if by_name else rows
    near, far = Channel(ChannelConfig(range_m=5.0), NAMES), Channel(ChannelConfig(range_m=4.9), NAMES)
    for channel in (near, far):
        channel.send('ada', status('ada', 0.0), 0.0, positions)
        channel.send('eve', status('eve', 0.0), 0.0, positions)
    assert len(near.deliver('bob', 0.0)) == 1
    assert far.deliver('bob', 0.0) == near.deliver('eve', 0.0) == near.deliver('ada', 0.0) == []
    assert (near.counts.out_of_range, far.counts.out_of_range) == (3, 4)


def test_who_has_no_position_is_within_reach() -> None:
    channel = Channel(ChannelConfig(range_m=1.0), ('ada', 'bob', 'map'))
    rows = np.array([[0.0, 0.0], [50.0, 0.0]])
    channel.send('map', status('map', 0.0), 0.0, rows)
    channel.send('bob', status('bob', 0.0), 0.0, {'ada': (0.0, 0.0), 'bob': (50.0, 0.0)})
    assert [len(channel.deliver(name, 0.0)) for name in ('ada', 'bob', 'map')] == [1, 1, 1]


def test_loss_and_duplication_are_as_frequent_as_configured() -> None:
    channel = Channel(ChannelConfig(loss=0.3, duplication=0.2), ('ada', 'bob'), seed=1)
    for index in range(4000):
        channel.send('ada', status('ada', float(index)), 0.0)
    received = stamps(channel.deliver('bob', 0.0))
    assert len(set(received)) == pytest.approx(2800, rel=0.05)
    assert len(received) - len(set(received)) == pytest.approx(560, rel=0.15)
    assert channel.counts.lost == 4000 - len(set(received))
    assert channel.counts.duplicated == len(received) - len(set(received))


def test_delays_lie_between_their_bounds_and_reorder() -> None:
    channel = Channel(ChannelConfig(delay_min_s=0.2, delay_max_s=0.6), ('ada', 'bob'), seed=1)
    for stamp_s in range(200):
        channel.send('ada', status('ada', stamp_s * 0.05), stamp_s * 0.05)
    arrivals = []
    for tick in range(1200):
        arrivals += [(tick * 0.01, stamp_s) for stamp_s in stamps(channel.deliver('bob', tick * 0.01))]
    delays = np.array([arrival - stamp for arrival, stamp in arrivals])
    assert 0.2 - 1e-9 <= delays.min() < 0.23
    assert 0.57 < delays.max() <= 0.61
    assert len(arrivals) == 200
    assert [stamp for _, stamp in arrivals] != sorted(stamp for _, stamp in arrivals)


def test_bandwidth_spaces_messages_and_the_queue_is_bounded() -> None:
    second = ChannelConfig(bandwidth_bytes_per_s=SIZE_BYTES, queue_bytes=3 * SIZE_BYTES)
    channel = Channel(second, ('ada', 'bob'))
    for stamp_s in (1.0, 2.0, 3.0, 4.0):
        channel.send('ada', status('ada', stamp_s), 10.0)
    channel.send('bob', status('bob', 5.0), 10.0)  # another sender has its own air
    assert [stamps(channel.deliver('bob', now_s)) for now_s in (10.9, 11.0, 12.5, 13.0, 99.0)] == \
        [[], [1.0], [2.0], [3.0], []]
    assert stamps(channel.deliver('ada', 11.0)) == [5.0]
    assert channel.counts.choked == 1
    channel.send('ada', status('ada', 6.0), 100.0)
    assert stamps(channel.deliver('bob', 101.0)) == [6.0]


def test_a_seed_says_everything_and_range_does_not_shift_the_draws() -> None:
    def heard(seed: int, range_m: float) -> list[float]:
        channel = Channel(ChannelConfig(range_m=range_m, loss=0.5, delay_max_s=1.0), NAMES, seed)
        places = np.array([[0.0, 0.0], [1.0, 0.0], [5.0, 0.0]])
        for index in range(50):
            channel.send('ada', status('ada', float(index)), 0.0, places)
        return stamps(channel.deliver('bob', 1.0))

    assert heard(1, inf) == heard(1, inf) == heard(1, 2.0)
    assert heard(1, inf) != heard(2, inf)


@pytest.mark.parametrize('wrong', [{'loss': 1.1}, {'duplication': -0.1}, {'range_m': 0.0}, {'delay_min_s': 1.0},
                                   {'bandwidth_bytes_per_s': nan}])
def test_values_that_no_radio_has_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        from_mapping(ChannelConfig, wrong)


def test_strangers_are_refused() -> None:
    channel = Channel(names=NAMES)
    with pytest.raises(SimulationError, match='mallory.*ada, bob, eve'):
        channel.send('mallory', status('mallory', 0.0), 0.0)
    with pytest.raises(SimulationError, match='mallory'):
        channel.deliver('mallory', 0.0)
