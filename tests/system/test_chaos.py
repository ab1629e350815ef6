"""`marl_fleet chaos` as a user runs it: faults happen, are noted, and end well."""

import json
import subprocess
import sys

from marl_core.mapping.map_server import read_map

COMMAND = [sys.executable, '-m', 'marl_nodes.fleet.commands', 'chaos', '--robots', '2', '--world', 'rooms:1@8x6',
           '--policy', 'minpos', '--physics', 'kinematic']
TIMELINE = """
events:
- {at_s: 1, links: {loss: 0.3, duplication: 0.5, delay_s: 1.0}}
- {at_s: 3, kill: [map]}
- {at_s: 5, partition: [[robot_1], [robot_2, map]]}
- {at_s: 7, kill: [robot_1]}
- {at_s: 14, partition: []}
- {at_s: 18, links: {}}
"""


def test_a_fleet_that_was_killed_cut_and_hushed_ends_with_one_right_map(tmp_path):
    timeline, folder = tmp_path / 'timeline.yaml', tmp_path / 'results'
    timeline.write_text(TIMELINE)
    ended = subprocess.run([*COMMAND, '--timeline', timeline, '--output', folder], capture_output=True, text=True,
                           timeout=150, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    metrics = json.loads((folder / 'metrics.json').read_text())
    events = [event['event'] for event in metrics['events']]
    assert len(events) == 7 and 'kill -9 map' in events and 'kill -9 robot_1' in events
    assert all(event in ended.stdout for event in events)
    assert metrics['events_left'] == []
    assert ended.stdout.count('was ended by SIGKILL; starts again') == 2
    assert metrics['complete'] and metrics['replicas_agree']
    assert metrics['coverage'] >= 0.99 and metrics['walls_f1'] >= 0.95
    assert len({replica['state_hash'] for replica in metrics['replicas'].values()}) == 1
    assert set(metrics['replicas']) == {'robot_1', 'robot_2', 'map'}
    assert metrics['replicas']['robot_2']['dropped']['repeated'] > 0
    compression = metrics['compression']  # How much smaller depends on how long so small a world took.
    assert compression['full_grid_bytes'] > compression['features_bytes'] > 0
    ratio = compression['full_grid_bytes'] / compression['features_bytes']
    assert abs(compression['times_below_full_grid'] - ratio) < 0.1
    assert set(metrics['trust']) == {'robot_1', 'robot_2'}
    assert (read_map(folder / 'map.yaml').classes == -1).sum() * 0.05**2 > 35.0
    assert (folder / 'missing.png').read_bytes().startswith(b'\x89PNG')
    for node in ('robot_1', 'robot_2', 'map'):
        assert 'FAULTS ARE ALLOWED' in (folder / 'logs' / f'{node}.log').read_text()


def test_a_timeline_that_cannot_be_is_refused_before_anything_starts(tmp_path):
    timeline = tmp_path / 'timeline.yaml'
    for text, named in (('events: [{at_s: 1, kil: [map]}]', "'kil'"), ('events: [{at_s: 1, kill: [x]}]', "'x'")):
        timeline.write_text(text)
        ended = subprocess.run([*COMMAND, '--timeline', timeline, '--output', tmp_path / 'results'],
                               capture_output=True, text=True, timeout=60, check=False)
        assert ended.returncode == 2 and named in ended.stderr and str(timeline) in ended.stderr
        assert not (tmp_path / 'results').exists()
