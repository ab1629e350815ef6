"""What the commands of ``python -m sim`` do."""

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from matplotlib import animation, pyplot
from tqdm import tqdm

from marl_core.config import from_mapping, read_yaml
from marl_core.decision.policies import make_policy
from marl_core.errors import ConfigError, TrainingError
from models.network import CandidateNetwork
from models.scorer import Scorer
from sim.evaluation import comparison
from sim.evaluation.cases import given_maps, load_evaluation
from sim.evaluation.report import write as write_report
from sim.evaluation.runs import Runs
from sim.learning import curves, evaluation
from sim.learning import export as exporting
from sim.learning.checkpoint import git_commit
from sim.learning.environments import make_environment
from sim.learning.players import make_players
from sim.learning.rollout import Decide, Player, Plays, Source, Ticket
from sim.learning.trainer import Trainer, TrainingConfig, load_actor, plain, source_of
from sim.learning.tuning import Tuner, TuningConfig


def train(options: argparse.Namespace) -> int:
    """Train, showing progress and the newest held-back score."""
    config = _configured(options.config, _with_processes(options))
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
    values = read_yaml(options.config) if options.config else {}
    config = from_mapping(TuningConfig, _assigned(values, _with_processes(options)), str(options.config or '--set'))
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


def evaluate(options: argparse.Namespace) -> int:
    """Play held-back episodes with every policy, compare, print, write."""
    options.policies = [_checkpoint_in(name) for name in options.policies]
    config = _environment_of(options.config, options.policies, options.robots)
    if options.worlds:
        config = replace(config, environment='exploration_in',
                         environment_options={**config.environment_options, 'worlds': tuple(options.worlds)})
    names = list(dict.fromkeys([options.against, *options.policies]))
    tickets = [Ticket(options.first + number, None) for number in range(options.episodes)]
    known = {name: _player_of(name, config) for name in names}  # wrong names shall fail before anything is played
    results: dict[str, list[float]] = {}
    with tqdm(total=len(names) * len(tickets), unit='episode') as bar:
        for name, (plays, source) in known.items():
            with make_players(options.engine, source, options.processes) as players:
                episodes = []
                for start in range(0, len(tickets), 16 * options.processes):
                    part = tickets[start:start + 16 * options.processes]
                    episodes += players.play(plays, part, record=False)
                    bar.update(len(part))
            results[name] = evaluation.scores(episodes, options.metric)
    labels = _labels(names)
    rows = [comparison.compare(labels[name], labels[options.against], options.metric, results[name],
                               results[options.against]) for name in names]
    sys.stdout.write(comparison.table(rows) + '\n')
    if options.output:
        comparison.write(options.output, rows, {
            'episodes': options.episodes, 'first_seed': options.first, 'environment': config.environment,
            'environment_options': plain(config)['environment_options'], 'git_commit': git_commit(),
            'scores': {labels[name]: values for name, values in results.items()}})
    return 0


def report(options: argparse.Namespace) -> int:
    """Play every set of an evaluation with every policy, or what is missing of it, and write the page."""
    config = load_evaluation(options.config)
    for policy in config.players.values():
        make_policy(policy)  # what cannot be loaded shall be refused before anything is played
    runs = Runs(config, given_maps(options.maps), options.output)
    total = sum(map(len, runs.missing.values()))
    with tqdm(total=total, unit='run', desc=str(options.output)) as bar:
        for added in runs.play(options.processes, options.engine):
            bar.update(added)

    def film(name: str, policy: str, seed: int) -> tuple[list[np.ndarray], list[str]]:
        source = runs.sources[name]
        environment = make_environment(source.environment, {**source.environment_options, 'render_mode': 'rgb_array'})
        return _filmed(environment, Player(source).decider(policy), seed, source)

    command = ' '.join(['python -m sim report --config', str(options.config),
                        *(['--maps', *(f"'{given}'" for given in options.maps)] if options.maps else []),
                        '--output', str(options.output)])
    page = write_report(runs, film, command)
    sys.stdout.write(f'{page}\n')
    return 0


def export(options: argparse.Namespace) -> int:
    """Export a checkpoint and write the model card."""
    actor, config, content = load_actor(_checkpoint_in(str(options.checkpoint)))
    if not isinstance(actor, CandidateNetwork):
        raise TrainingError(f'{options.checkpoint}: only what chooses among candidates reaches robots, '
                            f'not {config.actor!r}')
    evaluated = None if options.evaluation is None else _evaluation(options.evaluation)
    score = None if evaluated is None else {key: value for key, value in evaluated.items() if key != 'scores'}
    entry = exporting.export(actor, options.output, {
        'training': {'iteration': content['iteration'], 'seed': config.seed,
                     'git_commit': content.get('git_commit', 'unknown'), 'best_held_back': content['best'],
                     'config': plain(config)}, 'evaluation': score,
        **({'weights': actor.linear.weight.tolist()} if isinstance(actor, Scorer) else {})})
    card = options.output.with_suffix('.md')
    card.write_text(exporting.model_card(entry, evaluated), encoding='utf-8')
    sys.stdout.write(f'{options.output}: {entry["parameters"]} parameters, differs from torch by at most '
                     f'{entry["largest_difference"]:.1e}, decides in {entry["latency_ms"]["p50"]:.3f} ms\n{card}\n')
    return 0


def play(options: argparse.Namespace) -> int:
    """Play one episode and draw it."""
    if options.output.suffix not in _WRITERS:
        raise ConfigError(f'--output {options.output}: must end in {" or ".join(_WRITERS)}')
    options.policy = _checkpoint_in(options.policy)
    config = _environment_of(options.config, [options.policy], options.robots)
    plays, source = _player_of(options.policy, config)
    environment = make_environment(source.environment, {**source.environment_options, 'render_mode': 'rgb_array'})
    decide = Player(source).decider(plays)
    frames, titles = _filmed(environment, decide, options.seed, source)
    _WRITERS[options.output.suffix](frames, titles, options.output)
    sys.stdout.write(f'{options.output}: {len(frames)} decisions, {titles[-1]}\n')
    return 0


def _configured(path: Path | None, assignments: list[str]) -> TrainingConfig:
    values = _assigned(read_yaml(path) if path else {}, assignments)
    return from_mapping(TrainingConfig, values, str(path or '--set'))


def _with_processes(options: argparse.Namespace) -> list[str]:
    return options.set + ([] if options.processes is None else [f'processes={options.processes}'])


def _assigned(values: dict[str, Any], assignments: list[str]) -> dict[str, Any]:
    """Values with KEY=VALUE overrides put in."""
    for assignment in assignments:
        name, equals, text = assignment.partition('=')
        if not equals:
            raise ConfigError(f'--set {assignment}: expected KEY=VALUE')
        place = values
        *parents, last = name.split('.')
        for parent in parents:
            place = place.setdefault(parent, {})
        place[last] = _number(yaml.safe_load(text))
    return values


def _number(value: Any) -> Any:
    """YAML reads 1e-4 as text."""
    try:
        return float(value) if isinstance(value, str) else value
    except ValueError:
        return value


def _environment_of(path: Path | None, policies: list[str], robots: int | None) -> TrainingConfig:
    """Whose environment is played: the given file's, the first checkpoint's, or the default one."""
    checkpoints = [name for name in policies if name.endswith('.ckpt')]
    if path is not None:
        config = _configured(path, [])
    elif checkpoints:
        config = load_actor(checkpoints[0])[1]
    else:
        config = TrainingConfig()
    if robots is not None:
        config = replace(config, environment_options={**config.environment_options, 'robots': robots})
    return config


def _player_of(name: str, config: TrainingConfig) -> tuple[Plays, Source]:
    source = source_of(config)
    if not name.endswith('.ckpt'):
        make_policy(name)  # a wrong name shall be refused before processes start
        return name, source
    actor, own, _ = load_actor(name)
    return actor.state_dict(), replace(source, actor=own.actor, actor_options=dict(own.actor_options))


def _checkpoint_in(name: str) -> str:
    """A run's folder stands for its best checkpoint."""
    folder = Path(name)
    return str(folder / 'best.ckpt') if folder.is_dir() else name


def _labels(names: list[str]) -> dict[str, str]:
    """Short names for a table: of a run, or the stem of a file; whole paths where those repeat."""
    stems = {name: Path(name).parent.name if Path(name).name == 'best.ckpt' else Path(name).stem for name in names}
    return {name: stem if list(stems.values()).count(stem) == 1 else name for name, stem in stems.items()}


def _held_back(numbers: dict[str, float]) -> str:
    if 'held_back/log_ratio' not in numbers:
        return f', held back {numbers["held_back/score"]:.1f}'
    return (f', held back {100 * numbers["held_back/log_ratio"]:+.1f} '
            f'+- {100 * numbers["held_back/log_ratio_error"]:.1f} %')


def _evaluation(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text(encoding='utf-8'))
    except (OSError, ValueError) as error:
        raise TrainingError(f'{path}: not the JSON of an evaluation ({error})') from error


def _filmed(environment: Any, decide: Decide, seed: int, source: Source) -> tuple[list[np.ndarray], list[str]]:
    observations, _ = environment.reset(seed=seed)
    frames, titles = [environment.render()], ['start']
    while environment.agents and len(frames) < source.maximum_steps:
        rows = {name: np.stack([observations[agent][name] for agent in environment.agents])
                for name in observations[environment.agents[0]]}
        logits = decide(rows, np.arange(len(environment.agents)))
        logits = np.where(rows[source.action_mask].astype(bool), logits, -np.inf)
        chosen = {agent: int(logits[row].argmax()) for row, agent in enumerate(environment.agents)}
        observations, _, _, _, infos = environment.step(chosen)
        last = next(iter(infos.values()))
        frames.append(environment.render())
        titles.append(f'{100 * last["coverage"]:.0f} % known after {last["travelled_m"]:.0f} m')
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
