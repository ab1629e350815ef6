"""Advantages of the counterfactual kind, and the critic that gives them."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from marl_core.errors import TrainingError
from sim.learning.actions import Discrete
from sim.learning.critic import ActionCritic, Critic, CriticConfig
from sim.learning.gae import counterfactual, expected
from sim.learning.mappo import Mappo, MappoConfig
from sim.learning.rollout import Player, Ticket
from sim.learning.trainer import Trainer, build_learner, source_of
from tests.sim.learning.test_trainer import MATCHING

CONTRASTING = replace(MATCHING, mappo=replace(MATCHING.mappo, advantage='counterfactual', critic_rate=0.01))
CHOICE = {'table': (5, 3), 'mask': (5,), 'plain': (2,)}
NOBODY = torch.zeros(1, dtype=torch.long)


def test_counterfactual_advantage_by_hand():
    values = np.array([[1, 3, 5], [1, 3, 1e6]], np.float32)
    log_policy = np.array([np.log([0.5, 0.25, 0.25]), [np.log(0.5), np.log(0.5), -1e9]], np.float32)
    # .5*1 + .25*3 + .25*5 = 2.5, and 5 was chosen; .5*1 + .5*3 = 2 without the forbidden one, and 1 was chosen
    assert expected(values, log_policy).tolist() == pytest.approx([2.5, 2.0])
    assert counterfactual(values, log_policy, np.array([2, 0])).tolist() == pytest.approx([2.5, -1.0])


def test_a_policy_has_no_advantage_over_itself_and_what_others_earn_drops_out():
    random = np.random.default_rng(0)
    values = np.repeat(random.normal(size=(1, 6)), 6, axis=0).astype(np.float32)
    log_policy = np.repeat(np.log(random.dirichlet(np.ones(6)))[None], 6, axis=0).astype(np.float32)
    advantages = counterfactual(values, log_policy, np.arange(6))
    assert (np.exp(log_policy[0]) * advantages).sum() == pytest.approx(0.0, abs=1e-6)
    assert counterfactual(values + 7.0, log_policy, np.arange(6)) == pytest.approx(advantages, abs=1e-5)


def _choice(rows):
    torch.manual_seed(1)
    return {'table': torch.rand(rows, 5, 3), 'mask': torch.ones(rows, 5), 'plain': torch.rand(rows, 2)}


def test_order_of_a_tables_rows_is_the_order_of_values():
    torch.manual_seed(0)
    critic = ActionCritic(CHOICE | {'mask': (5,)}, None, 5, 'mask')
    observation = _choice(1)
    values = critic(observation, None, NOBODY)
    assert values.shape == (1, 5)
    assert len(set(values[0].tolist())) == 5
    order = torch.tensor([3, 1, 4, 0, 2])
    shuffled = observation | {'table': observation['table'][:, order]}
    torch.testing.assert_close(critic(shuffled, None, NOBODY), values[:, order])


def test_forbidden_actions_have_the_value_of_the_state():
    critic = ActionCritic(CHOICE, None, 5, 'mask')
    observation = _choice(2)
    observation['mask'][0, 1], observation['mask'][1] = 0, 0
    values = critic(observation, None, torch.tensor([0, 0]))
    state = critic.value(critic._seen(observation, None, torch.tensor([0, 0])))[:, 0]
    assert values[0, 1] == state[0] != values[0, 0]
    assert values[1].tolist() == [state[1].item()] * 5


def test_actions_without_a_table_have_an_output_each_and_the_state_matters():
    critic = ActionCritic({'observation': (4,)}, (7,), 4, '')  # four numbers seen are no description of four actions
    observation = {'observation': torch.zeros(2, 4)}
    values = critic(observation, torch.stack((torch.zeros(7), torch.ones(7))), torch.tensor([0, 1]))
    assert values.shape == (2, 4)
    assert len(set(values[0].tolist())) == 4
    assert not torch.equal(values[0], values[1])
    local = ActionCritic({'observation': (4,)}, (7,), 4, '', CriticConfig(central=False))
    values = local(observation, torch.stack((torch.zeros(7), torch.ones(7))), torch.tensor([0, 1]))
    assert torch.equal(values[0], values[1])


def test_the_advantage_is_what_the_critic_says_of_the_policy_that_played():
    learner = build_learner(CONTRASTING)
    player = Player(source_of(CONTRASTING))
    episodes = player.play(player.decider(learner.actor.state_dict()), [Ticket(seed, seed) for seed in range(4)])
    batch, _ = learner._batch(episodes)
    with torch.no_grad():
        values = learner.critic(batch.observations, batch.states, batch.step)
        policy = torch.softmax(torch.where(batch.observations['action_mask'].bool(),
                                           learner.actor(batch.observations), -1e9), -1)
    own = values.gather(-1, batch.actions[:, None])[:, 0]
    torch.testing.assert_close(batch.advantages, own - (policy * values).sum(-1), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(policy.gather(-1, batch.actions[:, None])[:, 0].log(), batch.log_probabilities)


def test_a_task_is_learnt_by_counterfactuals(tmp_path):
    trainer = Trainer(replace(CONTRASTING, iterations=25), tmp_path)
    *_, last = trainer.run()
    assert last['episode/return'] > 3.6  # 4 at best, 1.33 at random
    learner, player = trainer.learner, Player(source_of(CONTRASTING))
    learner.actor.layers[-1].weight.data *= 0  # from here on it guesses
    learner.actor.layers[-1].bias.data *= 0
    episodes = player.play(player.decider(learner.actor.state_dict()), [Ticket(seed, seed) for seed in range(8)])
    batch, _ = learner._batch(episodes)
    right = batch.observations['observation'].argmax(-1) == batch.actions
    assert batch.advantages[right].mean() - batch.advantages[~right].mean() > 0.5  # a right answer is worth 1
    resumed = Trainer(trainer.config, tmp_path)
    assert torch.equal(resumed.learner.critic.term[-1].bias, learner.critic.term[-1].bias)


def test_wrong_advantages_are_named():
    with pytest.raises(TrainingError, match='unknown advantage .regret.; known: gae, counterfactual'):
        build_learner(replace(MATCHING, mappo=MappoConfig(advantage='regret')))
    critic = Critic({'observation': (4,)}, None)
    with pytest.raises(TrainingError, match='counterfactual.*Critic'):
        Mappo(torch.nn.Linear(4, 4), critic, MappoConfig(advantage='counterfactual'), Discrete(4))
