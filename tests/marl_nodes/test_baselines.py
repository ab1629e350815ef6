"""What simpler ways of sharing would have cost."""

import zlib

import numpy as np
import pytest

pytest.importorskip('rclpy', reason='ROS 2 is not installed: pip install --group ros')

from marl_core.mapping.bounds import MapBounds, MapConfig  # noqa: E402
from marl_core.mapping.layers import Urgency  # noqa: E402
from marl_core.mapping.replica import Replica, ReplicaConfig  # noqa: E402
from marl_core.types import FREE, OCCUPIED, LayerId  # noqa: E402
from marl_nodes.demo.baselines import HEADER_BYTES, Baselines  # noqa: E402

BOUNDS = MapBounds.from_config(MapConfig(width_m=12.8, height_m=12.8))


class Writer:
    def __init__(self, epoch=1):
        self.layer = LayerId('a', epoch)
        self.replica = Replica(BOUNDS, 'a', self.layer, ReplicaConfig(urgency=Urgency(hold_cells=1)))
        self.classes = np.zeros(BOUNDS.shape, np.int8)

    def draw(self, rows, cols, value):
        self.classes[rows, cols] = value
        self.replica.write(self.layer, np.argwhere(np.ones(BOUNDS.tiles_shape)).astype(np.int32), self.classes)
        return self.replica.publish(self.layer, 60_000, 0.0)


def test_grids_are_the_box_of_what_is_known_and_crops_that_of_what_changed():
    baselines, writer = Baselines(BOUNDS), Writer()
    baselines.take(writer.draw(slice(10, 50), slice(20, 100), FREE))
    baselines.advance(0.5)
    assert not baselines.crop_bytes
    baselines.advance(1.0)
    free = zlib.compress(b'\0' * 800, 6)  # 40 x 80 cells of 2 bits.
    assert baselines.crop_bytes['a'] == HEADER_BYTES + len(free)
    baselines.advance(2.0)
    assert baselines.crop_bytes['a'] == HEADER_BYTES + len(free)
    baselines.take(writer.draw(slice(30, 31), slice(60, 68), OCCUPIED))
    baselines.advance(3.0)
    assert baselines.crop_bytes['a'] == 2 * HEADER_BYTES + len(free) + len(zlib.compress(b'\xaa\xaa', 6))
    assert not baselines.grid_bytes
    baselines.advance(5.0)
    baselines.advance(9.0)
    assert baselines.grid_bytes['a'] == HEADER_BYTES + 40 * 80
    baselines.advance(10.0)
    assert baselines.grid_bytes['a'] == 2 * (HEADER_BYTES + 40 * 80)


def test_a_new_life_begins_anew_and_the_old_one_costs_no_more():
    baselines = Baselines(BOUNDS)
    baselines.take(Writer().draw(slice(0, 100), slice(0, 100), FREE))
    baselines.take(Writer(2).draw(slice(0, 10), slice(0, 10), FREE))
    baselines.take(Writer().draw(slice(0, 100), slice(0, 100), FREE))
    baselines.advance(5.0)
    assert baselines.grid_bytes['a'] == HEADER_BYTES + 100
