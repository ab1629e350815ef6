import numpy as np
import pytest
import yaml
from PIL import Image

from marl_core.errors import WorldError
from marl_core.mapping.map_server import read_map, require_free_space, write_map
from marl_core.types import FREE, OCCUPIED, UNKNOWN, Pose

CLASSES = np.array([[FREE, OCCUPIED, UNKNOWN], [FREE, FREE, OCCUPIED]], np.int8)


def sheet(tmp_path, pixels=None, **fields):
    image = np.array([[254, 205, 0]], np.uint8) if pixels is None else pixels
    Image.fromarray(image).save(tmp_path / 'map.png')
    values = {'image': 'map.png', 'resolution': 0.05, 'origin': [0, 0, 0], 'negate': 0, 'occupied_thresh': 0.65,
              'free_thresh': 0.196} | fields
    path = tmp_path / 'map.yaml'
    path.write_text(yaml.safe_dump({key: value for key, value in values.items() if value != 'absent'}))
    return path


@pytest.mark.parametrize('image_format', ['pgm', 'png'])
def test_round_trip(tmp_path, image_format):
    path = write_map(tmp_path / 'maps' / 'hall.v2', CLASSES, 0.1, Pose(-1.5, 2.0, 0.5), image_format)
    assert path.name == 'hall.v2.yaml'
    back = read_map(path)
    np.testing.assert_array_equal(back.classes, CLASSES)
    assert back.classes.dtype == np.int8
    assert back.resolution_m == 0.1
    assert back.origin == Pose(-1.5, 2.0, 0.5)


def test_files_are_what_map_server_writes(tmp_path):
    path = write_map(tmp_path / 'hall', CLASSES, 0.05, Pose(0, 0, 0))
    data = (tmp_path / 'hall.pgm').read_bytes()
    # Binary greyscale, top row (highest y) first.
    assert data.startswith(b'P5')
    assert data.endswith(bytes((254, 254, 0, 254, 0, 205)))
    assert yaml.safe_load(path.read_text()) == {
        'image': 'hall.pgm', 'mode': 'trinary', 'resolution': 0.05, 'origin': [0.0, 0.0, 0.0], 'negate': 0,
        'occupied_thresh': 0.65, 'free_thresh': 0.196}


@pytest.mark.parametrize('mode', ['absent', 'trinary', 'scale'])
def test_modes(tmp_path, mode):
    assert read_map(sheet(tmp_path, mode=mode)).classes.tolist() == [[FREE, UNKNOWN, OCCUPIED]]


def test_negate_swaps_black_and_white(tmp_path):
    assert read_map(sheet(tmp_path, negate=1)).classes.tolist() == [[OCCUPIED, OCCUPIED, FREE]]


@pytest.mark.parametrize(('pixels', 'expected'), [
    (np.array([[[255, 255, 255], [0, 0, 0]]], np.uint8), [[FREE, OCCUPIED]]),
    (np.array([[True, False]]), [[FREE, OCCUPIED]]),
    (np.array([[65535, 30000, 0]], np.uint16), [[FREE, UNKNOWN, OCCUPIED]]),
])
def test_colour_bit_and_16_bit_images(tmp_path, pixels, expected):
    assert read_map(sheet(tmp_path, pixels)).classes.tolist() == expected


@pytest.mark.parametrize(('fields', 'words'), [
    ({'image': 'absent'}, ['map.yaml', 'image']),
    ({'image': 'gone.pgm'}, ['gone.pgm', 'cannot be read']),
    ({'resolution': 0}, ['map.yaml', 'resolution', 'positive']),
    ({'resolution': -0.05}, ['map.yaml', 'resolution', 'positive']),
    ({'resolution': float('nan')}, ['map.yaml', 'resolution']),
    ({'resolution': 'fine'}, ['map.yaml', 'resolution', 'fine']),
    ({'resolution': 'absent'}, ['map.yaml', 'resolution', 'missing']),
    ({'origin': [0, 0]}, ['map.yaml', 'origin']),
    ({'origin': 'absent'}, ['map.yaml', 'origin']),
    ({'origin': [0, 0, float('inf')]}, ['map.yaml', 'origin']),
    ({'mode': 'raw'}, ['map.yaml', 'mode', 'raw']),
    ({'negate': 2}, ['map.yaml', 'negate']),
    ({'free_thresh': 0.7}, ['map.yaml', 'free_thresh', 'occupied_thresh']),
    ({'occupied_thresh': 1.5}, ['map.yaml', 'occupied_thresh']),
])
def test_wrong_fields_are_named(tmp_path, fields, words):
    with pytest.raises(WorldError) as caught:
        read_map(sheet(tmp_path, **fields))
    assert all(word in str(caught.value) for word in words)


@pytest.mark.parametrize(('name', 'content', 'words'), [
    ('map.yaml', None, 'cannot be read'),
    ('map.yaml', b'', 'empty'),
    ('map.yaml', b'  \n', 'empty'),
    ('map.yaml', b'[1, 2]', 'expected keys'),
    ('map.yaml', b'a: [', 'not YAML'),
    ('map.yaml', b'\x89PNG\xff', 'YAML file, not the image'),
    ('map.png', b'', 'empty'),
    ('map.png', b'hello', 'not an image'),
    ('map.png', b'\x89PNG\r\n\x1a\n', 'map.png'),
    ('map.png', b'P5\n4 4\n255\nabc', 'map.png'),
])
def test_wrong_files_are_named(tmp_path, name, content, words):
    path = sheet(tmp_path)
    (tmp_path / name).unlink()
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(WorldError, match=words) as caught:
        read_map(path)
    assert name in str(caught.value)


def test_free_space_is_required(tmp_path):
    good = read_map(sheet(tmp_path))
    require_free_space(good, 'good.yaml')
    walls = read_map(sheet(tmp_path, np.zeros((2, 3), np.uint8)))
    with pytest.raises(WorldError, match=r'walls.yaml: no free space \(6 cells occupied, 0 unknown\)'):
        require_free_space(walls, 'walls.yaml')


def test_unknown_formats_and_places_are_refused(tmp_path):
    with pytest.raises(WorldError, match='pgm, png'):
        write_map(tmp_path / 'hall', CLASSES, 0.05, Pose(0, 0, 0), 'gif')
    (tmp_path / 'file').write_text('')
    with pytest.raises(WorldError, match='cannot be written'):
        write_map(tmp_path / 'file' / 'hall', CLASSES, 0.05, Pose(0, 0, 0))
