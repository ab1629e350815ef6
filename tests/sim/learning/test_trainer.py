"""Training from end to end on tiny tasks."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from marl_core.errors import TrainingError
from sim.learning import checkpoint, curves
from sim.learning.curriculum import CurriculumConfig
from sim.learning.mappo import MappoConfig
from sim.learning.players import Processes
from sim.learning.rollout import REFERENCE, Player, Ticket
from sim.learning.trainer import HELD_BACK, Trainer, TrainingConfig, build_learner, load_actor, source_of

sys.path.insert(0, str(Path(__file__).parent))  # playing processes import the task by name

MATCHING = TrainingConfig(
    environment='tasks:Matching', actor='mlp', actor_options={'width': 16}, action_mask='action_mask',
    score='makespan_s', mappo=MappoConfig(actor_rate=0.02, entropy=0.003, target_divergence=0.0, minibatches=2),
    episodes=16, side_by_side=8, processes=1, learning_threads=1, iterations=4, evaluate_every=2,
    evaluation_episodes=4, save_every=2, warm_up=1)


def _flat(state):
    if isinstance(state, dict):
        return [leaf for key in sorted(state, key=str) for leaf in _flat(state[key])]
    if isinstance(state, (list, tuple)):
        return [leaf for part in state for leaf in _flat(part)]
    return [state]


def _same(one, other):
    pairs = list(zip(_flat(one), _flat(other), strict=True))
    return all(torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b for a, b in pairs)


def test_resumed_run_is_bit_exact(tmp_path):
    for _ in Trainer(MATCHING, tmp_path / 'whole').run():
        pass
    halves = Trainer(MATCHING, tmp_path / 'halves')
    running = halves.run()
    next(running), next(running), next(running)  # the third iteration is lost: the checkpoint is of the second
    running.close()
    torch.manual_seed(999)  # whatever happened in between must not matter
    np.random.seed(999)
    resumed = Trainer(MATCHING, tmp_path / 'halves')
    assert resumed.iteration == 2
    for _ in resumed.run():
        pass
    whole, again = (checkpoint.load(tmp_path / name / 'last.ckpt') for name in ('whole', 'halves'))
    assert whole['iteration'] == 4
    assert whole.pop('git_commit')
    assert again.pop('git_commit')  # a commit may have been made in between
    assert _same(whole, again)
    other = Trainer(replace(MATCHING, seed=2), tmp_path / 'other')
    for _ in other.run():
        pass
    assert not _same(whole['learner'], checkpoint.load(other.last)['learner'])


def test_a_run_goes_from_easy_to_hard_and_resumes_where_it_was(tmp_path):
    course = CurriculumConfig({'rounds': (4, 5, 6)}, metric='return', reference='', lower_is_better=False,
                              enough=-1.0, window=1)
    config = replace(MATCHING, curriculum=course, save_every=1)
    levels = [numbers['curriculum/level'] for numbers in Trainer(config, tmp_path / 'whole').run()]
    assert levels == [0.0, 1.0, 2.0, 2.0]
    running = Trainer(config, tmp_path / 'halves').run()
    next(running), next(running)
    running.close()
    for _ in Trainer(config, tmp_path / 'halves').run():
        pass
    whole, again = (checkpoint.load(tmp_path / name / 'last.ckpt') for name in ('whole', 'halves'))
    assert whole['curriculum'] == again['curriculum'] and _same(whole['learner'], again['learner'])


def test_levels_change_the_environment_and_held_back_episodes_are_of_the_last():
    player = Player(source_of(replace(MATCHING, curriculum=CurriculumConfig({'rounds': (4, 6)}))))
    easy, hard, held_back = player.play(player.decider(REFERENCE), [Ticket(3, None, 0), Ticket(3, None, 1),
                                                                    Ticket(3, None)])
    assert [episode.metrics['steps'] for episode in (easy, hard, held_back)] == [4.0, 6.0, 6.0]


SMALL = {'robots': 2, 'grid': {'measures_hidden': True}, 'task': {
    'smallest_m': 10.0, 'largest_m': 12.0, 'world_resolution_m': 0.2, 'planning_resolution_m': 0.4}}


def test_what_is_hidden_is_foreseen_beside_what_is_earned(tmp_path):
    config = TrainingConfig(environment_options=SMALL, actor_options={'foresight': True}, target='hidden_m2',
                            mappo=MappoConfig(foresight=1.0, actor_rate=3e-3, epochs=8), iterations=6, episodes=16,
                            processes=1, learning_threads=1, warm_up=0, evaluate_every=99, evaluation_episodes=1)
    explained = [numbers['actor/foresight_explained'] for numbers in Trainer(config, tmp_path).run()]
    assert explained[-1] > max(0.1, explained[0])
    with pytest.raises(TrainingError, match='foresees nothing'):
        Trainer(replace(config, actor_options={}), tmp_path / 'without')
    with pytest.raises(TrainingError, match="target 'hidden_m2': the infos of this environment do not tell it"):
        next(Trainer(replace(config, environment_options={**SMALL, 'grid': {}}), tmp_path / 'blind').run())


def test_several_processes_play_the_same_every_time():
    source = source_of(MATCHING)
    tickets = [Ticket(seed, seed) for seed in range(9)]
    weights = build_learner(MATCHING).actor.state_dict()
    with Processes(source, 2) as two:
        first, second = two.play(weights, tickets), two.play(weights, tickets)
    with Processes(source, 1) as one:
        alone = one.play(weights, tickets)
    for a, b, c in zip(first, second, alone, strict=True):
        assert a.seed == b.seed == c.seed
        np.testing.assert_array_equal(a.actions, b.actions)
        np.testing.assert_array_equal(a.actions, c.actions)
        np.testing.assert_array_equal(a.states, b.states)


def test_episodes_record_who_decided_and_how_it_ended():
    player = Player(source_of(MATCHING))
    episode, = player.play(player.decider(REFERENCE), [Ticket(3, None)])
    assert episode.alive.tolist() == [[True, True]] * 3 + [[False, True]] * 2
    assert episode.terminated.tolist() == [[False, False]] * 2 + [[True, False]] + [[False, False]] * 2
    assert episode.elapsed[:, 1].tolist() == [2.0, 1.0, 2.0, 1.0, 2.0]
    assert episode.states.shape == (6, 2, 8, 8)
    assert episode.observations['observation'].shape == (6, 2, 4)
    assert episode.metrics['steps'] == 5
    greedy = np.where(episode.observations['action_mask'][:5] > 0, episode.observations['base_logits'][:5], -99)
    assert (episode.actions == greedy.argmax(-1))[episode.alive].all()


def test_failure_of_a_playing_process_is_reported():
    with Processes(replace(source_of(MATCHING), environment_options={'colour': 'red'}), 2) as players:
        with pytest.raises(TrainingError, match='colour'):
            players.play(REFERENCE, [Ticket(0, None), Ticket(1, None)])


def test_masked_task_is_learnt(tmp_path):
    *_, last = Trainer(replace(MATCHING, iterations=40, mappo=replace(MATCHING.mappo, reference_weight=0.02)),
                       tmp_path).run()
    assert last['episode/return'] > 3.6  # 4 at best, 1.33 at random
    actor, config, _ = load_actor(tmp_path / 'last.ckpt')
    assert config.iterations == 40
    logits = actor({'observation': torch.eye(4)})
    assert logits.argmax(-1).tolist() == [0, 1, 2, 3]


def test_reference_penalty_holds_the_policy_back(tmp_path):
    strayed = {}
    for weight in (0.0, 5.0):
        config = replace(MATCHING, iterations=8, mappo=replace(MATCHING.mappo, reference_weight=weight))
        *_, last = Trainer(config, tmp_path / str(weight)).run()
        strayed[weight] = last['actor/reference_divergence']
    assert strayed[5.0] < 0.3 * strayed[0.0]


def test_simple_spread_is_learnt(tmp_path):
    """Random play returns -26.8; a greedy assignment with full knowledge -8.0."""
    config = TrainingConfig(
        environment='simple_spread', environment_options={'N': 3, 'max_cycles': 25, 'continuous_actions': False},
        actor='mlp', actor_options={'width': 128}, action_mask='', reference='', score='return',
        lower_is_better=False, iterations=22, final_rate=0.5, episodes=64, evaluate_every=22,
        evaluation_episodes=64, warm_up=1, processes=1, learning_threads=1, side_by_side=32,
        mappo=MappoConfig(actor_rate=1e-3, epochs=10, minibatches=1, critic_epochs=10, target_divergence=0.0))
    *_, last = Trainer(config, tmp_path).run()
    assert last['held_back/score'] > -22.0


def test_other_settings_do_not_resume(tmp_path):
    for _ in Trainer(replace(MATCHING, iterations=1), tmp_path).run():
        pass
    with pytest.raises(TrainingError, match='episodes'):
        Trainer(replace(MATCHING, episodes=8), tmp_path)


@pytest.mark.parametrize('damage', [lambda data: data[:-5], lambda data: data[:-5] + b'hello', lambda data: b'junk',
                                    lambda data: data[:400] + bytes([data[400] ^ 1]) + data[401:]])
def test_damaged_checkpoint_is_named(tmp_path, damage):
    path = tmp_path / 'last.ckpt'
    checkpoint.save(path, {'weights': torch.arange(1000.0)})
    assert torch.equal(checkpoint.load(path)['weights'], torch.arange(1000.0))
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(TrainingError, match='last.ckpt'):
        checkpoint.load(path)


def test_checkpoint_is_replaced_whole(tmp_path, monkeypatch):
    path = tmp_path / 'last.ckpt'
    checkpoint.save(path, {'number': 1})
    monkeypatch.setattr(checkpoint.os, 'replace', lambda *_: (_ for _ in ()).throw(OSError('power cut')))
    with pytest.raises(TrainingError, match='last.ckpt.*power cut.*previous one is kept'):
        checkpoint.save(path, {'number': 2})
    assert checkpoint.load(path)['number'] == 1


def test_held_back_seeds_are_never_trained_on(tmp_path):
    trainer = Trainer(replace(MATCHING, seed=123_456), tmp_path)
    trainer.iteration = 10_000
    assert all(0 <= ticket.seed < HELD_BACK for ticket in trainer._tickets())


@pytest.mark.parametrize(('change', 'message'), [
    ({'environment': 'chess'}, 'unknown environment .chess.; known: exploration'),
    ({'environment': 'nowhere:Thing'}, 'nowhere'),
    ({'environment_options': {'colour': 'red'}}, 'colour'),
    ({'actor': 'oracle'}, 'unknown actor .oracle.; known: mlp, gru, coordinator'),
    ({'actor_options': {'depth': 3}}, 'depth'),
    ({'algorithm': 'magic'}, 'unknown algorithm .magic.; known: mappo'),
    ({'score': 'beauty'}, 'no metric .beauty.*makespan_s'),
])
def test_wrong_settings_are_named(tmp_path, change, message):
    with pytest.raises(TrainingError, match=message):
        for _ in Trainer(replace(MATCHING, iterations=1, evaluate_every=1, **change), tmp_path).run():
            pass


def test_curves_take_the_last_of_repeated_iterations(tmp_path):
    rows = [{'iteration': 1.0, 'actor/entropy': 1.0}, {'iteration': 2.0, 'actor/entropy': 0.5},
            {'iteration': 2.0, 'actor/entropy': 0.4}]
    (tmp_path / 'metrics.jsonl').write_text('\n'.join(json.dumps(row) for row in rows))
    assert [row['actor/entropy'] for row in curves.read(tmp_path)] == [1.0, 0.4]
    curves.draw([tmp_path], tmp_path / 'curves.png')
    assert (tmp_path / 'curves.png').stat().st_size > 5000
    with pytest.raises(TrainingError, match='metrics.jsonl'):
        curves.read(tmp_path / 'elsewhere')
