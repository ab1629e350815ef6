"""Whether a map is right."""

import numpy as np
import pytest

pytest.importorskip('rclpy', reason='ROS 2 is not installed: pip install --group ros')
pytest.importorskip('marl_coordination.msg', reason='the messages are not built: pip install --no-build-isolation -e .')

from marl_core.types import FREE, OCCUPIED, UNKNOWN  # noqa: E402
from marl_nodes.demo.accuracy import Walls  # noqa: E402
from marl_nodes.monitor import Map  # noqa: E402
from sim.worlds import World  # noqa: E402

ROOM = np.ones((60, 80), bool)
ROOM[10:50, 10:70] = False
WORLD = World('room', ROOM, 0.05, -1.0, -0.5, 0.5, 0.5)


def shown(padding=0):
    """The world as a robot sees it: free space and the first cell of each wall, on a grid that begins elsewhere."""
    classes = np.full((60 + 2 * padding, 80 + 2 * padding), UNKNOWN, np.int8)
    inner = classes[padding:padding + 60, padding:padding + 80]
    inner[9:51, 9:71] = OCCUPIED
    inner[10:50, 10:70] = FREE
    return Map(classes, 0.05, -1.0 - 0.05 * padding, -0.5 - 0.05 * padding)


@pytest.mark.parametrize('padding', [0, 7])
def test_what_a_robot_should_see_is_right(padding):
    assert Walls(WORLD).f1(shown(padding)) == 1.0


def test_three_cells_off_are_tolerated_and_four_are_not():
    walls, grid = Walls(WORLD), shown()
    grid.origin_x_m += 0.15
    assert walls.f1(grid) == 1.0
    grid.origin_x_m += 0.06
    assert 0.5 < walls.f1(grid) < 0.85


def test_phantom_walls_cost_precision_and_erased_ones_recall():
    walls, phantom, erased = Walls(WORLD), shown(), shown()
    phantom.classes[30, 15:65] = OCCUPIED  # 50 cells beside the 200 of the walls and their 4 corners.
    assert walls.f1(phantom) == pytest.approx(2 * (204 / 254) / (204 / 254 + 1))
    erased.classes[9, 9:71] = FREE  # 60 cells that touch free space, of 200; 3 at each end are near the other walls.
    assert walls.f1(erased) == pytest.approx(2 * (146 / 200) / (146 / 200 + 1), abs=0.02)
    assert walls.f1(Map(np.full((5, 5), FREE, np.int8), 0.05, 0.0, 0.0)) == 0.0


def test_walls_that_nobody_looked_for_do_not_count():
    grid = shown()
    grid.classes[:, 40:] = UNKNOWN
    assert Walls(WORLD).f1(grid) == 1.0
