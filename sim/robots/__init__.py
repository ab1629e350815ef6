"""Robot models by name. A new one takes a YAML file in config/robots/, named after it."""

from pathlib import Path

from marl_core.config import load
from marl_core.errors import ConfigError
from marl_core.types import RobotModel

FOLDER = Path(__file__).parents[2] / 'config' / 'robots'

ROBOTS = tuple(sorted(path.stem for path in FOLDER.glob('*.yaml')))
"""Names of all models."""


def robot_model(name_or_path: str | Path) -> RobotModel:
    """Read a robot's model.

    Args:
        name_or_path: one of ROBOTS, or the path of a YAML file with overrides of RobotModel.

    Raises:
        ConfigError: no such model (names the valid ones), or a wrong key or value in its file.
    """
    if str(name_or_path).endswith(('.yaml', '.yml')):
        return load(RobotModel, name_or_path)
    if name_or_path not in ROBOTS:
        raise ConfigError(f'no robot model {str(name_or_path)!r}; valid are {", ".join(ROBOTS)}, or a .yaml file')
    return load(RobotModel, FOLDER / f'{name_or_path}.yaml')
