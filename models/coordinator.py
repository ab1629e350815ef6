"""The coordinator: where a robot should go next, by attention over its candidates and its team.

The network never decides alone. Its output is a bounded correction of the Burgard rule,

    logits = base_logits + clip * tanh((linear(features) + attention(features, team)) / clip),

and both terms start at exactly zero: an untrained coordinator *is* Burgard's rule, and a badly trained one can
contradict it by ``residual_limit`` logits at most.

Distances between candidates and from teammates to candidates enter attention as a per-head bias, so that the
structure of tours (what Hungarian and mTSP planners compute on) need not be learnt from coordinates.

Shapes: ``...`` are batch dimensions (none when exported), K candidates, T robots, F features, D width, H heads.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import pi
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from marl_core.specs import FAR_M, OBSERVATION, Candidate, Team

MASKED = -1e4
"""Stands for minus infinity: exp() of it is zero and, unlike infinity, it never makes NaN."""

FEATURES = 16
"""Normalised features of a candidate, see ``candidate_features``."""

CONTEXTS = 3
"""What the linear term's weights depend on: nothing, size of the team, number of candidates."""

TEAM_FEATURES = 8

LINEAR_GAIN = 5.0
"""Adam moves every weight by about the learning rate. The few weights of the linear term may move faster than those
of attention, and what is left is for attention to learn."""

PARTS = 5
"""Into how many parts of like size large batches are sorted."""


@dataclass(frozen=True, slots=True)
class CoordinatorConfig:
    """Size of the network; the defaults decide within a third of a millisecond on one CPU core."""

    width: int = 32
    heads: int = 2
    layers: int = 1
    hidden: int = 64
    residual_limit: float = 6.0
    """Largest correction of a base logit [logit]."""


class Attention(nn.Module):
    """Scaled dot-product attention whose scores fall with distance, at a rate that each head learns."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads, self.size = heads, width // heads
        self.query = nn.Linear(width, width)
        self.key_value = nn.Linear(width, 2 * width)
        self.output = nn.Linear(width, width)
        # Heads start from indifferent to local, so that some see the whole map and some the neighbourhood.
        self.distance_weight = nn.Parameter(torch.linspace(-3.0, 1.0, heads).reshape(heads, 1, 1))

    def forward(self, queries: Tensor, keys: Tensor, distances: Tensor, forbidden: Tensor) -> Tensor:
        """Attend from queries to keys.

        Args:
            queries: Shape: (..., Q, D). keys: Shape: (..., N, D).
            distances: in sensor ranges. Shape: (..., 1, Q, N).
            forbidden: 0 where a key may be attended to, MASKED elsewhere. Shape: (..., 1, 1, N).

        Returns:
            Shape: (..., Q, D).
        """
        query = self._split(self.query(queries)) * self.size ** -0.5
        key, value = self.key_value(keys).chunk(2, dim=-1)
        scores = query @ self._split(key).transpose(-1, -2) + (forbidden - functional.softplus(
            self.distance_weight) * distances)
        mixed = torch.softmax(scores, dim=-1) @ self._split(value)
        return self.output(mixed.transpose(-2, -3).flatten(-2))

    def _split(self, tokens: Tensor) -> Tensor:
        """(..., N, D) -> (..., H, N, D / H)."""
        return tokens.unflatten(-1, (self.heads, self.size)).transpose(-2, -3)


class Layer(nn.Module):
    """Candidates look at one another, then at the team, then think."""

    def __init__(self, config: CoordinatorConfig) -> None:
        super().__init__()
        width = config.width
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(3))
        self.among_candidates = Attention(width, config.heads)
        self.towards_team = Attention(width, config.heads)
        self.feed_forward = nn.Sequential(nn.Linear(width, config.hidden), nn.ReLU(),
                                          nn.Linear(config.hidden, width))

    def forward(self, tokens: Tensor, team: Tensor, candidate_distances: Tensor, team_distances: Tensor,
                no_candidate: Tensor, no_robot: Tensor) -> Tensor:
        """Shapes: tokens (..., K, D), team (..., T, D), distances (..., 1, K, K) and (..., 1, K, T)."""
        normed = self.norms[0](tokens)
        tokens = tokens + self.among_candidates(normed, normed, candidate_distances, no_candidate)
        tokens = tokens + self.towards_team(self.norms[1](tokens), team, team_distances, no_robot)
        return tokens + self.feed_forward(self.norms[2](tokens))


class Coordinator(nn.Module):
    """Scores candidates; see the module's docstring."""

    def __init__(self, config: CoordinatorConfig = CoordinatorConfig()) -> None:
        super().__init__()
        self.config = config
        self.embed_candidates = nn.Sequential(nn.Linear(FEATURES, config.width), nn.ReLU(),
                                              nn.Linear(config.width, config.width))
        self.embed_team = nn.Sequential(nn.Linear(TEAM_FEATURES, config.width), nn.ReLU(),
                                        nn.Linear(config.width, config.width))
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.layers))
        self.head_norm = nn.LayerNorm(config.width)
        self.head = nn.Linear(config.width, 1, bias=False)
        self.linear = nn.Linear(FEATURES, CONTEXTS, bias=False)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.linear.weight)

    def forward(self, observation: Mapping[str, Tensor]) -> Tensor:
        """Logits of a padded batch, as training sees it.

        Args:
            observation: the arrays of specs.OBSERVATION with one batch dimension, valid rows first.

        Returns:
            Shape: (B, K). Rows beyond the last valid candidate hold MASKED.
        """
        counts = observation['candidate_mask'].sum(-1)
        if len(counts) < 4 * PARTS:
            return self._trimmed(observation)
        # Most observations fill a third of the padding. Sorted into parts of like size, most of it is cut off.
        order = torch.argsort(counts)
        parts = [self._trimmed({name: array[rows] for name, array in observation.items()})
                 for rows in order.chunk(PARTS)]
        return torch.cat(parts)[torch.argsort(order)]

    def _trimmed(self, observation: Mapping[str, Tensor]) -> Tensor:
        padded = observation['candidate_mask'].shape[-1]
        used = max(1, int(observation['candidate_mask'].sum(-1).max()))
        robots = max(1, int(observation['team_mask'].sum(-1).max()))
        logits = self.score(
            observation['candidates'][..., :used, :], observation['candidate_mask'][..., :used],
            observation['candidate_distances_m'][..., :used, :used], observation['team'][..., :robots, :],
            observation['team_mask'][..., :robots], observation['team_distances_m'][..., :robots, :used],
            observation['base_logits'][..., :used], observation['sensor_range_m'])
        return functional.pad(logits, (0, padded - used), value=MASKED)

    def score(self, candidates: Tensor, candidate_mask: Tensor, candidate_distances_m: Tensor, team: Tensor,
              team_mask: Tensor, team_distances_m: Tensor, base_logits: Tensor, sensor_range_m: Tensor) -> Tensor:
        """Logits from the arrays of specs.OBSERVATION, with any batch dimensions. Shape: (..., K)."""
        per_range = 1.0 / sensor_range_m.unsqueeze(-1)
        near = candidate_distances_m * per_range
        no_candidate = torch.where(candidate_mask, 0.0, MASKED).unsqueeze(-2)
        no_robot = torch.where(team_mask, 0.0, MASKED).unsqueeze(-2)
        features = candidate_features(candidates, candidate_mask, near, base_logits, per_range)
        tokens = self.embed_candidates(features)
        mates = self.embed_team(team_features(team, per_range))
        team_near = (team_distances_m * per_range).transpose(-1, -2).unsqueeze(-3)
        for layer in self.layers:
            tokens = layer(tokens, mates, near.unsqueeze(-3), team_near, no_candidate.unsqueeze(-2),
                           no_robot.unsqueeze(-2))
        context = contexts(candidate_mask, team_mask)
        residual = self.head(self.head_norm(tokens)) + LINEAR_GAIN * (
            self.linear(features) * context).sum(-1, keepdim=True)
        limit = self.config.residual_limit
        return base_logits + limit * torch.tanh(residual.squeeze(-1) / limit)

    def as_onnx(self, path: str | Path, opset: int = 18) -> None:
        """Write the network as ONNX with named inputs of specs.OBSERVATION and dynamic K and T, without batch.

        The file carries no manifest; ``sim.learning.export`` adds it and checks the numbers.
        """
        example = example_observation(candidates=5, robots=3)
        names = [spec.name for spec in OBSERVATION]
        dynamic = {spec.name: {axis: torch.export.Dim.DYNAMIC for axis, size in enumerate(spec.shape)
                               if isinstance(size, str)} for spec in OBSERVATION}
        scorer = _Scorer(self).eval()
        torch.onnx.export(scorer, tuple(example[name] for name in names), str(path), input_names=names,
                          output_names=['logits'], opset_version=opset, dynamo=True, dynamic_shapes=dynamic,
                          external_data=False, verbose=False)


class _Scorer(nn.Module):
    """Gives ``Coordinator.score`` the name that exporters call."""

    def __init__(self, coordinator: Coordinator) -> None:
        super().__init__()
        self.coordinator = coordinator

    def forward(self, candidates: Tensor, candidate_mask: Tensor, candidate_distances_m: Tensor, team: Tensor,
                team_mask: Tensor, team_distances_m: Tensor, base_logits: Tensor, sensor_range_m: Tensor) -> Tensor:
        return self.coordinator.score(candidates, candidate_mask, candidate_distances_m, team, team_mask,
                                      team_distances_m, base_logits, sensor_range_m)


def candidate_features(candidates: Tensor, mask: Tensor, near: Tensor, base_logits: Tensor,
                       per_range: Tensor) -> Tensor:
    """Features of order one, in units of the sensor's range.

    Beside the columns of specs.Candidate: the margin by which the robot is nearer than its nearest teammate, the
    length of frontier around (weighted by nearness), and distance, gain and base logit relative to the best of them,
    because a choice is about differences.

    Args:
        candidates: Shape: (..., K, len(Candidate)). mask: Shape: (..., K).
        near: distances between candidates [sensor ranges]. Shape: (..., K, K).
        base_logits: Shape: (..., K). per_range: 1 / sensor range [1/m]. Shape: (..., 1, 1).

    Returns:
        Shape: (..., K, FEATURES).
    """
    column = {name: candidates[..., name:name + 1] for name in Candidate}
    valid = mask.unsqueeze(-1)
    distance = column[Candidate.DISTANCE_M] * per_range
    mate = column[Candidate.NEAREST_TEAMMATE_M] * per_range
    isolation = column[Candidate.ISOLATION_M] * per_range
    size = torch.log1p(column[Candidate.SIZE_M] * per_range)
    gain = column[Candidate.GAIN_M2] * (per_range * per_range / pi)
    base = base_logits.unsqueeze(-1)
    # Padding must not be anybody's best, nor anybody's neighbour.
    nearest = torch.where(valid, distance, FAR_M).amin(-2, keepdim=True)
    richest = torch.where(valid, gain, 0.0).amax(-2, keepdim=True)
    favourite = torch.where(valid, base, MASKED).amax(-2, keepdim=True)
    neighbourhood = torch.exp(-near) @ torch.where(valid, size, 0.0)
    features = torch.cat((
        column[Candidate.X_M] * per_range, column[Candidate.Y_M] * per_range, distance, size, gain,
        column[Candidate.UNKNOWN_RATIO], column[Candidate.IS_GOAL], _saturated(mate),
        column[Candidate.TEAMMATES_NEARER], column[Candidate.DISCOUNT], _saturated(isolation),
        torch.tanh(mate - distance), torch.log1p(neighbourhood), distance - nearest, gain - richest,
        torch.clamp(base - favourite, -8.0, 0.0) * 0.25), dim=-1)
    return torch.clamp(features, -4.0, 4.0)


def team_features(team: Tensor, per_range: Tensor) -> Tensor:
    """Features of order one of each robot. Shapes: (..., T, len(Team)) -> (..., T, TEAM_FEATURES)."""
    position = team[..., Team.X_M:Team.GOAL_Y_M + 1] * per_range
    to_go = team[..., Team.DISTANCE_TO_GO_M:Team.DISTANCE_TO_GO_M + 1] * per_range
    age = team[..., Team.AGE_S:Team.AGE_S + 1] * 0.1
    range_m = torch.log(1.0 / per_range).expand_as(to_go)
    features = torch.cat((position, team[..., Team.HAS_GOAL:Team.HAS_GOAL + 1], to_go, age, range_m), dim=-1)
    return torch.clamp(features, -4.0, 4.0)


def contexts(candidate_mask: Tensor, team_mask: Tensor) -> Tensor:
    """What weighs the features' weights: 1, teammates / 4, log number of candidates. Shape: (..., 1, CONTEXTS)."""
    robots = team_mask.to(torch.float32).sum(-1, keepdim=True)
    candidates = candidate_mask.to(torch.float32).sum(-1, keepdim=True)
    return torch.cat((torch.ones_like(robots), (robots - 1.0) * 0.25, torch.log1p(candidates) * 0.4),
                     dim=-1).unsqueeze(-2)


def example_observation(candidates: int, robots: int, seed: int = 0, batch: int | None = None) -> dict[str, Tensor]:
    """Random but plausible arrays of specs.OBSERVATION, every row valid; for tracing, parity checks and tests.

    Args:
        candidates, robots: rows. seed: of the values. batch: size of a leading batch dimension, None for none.
    """
    generator = torch.Generator().manual_seed(seed)
    sizes = {'K': candidates, 'T': robots}
    leading = () if batch is None else (batch,)

    def uniform(name: str, low: float, high: float) -> Tensor:
        shape = leading + tuple(sizes.get(size, size) for size in shapes[name])
        return low + (high - low) * torch.rand(shape, generator=generator)

    shapes = {spec.name: spec.shape for spec in OBSERVATION}
    scale = torch.tensor([20, 20, 30, 5, 100, 1, 1, 40, 3, 2, 20], dtype=torch.float32)
    table = uniform('candidates', 0.0, 1.0) * scale
    table[..., Candidate.X_M:Candidate.Y_M + 1] -= 10.0
    table[..., Candidate.IS_GOAL].round_()
    table[..., Candidate.TEAMMATES_NEARER].round_()
    fleet = uniform('team', -10.0, 10.0)
    fleet[..., Team.HAS_GOAL] = (fleet[..., Team.HAS_GOAL] > 0).float()
    fleet[..., Team.DISTANCE_TO_GO_M:].abs_()
    between = uniform('candidate_distances_m', 0.0, 100.0)
    between = (between + between.transpose(-1, -2)) / 2 * (1 - torch.eye(candidates))
    return {'candidates': table, 'candidate_mask': torch.ones(leading + (candidates,), dtype=torch.bool),
            'candidate_distances_m': between, 'team': fleet,
            'team_mask': torch.ones(leading + (robots,), dtype=torch.bool),
            'team_distances_m': uniform('team_distances_m', 0.0, 100.0),
            'base_logits': uniform('base_logits', -8.0, 0.0), 'sensor_range_m': uniform('sensor_range_m', 4.0, 12.0)}


def _saturated(length: Tensor) -> Tensor:
    """Maps 0..infinity to 0..1, half at one sensor range: beyond a few ranges, far is far."""
    return length / (length + 1.0)
