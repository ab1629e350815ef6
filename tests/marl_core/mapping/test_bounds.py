import pytest

from marl_core.config import from_mapping
from marl_core.errors import ConfigError, MapError
from marl_core.mapping.bounds import TILE, MapBounds, MapConfig


def test_default_map_is_4032_cells_square_and_centred():
    bounds = MapBounds.from_config(MapConfig())
    assert bounds.shape == (4032, 4032)
    assert bounds.planning_shape == (1008, 1008)
    assert (bounds.origin_x_m, bounds.origin_y_m) == pytest.approx((-100.8, -100.8))
    assert bounds.cell_of(0.0, 0.0) == (2016, 2016)
    assert bounds.planning_cell_of(0.01, -0.01) == (503, 504)


def test_extent_is_rounded_up_to_pairs_of_tiles():
    bounds = MapBounds.from_config(MapConfig(resolution_m=0.1, width_m=6.5, height_m=6.4))
    assert (bounds.tiles_x, bounds.tiles_y) == (4, 2)
    assert bounds.shape == (2 * TILE, 4 * TILE)
    assert bounds.origin_x_m == pytest.approx(-6.4)
    assert bounds.origin_y_m == pytest.approx(-3.2)


def test_centres_lie_in_their_cells():
    bounds = MapBounds.from_config(MapConfig(width_m=12.8, height_m=6.4))
    for row, col in ((0, 0), (3, 200), (127, 255)):
        assert bounds.cell_of(*bounds.center_of(row, col)) == (row, col)
        assert bounds.contains(row, col)
    for row, col in ((0, 0), (31, 63)):
        assert bounds.planning_cell_of(*bounds.planning_center_of(row, col)) == (row, col)
    assert not bounds.contains(-1, 0)
    assert not bounds.contains(128, 0)
    assert bounds.cell_of(-6.41, 0.0)[1] == -1


@pytest.mark.parametrize('values', [{'planning_resolution_m': 0.15}, {'resolution_m': 0.0}, {'hit': 0},
                                    {'miss': 1}, {'maximum': 200}, {'width_m': float('nan')}, {'cell_m': 1.0}])
def test_configuration_that_cannot_be_is_refused(values):
    with pytest.raises(ConfigError, match=next(iter(values))):
        from_mapping(MapConfig, values)


def test_point_that_is_not_finite_has_no_cell():
    with pytest.raises(MapError, match='finite coordinates'):
        MapBounds.from_config(MapConfig()).cell_of(float('nan'), 0.0)
