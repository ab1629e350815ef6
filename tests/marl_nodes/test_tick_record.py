"""The record of a node's ticks, with a node that only logs."""

from pathlib import Path

import pytest

pytest.importorskip('rclpy', reason='ROS 2 is not installed: pip install --group ros')

from marl_core.errors import ConfigError  # noqa: E402
from marl_core.trace import TraceStep, read_trace  # noqa: E402
from marl_core.types import STOP, Pose, Readings  # noqa: E402
from marl_nodes.tick_record import TickRecord  # noqa: E402

STEP = TraceStep(Readings(None, Pose(1.0, 2.0, 0.5), STOP), (b'\x01packet',), 7.25, STOP)


class Logging:
    def __init__(self):
        self.errors = []

    def get_logger(self):
        return self

    def error(self, text):
        self.errors.append(text)


def test_what_is_added_can_be_read_again_until_it_is_closed(tmp_path):
    path, node = tmp_path / 'trace.jsonl', Logging()
    record = TickRecord(node, str(path))
    assert record.is_open
    record.add(STEP)
    record.add(STEP)
    record.close()
    record.close()
    record.add(STEP)
    assert not record.is_open
    assert list(read_trace(path)) == [STEP, STEP]
    assert node.errors == []


def test_without_a_path_nothing_is_recorded(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    record = TickRecord(Logging(), '')
    record.add(STEP)
    assert not record.is_open
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_cannot_be_written_is_named(tmp_path):
    with pytest.raises(ConfigError, match='missing/trace.jsonl'):
        TickRecord(Logging(), str(tmp_path / 'missing' / 'trace.jsonl'))


@pytest.mark.skipif(not Path('/dev/full').exists(), reason='no /dev/full on this system')
def test_a_full_disk_ends_it_and_is_logged_once():
    node = Logging()
    record = TickRecord(node, '/dev/full')
    record.add(STEP)
    record.add(STEP)
    assert not record.is_open
    assert len(node.errors) == 1
    assert '/dev/full' in node.errors[0]
