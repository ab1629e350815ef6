"""map_node begins with a map_server file and passes it on."""

from pathlib import Path

import numpy as np
import pytest
from marl_coordination.srv import SaveMap

from marl_core.mapping.bounds import MapBounds, MapConfig
from marl_core.mapping.map_server import read_map, write_map
from marl_core.mapping.replica import Replica
from marl_core.types import FREE, OCCUPIED, MapDigest, Pose

CLASSES = np.full((20, 30), FREE, np.int8)
CLASSES[0] = OCCUPIED


def test_a_robot_that_knows_nothing_is_given_the_map_of_the_file(processes, ear, tmp_path):
    path = write_map(tmp_path / 'hall', CLASSES, 0.05, Pose(1.0, -2.0, 0.0))
    processes.node('map_node', initial_map=path)
    ear.until(lambda: all(voice.get_subscription_count() for voice in ear.voices.values()))
    late = Replica(MapBounds.from_config(MapConfig()), 'late')

    def listen():
        ear.say(MapDigest('late', 1.0, late.digest()))
        while ear.heard['features']:
            late.join(ear.heard['features'].pop())
    ear.until(lambda: late.known_cells == CLASSES.size, also=listen)
    row, column = late.bounds.cell_of(1.01, -1.99)
    np.testing.assert_array_equal(late.fused[row:row + 20, column:column + 30], CLASSES)

    saved = ear.call(SaveMap, '/map/save_map', SaveMap.Request(path=str(tmp_path / 'again')))
    assert saved.success, saved.message
    again = read_map(saved.message)
    assert (again.classes == OCCUPIED).sum() == 30 and (again.classes == FREE).sum() == 19 * 30


@pytest.mark.parametrize(('resolution_m', 'words'), [(0.03, 'whole multiple'), (None, 'cannot be read')])
def test_a_file_that_cannot_be_used_ends_the_node_with_its_name(processes, tmp_path, resolution_m, words):
    path = tmp_path / 'hall.yaml'
    if resolution_m is not None:
        write_map(tmp_path / 'hall', CLASSES, resolution_m, Pose(0.0, 0.0, 0.0))
    process = processes.node('map_node', initial_map=path)
    assert process.wait(60) != 0
    said = Path(process.log_path).read_text()
    assert 'hall.yaml' in said and words in said
    assert 'Traceback' not in said
