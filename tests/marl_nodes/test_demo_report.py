"""The folder of a run."""

import numpy as np
import pytest

pytest.importorskip('rclpy', reason='ROS 2 is not installed: pip install --group ros')
pytest.importorskip('marl_coordination.msg', reason='the messages are not built: pip install --no-build-isolation -e .')
pytest.importorskip('matplotlib', reason='pictures need matplotlib: pip install .[train]')

from PIL import Image  # noqa: E402

from marl_core.errors import ConfigError  # noqa: E402
from marl_nodes.demo import report  # noqa: E402
from marl_nodes.monitor import Map  # noqa: E402

METRICS = {'world': 'office:1', 'coverage': 0.995, 'makespan_s': 80.4, 'time_s': 92.6, 'travelled_m': 120.2,
           'bytes_sent': 61000, 'robots': {'a': {}, 'b': {}}}


def test_nothing_of_an_earlier_run_stays_and_nothing_else_goes(tmp_path):
    logs = tmp_path / report.LOGS
    logs.mkdir()
    for name in report.RESULTS:
        (tmp_path / name).write_text('old')
    for name in ('robot_7.log', 'robot_7.params.yaml', 'kept.log'):
        (logs / name).write_text('old')
    (tmp_path / 'notes.txt').write_text('mine')
    report.remove_results(tmp_path, 'office:1')
    assert {path.name for path in tmp_path.iterdir()} == {'logs', 'notes.txt'}
    assert {path.name for path in logs.iterdir()} == {'kept.log'}


def test_the_map_that_a_run_needs_is_not_removed(tmp_path):
    world = tmp_path / 'map.yaml'
    world.write_text('image: map.png')
    with pytest.raises(ConfigError, match='--output'):
        report.remove_results(tmp_path, str(world))
    assert world.exists()


def test_a_run_in_one_line():
    assert report.summary_of(METRICS) == (
        '99.5 % mapped in 93 s (99 % after 80 s); 2 robots went 120 m and sent 30 kB each')
    assert report.summary_of({**METRICS, 'makespan_s': None, 'robots': {'a': {}}}) == (
        '99.5 % mapped in 93 s; 1 robot went 120 m and sent 61 kB each')


def test_a_file_that_was_cut_short_is_read_up_to_there(tmp_path):
    path = tmp_path / 'trajectories.csv'
    path.write_text('time_s,robot,x_m,y_m,heading_rad,odometry_x_m,odometry_y_m,odometry_heading_rad\n'
                    '0.1,a,0,0,0,0,0,0\n0.2,a,3,4,0,3,4.5,0\n0.3,a,9,')
    assert report.length_m(report.read_trajectories(path)['a']) == 5.0
    assert report.drift_m(path) == {'a': 0.5}


@pytest.mark.parametrize(('rows', 'columns', 'robots'), [(40, 40, 0), (10, 400, 1), (400, 10, 30)])
def test_any_map_and_team_gives_a_picture_of_reasonable_size(tmp_path, rows, columns, robots):
    grid = Map(np.zeros((rows, columns), np.int8), 0.05, 0.0, 0.0)
    ways = {f'robot_{number}': np.array([[0.0, 0.1, 0.1, 0.0], [1.0, 0.4, 0.4, 0.0]]) for number in range(robots)}
    report.draw_trajectories(tmp_path, grid, ways, METRICS)
    with Image.open(tmp_path / 'trajectories.png') as image:
        assert max(image.size) < 1500


def test_robots_have_colours_of_their_own():
    for count in (2, 10, 64):
        assert len({tuple(colour) for colour in report._colours(count)}) == count
