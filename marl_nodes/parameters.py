"""ROS parameters from a frozen dataclass: one place for each default, its meaning and its limits."""

from collections.abc import Collection
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


def declare(node: Node, kind: type[T], settable: Collection[str] = ()) -> T:
    """Declare a dataclass's fields as parameters of a node and return their values.

    Args:
        node: gets the parameters.
        kind: dataclass of fields made by ``parameter``.
        settable: names of those that may be set later, for nodes that ``read`` them again; the others are read-only.

    Raises:
        ConfigError: a parameter that the node does not know, of another type, or beyond its limits.
    """
    known = [entry.name for entry in fields(kind)]
    for name in node._parameter_overrides:  # rclpy ignores unknown ones in silence, typing errors included.
        if name not in known and not name.startswith(_ROS_OWN):
            raise ConfigError(f'{node.get_fully_qualified_name()}: unknown parameter {name!r}; '
                              f'known: {", ".join(known)}')
    for entry in fields(kind):
        _declare(node, entry, entry.name in settable)
    return read(node, kind)


def read(node: Node, kind: type[T]) -> T:
    """The present values of parameters that were declared."""
    values = {entry.name: node.get_parameter(entry.name).value for entry in fields(kind)}
    return kind(**{entry.name: tuple(values[entry.name]) if isinstance(entry.default, tuple) else values[entry.name]
                   for entry in fields(kind)})


def _declare(node: Node, entry: Field, settable: bool) -> None:
    default = entry.default
    assert default is not MISSING, f'{entry.name} is not made by parameter()'
    try:
        node.declare_parameter(
            entry.name, list(default) if isinstance(default, tuple) else default, _descriptor(entry, settable))
    except (InvalidParameterTypeException, InvalidParameterValueException) as error:
        raise ConfigError(f'{node.get_fully_qualified_name()}: parameter {entry.name}: {error}') from error


def _descriptor(entry: Field, settable: bool) -> ParameterDescriptor:
    descriptor = ParameterDescriptor(description=entry.metadata['description'], read_only=not settable)
    low, high = entry.metadata['low'], entry.metadata['high']
    if low is not None and isinstance(entry.default, float):
        descriptor.floating_point_range = [FloatingPointRange(from_value=float(low), to_value=float(high))]
    elif low is not None:
        descriptor.integer_range = [IntegerRange(from_value=int(low), to_value=int(high))]
    return descriptor
