"""What the commands of ``python -m sim`` do."""

import argparse
import shlex
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import yaml
from matplotlib import animation, pyplot
from tqdm import tqdm

from marl_core.config import changed, from_mapping, load, read_yaml
from marl_core.errors import ConfigError
from models.scorer import Scorer
from sim.evaluation.ablation import AblationConfig, Study
from sim.evaluation.cases import given_maps, load_evaluation, policy_at
from sim.evaluation.page import write as write_page
from sim.evaluation.playing import decider_of, moments
from sim.evaluation.report import Report
from sim.evaluation.runs import Runs, identity_of
from sim.learning import curves
from sim.learning import export as exporting
from sim.learning.environments import make_environment
from sim.learning.imitation import ImitationConfig, Imitator
from sim.learning.trainer import Trainer, TrainingConfig, load_actor, plain
from sim.learning.tuning import Tuner, TuningConfig

Config = TypeVar('Config')


def train(options: argparse.Namespace) -> int:
    """Train, showing progress and the newest held-back score."""
    config = _configured(TrainingConfig, options.config, _with_processes(options))
    folder = options.output or Path('runs') / (options.config.stem if options.config else 'default')
    trainer = Trainer(config, folder, options.engine)
    held_back = ''
    with tqdm(total=config.iterations, initial=trainer.iteration, unit='it', desc=str(folder)) as bar:
        for numbers in trainer.run(options.minutes):
            if 'held_back/score' in numbers:
                held_back = _held_back(numbers)
            bar.set_postfix_str(f'return {numbers["episode/return"]:.3f}, '
                                f'{numbers["batch/decisions"]:.0f} decisions{held_back}')
            bar.update()
    curves.draw([folder], folder / 'curves.png')
    sys.stdout.write(f'{trainer.last} after {trainer.iteration} iterations; curves in {folder / "curves.png"}\n')
    return 0


def tune(options: argparse.Namespace) -> int:
    """Tune a scorer's weights, showing progress and the newest held-back score."""
    config = _configured(TuningConfig, options.config, _with_processes(options))
    folder = options.output or Path('runs') / (options.config.stem if options.config else 'scorer')
    tuner = Tuner(config, folder, options.engine)
    held_back = ''
    with tqdm(total=config.generations, initial=tuner.generation, unit='generation', desc=str(folder)) as bar:
        for numbers in tuner.run():
            if 'held_back' in numbers:
                held_back = f', held back {100 * numbers["held_back"]:+.1f} %'
            bar.set_postfix_str(f'mean {100 * numbers["mean"]:+.1f} %{held_back}')
            bar.update()
    sys.stdout.write(f'{tuner.folder / "best.ckpt"}: log ratio {100 * tuner.best:+.1f} % on held-back worlds\n')
    return 0


def imitate(options: argparse.Namespace) -> int:
    """Let an actor imitate an expert, showing progress and the newest held-back score."""
    config = _configured(ImitationConfig, options.config, _with_processes(options))
    folder = options.output or Path('runs') / (options.config.stem if options.config else 'imitation')
    imitator = Imitator(config, folder, options.engine)
    held_back = ''
    with tqdm(total=config.rounds, initial=imitator.round, unit='round', desc=str(folder)) as bar:
        for numbers in imitator.run():
            if 'held_back/score' in numbers:
                held_back = _held_back(numbers)
            bar.set_postfix_str(held_back.removeprefix(', '))
            bar.update()
    sys.stdout.write(f'{imitator.last} after {imitator.round} rounds\n')
    return 0


def ablate(options: argparse.Namespace) -> int:
    """Train every variant of a study that is not trained yet, play what was not played, compare and write."""
    study = Study(load(AblationConfig, options.config), options.output, options.processes, options.engine)
    with tqdm(total=study.missing_trainings, unit='training', desc='train') as bar:
        for variant, seed, done, total in study.train():
            bar.set_postfix_str(f'{variant}, seed {seed}: {done} of {total} iterations')
            bar.update(done == total)
    with tqdm(total=study.missing_episodes, unit='episode', desc='play') as bar:
        for played in study.play():
            bar.update(played)
    command = f'python -m sim ablate --config {options.config} --output {options.output}'
    sys.stdout.write(f'{study.report(command)}\n')
    return 0


def evaluate(options: argparse.Namespace) -> int:
    """Play every set of an evaluation with every policy, or what is missing of it; print, draw and write."""
    runs = Runs(load_evaluation(options.config, options.policies, options.sets), given_maps(options.maps),
                options.output)
    with tqdm(total=sum(map(len, runs.missing.values())), unit='run', desc=str(options.output)) as bar:
        for added in runs.play(options.processes, options.engine):
            bar.update(added)

    def film(name: str, policy: str, seed: int) -> tuple[list[np.ndarray], list[str]]:
        return _filmed(runs.sources[name].environment, runs.sources[name].environment_options, policy, seed)

    report = Report.of(runs, _command_of(options))
    page = write_page(report, film)
    sys.stdout.write(f'{report}\n\n{page}\n')
    return 0


def export(options: argparse.Namespace) -> int:
    """Export a checkpoint and write the model card."""
    checkpoint = policy_at(str(options.checkpoint))
    actor, config, content = load_actor(checkpoint)
    identity = identity_of(checkpoint)
    judged = exporting.judgement(options.evaluation, identity) if options.evaluation else None
    entry = exporting.export(actor, options.output, {
        'training': {'iteration': content['iteration'], 'seed': config.seed,
                     'git_commit': content.get('git_commit', 'unknown'), 'best_held_back': content['best'],
                     'config': plain(config)}, 'checkpoint_sha256': identity, 'evaluation': judged,
        **({'weights': actor.linear.weight.tolist()} if isinstance(actor, Scorer) else {})})
    card = options.output.with_suffix('.md')
    card.write_text(exporting.model_card(entry), encoding='utf-8')
    sys.stdout.write(f'{options.output}: {entry["parameters"]} parameters, differs from torch by at most '
                     f'{entry["largest_difference"]:.1e}, decides in {entry["latency_ms"]["p50"]:.3f} ms\n{card}\n')
    return 0


def play(options: argparse.Namespace) -> int:
    """Play one episode and draw it."""
    if options.output.suffix not in _WRITERS:
        raise ConfigError(f'--output {options.output}: must end in {" or ".join(_WRITERS)}')
    policy = policy_at(options.policy)
    config = _environment_of(options.config, policy, options.robots)
    frames, titles = _filmed(config.environment, config.environment_options, policy, options.seed)
    _WRITERS[options.output.suffix](frames, titles, options.output)
    sys.stdout.write(f'{options.output}: {len(frames)} decisions, {titles[-1]}\n')
    return 0


def _configured(kind: type[Config], path: Path | None, assignments: list[str]) -> Config:
    values = _assigned(read_yaml(path) if path else {}, assignments)
    return from_mapping(kind, values, str(path or '--set'))


def _with_processes(options: argparse.Namespace) -> list[str]:
    return options.set + ([] if options.processes is None else [f'processes={options.processes}'])


def _assigned(values: dict[str, Any], assignments: list[str]) -> dict[str, Any]:
    """Values with KEY=VALUE overrides put in."""
    changes = {}
    for assignment in assignments:
        name, equals, text = assignment.partition('=')
        if not equals:
            raise ConfigError(f'--set {assignment}: expected KEY=VALUE')
        changes[name] = _number(yaml.safe_load(text))
    return changed(values, changes)


def _number(value: Any) -> Any:
    """YAML reads 1e-4 as text."""
    try:
        return float(value) if isinstance(value, str) else value
    except ValueError:
        return value


def _environment_of(path: Path | None, policy: str, robots: int | None) -> TrainingConfig:
    """Whose environment is played: the given file's, the checkpoint's, or the default one."""
    if path is not None:
        config = _configured(TrainingConfig, path, [])
    elif policy.endswith('.ckpt'):
        config = load_actor(policy)[1]
    else:
        config = TrainingConfig()
    if robots is not None:
        config = replace(config, environment_options={**config.environment_options, 'robots': robots})
    return config


def _command_of(options: argparse.Namespace) -> str:
    """What repeats an evaluation; who plays it does not matter."""
    words = ['python', '-m', 'sim', 'evaluate', '--config', str(options.config)]
    for name in ('policies', 'sets', 'maps'):
        given = getattr(options, name)
        words += [f'--{name}', *given] if given else []
    return shlex.join([*words, '--output', str(options.output)])


def _held_back(numbers: dict[str, float]) -> str:
    if 'held_back/log_ratio' not in numbers:
        return f', held back {numbers["held_back/score"]:.1f}'
    return (f', held back {100 * numbers["held_back/log_ratio"]:+.1f} '
            f'+- {100 * numbers["held_back/log_ratio_error"]:.1f} %')


def _filmed(name: str, options: Mapping[str, Any], policy: str, seed: int) -> tuple[list[np.ndarray], list[str]]:
    """Frames of an episode in an environment, and their titles."""
    environment = make_environment(name, {**options, 'render_mode': 'rgb_array'})
    frames, titles = [], []
    for infos in moments(environment, decider_of(policy), seed):
        team = next(iter(infos.values()))
        frames.append(environment.render())
        titles.append(f'{100 * team["coverage"]:.0f} % known after {team["team_travelled_m"]:.0f} m together')
    return frames, titles


def _write_film(frames: list[np.ndarray], titles: list[str], path: Path) -> None:
    figure, axis = _canvas(frames[0])
    picture = axis.imshow(frames[0])

    def show(number: int) -> tuple:
        picture.set_data(frames[number])
        axis.set_title(titles[number])
        return (picture,)

    film = animation.FuncAnimation(figure, show, frames=len(frames))
    film.save(path, writer=animation.PillowWriter(fps=5))
    pyplot.close(figure)


def _write_sheet(frames: list[np.ndarray], titles: list[str], path: Path) -> None:
    figure, axes = pyplot.subplots(2, 3, figsize=(12, 8))
    for axis, number in zip(axes.flat, np.linspace(0, len(frames) - 1, 6).astype(int), strict=True):
        axis.imshow(frames[number])
        axis.set_title(titles[number])
        axis.axis('off')
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


def _canvas(frame: np.ndarray) -> tuple[pyplot.Figure, pyplot.Axes]:
    figure, axis = pyplot.subplots(figsize=(6, 6 * frame.shape[0] / frame.shape[1] + 0.5))
    axis.axis('off')
    figure.tight_layout()
    return figure, axis


_WRITERS = {'.gif': _write_film, '.png': _write_sheet}
