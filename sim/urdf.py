"""Robot models as URDF text, for the physics engine."""

from marl_core.types import RobotModel

LEFT_WHEEL, RIGHT_WHEEL = 0, 1
"""Joint and link indices of the wheels in the order of ``wheeled_urdf``."""

CASTERS = 2
"""Link of both casters: one link costs the engine less than two."""

CASTER_GAP_M = 0.002
"""Casters hang this high above the ground, so that the wheels carry the robot and keep their grip."""


def disc_urdf(model: RobotModel) -> str:
    """A disc without wheels or friction.

    Its shape is a sphere: all spheres have their centres at one height and all walls are upright, so that they meet
    each other and walls exactly where discs would, and the engine finds that out in two thirds of the time.
    """
    return _robot(model, _ball('base', model.mass_kg, model.radius_m, friction=0.0))


def wheeled_urdf(model: RobotModel) -> str:
    """A round chassis on two driven wheels, and a caster without friction before and behind.

    Wheels are spheres: they touch the ground in one point, as thin tyres do, which is also what the engine solves
    fastest. So is the chassis (see ``disc_urdf``), at the height of the axis: what it meets does not tip the robot.
    The origin is in the middle of the wheel axis.
    """
    wheel_kg, caster_kg = 0.05 * model.mass_kg, 0.01 * model.mass_kg
    caster_m, half_m = 0.5 * model.wheel_radius_m, 0.5 * model.wheel_separation_m
    reach_m, caster_z_m = model.radius_m - caster_m, caster_m + CASTER_GAP_M - model.wheel_radius_m
    parts = [_chassis(model, model.mass_kg - 2.0 * (wheel_kg + caster_kg))]
    for name, y_m in (('left_wheel', half_m), ('right_wheel', -half_m)):
        parts += [_ball(name, wheel_kg, model.wheel_radius_m, friction=1.0),
                  _joint(name, 'continuous', (0.0, y_m, 0.0))]
    along, across = 0.8 * caster_kg * caster_m ** 2, 2.0 * caster_kg * (0.4 * caster_m ** 2 + reach_m ** 2)
    parts += [_link('casters', 2.0 * caster_kg, (along, across, across), caster_m, 0.0, (reach_m, -reach_m)),
              _joint('casters', 'fixed', (0.0, 0.0, caster_z_m))]
    return _robot(model, *parts)


def _robot(model: RobotModel, *parts: str) -> str:
    return f'<robot name="{model.model}">\n' + '\n'.join(parts) + '\n</robot>\n'


def _chassis(model: RobotModel, mass_kg: float) -> str:
    """A solid cylinder by its inertia, low enough for its centre to be at the wheel axis."""
    level = mass_kg * (3.0 * model.radius_m ** 2 + model.height_m ** 2) / 12.0
    return _link('base', mass_kg, (level, level, 0.5 * mass_kg * model.radius_m ** 2), model.radius_m, friction=0.0)


def _ball(name: str, mass_kg: float, radius_m: float, friction: float) -> str:
    inertia = 0.4 * mass_kg * radius_m ** 2
    return _link(name, mass_kg, (inertia, inertia, inertia), radius_m, friction)


def _link(name: str, mass_kg: float, inertia_kgm2: tuple[float, float, float], radius_m: float, friction: float,
          places_x_m: tuple[float, ...] = (0.0,)) -> str:
    """A link of a sphere at each place along its x axis."""
    ixx, iyy, izz = inertia_kgm2
    balls = ''.join(f'<collision><origin xyz="{x_m} 0 0"/><geometry><sphere radius="{radius_m}"/></geometry>'
                    '</collision>' for x_m in places_x_m)
    return (f'<link name="{name}"><contact><lateral_friction value="{friction}"/></contact>'
            f'<inertial><mass value="{mass_kg}"/>'
            f'<inertia ixx="{ixx}" ixy="0" ixz="0" iyy="{iyy}" iyz="0" izz="{izz}"/></inertial>'
            f'{balls}</link>')


def _joint(name: str, kind: str, place_m: tuple[float, float, float]) -> str:
    x_m, y_m, z_m = place_m
    return (f'<joint name="{name}" type="{kind}"><parent link="base"/><child link="{name}"/>'
            f'<origin xyz="{x_m} {y_m} {z_m}"/><axis xyz="0 1 0"/></joint>')
