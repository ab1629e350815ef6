"""Imitation: who plays, who is asked, and what comes out of it."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from marl_core.decision.observation import Observation
from marl_core.decision.policies import make_policy
from marl_core.errors import PolicyError, TrainingError
from marl_core.specs import OBSERVATION
from sim.learning import checkpoint, curves
from sim.learning.imitation import ImitationConfig, Imitator, answers, cross_entropy
from sim.learning.players import Processes
from sim.learning.rollout import REFERENCE, Ticket
from sim.learning.trainer import Trainer, TrainingConfig, load_actor, source_of
from tests.sim.learning.test_trainer import MATCHING, _same

COPYING = ImitationConfig(training=MATCHING, expert=REFERENCE, rounds=4, episodes=8, minibatch=32, rate=0.01,
                          evaluate_every=2, processes=1)
EXPORTED = Path(__file__).parents[3] / 'models' / 'exported' / 'scorer.onnx'
EXPLORING = TrainingConfig(
    environment_options={'robots': 2, 'task': {'smallest_m': 8.0, 'largest_m': 10.0}}, processes=1, learning_threads=1,
    side_by_side=4, evaluation_episodes=2, iterations=1, episodes=2)


def test_cross_entropy_by_hand():
    log_policy = torch.log(torch.tensor([[0.25, 0.75], [0.5, 0.5]]))
    assert cross_entropy(log_policy, torch.tensor([1, 0])).item() == pytest.approx(-math.log(0.75 * 0.5) / 2)


@pytest.mark.parametrize('expert_rounds', [1, 4])
def test_an_expert_is_imitated(tmp_path, expert_rounds):
    *_, last = Imitator(replace(COPYING, expert_rounds=expert_rounds), tmp_path).run()
    assert last['imitation/agreement'] == 1.0
    assert last['imitation/decisions'] == 4 * 8 * 8  # all that was said is remembered: 3 and 5 of an episode
    assert last['held_back/log_ratio'] == 0.0
    actor, config, content = load_actor(tmp_path / 'best.ckpt')
    assert config == MATCHING
    assert content['best'] == 0.0
    logits = actor({'observation': torch.eye(4)})
    assert logits.argmax(-1).tolist() == [0] * 4
    curves.draw([tmp_path], tmp_path / 'curves.png')


def test_the_learner_plays_and_the_expert_is_asked(tmp_path):
    """An actor that never learns plays something else than the expert, and is told what the expert would do."""
    imitator = Imitator(replace(COPYING, epochs=1, rate=0.0, rounds=2), tmp_path)
    with Processes(source_of(MATCHING), 1) as players:
        imitator._iterate(players)
        imitator._iterate(players)
        assert imitator._played[0] == REFERENCE
        episodes, lessons = imitator._gather(players, 1)
        again = players.play(imitator.actor.state_dict(), [Ticket(episode.seed, None) for episode in episodes])
    for episode, other, (observation, choices) in zip(episodes, again, lessons, strict=True):
        np.testing.assert_array_equal(episode.actions, other.actions)
        allowed = np.where(observation['action_mask'].numpy() > 0, observation['base_logits'].numpy(), -9)
        np.testing.assert_array_equal(choices, allowed.argmax(-1))
    taken = np.concatenate([episode.actions[episode.alive] for episode in episodes])
    assert not np.array_equal(taken, torch.cat([choices for _, choices in lessons]).numpy())


def test_steps_without_a_choice_teach_nothing(tmp_path):
    turns = replace(COPYING, training=replace(MATCHING, environment='tasks:Turns'), rounds=1)
    last, = Imitator(turns, tmp_path).run()
    assert last['imitation/decisions'] == 8 * 5


def test_memory_keeps_the_latest_episodes(tmp_path):
    imitator = Imitator(replace(COPYING, memory=12, rounds=2), tmp_path)
    *_, last = imitator.run()
    assert last['imitation/decisions'] == 12 * 8
    assert len(imitator._lessons) == 12


def test_resumed_imitation_is_bit_exact(tmp_path):
    for _ in Imitator(COPYING, tmp_path / 'whole').run():
        pass
    halves = Imitator(COPYING, tmp_path / 'halves').run()
    next(halves), next(halves)
    halves.close()
    resumed = Imitator(COPYING, tmp_path / 'halves')
    assert resumed.round == 2
    for _ in resumed.run():
        pass
    whole, again = (checkpoint.load(tmp_path / name / 'last.ckpt') for name in ('whole', 'halves'))
    assert whole.pop('git_commit')
    assert again.pop('git_commit')  # a commit may have been made in between
    assert _same(whole, again)
    with pytest.raises(TrainingError, match='rate'):
        Imitator(replace(COPYING, rate=0.5), tmp_path / 'halves')


def test_a_classical_policy_is_imitated_where_robots_explore_and_trained_on(tmp_path):
    config = ImitationConfig(EXPLORING, expert='nearest', rounds=3, episodes=4, epochs=8, minibatch=32,
                             evaluate_every=3, processes=1)
    numbers = list(Imitator(config, tmp_path / 'imitation').run())
    assert numbers[-1]['imitation/agreement'] > numbers[0]['imitation/agreement'] + 0.1
    start = str(tmp_path / 'imitation' / 'best.ckpt')
    trainer = Trainer(replace(EXPLORING, start=start, warm_up=9), tmp_path / 'training')
    for _ in trainer.run():
        pass
    assert _same(trainer.learner.actor.state_dict(), load_actor(start)[0].state_dict())
    other = replace(EXPLORING, start=start, actor_options={'width': 16})
    with pytest.raises(TrainingError, match='start: .*best.ckpt.*actor_options'):
        Trainer(other, tmp_path / 'other')


@pytest.mark.parametrize('expert', ['minpos', str(EXPORTED)])
def test_answers_are_those_of_the_policy_with_its_rank_in_the_team(expert):
    config = replace(EXPLORING, maximum_steps=4)
    with Processes(source_of(config), 1) as players:
        episode, = players.play(expert, [Ticket(1, None)])
    rows = {name: array[:-1].reshape(-1, *array.shape[2:]) for name, array in episode.observations.items()}
    policy = make_policy(expert)
    choices = answers((expert, rows, episode.ranks[:-1].ravel(), '', 'candidate_mask'))
    np.testing.assert_array_equal(choices.reshape(episode.actions.shape), episode.actions)
    for row, choice in enumerate(choices):
        own = {spec.name: rows[spec.name][row] for spec in OBSERVATION}
        if own['candidate_mask'].any():
            assert choice == policy.choose(Observation(**own, own_rank=int(episode.ranks[:-1].ravel()[row])))


def test_training_and_imitation_do_not_go_on_from_each_others_checkpoints(tmp_path):
    for _ in Imitator(replace(COPYING, rounds=1), tmp_path / 'imitation').run():
        pass
    with pytest.raises(TrainingError, match='no checkpoint of training.*`start`'):
        Trainer(MATCHING, tmp_path / 'imitation')
    for _ in Trainer(replace(MATCHING, iterations=1), tmp_path / 'training').run():
        pass
    with pytest.raises(TrainingError, match='no checkpoint of imitation'):
        Imitator(COPYING, tmp_path / 'training')


def test_experts_who_cannot_be_asked_are_refused(tmp_path):
    with pytest.raises(TrainingError, match="'nearest' needs.*'candidates'.*tasks:Matching.*base_logits"):
        Imitator(replace(COPYING, expert='nearest'), tmp_path)
    with pytest.raises(PolicyError, match='oracle'):
        Imitator(replace(COPYING, expert='oracle'), tmp_path)


def test_a_checkpoint_from_before_a_setting_resumes(tmp_path):
    for _ in Trainer(replace(MATCHING, iterations=1), tmp_path).run():
        pass
    content = checkpoint.load(tmp_path / 'last.ckpt')
    del content['config']['start'], content['config']['mappo']['shaping']
    checkpoint.save(tmp_path / 'last.ckpt', content)
    assert Trainer(MATCHING, tmp_path).iteration == 1
    with pytest.raises(TrainingError, match='mappo'):
        Trainer(replace(MATCHING, mappo=replace(MATCHING.mappo, shaping=1.0)), tmp_path)
