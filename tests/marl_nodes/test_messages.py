"""The .msg files say the same as the core's types, field by field, and document every field."""

import re
from dataclasses import fields
from pathlib import Path

import pytest

from marl_core import types

ROOT = Path(__file__).parents[2]
FLATTENED = {'pose': ('x_m', 'y_m', 'heading_rad'), 'twist': ('linear_mps', 'angular_radps'), 'stamp_s': ('header',)}


def message_fields(name):
    """Fields (type, name) of a .msg file, without constants."""
    lines = [line.split('#')[0].strip() for line in (ROOT / f'msg/{name}.msg').read_text().splitlines()]
    return [tuple(line.split()) for line in lines if line and '=' not in line]


def test_the_status_has_the_fields_of_its_dataclass():
    expected = []
    for entry in fields(types.RobotStatus):
        expected.extend(FLATTENED.get(entry.name, (entry.name,)))
    assert sorted(field for _, field in message_fields('RobotStatus')) == sorted(expected)


def test_a_packet_is_bytes_and_nothing_else():
    assert message_fields('Packet') == [('uint8[]', 'data')]


def test_activity_constants_are_those_of_the_enum():
    text = (ROOT / 'msg/RobotStatus.msg').read_text()
    constants = {name: int(value) for name, value in re.findall(r'^uint8 ([A-Z]+) = (\d+)', text, re.MULTILINE)}
    assert constants == {activity.name: int(activity) for activity in types.Activity}


@pytest.mark.parametrize('path', sorted((*ROOT.glob('msg/*.msg'), *ROOT.glob('srv/*.srv'))), ids=lambda path: path.name)
def test_every_field_is_commented(path):
    commented = False
    for line in path.read_text().splitlines():
        text = line.strip()
        is_field = re.match(r'[A-Za-z_/0-9\[\]]+ [a-z_]+$', text)
        if is_field:
            # One comment may stand for a group of like fields, or for a flag that names itself.
            assert commented or text == 'bool success', f'{path.name}: {text}'
        commented = text.startswith('#') or (commented and bool(is_field))


def test_grid_update_is_field_by_field_that_of_map_msgs():
    assert message_fields('OccupancyGridUpdate') == [
        ('std_msgs/Header', 'header'), ('int32', 'x'), ('int32', 'y'), ('uint32', 'width'), ('uint32', 'height'),
        ('int8[]', 'data')]
