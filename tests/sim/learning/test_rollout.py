"""What deciders are told: ranks as the environment says, and nothing of those that do not decide."""

from dataclasses import replace

import numpy as np

from marl_core.specs import MAX_CANDIDATES, MAX_TEAM, OBSERVATION
from sim.learning.rollout import Player, Ticket, policy_logits
from sim.learning.trainer import source_of
from tests.sim.learning.test_trainer import MATCHING


class _Recorder:
    """Chooses the second candidate and remembers who asked."""

    name = 'recorder'

    def __init__(self):
        self.ranks = []

    def choose(self, observation):
        assert observation.candidate_mask.any()
        self.ranks.append(observation.own_rank)
        return 1


def test_who_has_no_candidates_is_not_asked():
    sizes = {'K': MAX_CANDIDATES, 'T': MAX_TEAM}
    batch = {spec.name: np.zeros((3, *(sizes.get(size, size) for size in spec.shape)), spec.dtype)
             for spec in OBSERVATION}
    batch['candidate_mask'][[0, 2], :2] = True
    policy = _Recorder()
    logits = policy_logits(policy)(batch, np.array([4, 5, 6]))
    assert policy.ranks == [4, 6]
    assert logits.shape == (3, MAX_CANDIDATES)
    assert np.argwhere(logits).tolist() == [[0, 1], [2, 1]]


def _ranks(environment):
    player = Player(replace(source_of(MATCHING), environment=environment, environment_options={}))
    asked = []

    def decide(observations, ranks):
        asked.append(ranks.tolist())
        return observations['base_logits']

    player.play(decide, [Ticket(0, None)], record=False)
    return asked


def test_ranks_are_those_of_the_team_unless_the_environment_knows_better():
    """The first agent leaves after three steps; the second keeps its rank."""
    assert _ranks('tasks:Matching') == [[0, 1]] * 3 + [[1]] * 2
    assert _ranks('tasks:Scattered') == [[0, 0]] * 3 + [[0]] * 2
