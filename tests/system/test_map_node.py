"""map_node as a process, over real DDS, fed by replicas of the test's own."""

import signal

import numpy as np
import pytest
from marl_coordination.srv import GetCoverage, SaveMap, SetTrust
from nav_msgs.msg import OccupancyGrid

from marl_core.mapping.bounds import MapBounds, MapConfig
from marl_core.mapping.layers import Urgency
from marl_core.mapping.map_server import read_map
from marl_core.mapping.replica import Replica, ReplicaConfig
from marl_core.types import FAINT, FREE, OCCUPIED, LayerId, MapDigest
from marl_nodes import conversions, qos

BOUNDS = MapBounds.from_config(MapConfig())
ROW, COLUMN = BOUNDS.cell_of(0.0, 0.0)


class Writer:
    """A robot that only knows what the test makes it draw."""

    def __init__(self, ear, name, codec='context'):
        self.ear, self.name = ear, name
        self.layer = LayerId(name, 1)
        self.replica = Replica(BOUNDS, name, self.layer, ReplicaConfig(codec, urgency=Urgency(hold_cells=1)))
        self.classes = np.zeros(BOUNDS.shape, np.int8)

    def draw(self, row, column, height, width, value):
        """Fill a rectangle that begins so many cells from the origin, and return the message about it."""
        self.classes[ROW + row:ROW + row + height, COLUMN + column:COLUMN + column + width] = value
        first, last = (ROW + row) // 32, (ROW + row + height - 1) // 32
        left, right = (COLUMN + column) // 32, (COLUMN + column + width - 1) // 32
        tiles = np.array([(ty, tx) for ty in range(first, last + 1) for tx in range(left, right + 1)], np.int32)
        self.replica.write(self.layer, tiles, self.classes)
        return self.replica.publish(self.layer, 1e6, 1.0)

    def say(self, *messages):
        for message in messages:
            self.ear.say(message)

    def digest(self):
        return MapDigest(self.name, 1.0, self.replica.digest())


@pytest.fixture
def state_path(tmp_path):
    return tmp_path / 'fleet.state'


@pytest.fixture
def start(processes, ear, state_path):
    def start_map_node():
        process = processes.node('map_node', state_path=state_path, save_period_s=0.2, publish_period_s=0.2)
        ear.until(lambda: all(voice.get_subscription_count() for voice in ear.voices.values()))
        return process
    return start_map_node


def coverage(ear):
    return ear.call(GetCoverage, '/map/coverage', GetCoverage.Request())


def test_the_map_of_two_robots_is_published_saved_and_measured(ear, start, tmp_path):
    start()
    grids = ear.listen(OccupancyGrid, '/map', qos.LATCHED)
    updates = ear.listen(conversions.OccupancyGridUpdate, '/map_updates', qos.UPDATES)
    one, two = Writer(ear, 'one'), Writer(ear, 'two')
    messages = [one.draw(0, 0, 10, 20, -1), one.draw(10, 0, 1, 20, 1), two.draw(0, 32, 5, 5, -1)]

    def told():
        one.say(*messages)
    ear.until(lambda: grids and len(grids[-1].data) == 32 * 64, also=told)
    grid = np.array(grids[-1].data, np.int8).reshape(32, 64)
    assert (grids[-1].info.origin.position.x, grids[-1].info.origin.position.y) == (0.0, 0.0)
    assert grids[-1].header.frame_id == 'map'
    expected = np.full((32, 64), -1, np.int8)
    expected[:10, :20], expected[10, :20], expected[:5, 32:37] = 0, 100, 0
    np.testing.assert_array_equal(grid, expected)

    answer = coverage(ear)
    cell_m2 = 0.05 * 0.05
    assert answer.free_m2 == pytest.approx(225 * cell_m2)
    assert answer.occupied_m2 == pytest.approx(20 * cell_m2)
    assert answer.unknown_m2 == pytest.approx((32 * 64 - 245) * cell_m2)
    assert {traffic.robot for traffic in answer.traffic} == {'one', 'two'}
    assert all(traffic.features_bytes > 0 for traffic in answer.traffic)

    saved = ear.call(SaveMap, '/map/save_map', SaveMap.Request(path=str(tmp_path / 'out/house')))
    assert saved.success, saved.message
    image = read_map(saved.message)
    assert image.resolution_m == pytest.approx(0.05)
    assert (image.classes == 1).sum() == 20
    assert (image.classes == -1).sum() == 225

    change = one.draw(12, 0, 20, 31, 1)
    ear.until(lambda: updates, also=lambda: one.say(change))
    assert (updates[-1].x, updates[-1].y, updates[-1].width, updates[-1].height) == (0, 0, 32, 32)
    assert list(updates[-1].data[12 * 32:13 * 32]) == [100] * 31 + [-1]


def test_the_map_of_a_graded_fleet_is_of_probabilities(processes, ear, tmp_path):
    (tmp_path / 'agent.yaml').write_text('map: {evidence: graded}\n')
    processes.node('map_node', agent_config=tmp_path / 'agent.yaml', publish_period_s=0.2)
    ear.until(lambda: all(voice.get_subscription_count() for voice in ear.voices.values()))
    grids = ear.listen(OccupancyGrid, '/map', qos.LATCHED)
    one, two = Writer(ear, 'one', 'context-graded'), Writer(ear, 'two', 'context-graded')
    messages = [one.draw(0, 0, 4, 4, FREE), one.draw(4, 0, 1, 4, OCCUPIED), two.draw(0, 0, 1, 4, FAINT)]
    ear.until(lambda: grids and len({*grids[-1].data}) == 4, also=lambda: one.say(*messages))
    grid = np.array(grids[-1].data, np.int8).reshape(32, 32)
    assert grid[:6, 0].tolist() == [16, 4, 4, 4, 96, -1]


def test_a_restarted_map_node_remembers_and_refills_who_comes_late(ear, start, state_path):
    process = start()
    one = Writer(ear, 'one')
    message = one.draw(0, 0, 40, 40, -1)
    ear.until(lambda: coverage(ear).free_m2 > 0.0, also=lambda: one.say(message))
    before = coverage(ear).state_hash
    ear.until(state_path.exists)
    process.send_signal(signal.SIGKILL)
    process.wait(10)

    again = start()
    assert coverage(ear).state_hash == before
    late = Writer(ear, 'late')
    asked = late.digest()

    def listen():
        late.say(asked)
        while ear.heard['features']:
            answer = ear.heard['features'].pop()
            if answer.robot == 'map':
                late.replica.join(answer)
    ear.until(lambda: late.replica.state_hash() == before, also=listen)
    assert (late.replica.fused == one.replica.fused).all()
    again.send_signal(signal.SIGTERM)
    ear.until(lambda: again.poll() is not None)
    assert again.returncode == 0


def test_the_operator_has_the_last_word_on_who_is_believed(ear, start):
    start()
    one, two = Writer(ear, 'one'), Writer(ear, 'two')
    messages = [one.draw(0, 0, 10, 20, -1), two.draw(0, 32, 5, 5, -1)]
    cell_m2 = 0.05 * 0.05

    def told():
        one.say(*messages)
    ear.until(lambda: coverage(ear).free_m2 == pytest.approx(225 * cell_m2), also=told)
    before = coverage(ear).state_hash

    def order(robot, word):
        return ear.call(SetTrust, '/map/set_trust', SetTrust.Request(robot=robot, order=word))
    assert order('one', 'quarantine').success
    ear.until(lambda: coverage(ear).free_m2 == pytest.approx(25 * cell_m2))
    ear.until(lambda: 'one is quarantined' in ear.diagnostics['map'][0])
    assert coverage(ear).state_hash == before
    assert order('one', 'reinstate').success
    ear.until(lambda: coverage(ear).free_m2 == pytest.approx(225 * cell_m2))
    refused = order('nobody', 'quarantine')
    assert not refused.success and 'one, two' in refused.message
    assert 'reinstate' in order('one', 'praise').message


def test_a_map_of_nothing_cannot_be_saved(ear, start):
    start()
    answer = ear.call(SaveMap, '/map/save_map', SaveMap.Request())
    assert not answer.success
    assert answer.message == 'nothing is known yet'
