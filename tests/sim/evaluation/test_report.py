"""``python -m sim evaluate``, in small: from a file to a page."""

import json
import shutil

import pytest

from marl_core.errors import ConfigError, PolicyError, TrainingError
from sim.__main__ import main
from sim.evaluation.cases import BOUND, ORACLE, CaseSet, given_maps, load_evaluation
from sim.evaluation.report import Report, groups
from sim.evaluation.runs import Runs

RULES = ('nearest', 'burgard', 'minpos', 'hungarian', 'voronoi', 'mtsp')
SETS = """
policies: [models/exported/scorer.onnx]
judged: scorer
sets:
  small: {robots: 2, episodes: 3, oracle: true, task: {largest_m: 13.0, hardships: {}}}
  bad radio:
    robots: 2
    episodes: 2
    against_set: small
    task: {largest_m: 13.0, hardships: {loss: [1.0, 1.0]}}
  agents: {robots: 1, episodes: 1, agents: {}, task: {largest_m: 12.0, worlds: [rooms]}}
"""


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp('report')
    (folder / 'sets.yaml').write_text(SETS)
    assert main(['evaluate', '--config', str(folder / 'sets.yaml'), '--output', str(folder / 'out'),
                 '--processes', '1']) == 0
    return folder


@pytest.fixture(scope='module')
def report(folder):
    return json.loads((folder / 'out' / 'report.json').read_text())


def test_page_has_every_player_and_pictures(folder):
    page = (folder / 'out' / 'report.html').read_text()
    for player in (*RULES, 'scorer', ORACLE, BOUND):
        assert player in page
    assert page.count('data:image/png') == 2 + 3 + 2 + 1  # figures; best, median and worst runs of three, two and one
    assert str(folder / 'sets.yaml') in page
    for figure in ('makespan.png', 'coverage.png'):
        assert (folder / 'out' / figure).read_bytes().startswith(b'\x89PNG')


def test_documentation_shows_the_same_numbers(folder, report):
    text = (folder / 'out' / 'report.md').read_text()
    ratio = report['tables']['time to 99 %, relative to burgard']['small']['scorer']
    own = report['tables']['time to 99 %, relative to the same policy in: small']['bad radio']['scorer']
    numbers = ['{value:.3f} [{low:.3f}, {high:.3f}]'.format(**estimate) for estimate in (
        ratio['mean'], ratio['spread'], own['mean'], own['spread'])]
    assert all(text.count(number) >= 1 for number in numbers)
    assert '## time to 99 %, scorer relative to others' in text and '| episodes | nearest |' in text
    assert 'distance of the team' not in text


def test_ratios_of_all_players(report):
    tables = report['tables']
    small = tables['time to 99 %, relative to burgard']['small']
    assert small['burgard']['mean'] == {'value': 1.0, 'low': 1.0, 'high': 1.0}
    assert small['nearest']['episodes'] + small['nearest']['lost'] == 3
    assert small[BOUND]['mean']['value'] < small[ORACLE]['mean']['value'] < 1.0
    assert tables['time to 99 %, relative to the known-map plan']['small']['burgard']['mean']['value'] > 1.0
    against = [tables[f'time to 99 %, scorer relative to {other}']['all sets']['scorer']
               for other in ('minpos', 'hungarian', 'voronoi', 'mtsp')]
    assert [row['episodes'] + row['won'] for row in against] == [6] * 4
    assert tables['distance of the team, relative to burgard']['small']['burgard']['episodes'] == 3


def test_what_a_bad_radio_costs_is_told_policy_by_policy(report, folder):
    rows = report['tables']['time to 99 %, relative to the same policy in: small']['bad radio']
    assert rows.keys() == {*RULES, 'scorer'}
    runs = Runs(load_evaluation(folder / 'sets.yaml'), {}, folder / 'out')
    deaf, heard = (runs.values(name, 'burgard', 'makespan_s') for name in ('bad radio', 'small'))
    assert rows['burgard']['mean']['value'] == pytest.approx(
        ((deaf[0] / heard[0]) * (deaf[1] / heard[1])) ** 0.5)


def test_what_else_it_took(report):
    points, agents = (report['measures'][name]['scorer'] for name in ('small', 'agents'))
    assert 'sent per robot [kB]' not in points
    assert 'collisions' not in points
    assert agents['sent per robot [kB]']['value'] > 0.0
    assert agents['largest share of it [%]']['value'] == pytest.approx(100.0)
    assert agents['shown by one robot alone [%]']['value'] == pytest.approx(100.0)
    assert points['smallest share of it [%]']['value'] <= 50.0 <= points['largest share of it [%]']['value']
    assert points['time to 95 % [s]']['value'] <= points['time to 99 % [s]']['value']
    assert 0.0 < points['decision, p50 [ms]']['value'] <= points['decision, p99 [ms]']['value']


def test_sets_of_one_team_size_are_also_looked_at_together():
    sets = {name: CaseSet(robots, 1) for name, robots in (('a', 4), ('b', 2), ('c', 4))}
    assert groups({'a': sets['a'], 'c': sets['c']}) == {'all sets': ['a', 'c'], 'a': ['a'], 'c': ['c']}
    assert groups(sets) == {'all sets': ['a', 'b', 'c'], 'all sets of 4 robots': ['a', 'c'], 'a': ['a'], 'b': ['b'],
                            'c': ['c']}


def test_only_what_is_missing_is_played(folder, tmp_path):
    shutil.copytree(folder / 'out', tmp_path / 'out')
    path = tmp_path / 'out' / 'runs.jsonl'
    lines = path.read_text().splitlines()
    assert len(lines) == 3 * 7 + 3 * 2 + 2 * 7 + 7
    path.write_text('\n'.join(lines[1:-1]) + '\n' + lines[-1][:20])  # one lost, one torn
    runs = Runs(load_evaluation(folder / 'sets.yaml'), {}, tmp_path / 'out')
    assert sum(map(len, runs.missing.values())) == 2
    assert sum(runs.play(1)) == 2
    assert not Runs(load_evaluation(folder / 'sets.yaml'), {}, tmp_path / 'out').missing
    lost = json.loads(lines[0])
    again = next(row for row in map(json.loads, path.read_text().splitlines())
                 if [row[key] for key in ('set', 'player', 'seed')] == [lost[key] for key in ('set', 'player', 'seed')])
    for row in (lost, again):
        del row['metrics']['decision_p50_ms'], row['metrics']['decision_p99_ms']
    assert again == lost


def test_curves_rise_to_all_that_was_seen(folder):
    runs = Runs(load_evaluation(folder / 'sets.yaml'), {}, folder / 'out')
    for (name, player, seed), curve in runs.coverage.items():
        assert len(curve) == 64
        assert curve == sorted(curve)
        if runs.metrics[name, player, seed]['makespan_s'] is not None:
            assert runs.metrics[name, player, seed]['coverage'] >= 0.99
    assert runs.mean_coverage('small', 'burgard')[0] == pytest.approx(
        sum(runs.coverage['small', 'burgard', seed][0] for seed in runs.seeds('small')) / 3)
    assert runs.mean_coverage('small', ORACLE) is None


def test_runs_that_did_not_finish_count_by_their_milestones_only(folder):
    runs = Runs(load_evaluation(folder / 'sets.yaml'), {}, folder / 'out')
    runs.metrics['small', 'burgard', 2_000_000_001] |= {'makespan_s': None}
    travelled_m = runs.values('small', 'burgard', 'team_travelled_m')
    assert [value > 0.0 for value in travelled_m] == [True, False, True]
    assert runs.values('small', 'burgard', 'makespan_95_s')[1] > 0.0
    row = Report.of(runs, '').tables['distance of the team, relative to burgard']['small']['minpos']
    assert (row.episodes, row.won) == (2, 1)


def test_players_and_sets_are_added_and_left_out(folder):
    config = load_evaluation(folder / 'sets.yaml', ['models/exported/coordinator.onnx', 'minpos'], ['small'])
    assert [*config.sets] == ['small']
    assert config.players == {name: name for name in RULES} | {
        'scorer': 'models/exported/scorer.onnx', 'coordinator': 'models/exported/coordinator.onnx'}
    runs = Runs(config, {}, folder / 'out')
    assert {player: len(seeds) for (_, player), seeds in runs.missing.items()} == {'coordinator': 3}


def test_folders_stand_for_their_best_checkpoint_and_names_stay_apart(folder, tmp_path):
    (tmp_path / 'scorer').mkdir()
    best = str(tmp_path / 'scorer' / 'best.ckpt')
    players = load_evaluation(folder / 'sets.yaml', [str(tmp_path / 'scorer')]).players
    assert (players['scorer'], players[best]) == ('models/exported/scorer.onnx', best)
    with pytest.raises(TrainingError, match=best):
        Runs(load_evaluation(folder / 'sets.yaml', [str(tmp_path / 'scorer')]), {}, folder / 'out')
    with pytest.raises(PolicyError, match='nonsense'):
        Runs(load_evaluation(folder / 'sets.yaml', ['nonsense']), {}, folder / 'out')


@pytest.mark.parametrize('change', [('13.0', '14.0'), ('models/exported/scorer.onnx', 'NEW/scorer.onnx')])
def test_other_sets_and_models_are_not_mixed_in(folder, tmp_path, change):
    shutil.copy('models/exported/coordinator.onnx', tmp_path / 'scorer.onnx')  # another model of that name
    other = tmp_path / 'other.yaml'
    other.write_text(SETS.replace(*change).replace('NEW', str(tmp_path)))
    with pytest.raises(TrainingError, match="another (set 'small'|player 'scorer')"):
        Runs(load_evaluation(other), {}, folder / 'out')


@pytest.mark.parametrize(('text', 'said'), [
    ('', 'needs sets'), ('sets: {a: {robots: 2}}', 'a.*episodes'), ('sets: {a: {robots: 2, episodes: 1, colour: 1}}',
                                                                    'sets: a: unknown key .colour.'),
    ('sets: {a: {robots: 0, episodes: 1}}', 'at least 1'), ('{judged: who, sets: {a: {robots: 2, episodes: 1}}}',
                                                            'who.*does not play'),
    ('sets: {a: {robots: 1, episodes: 1, oracle: true, agents: {}}}', 'oracle excludes agents'),
    ('sets: {a: {robots: 1, episodes: 1, grid: {step_m: 0.2}, agents: {}}}', 'it excludes agents'),
    ('sets: {a: {robots: 1, episodes: 1, task: {colour: 1}}}', 'sets: a: task: unknown key .colour.'),
    ('sets: {a: {robots: 1, episodes: 1, task: {hardships: {colour: 1}}}}', 'hardships: unknown key .colour.'),
    ('sets: {a: {robots: 1, episodes: 1, against_set: b}}', "against_set 'b' must name another set"),
    ('sets: {a: {robots: 1, episodes: 1, against_set: b}, b: {robots: 2, episodes: 1}}', 'must be those of .b.'),
    ('sets: {a: {robots: 1, episodes: 1, against_set: b}, b: {robots: 1, episodes: 1, task: {largest_m: 13.0}}}',
     'must be those of .b.')])
def test_wrong_files_are_named(tmp_path, text, said):
    path = tmp_path / 'wrong.yaml'
    path.write_text(text)
    with pytest.raises(ConfigError, match=said):
        load_evaluation(path)


def test_unknown_sets_are_named(folder):
    with pytest.raises(ConfigError, match=r"'large\*'; there are: small; bad radio; agents"):
        load_evaluation(folder / 'sets.yaml', sets=['small', 'large*'])


@pytest.mark.parametrize('name', ['quick', 'full', 'agents', 'radio'])
def test_shipped_files_are_understood(name):
    assert load_evaluation(f'config/evaluation/{name}.yaml').sets


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
