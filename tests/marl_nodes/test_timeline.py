"""Timelines of chaos: what a file may say, and what is refused by name."""

import pytest

pytest.importorskip('rclpy', reason='ROS 2 is not installed: pip install --group ros')

from marl_core.errors import ConfigError  # noqa: E402
from marl_nodes.demo.timeline import MAP, Event, default_timeline, load_timeline, require_known  # noqa: E402
from marl_nodes.faults import FaultState, LinkFaults  # noqa: E402


def written(tmp_path, text):
    path = tmp_path / 'timeline.yaml'
    path.write_text(text)
    return path


def test_a_file_is_read_in_the_order_of_time(tmp_path):
    events = load_timeline(written(tmp_path, """
        events:
        - {at_s: 30, partition: [[a, map], [b]], kill: [b]}
        - {at_s: 10, links: {loss: 0.3, delay_s: 2}}
        - {at_s: 40, partition: [], links: {}, lie: [a]}
        - {at_s: 50, lie: [], reinstate: [a]}
        """))
    assert events == (
        Event(10.0, links=LinkFaults(0.3, 0.0, 2.0)), Event(30.0, ('b',), (('a', 'map'), ('b',))),
        Event(40.0, partition=(), links=LinkFaults(), lie=('a',)), Event(50.0, lie=(), reinstate=('a',)))
    state = FaultState()
    states = [state := event.after(state) for event in events]
    assert states == [
        FaultState(links=LinkFaults(0.3, 0.0, 2.0)),
        FaultState((('a', 'map'), ('b',)), LinkFaults(0.3, 0.0, 2.0)), FaultState(lie=('a',)), FaultState()]
    assert [str(event) for event in events] == [
        'links lose 30 %, repeat 0 %, delay by up to 2 s', 'kill -9 b; partition a map | b',
        'partition heals; links are good; a begins to lie', 'nobody lies any more; the operator reinstates a']


@pytest.mark.parametrize(('text', 'named'), [
    ('evnts: []', "unknown key 'evnts'"), ('events: []', 'events must be a list'), ('events: 3', 'events must be'),
    ('events: [{kill: [a]}]', 'event 1: .*at_s'), ('events: [{at_s: 1, kil: [a]}]', "event 1: unknown key 'kil'"),
    ('events: [{at_s: 1, kill: [a]}, {at_s: 2}]', 'event 2: one of kill'), ('events: [{at_s: -1, lie: []}]', 'at_s'),
    ('events: [{at_s: .nan, lie: []}]', 'at_s'), ('events: [{at_s: 1, kill: a}]', 'kill'),
    ('events: [{at_s: 1, links: {los: 1}}]', "links: unknown key 'los'"),
    ('events: [{at_s: 1, links: {loss: 30}}]', 'loss'), ('events: [{at_s: 1, partition: [a]}]', 'partition'),
    ('events: [{at_s: 1, partition: [[a], [a]]}]', 'two groups'), ('events: [', 'YAML')])
def test_what_a_file_cannot_mean_is_refused_by_name(tmp_path, text, named):
    path = written(tmp_path, text)
    with pytest.raises(ConfigError, match=named) as refusal:
        load_timeline(path)
    assert str(path) in str(refusal.value)


def test_who_is_not_there_cannot_be_named():
    require_known([Event(1.0, kill=('a', MAP), lie=('b',))], ['a', 'b'], 'x')
    for event in (Event(1.0, kill=('c',)), Event(1.0, partition=(('a', 'c'),)), Event(1.0, lie=(MAP,))):
        with pytest.raises(ConfigError, match='x: at 1 s'):
            require_known([event], ['a', 'b'], 'x')


@pytest.mark.parametrize('count', [1, 2, 3, 4, 9])
def test_the_built_in_timeline_fits_any_fleet_and_ends_well(count):
    robots = [f'r{number}' for number in range(count)]
    events = default_timeline(robots)
    require_known(events, robots, 'x')
    assert [event.at_s for event in events] == sorted(event.at_s for event in events)
    state = FaultState()
    for event in events:
        state = event.after(state)
    assert state == FaultState()
    assert any(event.lie for event in events) == (count >= 4)
    assert all(any(name in event.kill for event in events) for name in (MAP, robots[0]))
    assert any(event.partition for event in events)
