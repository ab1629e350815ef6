"""Whole fleets: simulator, map node and robots as processes, started by marl_fleet."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from marl_core.mapping.map_server import read_map

COMMAND = [sys.executable, '-m', 'marl_nodes.fleet.commands']
WORLD = 'rooms:1@8x6'


def is_alive(pid):
    try:
        return Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()[0] != 'Z'
    except (FileNotFoundError, ProcessLookupError):
        return False


def children_of(pid):
    return [int(child) for child in Path(f'/proc/{pid}/task/{pid}/children').read_text().split()]


def wait_until(condition, timeout_s=60.0):
    deadline_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline_s, 'nothing came of it in time'
        time.sleep(0.05)


@pytest.fixture
def start(tmp_path):
    """Start marl_fleet as a user would; whatever it left is killed in the end, and would fail the test."""
    started = []

    def start_command(*arguments):
        log = (tmp_path / 'output.txt').open('w')
        process = subprocess.Popen([*COMMAND, *map(str, arguments)], stdout=log, stderr=subprocess.STDOUT,
                                   start_new_session=True)
        log.close()
        started.append(process)
        return process
    yield start_command
    for process in started:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            process.wait(30)


def said(tmp_path):
    return (tmp_path / 'output.txt').read_text()


def test_the_demo_maps_a_world_and_leaves_its_results(start, tmp_path):
    folder = tmp_path / 'results'
    demo = start('demo', '--robots', 2, '--world', WORLD, '--policy', 'minpos', '--output', folder)
    assert demo.wait(120) == 0, said(tmp_path)
    metrics = json.loads((folder / 'metrics.json').read_text())
    assert metrics['complete']
    assert metrics['coverage'] >= 0.99
    assert 0.0 < metrics['makespan_95_s'] <= metrics['makespan_s'] <= metrics['time_s']
    assert 0.0 < metrics['robots_done_s'] <= metrics['time_s'] - 5.0
    assert set(metrics['robots']) == {'robot_1', 'robot_2'}
    assert all(robot['bytes_sent']['features'] > 0 for robot in metrics['robots'].values())
    image = read_map(folder / 'map.yaml')
    assert (image.classes == -1).sum() * image.resolution_m**2 > 35.0
    for name in ('map.png', 'trajectories.png', 'coverage.png', 'bytes.png'):
        assert (folder / name).read_bytes().startswith(b'\x89PNG')
    assert {path.name for path in (folder / 'logs').glob('*.log')} == {
        'simulation.log', 'map.log', 'robot_1.log', 'robot_2.log'}


def test_a_demo_that_runs_out_of_time_fails(start, tmp_path):
    folder = tmp_path / 'results'
    demo = start('demo', '--robots', 1, '--world', 'office:1', '--time-limit', 3, '--output', folder)
    assert demo.wait(120) == 1
    assert not json.loads((folder / 'metrics.json').read_text())['complete']
    assert 'not complete within 3 s' in said(tmp_path)


def test_a_simulator_that_dies_ends_the_demo_and_nothing_is_lost_or_left(start, tmp_path):
    folder = tmp_path / 'results'
    folder.mkdir()
    (folder / 'map.png').write_text('of an earlier run')
    demo = start('demo', '--robots', 1, '--world', 'office:1', '--physics', 'kinematic', '--speed', 4,
                 '--output', folder)
    ways = folder / 'trajectories.csv'
    wait_until(lambda: ways.is_file() and len(ways.read_text().splitlines()) > 100)
    assert not (folder / 'map.png').exists()
    written = len(ways.read_text())
    children = children_of(demo.pid)
    assert len(children) == 3
    simulator, = (pid for pid in children if 'sim_node' in Path(f'/proc/{pid}/cmdline').read_text())
    os.kill(simulator, signal.SIGKILL)
    assert demo.wait(60) == 1
    assert said(tmp_path).count('the simulator was ended by SIGKILL, and its world with it') == 1
    assert 'Traceback' not in said(tmp_path)
    assert not any(is_alive(pid) for pid in children)
    assert len(ways.read_text()) >= written
    assert 'SIGKILL' in json.loads((folder / 'metrics.json').read_text())['outcome']


def test_a_demo_that_is_interrupted_keeps_what_there_is(start, tmp_path):
    folder = tmp_path / 'results'
    demo = start('demo', '--robots', 1, '--world', 'office:1', '--physics', 'kinematic', '--speed', 4,
                 '--output', folder)
    wait_until(lambda: '% ' in said(tmp_path) and 'coverage   0.0' not in said(tmp_path).splitlines()[-1])
    children = children_of(demo.pid)
    demo.send_signal(signal.SIGINT)
    assert demo.wait(60) == 1
    assert 'stopped before the map was complete' in said(tmp_path)
    assert 'Traceback' not in said(tmp_path)
    assert not any(is_alive(pid) for pid in children)
    assert read_map(folder / 'map.yaml').classes.size > 0


@pytest.fixture
def fleet_file(tmp_path):
    path = tmp_path / 'fleet.yaml'
    path.write_text(f'robots: {{a: {{}}, b: {{}}}}\n'
                    'security: {mode: plain}\n'
                    f'map: {{state_path: {tmp_path / "fleet.state"}}}\n'
                    f'simulation: {{world: "{WORLD}", real_time_factor: 2.0}}\n')
    return path


def test_killed_nodes_come_back_and_the_map_is_whole_again(start, ear, fleet_file, tmp_path):
    fleet = start('up', '--fleet', fleet_file, '--log', tmp_path / 'logs')

    def statuses(robot):
        return [status for status in ear.heard['status'] if status.robot == robot]
    ear.until(lambda: statuses('a') and statuses('b') and 'map' in ear.diagnostics, timeout_s=60.0)
    ear.until(lambda: float(ear.diagnostics['map'][1]['known_m2']) > 5.0)
    first_epoch = statuses('a')[-1].epoch
    for pid in children_of(fleet.pid):
        line = Path(f'/proc/{pid}/cmdline').read_text()
        if 'map_node' in line or '__ns:=/a' in line:
            os.kill(pid, signal.SIGKILL)
    ear.until(lambda: statuses('a')[-1].epoch > first_epoch, timeout_s=60.0)
    ear.until(lambda: all(statuses(robot)[-1].activity == 2 for robot in 'ab'), timeout_s=120.0)
    ear.diagnostics.clear()
    ear.until(lambda: float(ear.diagnostics.get('map', ('', {'known_m2': 0.0}))[1]['known_m2']) > 38.0)
    text = said(tmp_path)
    assert text.count('was ended by SIGKILL; starts again') == 2

    saved = subprocess.run([*COMMAND, 'save', tmp_path / 'house'], timeout=60, check=False)
    assert saved.returncode == 0
    assert (read_map(tmp_path / 'house.yaml').classes == -1).sum() * 0.05**2 > 35.0

    children = children_of(fleet.pid)
    assert len(children) == 4
    fleet.send_signal(signal.SIGINT)
    assert fleet.wait(30) == 0
    assert not any(is_alive(pid) for pid in children)


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_a_fleet_that_is_stopped_while_it_starts_goes_without_a_word(start, fleet_file, tmp_path, number):
    fleet = start('up', '--fleet', fleet_file, '--log', tmp_path / 'logs')
    wait_until(lambda: (tmp_path / 'logs' / 'b.log').exists())
    children = children_of(fleet.pid)
    fleet.send_signal(number)
    assert fleet.wait(30) == 0
    assert not any(is_alive(pid) for pid in children)
    assert [line.split()[0] for line in said(tmp_path).splitlines()] == ['marl_fleet:', 'marl_fleet']


def test_that_a_new_simulator_sets_time_back_is_said(start, fleet_file, tmp_path):
    fleet = start('up', '--fleet', fleet_file, '--log', tmp_path / 'logs')
    wait_until(lambda: 'world rooms' in said(tmp_path))
    simulator, = (pid for pid in children_of(fleet.pid) if 'sim_node' in Path(f'/proc/{pid}/cmdline').read_text())
    os.kill(simulator, signal.SIGKILL)
    wait_until(lambda: said(tmp_path).count('world rooms') == 2)
    assert said(tmp_path).count('a new simulator begins anew') == 1
    fleet.send_signal(signal.SIGTERM)
    assert fleet.wait(30) == 0


def test_nothing_survives_a_killed_runner(start, fleet_file, tmp_path):
    fleet = start('up', '--fleet', fleet_file, '--log', tmp_path / 'logs')
    wait_until(lambda: said(tmp_path).count('epoch') == 2)
    children = children_of(fleet.pid)
    assert len(children) == 4
    fleet.kill()
    fleet.wait(10)
    wait_until(lambda: not any(is_alive(pid) for pid in children), 15.0)


def test_what_is_wrong_with_a_fleet_is_said_before_anything_starts(tmp_path):
    path = tmp_path / 'wrong.yaml'
    path.write_text('robots: {a: {polcy: minpos}}')
    for arguments in (['check', path], ['up', '--fleet', path]):
        ended = subprocess.run([*COMMAND, *map(str, arguments)], capture_output=True, text=True, timeout=30,
                               check=False)
        assert ended.returncode == 2
        assert str(path) in ended.stderr
        assert 'polcy' in ended.stderr
