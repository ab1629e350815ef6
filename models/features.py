"""What networks see of an observation: features of order one, in units of the sensor's range."""

from math import pi

import torch
from torch import Tensor

from marl_core.specs import FAR_M, OBSERVATION, Candidate, Team
from models.compiled_scorer import LARGEST_TEAM

MASKED = -1e4
"""Stands for minus infinity: exp() of it is zero and, unlike infinity, it never makes NaN."""

TEAM_FEATURES = 8


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


def without_intent(team: Tensor) -> Tensor:
    """Robots as if no teammate had told where it goes, and how far it has to; the robot's own goal stays.

    Shape: (..., T, len(Team)), both.
    """
    told = torch.ones(len(Team))
    told[[Team.GOAL_X_M, Team.GOAL_Y_M, Team.HAS_GOAL, Team.DISTANCE_TO_GO_M]] = 0.0
    return torch.cat((team[..., :1, :], team[..., 1:, :] * told), dim=-2)


def contexts(candidate_mask: Tensor, team_mask: Tensor) -> Tensor:
    """What weighs the features' weights: 1, teammates / 4 (at most those of LARGEST_TEAM), log number of candidates.

    Shape: (..., 1, CONTEXTS).
    """
    robots = team_mask.to(torch.float32).sum(-1, keepdim=True).clamp(max=float(LARGEST_TEAM))
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
