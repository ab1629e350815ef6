"""``python -m sim report``, in small: from a file to a page."""

import json

import pytest

from marl_core.errors import ConfigError, TrainingError
from sim.__main__ import main
from sim.evaluation.cases import BOUND, ORACLE, CaseSet, given_maps, load_evaluation
from sim.evaluation.report import groups
from sim.evaluation.runs import Runs

SETS = """
policies: [models/exported/scorer.onnx]
judged: scorer
sets:
  small: {robots: 2, episodes: 3, oracle: true, task: {largest_m: 13.0}}
  agents: {robots: 1, episodes: 1, agents: {channel: {loss: 0.3}}, task: {largest_m: 12.0, worlds: [rooms]}}
"""


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp('report')
    (folder / 'sets.yaml').write_text(SETS)
    assert main(['report', '--config', str(folder / 'sets.yaml'), '--output', str(folder / 'out'),
                 '--processes', '1']) == 0
    return folder


def test_page_has_every_player_and_pictures(folder):
    page = (folder / 'out' / 'report.html').read_text()
    for player in ('nearest', 'burgard', 'minpos', 'hungarian', 'voronoi', 'mtsp', 'scorer', ORACLE, BOUND):
        assert player in page
    assert page.count('data:image/png') == 1 + 2 * 3
    assert str(folder / 'sets.yaml') in page
    report = json.loads((folder / 'out' / 'report.json').read_text())
    tables = report['tables']
    small = tables['time to 99 %, relative to burgard']['small']
    assert small['burgard']['mean'] == {'value': 1.0, 'low': 1.0, 'high': 1.0}
    assert small['nearest']['episodes'] + small['nearest']['lost'] == 3
    assert small[BOUND]['mean']['value'] < small[ORACLE]['mean']['value'] < 1.0
    assert tables['time to 99 %, relative to the known-map plan']['small']['burgard']['mean']['value'] > 1.0
    against = [tables[f'time to 99 %, scorer relative to {other}']['all sets']['scorer']['episodes']
               for other in ('minpos', 'hungarian', 'voronoi', 'mtsp')]
    assert against == [4] * 4


def test_sets_of_one_team_size_are_also_looked_at_together():
    sets = {name: CaseSet(robots, 1) for name, robots in (('a', 4), ('b', 2), ('c', 4))}
    assert groups(sets) == {'all sets': ['a', 'b', 'c'], 'all sets of 4 robots': ['a', 'c'], 'a': ['a'], 'b': ['b'],
                            'c': ['c']}


def test_only_what_is_missing_is_played(folder):
    path = folder / 'out' / 'runs.jsonl'
    lines = path.read_text().splitlines()
    assert len(lines) == 3 * 7 + 3 * 2 + 7
    path.write_text('\n'.join(lines[1:-1]) + '\n' + lines[-1][:20])  # one lost, one torn
    runs = Runs(load_evaluation(folder / 'sets.yaml'), {}, folder / 'out')
    assert sum(map(len, runs.missing.values())) == 2
    assert sum(runs.play(1)) == 2
    assert not Runs(load_evaluation(folder / 'sets.yaml'), {}, folder / 'out').missing
    again = [json.loads(line) for line in path.read_text().splitlines()]
    assert json.loads(lines[0]) in again


@pytest.mark.parametrize('change', [('13.0', '14.0'), ('models/exported/scorer.onnx', 'NEW/scorer.onnx')])
def test_other_sets_and_models_are_not_mixed_in(folder, tmp_path, change):
    (tmp_path / 'scorer.onnx').write_bytes(b'another model of that name')
    other = tmp_path / 'other.yaml'
    other.write_text(SETS.replace(*change).replace('NEW', str(tmp_path)))
    with pytest.raises(TrainingError, match='other sets or models'):
        Runs(load_evaluation(other), {}, folder / 'out')


@pytest.mark.parametrize(('text', 'said'), [
    ('', 'needs sets'), ('sets: {a: {robots: 2}}', 'a.*episodes'), ('sets: {a: {robots: 2, episodes: 1, colour: 1}}',
                                                                    'sets: a: unknown key .colour.'),
    ('sets: {a: {robots: 0, episodes: 1}}', 'at least 1'), ('{judged: who, sets: {a: {robots: 2, episodes: 1}}}',
                                                            'who.*does not play'),
    ('sets: {a: {robots: 1, episodes: 1, oracle: true, agents: {}}}', 'oracle excludes agents')])
def test_wrong_files_are_named(tmp_path, text, said):
    path = tmp_path / 'wrong.yaml'
    path.write_text(text)
    with pytest.raises(ConfigError, match=said):
        load_evaluation(path)


def test_maps_are_given_by_name(tmp_path):
    (tmp_path / 'a.yaml').touch()
    assert given_maps([f'real={tmp_path}/*.yaml']) == {'real': [str(tmp_path / 'a.yaml')]}
    for wrong in ('real', f'real={tmp_path}/*.png'):
        with pytest.raises(ConfigError, match='NAME=GLOB'):
            given_maps([wrong])
    path = tmp_path / 'sets.yaml'
    path.write_text('sets: {a: {robots: 2, episodes: 1, maps: real}}')
    with pytest.raises(ConfigError, match='--maps real=GLOB'):
        Runs(load_evaluation(path), {}, tmp_path / 'out')
