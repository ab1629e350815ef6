from pathlib import Path

import pytest

from marl_core.errors import ConfigError
from marl_core.types import RobotModel
from sim.robots import ROBOTS, robot_model


@pytest.mark.parametrize('name', ROBOTS)
def test_a_model_is_named_as_its_file_and_its_parts_fit_into_its_footprint(name: str) -> None:
    model = robot_model(name)
    assert model.model == name
    assert model.wheel_separation_m / 2 < model.radius_m
    assert model.wheel_radius_m < model.height_m
    assert abs(model.lidar.x_m) < model.radius_m
    assert 0.0 < model.lidar.range_min_m < model.lidar.range_max_m
    # What one wheel needs for the fastest turn in place is no more than twice what it needs for the fastest drive.
    assert model.max_angular_radps * model.wheel_separation_m / 2 < 2.0 * model.max_linear_mps


def test_the_shipped_models_are_found() -> None:
    assert set(ROBOTS) >= {'turtlebot3_burger', 'turtlebot4', 'jackal', 'rosbot'}


def test_a_model_may_be_a_file(tmp_path: Path) -> None:
    path = tmp_path / 'mine.yaml'
    path.write_text('radius_m: 0.31\nlidar: {beams: 90}\n')
    model = robot_model(path)
    assert (model.radius_m, model.lidar.beams, model.mass_kg) == (0.31, 90, RobotModel().mass_kg)


def test_an_unknown_name_is_answered_with_the_valid_ones() -> None:
    with pytest.raises(ConfigError, match='hoover.*jackal.*turtlebot4'):
        robot_model('hoover')
