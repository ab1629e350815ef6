import numpy as np
import pytest

from marl_core.errors import MessageError
from marl_core.mapping.bases import Bases
from marl_core.mapping.bounds import MapBounds
from marl_core.mapping.layers import Layer
from marl_core.types import LayerId

BOUNDS = MapBounds(resolution_m=0.05, planning_factor=4, tiles_x=4, tiles_y=4)
TILES = np.array(((-2, -2), (-2, -1), (-2, 0), (1, 1), (2, 0)), np.int64)


def layer_with(*versions: int) -> Layer:
    """Versions of the first tiles of the first row; the content of tile k is k % 3 - 1 everywhere."""
    layer = Layer(LayerId('ada', 1), BOUNDS)
    for k, version in enumerate(versions):
        layer.versions[k] = version
        layer.tiles[k] = k % 3 - 1
    return layer


def test_everything_before_a_message_is_built_on_without_marks():
    bases = Bases(layer_with(3, 9), BOUNDS, last=9, first=10)
    assert not bases.is_marked
    contents, held = bases.contents(TILES, np.zeros(5, np.uint8))
    assert held.tolist() == [1, 1, 0, 0, 0]
    assert contents[:, 0].tolist() == [-1, 0, 0, 0, 0]


def test_marks_tell_which_tiles_all_readers_hold():
    bases = Bases(layer_with(3, 9, 5), BOUNDS, last=5, first=10)
    assert bases.is_marked
    marks = bases.marks(TILES)
    assert marks.tolist() == [1, 0, 1, 0, 0]
    contents, held = bases.contents(TILES, marks)
    assert held.tolist() == [1, 0, 1, 0, 0]
    assert contents[:, 0].tolist() == [-1, 0, 1, 0, 0]


@pytest.mark.parametrize(('versions', 'last', 'marks'), [
    ((3, 10), 9, (0, 0, 0, 0, 0)),  # The message itself, or a later one, was joined already.
    ((3, 10), 5, (0, 1, 0, 0, 0)),
    ((3, 0), 5, (0, 1, 0, 0, 0)),  # Marked, but nothing is held.
    ((3, 4), 5, (0, 0, 0, 0, 1))])  # Marked, but no tile of this map.
def test_tiles_that_are_not_held_as_they_were_are_refused(versions, last, marks):
    with pytest.raises(MessageError) as caught:
        Bases(layer_with(*versions), BOUNDS, last, 10).contents(TILES, np.array(marks, np.uint8))
    assert caught.value.reason == 'missing-base'


def test_a_tile_that_is_not_marked_may_have_any_version():
    contents, held = Bases(layer_with(3, 10), BOUNDS, 5, 10).contents(TILES, np.array((1, 0, 0, 0, 0), np.uint8))
    assert held.tolist() == [1, 0, 0, 0, 0]
    assert contents[1, 0] == 0
