"""The world of a simulated fleet, as the simulator will make it; needs a checkout, as the simulator does."""

from marl_core.config import load
from marl_core.errors import WorldError
from marl_core.types import RobotModel
from marl_nodes.checkout import require_simulator
from marl_nodes.fleet.model import Fleet

require_simulator()
from sim.worlds import World, load_world  # noqa: E402 - found by the line above.


def largest_radius_m(fleet: Fleet) -> float:
    """Radius of the fleet's largest robot [m].

    Raises:
        ConfigError: a robot's model cannot be read.
    """
    return max(model_of(fleet, name).radius_m for name in fleet.robots)


def model_of(fleet: Fleet, name: str) -> RobotModel:
    """The model of one robot.

    Raises:
        ConfigError: it cannot be read.
    """
    path = fleet.robots[name].model
    return load(RobotModel, path) if path else RobotModel()


def world_of(fleet: Fleet) -> World:
    """Make the world of a fleet, and see whether every robot can start in it.

    Raises:
        MarlError: there is no such world, a start is not free, the world has no room for so many robots, or a model
            cannot be read.
    """
    world = load_world(fleet.simulation.world)
    if any(robot.start is None for robot in fleet.robots.values()):
        world.start_poses(len(fleet.robots), largest_radius_m(fleet))
    for name, robot in fleet.robots.items():
        if robot.start is not None and not world.fits(*robot.start[:2], model_of(fleet, name).radius_m):
            raise WorldError(f'{name}: does not fit at its start {list(robot.start)} in world {world.name}')
    return world
