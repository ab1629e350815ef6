"""What goes wrong while learning is named, and nothing that was learnt is lost."""

from dataclasses import replace

import pytest
import torch

from marl_core.errors import TrainingError
from sim.learning import checkpoint
from sim.learning.rollout import REFERENCE, Player, Ticket
from sim.learning.trainer import Trainer, source_of
from tests.sim.learning.test_trainer import MATCHING


@pytest.mark.parametrize(('what', 'said'), [
    ('reward', 'step 1: reward is not finite'), ('observation', "step 3: observation 'observation' is not finite"),
    ('shape', "'second'.*'observation'.*\\(5,\\).*\\(4,\\)"), ('name', "'second'.*smell.*observation"),
    ('late shape', "'second'.*'observation'.*\\(5,\\).*\\(4,\\)"), ('late name', "'second'.*smell.*observation"),
    ('agent', 'agents that come later cannot be learnt for: third')])
def test_an_environment_that_breaks_its_word_is_named(tmp_path, what, said):
    broken = replace(MATCHING, environment='tasks:Broken', environment_options={'what': what}, processes=1)
    with pytest.raises(TrainingError, match=said):
        list(Trainer(broken, tmp_path).run())


@pytest.mark.parametrize('module', ['actor', 'critic'])
def test_a_loss_that_is_no_number_stops_before_it_is_saved(tmp_path, module):
    config = replace(MATCHING, iterations=4, save_every=100, warm_up=0)
    trainer = Trainer(config, tmp_path)
    run = trainer.run()
    next(run)
    trainer.save(trainer.last)
    with torch.no_grad():
        next(getattr(trainer.learner, module).parameters()).fill_(float('nan'))
    with pytest.raises(TrainingError, match=f'{module}|log probability'):
        next(run)
    assert checkpoint.load(trainer.last)['iteration'] == 1
    *_, last = Trainer(config, tmp_path).run()
    assert last['iteration'] == 4


def test_a_full_disk_leaves_the_last_checkpoint(tmp_path, monkeypatch):
    path = tmp_path / 'last.ckpt'
    checkpoint.save(path, {'number': 1})

    def full(descriptor):
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(checkpoint.os, 'fsync', full)
    with pytest.raises(TrainingError, match='last.ckpt.*No space left on device.*previous one is kept'):
        checkpoint.save(path, {'number': 2})
    assert checkpoint.load(path)['number'] == 1
    assert [file.name for file in tmp_path.iterdir()] == ['last.ckpt']


def test_players_check_every_episode(tmp_path):
    source = replace(source_of(MATCHING), environment='tasks:Broken', environment_options={'what': 'shape'})
    player = Player(source)
    with pytest.raises(TrainingError, match='observation_space'):
        player.play(player.decider(REFERENCE), [Ticket(0, None)])
