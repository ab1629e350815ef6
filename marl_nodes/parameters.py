"""ROS parameters from a frozen dataclass: one place for each default, its meaning and its limits."""

from dataclasses import MISSING, Field, field, fields
from typing import Any, TypeVar

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.exceptions import InvalidParameterTypeException, InvalidParameterValueException
from rclpy.node import Node

from marl_core.errors import ConfigError

T = TypeVar('T')

_ROS_OWN = ('use_sim_time', 'start_type_description_service', 'qos_overrides.')


def parameter(default: Any, description: str, low: float | None = None, high: float | None = None) -> Any:
    """A field of a dataclass of parameters.

    Args:
        default: value when nothing else is given; a tuple of floats becomes a double array.
        description: shown by ``ros2 param describe``; names the unit and frame.
        low: least number allowed; given together with ``high``.
        high: greatest number allowed.
    """
    return field(default=default, metadata={'description': description, 'low': low, 'high': high})


def declare(node: Node, kind: type[T]) -> T:
    """Declare a dataclass's fields as read-only parameters of a node and return their values.

    Raises:
        ConfigError: a parameter that the node does not know, of another type, or beyond its limits.
    """
    known = [entry.name for entry in fields(kind)]
    for name in node._parameter_overrides:  # rclpy ignores unknown ones in silence, typing errors included.
        if name not in known and not name.startswith(_ROS_OWN):
            raise ConfigError(f'{node.get_fully_qualified_name()}: unknown parameter {name!r}; '
                              f'known: {", ".join(known)}')
    return kind(**{entry.name: _declared(node, entry) for entry in fields(kind)})


def _declared(node: Node, entry: Field) -> Any:
    default = entry.default
    assert default is not MISSING, f'{entry.name} is not made by parameter()'
    is_array = isinstance(default, tuple)
    try:
        value = node.declare_parameter(entry.name, list(default) if is_array else default, _descriptor(entry)).value
    except (InvalidParameterTypeException, InvalidParameterValueException) as error:
        raise ConfigError(f'{node.get_fully_qualified_name()}: parameter {entry.name}: {error}') from error
    return tuple(value) if is_array else value


def _descriptor(entry: Field) -> ParameterDescriptor:
    descriptor = ParameterDescriptor(description=entry.metadata['description'], read_only=True)
    low, high = entry.metadata['low'], entry.metadata['high']
    if low is not None and isinstance(entry.default, float):
        descriptor.floating_point_range = [FloatingPointRange(from_value=float(low), to_value=float(high))]
    elif low is not None:
        descriptor.integer_range = [IntegerRange(from_value=int(low), to_value=int(high))]
    return descriptor
