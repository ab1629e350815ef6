from dataclasses import dataclass

import pytest

rclpy = pytest.importorskip('rclpy', reason='ROS 2 is not installed: pip install --group ros')
pytest.importorskip('marl_coordination.msg', reason='the messages are not built: pip install --no-build-isolation -e .')

from dataclasses import fields  # noqa: E402

from rclpy.parameter import Parameter  # noqa: E402

from marl_core.errors import ConfigError  # noqa: E402
from marl_nodes.fleet.model import Fleet, RobotEntry, SimulationEntry  # noqa: E402
from marl_nodes.fleet.nodes import nodes_of  # noqa: E402
from marl_nodes.fleet.tools import PARAMETERS, parameters_of  # noqa: E402
from marl_nodes.map_node import MapParameters  # noqa: E402
from marl_nodes.parameters import declare, parameter, read  # noqa: E402
from marl_nodes.robot_node import RobotParameters  # noqa: E402
from marl_nodes.sim_node import SimulationParameters  # noqa: E402

KINDS = {'robot_node': RobotParameters, 'map_node': MapParameters, 'sim_node': SimulationParameters}


@dataclass(frozen=True)
class Sample:
    name: str = parameter('x', 'A name.')
    period_s: float = parameter(1.0, 'A period [s].', 0.1, 10.0)
    count: int = parameter(3, 'A count.', 0, 5)
    pose: tuple[float, ...] = parameter((0.0, 1.0), 'A pose.')
    flags: tuple[bool, ...] = parameter((True,), 'Flags.')


@pytest.fixture
def make_node(monkeypatch):
    monkeypatch.setenv('ROS_AUTOMATIC_DISCOVERY_RANGE', 'OFF')
    context = rclpy.Context()
    rclpy.init(context=context)
    yield lambda **overrides: rclpy.create_node('sample', context=context, parameter_overrides=[
        Parameter(name, value=value) for name, value in overrides.items()])
    rclpy.shutdown(context=context)


def test_defaults_come_from_the_dataclass(make_node):
    node = make_node()
    assert declare(node, Sample) == Sample()
    description = node.describe_parameter('period_s')
    assert description.description == 'A period [s].'
    assert description.read_only
    assert description.floating_point_range[0].to_value == 10.0


def test_overrides_replace_them(make_node):
    given = declare(make_node(name='y', period_s=2.0, count=0, pose=[5.0, 6.0], flags=[False, True]), Sample)
    assert given == Sample('y', 2.0, 0, (5.0, 6.0), (False, True))


@pytest.mark.parametrize('overrides', [
    {'nme': 'y'}, {'period_s': 20.0}, {'period_s': 'long'}, {'count': 6}, {'pose': 'here'}])
def test_mistakes_are_named(make_node, overrides):
    with pytest.raises(ConfigError, match=next(iter(overrides))):
        declare(make_node(**overrides), Sample)


def test_what_ros_itself_sets_is_no_mistake(make_node):
    assert declare(make_node(use_sim_time=True), Sample) == Sample()


def test_only_what_is_settable_can_be_set(make_node):
    node = make_node()
    declare(node, Sample, settable=('name', 'pose', 'period_s'))
    results = node.set_parameters([Parameter('name', value='z'), Parameter('pose', value=[7.0]),
                                   Parameter('period_s', value=99.0), Parameter('count', value=4)])
    assert [result.successful for result in results] == [True, True, False, False]
    assert read(node, Sample) == Sample(name='z', pose=(7.0,))


@pytest.mark.parametrize('simulation', [None, SimulationEntry(real_time_factor=0.0)], ids=['real', 'simulated'])
def test_fleets_only_set_parameters_that_nodes_have(simulation):
    robots = {'a': RobotEntry((0.0, 0.0, 0.0)), 'b': RobotEntry((1.0, 0.0, 0.0))}
    for node in nodes_of(Fleet(robots, simulation=simulation)):
        known = {entry.name: entry.default for entry in fields(KINDS[node.executable])} | {'use_sim_time': False}
        for name, value in node.parameters.items():
            default = known[name]
            assert isinstance(value, list if isinstance(default, tuple) else type(default)), name


@pytest.mark.parametrize('node', PARAMETERS)
def test_the_list_of_parameters_names_and_explains_each(node):
    text = parameters_of(node)
    for entry in fields(KINDS[node]):
        assert f'  {entry.name} ' in text
        assert entry.metadata['description'] in text
