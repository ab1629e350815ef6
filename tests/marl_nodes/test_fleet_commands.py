"""The command line as a process: what it says and with which code it ends."""

import os
import signal
import subprocess
import sys
import time

import pytest

pytest.importorskip('rclpy', reason='ROS 2 is not installed: pip install --group ros')
pytest.importorskip('marl_coordination.msg', reason='the messages are not built: pip install --no-build-isolation -e .')

from marl_nodes.fleet.commands import INTERRUPTED, RESTARTS, main  # noqa: E402
from marl_nodes.fleet.supervisor import Restart  # noqa: E402


def fleet_file(folder, text):
    path = folder / 'fleet.yaml'
    path.write_text(f'security: {{mode: plain}}\n{text}')
    return str(path)


def refused(capsys, *arguments):
    """What is said by a command line that is wrong."""
    with pytest.raises(SystemExit) as end:
        main(arguments)
    assert end.value.code == 2
    return capsys.readouterr().err


def test_restarts_are_those_of_the_supervisor():
    assert tuple(map(str, Restart)) == RESTARTS


@pytest.mark.parametrize('world', ['office2:1', 'office:x', 'office:1@3', 'office'])
def test_check_asks_the_simulator_for_the_world(tmp_path, capsys, world):
    path = fleet_file(tmp_path, f'robots: {{a: {{}}}}\nsimulation: {{world: "{world}"}}')
    is_right = world == 'office'
    assert main(['check', path]) == (0 if is_right else 2)
    output = capsys.readouterr().out
    assert output.startswith(f'{path}: correct' if is_right else f"{path}: simulation: world '{world}'")


def test_up_refuses_a_world_that_is_unknown_before_anything_starts(tmp_path, capsys):
    path = fleet_file(tmp_path, 'robots: {a: {}}\nsimulation: {world: "office2:1"}')
    assert main(['up', '--fleet', path, '--log', str(tmp_path / 'logs')]) == 2
    assert 'office2' in capsys.readouterr().err
    assert not (tmp_path / 'logs').exists()


def test_where_there_is_no_simulator_the_rest_of_a_fleet_is_checked(tmp_path, capsys, monkeypatch):
    def refuse():
        sys.exit(2)
    monkeypatch.setattr('marl_nodes.checkout.require_simulator', refuse)
    monkeypatch.delitem(sys.modules, 'marl_nodes.demo.world', raising=False)
    monkeypatch.delattr('marl_nodes.demo.world', raising=False)
    assert main(['check', fleet_file(tmp_path, 'robots: {a: {}}\nsimulation: {world: "office2:1"}')]) == 0
    assert 'starts 3 nodes' in capsys.readouterr().out


@pytest.mark.parametrize(('arguments', 'words'), [
    (('demo', '--speed', 'nan'), ['--speed', '0 or more']),
    (('demo', '--time-limit', '-1'), ['--time-limit', '1 or more']),
    (('demo', '--speed', 'fast'), ['--speed', 'number', 'fast']),
    (('up', '--fleet', 'x', '--domain', '233'), ['--domain', '232']),
    (('up', '--fleet', 'x', '--restart', 'sometimes'), ['--restart', 'on-failure']),
    (('watch', '--period', '0'), ['--period', '0.1 or more'])])
def test_numbers_that_make_no_sense_are_named(capsys, arguments, words):
    said = refused(capsys, *arguments)
    assert all(word in said for word in words), said


def test_a_domain_of_the_environment_that_is_no_number_is_named(capsys, monkeypatch):
    monkeypatch.setenv('ROS_DOMAIN_ID', 'abc')
    assert 'abc' in refused(capsys, 'save', 'x')


def test_what_cannot_be_written_is_named_in_one_line(tmp_path, capsys):
    path = fleet_file(tmp_path, 'robots: {a: {start: [0, 0, 0]}}')
    (tmp_path / 'file').touch()
    assert main(['up', '--fleet', path, '--log', str(tmp_path / 'file' / 'logs')]) == 2
    (tmp_path / 'logs' / 'map.params.yaml').mkdir(parents=True)
    assert main(['up', '--fleet', path, '--log', str(tmp_path / 'logs')]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert [line.startswith('marl_fleet: ') for line in lines] == [True, True]
    assert str(tmp_path / 'file' / 'logs') in lines[0] and 'map.params.yaml' in lines[1]


@pytest.mark.parametrize('delay_s', [0.3, 0.7])
def test_ctrl_c_is_quiet_while_modules_are_imported(delay_s):
    """The command says when its own code runs, for the interpreter before that is out of its hands."""
    code = ('import sys; from marl_nodes.fleet.commands import main; print(flush=True); '
            'sys.exit(main(["demo", "--robots", "1", "--world", "nowhere:1"]))')
    command = subprocess.Popen([sys.executable, '-c', code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                               env={**os.environ, 'OMP_NUM_THREADS': '1'})
    command.stdout.readline()
    time.sleep(delay_s)
    command.send_signal(signal.SIGINT)
    _, said = command.communicate(timeout=30)
    assert 'Traceback' not in said
    assert command.returncode in (INTERRUPTED, 2)  # 2: it was quicker, and knows no such world.


def test_a_home_that_cannot_be_written_is_no_obstacle(tmp_path):
    environment = {**os.environ, 'HOME': '/proc', 'XDG_CACHE_HOME': '', 'ROS_LOG_DIR': '/proc/nowhere'}
    ended = subprocess.run([sys.executable, '-m', 'marl_nodes.fleet.commands', 'save', str(tmp_path / 'x'), '--timeout',
                            '0.1', '--domain', '99'], env=environment, capture_output=True, text=True, timeout=60,
                           check=False)
    assert ended.returncode == 1
    assert ended.stderr.startswith('marl_fleet: no map node answers')
