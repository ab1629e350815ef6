"""The tuner: resumes bit for bit, finds weights that are better than none, and refuses foreign checkpoints."""

import numpy as np
import pytest
import torch
from torch.nn.utils import parameters_to_vector

from marl_core.errors import TrainingError
from models.compiled_scorer import CONTEXTS, FEATURES
from sim.learning import checkpoint
from sim.learning.rollout import REFERENCE, Player, Source, Ticket
from sim.learning.trainer import TrainingConfig
from sim.learning.tuning import Scored, Tuner, TuningConfig

SMALL = TrainingConfig(actor='scorer', action_mask='candidate_mask', side_by_side=4, environment_options={
    'robots': 2, 'task': {'smallest_m': 8.0, 'largest_m': 9.0, 'planning_resolution_m': 0.4}})


def _config(**changes):
    return TuningConfig(SMALL, **{'generations': 3, 'population': 4, 'episodes': 3, 'evaluate_every': 1,
                                  'evaluation_episodes': 3, 'processes': 1, **changes})


def test_a_stopped_run_continues_as_if_it_had_not_been_stopped(tmp_path):
    whole = Tuner(_config(), tmp_path / 'whole')
    numbers = list(whole.run())
    stopped = Tuner(_config(generations=1), tmp_path / 'parts')
    assert list(stopped.run()) == numbers[:1]
    continued = Tuner(_config(), tmp_path / 'parts')
    assert continued.generation == 1
    assert list(continued.run()) == numbers[1:]
    assert torch.equal(parameters_to_vector(whole.actor.parameters()),
                       parameters_to_vector(continued.actor.parameters()))


def test_selection_prefers_what_scores_better(tmp_path, monkeypatch):
    """On a cost that is known, the mean must come nearer to the optimum."""
    tuner = Tuner(_config(generations=30, population=16, evaluate_every=100), tmp_path)
    goal = np.full(tuner._optimiser.mean.size, 0.3)
    monkeypatch.setattr(tuner, '_compare', lambda players, candidates, seeds: [
        float(np.square(weights - goal).mean()) for weights in candidates])
    costs = [numbers['mean'] for numbers in tuner.run()]
    assert costs[-1] < 0.5 * costs[0]


def test_a_checkpoint_from_before_a_setting_of_training_continues(tmp_path):
    list(Tuner(_config(generations=1), tmp_path).run())
    content = checkpoint.load(tmp_path / 'last.ckpt')
    del content['tuning']['training']['start']
    checkpoint.save(tmp_path / 'last.ckpt', content)
    assert Tuner(_config(), tmp_path).generation == 1
    del content['tuning']
    checkpoint.save(tmp_path / 'last.ckpt', content)
    with pytest.raises(TrainingError, match='no checkpoint of tuning'):
        Tuner(_config(), tmp_path)


def test_other_settings_are_refused_by_name(tmp_path):
    list(Tuner(_config(generations=1), tmp_path).run())
    with pytest.raises(TrainingError, match='population'):
        Tuner(_config(population=6), tmp_path)


def test_episodes_are_those_of_the_same_scorer_as_a_network():
    """The times of a compiled scorer are those that its torch twin needs in the environment that trains networks."""
    weights = np.random.default_rng(3).normal(0.0, 0.3, (1, CONTEXTS, FEATURES))
    source = Source('exploration', SMALL.environment_options, 'scorer', {}, 'candidate_mask', 'base_logits')
    player, seeds = Player(source), range(50, 53)
    told = np.stack([Scored(source, (0.95, 0.99), weights)(seed) for seed in seeds])
    scorer = player.decider({'linear.weight': torch.from_numpy(weights[0].astype(np.float32))})
    for place, decide in enumerate((player.decider(REFERENCE), scorer)):
        episodes = player.play(decide, [Ticket(seed, None) for seed in seeds], record=False)
        expected_m = [[episode.metrics[name] * 0.5 for name in ('makespan_95_s', 'makespan_s')] for episode in episodes]
        np.testing.assert_allclose(told[:, place], expected_m)
    assert not np.array_equal(told[:, 0], told[:, 1])


@pytest.mark.parametrize('training', [
    TrainingConfig(actor='coordinator'),
    TrainingConfig(actor='scorer', environment_options={'agents': {}}),
])
def test_what_cannot_be_tuned_is_named(tmp_path, training):
    with pytest.raises(TrainingError, match='only the actor scorer'):
        Tuner(TuningConfig(training), tmp_path)
