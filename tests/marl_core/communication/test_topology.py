from math import nan

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from marl_core.communication.teammates import Teammates
from marl_core.communication.topology import TOPOLOGIES, Topology, TopologyConfig
from marl_core.types import Pose, RobotStatus, Twist


def robot(name: str, x_m: float, goal_x_m: float = nan) -> RobotStatus:
    goal_y_m = 0.0 if goal_x_m == goal_x_m else nan
    return RobotStatus(name, 1, 0.0, Pose(x_m, 0.0, 0.0), Twist(0.0, 0.0), goal_x_m, goal_y_m)


def known(*team: RobotStatus) -> Teammates:
    teammates = Teammates('me')
    for mate in team:
        teammates.hear(mate, 0.0)
    return teammates


def heard(config: TopologyConfig, *team: RobotStatus) -> set[str]:
    """Whom the first of a team listens to."""
    topology = Topology(config)
    topology.choose(team[0], known(*team[1:]), 0.0)
    return {mate.robot for mate in team[1:] if topology.hears(mate.robot)}


LINE = [robot(name, x_m) for name, x_m in zip('cabdef', (0.0, 10.0, 20.0, 30.0, 40.0, 50.0))]


def test_full_hears_all():
    assert heard(TopologyConfig('full'), *LINE) == set('abdef')


def test_range_hears_those_within_it():
    assert heard(TopologyConfig('range', range_m=20.0), *LINE) == set('ab')
    assert heard(TopologyConfig('range', range_m=19.9), *LINE) == set('a')


def test_nearest_hears_its_choice_who_chose_it_and_its_neighbours_in_the_ring_of_names():
    # c chooses a; the ring of names gives it b and d.
    assert heard(TopologyConfig('nearest', links=1), *LINE) == set('abd')
    # e chooses d and is chosen by f, which also are its neighbours in the ring.
    assert heard(TopologyConfig('nearest', links=1), LINE[4], *LINE[:4], LINE[5]) == set('df')


def test_value_hears_those_near_the_goal():
    team = [robot('a', 0.0, goal_x_m=40.0), *(robot(name, x_m) for name, x_m in zip('bcdefg', range(10, 70, 10)))]
    listened = heard(TopologyConfig('value', links=1), *team)
    assert 'e' in listened  # it stands at the goal, 40 m away
    assert 'd' not in listened


def test_whoever_has_no_pose_is_heard():
    topology = Topology(TopologyConfig('range', range_m=1.0))
    topology.choose(LINE[0], known(*LINE[1:]), 0.0)
    assert topology.hears('map')
    assert not topology.hears('a')


def test_choices_are_renewed_after_their_period():
    topology = Topology(TopologyConfig('range', range_m=15.0, period_s=1.0))
    topology.choose(robot('a', 0.0), known(robot('b', 10.0)), 2.0)
    topology.choose(robot('a', 0.0), known(robot('b', 20.0)), 2.9)
    assert topology.hears('b')
    topology.choose(robot('a', 0.0), known(robot('b', 20.0)), 3.0)
    assert not topology.hears('b')


@given(st.lists(st.tuples(*[st.floats(-50.0, 50.0)] * 4), min_size=1, max_size=12), st.integers(1, 4),
       st.sampled_from(sorted(TOPOLOGIES)))
def test_links_work_both_ways_and_chosen_ones_leave_nobody_out(places, links, kind):
    team = [RobotStatus(f'r{k:02}', 1, 0.0, Pose(x, y, 0.0), Twist(0.0, 0.0), goal_x, goal_y)
            for k, (x, y, goal_x, goal_y) in enumerate(places)]
    linked = TOPOLOGIES[kind](team, TopologyConfig(kind, links=links))
    np.testing.assert_array_equal(linked, linked.T)
    if kind != 'range':
        reached = np.linalg.matrix_power((linked | np.eye(len(team), dtype=bool)).astype(float), len(team))
        assert (reached > 0).all()


@pytest.mark.parametrize('values', [{'kind': 'ring'}, {'range_m': 0.0}, {'links': 0}, {'range_m': nan}])
def test_wrong_settings_are_refused(values):
    with pytest.raises(ValueError, match=next(iter(values))):
        TopologyConfig(**values)
