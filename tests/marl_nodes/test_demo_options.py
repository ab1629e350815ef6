"""What a demo refuses before it starts a single process."""

import pytest

from marl_core.errors import ConfigError, WorldError
from marl_nodes.demo.session import DemoOptions, coverage_of, domain_of, fleet_of


def test_more_robots_than_the_world_has_room_for_are_refused_before_any_is_started() -> None:
    with pytest.raises(WorldError, match='room for'):
        coverage_of(fleet_of(DemoOptions(robots=5000, world='rooms:1')))


def test_a_domain_that_is_no_number_is_named() -> None:
    assert domain_of({'ROS_DOMAIN_ID': '7'}) == 7
    assert 1 <= domain_of({'ROS_DOMAIN_ID': ''}) <= 100
    with pytest.raises(ConfigError, match='ROS_DOMAIN_ID'):
        domain_of({'ROS_DOMAIN_ID': 'abc'})
