"""How the processes of nodes start and end, whatever they are given and wherever they run."""

import signal
import time
from pathlib import Path

import pytest

NODES = ('robot_node', 'map_node', 'sim_node')


def said(process):
    return Path(process.log_path).read_text()


def test_what_ros_refuses_is_named_and_not_tried_again(processes, tmp_path):
    malformed = tmp_path / 'malformed.yaml'
    malformed.write_text('/**:\n  ros__parameters:\n    policy: [minpos\n')
    missing = tmp_path / 'missing.yaml'
    refused = {str(path): processes.start('robot_node', '--ros-args', '--params-file', str(path))
               for path in (malformed, missing)}
    refused['use_sim_time'] = processes.node('robot_node', use_sim_time=3)
    for word, process in refused.items():
        assert process.wait(30) == 2
        lines = [line for line in said(process).splitlines() if line.startswith('[FATAL]')]
        assert len(lines) == 1
        assert word in lines[0]
        assert 'Traceback' not in said(process)


def test_they_start_where_nothing_can_be_written(processes, ear, monkeypatch, tmp_path):
    file = tmp_path / 'file'
    file.touch()
    monkeypatch.setenv('HOME', str(file))
    monkeypatch.setenv('ROS_LOG_DIR', str(file / 'log'))
    process = processes.node('robot_node', '/robot_1')
    ear.until(lambda: 'robot_1' in ear.diagnostics)
    assert 'ROS_LOG_DIR' in said(process)
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 0


@pytest.mark.skipif(not Path('/proc/self/maps').exists(), reason='what a process has loaded is read from /proc')
@pytest.mark.parametrize('node', NODES)
def test_an_interrupt_while_they_load_ends_them_in_silence(processes, node):
    process = processes.node(node)
    maps, deadline_s = Path(f'/proc/{process.pid}/maps'), time.monotonic() + 20.0
    while 'numpy' not in maps.read_text():
        assert time.monotonic() < deadline_s
        time.sleep(0.001)
    process.send_signal(signal.SIGINT)
    assert process.wait(20) in (0, -signal.SIGINT)
    assert 'Traceback' not in said(process)
