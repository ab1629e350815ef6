import numpy as np
import pytest

from marl_core.communication.communicator import Communicator
from marl_core.errors import MapError, WorldError
from marl_core.mapping.bounds import MapBounds
from marl_core.mapping.map_server import write_map
from marl_core.mapping.persistence import load, save
from marl_core.mapping.prior_map import join_prior
from marl_core.mapping.replica import Replica
from marl_core.types import FREE, OCCUPIED, UNKNOWN, LayerId, Pose

BOUNDS = MapBounds(resolution_m=0.05, planning_factor=4, tiles_x=4, tiles_y=4)
CORNER = Pose(0.0, 0.0, 0.0)
HALL = np.array([[OCCUPIED, OCCUPIED, OCCUPIED], [UNKNOWN, FREE, FREE]], np.int8)


def file_of(tmp_path, classes=HALL, resolution_m=0.05, origin=CORNER):
    return write_map(tmp_path / 'hall', classes, resolution_m, origin)


def keeper(bounds=BOUNDS) -> Replica:
    return Replica(bounds, 'map')


def test_cells_come_to_lie_where_the_file_says(tmp_path):
    replica = keeper()
    prior = join_prior(replica, file_of(tmp_path, origin=Pose(-0.10, 0.15, 0.0)), 'map')
    expected = np.zeros(BOUNDS.shape, np.int8)
    # The corner of the map frame is cell (64, 64).
    expected[67:69, 62:65] = HALL
    np.testing.assert_array_equal(replica.fused, expected)
    assert (prior.tiles, prior.known_cells, prior.shift_m) == (2, 5, pytest.approx(0.0, abs=1e-9))
    assert list(replica.layers) == [prior.layer] and prior.layer.robot == 'map'
    assert '5 known cells in 2 tiles' in str(prior)


def test_the_same_file_is_the_same_layer_and_an_edited_one_another(tmp_path):
    once, twice, other = keeper(), keeper(), keeper()
    path = file_of(tmp_path)
    layer = join_prior(once, path, 'map').layer
    for _ in range(2):
        assert join_prior(twice, path, 'map').layer == layer
    assert once.state_hash() == twice.state_hash()
    assert join_prior(other, file_of(tmp_path, -HALL), 'map').layer != layer
    assert join_prior(other, file_of(tmp_path, origin=Pose(0.05, 0.0, 0.0)), 'map').layer != layer


def test_many_tiles_become_several_messages_of_one_layer(tmp_path):
    classes = np.random.default_rng(0).choice((FREE, OCCUPIED), (640, 640)).astype(np.int8)
    bounds = MapBounds(0.05, 4, 24, 24)
    replica = keeper(bounds)
    prior = join_prior(replica, file_of(tmp_path, classes, origin=Pose(-16.0, -16.0, 0.0)), 'map')
    assert prior.tiles == 400
    assert replica.layers[prior.layer].known == ((1, 400),)
    np.testing.assert_array_equal(replica.fused[64:704, 64:704], classes)


def test_coarser_cells_are_split(tmp_path):
    replica = keeper()
    join_prior(replica, file_of(tmp_path, resolution_m=0.1), 'map')
    np.testing.assert_array_equal(replica.fused[64:68, 64:70], HALL.repeat(2, axis=0).repeat(2, axis=1))
    assert replica.known_cells == 20


def test_finer_cells_are_merged_and_nothing_occupied_is_lost(tmp_path):
    replica = keeper()
    fine = np.array([[FREE, FREE, UNKNOWN, UNKNOWN, OCCUPIED],
                     [FREE, OCCUPIED, UNKNOWN, FREE, UNKNOWN],
                     [UNKNOWN, UNKNOWN, UNKNOWN, UNKNOWN, FREE]], np.int8)
    join_prior(replica, file_of(tmp_path, fine, 0.025), 'map')
    np.testing.assert_array_equal(replica.fused[64:66, 64:67],
                                  [[OCCUPIED, FREE, OCCUPIED], [UNKNOWN, UNKNOWN, FREE]])
    # Half a cell further left, other pixels share a cell.
    moved = keeper()
    join_prior(moved, file_of(tmp_path, fine, 0.025, Pose(-0.025, 0.0, 0.0)), 'map')
    np.testing.assert_array_equal(moved.fused[64:66, 63:66],
                                  [[FREE, OCCUPIED, OCCUPIED], [UNKNOWN, UNKNOWN, FREE]])


def test_a_corner_between_cells_is_moved_to_the_nearer_one_and_told(tmp_path):
    replica = keeper()
    prior = join_prior(replica, file_of(tmp_path, origin=Pose(0.06, -0.02, 0.0)), 'map')
    np.testing.assert_array_equal(replica.fused[64:66, 65:68], HALL)
    assert prior.shift_m == pytest.approx(np.hypot(0.01, 0.02))
    assert 'moved by 2.2 cm' in str(prior)


@pytest.mark.parametrize(('given', 'words'), [
    ({'resolution_m': 0.03}, ['hall.yaml', '0.03 m', '0.05 m', 'whole multiple']),
    ({'resolution_m': 0.07}, ['hall.yaml', '0.07 m', 'whole multiple']),
    ({'origin': Pose(0.0, 0.0, 0.1)}, ['hall.yaml', 'turned by 0.1 rad']),
    ({'origin': Pose(3.1, 0.0, 0.0)}, ['hall.yaml', 'x 3.10 to 3.25 m', '3.20', 'map.width_m']),
    ({'origin': Pose(0.0, -3.3, 0.0)}, ['hall.yaml', 'y -3.30 to -3.20 m', 'map.height_m']),
    ({'resolution_m': 50.0}, ['hall.yaml', 'x 0.00 to 150.00 m']),
])
def test_what_does_not_fit_is_refused_by_name(tmp_path, given, words):
    replica = keeper()
    with pytest.raises(MapError) as caught:
        join_prior(replica, file_of(tmp_path, **given), 'map')
    assert all(word in str(caught.value) for word in words), caught.value
    assert not replica.layers


def test_unknown_margins_may_reach_beyond_the_map(tmp_path):
    classes = np.zeros((300, 300), np.int8)
    classes[150:152, 150:153] = HALL
    replica = keeper()
    join_prior(replica, file_of(tmp_path, classes, origin=Pose(-7.5, -7.5, 0.0)), 'map')
    np.testing.assert_array_equal(replica.fused[64:66, 64:67], HALL)


def test_files_that_are_no_maps_are_refused_by_name(tmp_path):
    with pytest.raises(WorldError, match='gone.yaml: map file cannot be read'):
        join_prior(keeper(), tmp_path / 'gone.yaml', 'map')
    with pytest.raises(WorldError, match='no free space'):
        join_prior(keeper(), file_of(tmp_path, np.zeros((3, 3), np.int8)), 'map')


def test_it_survives_on_disk_and_reaches_robots_like_any_layer(tmp_path):
    replica = keeper()
    prior = join_prior(replica, file_of(tmp_path), 'map')
    save(replica, tmp_path / 'fleet.map')
    restored = keeper()
    load(restored, tmp_path / 'fleet.map')
    assert join_prior(restored, tmp_path / 'hall.yaml', 'map').layer == prior.layer
    assert restored.state_hash() == replica.state_hash()

    robot = Replica(BOUNDS, 'ada', LayerId('ada', 1))
    links = [(Communicator('map', 7), restored), (Communicator('ada', 1), robot)]
    for tick in range(60):
        said = [link.send(None, held, 0.1 * tick) for link, held in links]
        for (link, held), heard in zip(links, reversed(said), strict=True):
            link.receive(heard, held, 0.1 * tick)
    assert robot.state_hash() == restored.state_hash()
    np.testing.assert_array_equal(robot.fused, restored.fused)
