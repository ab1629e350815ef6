"""``python -m sim``: from nothing to a policy that a robot loads, in small."""

import json
import os

import onnxruntime
import pytest
import torch
import yaml
from PIL import Image

from marl_core.decision.policies import POLICIES, make_policy
from models.features import example_observation
from sim.__main__ import main
from sim.learning.actors import build_actor

SMALL = ['--set', 'environment_options.robots=2', '--set', 'environment_options.task.largest_m=13',
         '--set', 'iterations=2', '--set', 'episodes=4', '--set', 'processes=1', '--set', 'warm_up=1',
         '--set', 'evaluate_every=2', '--set', 'evaluation_episodes=3', '--set', 'mappo.actor_rate=1e-3']


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp('run')
    assert main(['train', '--output', str(folder), *SMALL]) == 0
    return folder


def test_training_leaves_what_it_promises(folder):
    names = {path.name for path in folder.iterdir()}
    assert {'last.ckpt', 'best.ckpt', 'metrics.jsonl', 'curves.png', 'config.yaml'} <= names
    assert any(name.startswith('events') for name in names)
    rows = [json.loads(line) for line in (folder / 'metrics.jsonl').read_text().splitlines()]
    assert [row['iteration'] for row in rows] == [1, 2]
    assert 'actor/entropy' not in rows[0]  # the critic warms up
    assert rows[1]['actor/updates'] > 0
    assert 'held_back/log_ratio' in rows[1]


def test_checkpoint_becomes_a_model_with_a_card_of_real_numbers(folder, tmp_path, capsys):
    sets, results, model = tmp_path / 'sets.yaml', tmp_path / 'evaluation', tmp_path / 'exported' / 'coordinator.onnx'
    sets.write_text('{policies: [], judged: minpos, sets: {a: {robots: 2, episodes: 2, task: {largest_m: 13.0}}}}')
    arguments = ['evaluate', '--config', str(sets), '--output', str(results), '--processes', '1', '--policies']
    assert main([*arguments, str(folder)]) == 0
    assert f'{folder.name} ' in capsys.readouterr().out
    report = json.loads((results / 'report.json').read_text())
    assert report['command'].endswith(f'--policies {folder} --output {results}')
    row = report['tables']['time to 99 %, relative to burgard']['a'][folder.name]
    assert main(['export', str(folder), '--output', str(model), '--evaluation', str(results / 'report.json')]) == 0
    assert make_policy(model).manifest['evaluation']['ratios']['a'] == row
    assert f'| a | {row["mean"]["value"]:.3f} [' in model.with_suffix('.md').read_text()

    assert main([*arguments, str(folder), str(model)]) == 0  # what was played is not played again
    rows = [json.loads(line) for line in (results / 'runs.jsonl').read_text().splitlines()]
    assert [row['player'] for row in rows] == [player for player in (*POLICIES, folder.name, model.stem)
                                               for _ in range(2)]
    ends = [(row['metrics']['makespan_s'], row['metrics']['team_travelled_m']) for row in rows[-4:]]
    assert ends[:2] == ends[2:]  # the model decides like the checkpoint that it was exported from
    assert 'decision_p50_ms' in rows[-1]['metrics']
    assert 'decision_p50_ms' not in rows[-3]['metrics']  # checkpoints decide for the whole team at once
    assert len({player['identity'] for player in report['players'].values()}) == len(POLICIES) + 1
    report = json.loads((results / 'report.json').read_text())
    assert report['players'][folder.name]['identity'] == report['players'][model.stem]['identity']


def test_numbers_of_others_are_not_put_on_a_card(folder, tmp_path, capsys):
    other = tmp_path / 'report.json'
    other.write_text(json.dumps({'command': '', 'git_commit': '', 'card': 'time', 'tables': {'time': {}},
                                 'players': {'coordinator': {'policy': 'x.onnx', 'identity': 'another'}}}))
    assert main(['export', str(folder), '--output', str(tmp_path / 'x.onnx'), '--evaluation', str(other)]) == 2
    assert 'who did: coordinator' in capsys.readouterr().err
    other.write_text('{}')
    assert main(['export', str(folder), '--output', str(tmp_path / 'x.onnx'), '--evaluation', str(other)]) == 2
    assert 'not the report.json' in capsys.readouterr().err
    assert not (tmp_path / 'x.onnx').exists()


@pytest.mark.parametrize('suffix', ['gif', 'png'])
def test_episode_is_drawn(tmp_path, suffix):
    path = tmp_path / f'episode.{suffix}'
    assert main(['play', 'nearest', '--robots', '1', '--seed', '2000000001', '--output', str(path),
                 '--config', str(_small_environment(tmp_path))]) == 0
    with Image.open(path) as picture:
        assert getattr(picture, 'n_frames', 1) > 1 if suffix == 'gif' else picture.width > 600


@pytest.mark.parametrize(('arguments', 'message'), [
    (['train', '--config', 'missing.yaml'], 'missing.yaml'),
    (['train', '--set', 'mappo.clop=1'], 'valid keys'),
    (['train', '--set', 'seed'], 'KEY=VALUE'),
    (['evaluate', '--policies', 'nonsense', '--output', os.devnull], 'nonsense'),
    (['evaluate', '--config', 'missing.yaml'], 'missing.yaml'),
    (['evaluate', '--sets', 'nonsense'], 'generated, 4 robots'),
    (['export', 'missing.ckpt'], 'missing.ckpt'),
    (['play', 'burgard', '--output', 'film.mp4'], '.gif or .png'),
])
def test_mistakes_are_named(arguments, message, capsys):
    assert main(arguments) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize('command', ['train', 'evaluate', 'export', 'play'])
def test_help_teaches(command, capsys):
    with pytest.raises(SystemExit):
        main([command, '--help'])
    assert 'usage: python -m sim' in capsys.readouterr().out


def _small_environment(folder):
    path = folder / 'small.yaml'
    path.write_text('environment_options: {task: {largest_m: 13.0}}\n')
    return path


def test_tuned_scorer_is_exported_with_the_weights_that_a_network_starts_from(tmp_path):
    config = tmp_path / 'scorer.yaml'
    config.write_text(yaml.safe_dump({
        'training': {'actor': 'scorer', 'environment_options': {'robots': 2, 'task': {'largest_m': 13.0}}},
        'generations': 1, 'population': 4,
        'episodes': 2, 'evaluate_every': 1, 'evaluation_episodes': 2, 'processes': 1}))
    model = tmp_path / 'scorer.onnx'
    assert main(['tune', '--config', str(config), '--output', str(tmp_path / 'run')]) == 0
    assert main(['export', str(tmp_path / 'run'), '--output', str(model)]) == 0
    assert 'weighted sum' in model.with_suffix('.md').read_text()
    observation = example_observation(7, 3)
    network = build_actor('coordinator', None, {'scorer': str(model.with_suffix('.json'))})
    with torch.inference_mode():
        corrected, base = network.score(**observation).numpy(), observation['base_logits'].numpy()
    session = onnxruntime.InferenceSession(str(model), providers=['CPUExecutionProvider'])
    scored, = session.run(['logits'], {name: array.numpy() for name, array in observation.items()})
    assert scored == pytest.approx(corrected, abs=1e-4)
    assert scored != pytest.approx(base, abs=1e-2)
