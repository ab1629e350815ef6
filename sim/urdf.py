"""Robot models as URDF text, for the physics engine."""

from marl_core.types import RobotModel

LEFT_WHEEL, RIGHT_WHEEL = 0, 1
"""Joint and link indices of the wheels in the order of ``wheeled_urdf``; the casters follow."""

CASTER_GAP_M = 0.0005
"""Casters hang this high above the ground, so that the wheels carry the robot and keep their grip."""

UPRIGHT_INERTIA_KGM2 = 1e6
"""Moment of inertia of a cylinder about its level axes: nothing tips it."""


def cylinder_urdf(model: RobotModel) -> str:
    """A disc as high as the robot, that nothing tips and nothing slows down; its origin is at the ground."""
    return _robot(model, _link('base', model.mass_kg, (UPRIGHT_INERTIA_KGM2, UPRIGHT_INERTIA_KGM2,
                                                       0.5 * model.mass_kg * model.radius_m ** 2),
                               _cylinder(model.radius_m, model.height_m, 0.5 * model.height_m), friction=0.0))


def wheeled_urdf(model: RobotModel) -> str:
    """A round chassis on two driven wheels, and a caster without friction before and behind.

    Wheels are spheres: they touch the ground in one point, as thin tyres do, which is also what the engine solves
    fastest. The origin is in the middle of the wheel axis.
    """
    wheel_kg, caster_kg = 0.05 * model.mass_kg, 0.01 * model.mass_kg
    chassis_kg = model.mass_kg - 2.0 * (wheel_kg + caster_kg)
    level = chassis_kg * (3.0 * model.radius_m ** 2 + model.height_m ** 2) / 12.0
    caster_m = 0.5 * model.wheel_radius_m
    half_m, reach_m = 0.5 * model.wheel_separation_m, model.radius_m - caster_m
    caster_z_m = caster_m + CASTER_GAP_M - model.wheel_radius_m
    parts = [_link('base', chassis_kg, (level, level, 0.5 * chassis_kg * model.radius_m ** 2),
                   _cylinder(model.radius_m, model.height_m, 0.5 * model.height_m - model.wheel_radius_m), 0.0)]
    for name, y_m in (('left_wheel', half_m), ('right_wheel', -half_m)):
        parts += [_ball(name, wheel_kg, model.wheel_radius_m, friction=1.0),
                  _joint(name, 'continuous', (0.0, y_m, 0.0))]
    for name, x_m in (('front_caster', reach_m), ('rear_caster', -reach_m)):
        parts += [_ball(name, caster_kg, caster_m, friction=0.0), _joint(name, 'fixed', (x_m, 0.0, caster_z_m))]
    return _robot(model, *parts)


def _robot(model: RobotModel, *parts: str) -> str:
    return f'<robot name="{model.model}">\n' + '\n'.join(parts) + '\n</robot>\n'


def _link(name: str, mass_kg: float, inertia_kgm2: tuple[float, float, float], collision: str, friction: float) -> str:
    ixx, iyy, izz = inertia_kgm2
    return (f'<link name="{name}"><contact><lateral_friction value="{friction}"/></contact>'
            f'<inertial><mass value="{mass_kg}"/>'
            f'<inertia ixx="{ixx}" ixy="0" ixz="0" iyy="{iyy}" iyz="0" izz="{izz}"/></inertial>{collision}</link>')


def _ball(name: str, mass_kg: float, radius_m: float, friction: float) -> str:
    inertia = 0.4 * mass_kg * radius_m ** 2
    return _link(name, mass_kg, (inertia, inertia, inertia),
                 f'<collision><geometry><sphere radius="{radius_m}"/></geometry></collision>', friction)


def _cylinder(radius_m: float, height_m: float, middle_m: float) -> str:
    return (f'<collision><origin xyz="0 0 {middle_m}"/>'
            f'<geometry><cylinder radius="{radius_m}" length="{height_m}"/></geometry></collision>')


def _joint(name: str, kind: str, place_m: tuple[float, float, float]) -> str:
    x_m, y_m, z_m = place_m
    return (f'<joint name="{name}" type="{kind}"><parent link="base"/><child link="{name}"/>'
            f'<origin xyz="{x_m} {y_m} {z_m}"/><axis xyz="0 1 0"/></joint>')
