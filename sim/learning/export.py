"""From a checkpoint to a file that a robot can trust: ONNX, manifest, numeric check and model card."""

import json
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch

from marl_core.decision.policies.onnx import MANIFEST_KEY, OnnxPolicy, manifest
from marl_core.errors import TrainingError
from models.features import example_observation
from models.network import CandidateNetwork
from sim.learning.actors import Separate, memory_size
from sim.learning.checkpoint import git_commit

TOLERANCE = 1e-4
"""Largest difference of a logit between torch and onnxruntime."""

CHECKED_SIZES = tuple((candidates, robots) for candidates in (1, 2, 5, 13, 32, 50) for robots in (1, 2, 4, 9, 12))
"""Numbers of candidates and robots for which both are compared."""


def export(actor: CandidateNetwork, path: str | Path, remarks: Mapping[str, Any]) -> dict[str, Any]:
    """Write ``path`` (ONNX with manifest) and its sidecar ``path`` with suffix .json; nothing remains on failure.

    Args:
        actor: the trained network. path: ends in .onnx.
        remarks: what else the manifest shall say (training configuration, score).

    Returns:
        The manifest.

    Raises:
        TrainingError: an actor that robots cannot run, or onnxruntime's numbers differ from torch's.
        PolicyError: the robot's runtime would refuse the file.
    """
    _require_exportable(actor)
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix('.draft.onnx')
    try:
        actor.eval().as_onnx(draft)
        difference = largest_difference(actor, draft)
        if not difference < TOLERANCE:
            raise TrainingError(f'{path}: onnxruntime and torch differ by {difference:.2e} (allowed {TOLERANCE:.0e})')
        content = manifest(
            **remarks, model=path.stem, parameters=sum(weights.numel() for weights in actor.parameters()),
            largest_difference=difference, latency_ms=latency_ms(draft), exported=datetime.now(UTC).isoformat(),
            git_commit=git_commit(), versions={module.__name__: module.__version__
                                               for module in (torch, onnx, onnxruntime, np)})
        model = onnx.load(draft)
        for node in [*model.graph.node, *(inner for function in model.functions for inner in function.node)]:
            del node.metadata_props[:]  # the exporter notes source lines of the machine that it ran on
            node.doc_string = ''
        for value in [*model.graph.value_info, *model.graph.input, *model.graph.output, *model.graph.initializer]:
            del value.metadata_props[:]
        del model.graph.metadata_props[:]
        del model.metadata_props[:]
        entry = model.metadata_props.add()
        entry.key, entry.value = MANIFEST_KEY, json.dumps(content)
        onnx.checker.check_model(model)
        onnx.save(model, draft)
        OnnxPolicy(draft)  # the very checks that the robot makes
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
    path.with_suffix('.json').write_text(json.dumps(content, indent=2) + '\n', encoding='utf-8')
    return content


def _require_exportable(actor: torch.nn.Module) -> None:
    if isinstance(actor, Separate):
        raise TrainingError('every agent of this actor has weights of its own; robots run one network that all share: '
                            'train without `separate`')
    if memory_size(actor):
        raise TrainingError(f'a {type(actor).__name__} remembers; robots run networks that remember nothing')
    if not isinstance(actor, CandidateNetwork):
        raise TrainingError(f'only what chooses among candidates reaches robots, not a {type(actor).__name__}')


def largest_difference(actor: CandidateNetwork, path: str | Path) -> float:
    """Compare torch and onnxruntime on random observations of many sizes; NaN counts as infinite."""
    session = _session(path)
    worst = 0.0
    for number, (candidates, robots) in enumerate(CHECKED_SIZES):
        observation = example_observation(candidates, robots, seed=number)
        if number % 2:  # masks of every pattern occur in training only, but must mean the same here
            observation['candidate_mask'] = torch.arange(candidates) < max(1, candidates - 2)
            observation['team_mask'] = torch.arange(robots) < max(1, robots - 1)
        with torch.inference_mode():
            expected = actor.score(**observation).numpy()
        got, = session.run(['logits'], {name: array.numpy() for name, array in observation.items()})
        difference = float(np.abs(got - expected).max()) if got.shape == expected.shape else np.inf
        worst = max(worst, difference if np.isfinite(difference) else np.inf)
    return worst


def latency_ms(path: str | Path, calls: int = 1000) -> dict[str, float]:
    """Time of one decision among 32 candidates in a team of 9, on one thread [ms]: p50 and p99."""
    session = _session(path)
    feed = {name: array.numpy() for name, array in example_observation(32, 9).items()}
    times = []
    for _ in range(calls + 50):
        started = time.perf_counter()
        session.run(None, feed)
        times.append(time.perf_counter() - started)
    p50, p99 = np.percentile(np.array(times[50:]) * 1e3, (50, 99))
    return {'p50': round(float(p50), 4), 'p99': round(float(p99), 4)}


def judgement(path: str | Path, identity: str) -> dict[str, Any]:
    """What an evaluation found of a policy.

    Args:
        path: its report.json. identity: of the policy, see ``sim.evaluation.runs.identity_of``.

    Returns:
        ``title``: what was measured. ``player``: what the policy was called. ``ratios``: by group of episodes.
        ``players``: ratios of all who played, over all sets. ``command`` and ``git_commit``: how to repeat it.

    Raises:
        TrainingError: it is no such file, or the policy did not play.
    """
    try:
        report = json.loads(Path(path).read_text(encoding='utf-8'))
        players, title = report['players'], report['card']
        table = report['tables'][title]
        names = [name for name, player in players.items() if player['identity'] == identity]
        found = {key: report[key] for key in ('command', 'git_commit')}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise TrainingError(f'{path}: not the report.json of an evaluation ({error!r})') from error
    if not names:
        raise TrainingError(f'{path}: neither this checkpoint nor a model that was exported from it played '
                            f'(who did: {", ".join(players)}); evaluate it with --policies')
    name = names[0]
    return found | {'title': title, 'player': name, 'players': next(iter(table.values())),
                    'ratios': {group: rows[name] for group, rows in table.items() if name in rows}}


def model_card(entry: Mapping[str, Any]) -> str:
    """The README beside exported models, from a manifest."""
    training, judged = entry.get('training', {}), entry.get('evaluation')
    lines = [
        f'# {entry["model"]}', '',
        'Written by `python -m sim export`; do not edit. Chooses where a robot goes next: '
        + ('the Burgard rule plus a weighted sum of features (see models/scorer.py).' if 'weights' in entry else
           'a bounded correction of a scorer by attention over candidates and team (see models/coordinator.py).'), '',
        '| | |', '|---|---|',
        f'| Specs | version {entry["specs_version"]}, fingerprint `{entry["fingerprint"]}` |',
        f'| Parameters | {entry["parameters"]} |',
        f'| Decision, 32 candidates, 9 robots, 1 thread | p50 {entry["latency_ms"]["p50"]:.3f} ms, '
        f'p99 {entry["latency_ms"]["p99"]:.3f} ms |',
        f'| onnxruntime against torch, {len(CHECKED_SIZES)} sizes | largest difference '
        f'{entry["largest_difference"]:.1e} |',
        f'| Trained | {training.get("iteration", "?")} iterations, seed {training.get("seed", "?")}, '
        f'commit `{training.get("git_commit", "?")}` |',
        f'| Exported | {entry["exported"]}, commit `{entry["git_commit"]}` |', '']
    if judged is None:
        lines += ['Not evaluated. Run `python -m sim evaluate --policies` and export again with `--evaluation`.', '']
        return '\n'.join(lines)
    lines += [f'## {judged["title"]}, on held-back episodes', '',
              'Geometric means of ratios over the same worlds and starts, none of which was ever trained on; below 1 '
              'is better. 95 % bootstrap intervals over worlds. *Lost*: episodes that only the other one finished.', '',
              *_ratio_rows('episodes', judged['ratios']), '',
              f'All who played, over all of these sets; this policy is called {judged["player"]}.', '',
              *_ratio_rows('policy', judged['players']), '',
              f'Made by `{judged["command"]}` at commit `{judged["git_commit"]}`.', '']
    return '\n'.join(lines)


def _ratio_rows(what: str, ratios: Mapping[str, Mapping[str, Any]]) -> list[str]:
    return [f'| {what} | ratio | IQM of ratios | better in | finished by both | lost |', '|---|---|---|---|---|---|',
            *(f'| {name} | {_interval(row["mean"])} | {_interval(row["iqm"])} | {100 * row["better"]["value"]:.0f} % | '
              f'{row["episodes"]} | {row["lost"]} |' for name, row in ratios.items())]


def _session(path: str | Path) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(str(path), options, providers=['CPUExecutionProvider'])


def _interval(estimate: Mapping[str, float]) -> str:
    return f'{estimate["value"]:.3f} [{estimate["low"]:.3f}, {estimate["high"]:.3f}]'
