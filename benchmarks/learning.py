"""The learner on mpe2's simple_spread: what it reaches with 200,000 frames, and frames per CPU second.

The peer is BenchMARL's MAPPO with the same network, batch, epochs and minibatches; neither evaluates while its frames
are counted, and both actors learn from the first batch on. It needs versions of its own, so it runs in an environment
of its own, named by ``BENCHMARL_PYTHON``; without one its ratio is left out:

    python -m venv benchmarl && benchmarl/bin/pip install torch==2.13.0 benchmarl==1.5.2 pettingzoo==1.24.3 pygame
    BENCHMARL_PYTHON=benchmarl/bin/python python -m benchmarks learning

``python -m benchmarks.learning`` is the long run alone: 2 million frames of one seed, half an hour on one core. It
returned -9.4 on held-back episodes when it was last run, where -15 was asked for.
"""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from time import process_time

import numpy as np
import torch

from benchmarks.rows import Row
from marl_core.config import load
from sim.learning.trainer import Trainer, TrainingConfig

CONFIG = Path(__file__).parents[1] / 'config' / 'training' / 'simple_spread.yaml'
PEER_VARIABLE = 'BENCHMARL_PYTHON'
SEEDS = (1, 2, 3)
FRAMES_PER_EPISODE = 25
BATCH_EPISODES, MINIBATCHES, EPOCHS, WIDTH, ITERATIONS = 240, 6, 10, 128, 4
PEER = """
import sys, tempfile, time
import torch
from benchmarl.algorithms import MappoConfig
from benchmarl.environments import PettingZooTask
from benchmarl.experiment import Experiment, ExperimentConfig
from benchmarl.models.mlp import MlpConfig
torch.set_num_threads(1)
batch, minibatches, epochs, width, iterations = map(int, sys.argv[1:])
config = ExperimentConfig.get_from_yaml()
config.max_n_frames, config.on_policy_collected_frames_per_batch = batch * iterations, batch
config.on_policy_minibatch_size, config.on_policy_n_minibatch_iters = batch // minibatches, epochs
config.on_policy_n_envs_per_worker, config.lr = 64, 1e-3
config.evaluation, config.loggers, config.create_json, config.prefer_continuous_actions = False, [], False, False
config.save_folder = tempfile.mkdtemp()
task = PettingZooTask.SIMPLE_SPREAD.get_from_yaml()
task.config.update({'N': 3, 'max_cycles': 25, 'local_ratio': 0.5})
network = MlpConfig(num_cells=[width, width], layer_class=torch.nn.Linear, activation_class=torch.nn.Tanh)
experiment = Experiment(task, MappoConfig.get_from_yaml(), network, 0, config, critic_model_config=network)
started = time.process_time()
experiment.run()
print(batch * iterations / (time.process_time() - started))
"""


def measure() -> list[Row]:
    """All on one thread. The floor is what a plain MAPPO reaches with as many frames; random play returns -26.8."""
    torch.set_num_threads(1)
    config = load(TrainingConfig, CONFIG)
    returns = [_trained(replace(config, seed=seed))[0] for seed in SEEDS]
    fast = replace(config, iterations=ITERATIONS, episodes=BATCH_EPISODES, side_by_side=64,
                   actor_options={'width': WIDTH}, evaluation_episodes=1, warm_up=0, final_rate=1.0,
                   mappo=replace(config.mappo, epochs=EPOCHS, critic_epochs=EPOCHS, minibatches=MINIBATCHES))
    per_s = ITERATIONS * BATCH_EPISODES * FRAMES_PER_EPISODE / _trained(fast)[1]
    peer_per_s = _peer_per_s()
    speed = Row('MAPPO on simple_spread, frames per CPU second', per_s, '1/s', 1000.0) if peer_per_s is None else Row(
        'MAPPO on simple_spread, frames per CPU second', per_s, '1/s', 1000.0, peer='BenchMARL', ratio_target=4.0,
        ratio=per_s / peer_per_s)
    return [Row('simple_spread, 3 agents, 200,000 frames: return of the worst of three seeds', min(returns), '', -21.0),
            Row('the same, mean of three seeds', float(np.mean(returns)), '', -21.0), speed]


def _trained(config: TrainingConfig) -> tuple[float, float]:
    """Return of the best policy on held-back episodes (NaN if none was evaluated), and CPU seconds."""
    with TemporaryDirectory() as folder:
        started_s = process_time()
        trainer = Trainer(config, folder)
        for _ in trainer.run():
            pass
        return float('nan') if trainer.best is None else -trainer.best, process_time() - started_s


def _peer_per_s() -> float | None:
    if PEER_VARIABLE not in os.environ:
        return None
    done = subprocess.run(
        [os.environ[PEER_VARIABLE], '-c', PEER, *map(str, (BATCH_EPISODES * FRAMES_PER_EPISODE, MINIBATCHES, EPOCHS,
                                                           WIDTH, ITERATIONS))],
        env={**os.environ, 'OMP_NUM_THREADS': '1'}, check=True, capture_output=True, text=True)
    return float(done.stdout.split()[-1])


def main() -> int:
    """The long run; prints a row."""
    torch.set_num_threads(1)
    config = replace(load(TrainingConfig, CONFIG), iterations=1250, evaluate_every=125)
    sys.stdout.write(f'{Row("simple_spread, 3 agents, 2,000,000 frames: return", _trained(config)[0], "", -15.0)}\n')
    return 0


if __name__ == '__main__':
    sys.exit(main())
