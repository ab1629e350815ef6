"""The coordinator: where a robot should go next, by attention over its candidates and its team.

The network never decides alone. Its output is a bounded correction of a scorer (models/scorer.py), which itself is
Burgard's rule plus tuned weights:

    logits = scorer(observation) + clip * tanh((linear(features) + attention(features, team)) / clip),

and both terms of the correction start at exactly zero: an untrained coordinator *is* the scorer that it was given
(Burgard's rule if it was given none), and a badly trained one can contradict it by ``residual_limit`` logits at most.

Distances between candidates and from teammates to candidates enter attention as a per-head bias, so that the
structure of tours (what Hungarian and mTSP planners compute on) need not be learnt from coordinates.

With ``foresight`` it also says what free area it expects hidden behind each candidate, and how sure it is: a first,
small model of the world, learnt from the truth that simulations know and fed back into the decision.

Shapes: ``...`` are batch dimensions (none when exported), K candidates, T robots, F features, D width, H heads.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.compiled_scorer import CONTEXTS, FEATURES
from models.features import (
    MASKED,
    TEAM_FEATURES,
    candidate_features,
    contexts,
    team_features,
    without_intent,
)
from models.network import CandidateNetwork
from models.scorer import Scorer

LINEAR_GAIN = 5.0
"""Adam moves every weight by about the learning rate. The few weights of the linear term may move faster than those
of attention, and what is left is for attention to learn."""


@dataclass(frozen=True, slots=True)
class CoordinatorConfig:
    """Size of the network; the defaults decide within a third of a millisecond on one CPU core."""

    width: int = 32
    heads: int = 2
    layers: int = 1
    hidden: int = 64
    residual_limit: float = 6.0
    """Largest correction of a base logit [logit]."""
    distance_bias: bool = True
    """Attention falls with distance. False: it knows no distances but those among the features."""
    teammate_intent: bool = True
    """See where teammates go, and how far they have to. False: see only where they are."""
    foresight: bool = False
    """Predict the hidden free area near each candidate, and use the prediction."""


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


class Coordinator(CandidateNetwork):
    """Scores candidates; see the module's docstring.

    Attributes:
        scorer: what is corrected; its weights are not trained here.
    """

    def __init__(self, config: CoordinatorConfig = CoordinatorConfig()) -> None:
        super().__init__()
        self.config = config
        self.scorer = Scorer().requires_grad_(False)
        self.embed_candidates = nn.Sequential(nn.Linear(FEATURES, config.width), nn.ReLU(),
                                              nn.Linear(config.width, config.width))
        self.embed_team = nn.Sequential(nn.Linear(TEAM_FEATURES, config.width), nn.ReLU(),
                                        nn.Linear(config.width, config.width))
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.layers))
        self.head_norm = nn.LayerNorm(config.width)
        self.head = nn.Linear(config.width, 1, bias=False)
        self.linear = nn.Linear(FEATURES, CONTEXTS, bias=False)
        self.expectation = nn.Linear(config.width, 2) if config.foresight else None
        self.use_of_expectation = nn.Linear(2, 1, bias=False) if config.foresight else None
        if config.foresight:
            nn.init.zeros_(self.use_of_expectation.weight)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.linear.weight)

    @property
    def foresees(self) -> bool:
        """Whether ``foresee`` can be called."""
        return self.config.foresight

    def score(self, candidates: Tensor, candidate_mask: Tensor, candidate_distances_m: Tensor, team: Tensor,
              team_mask: Tensor, team_distances_m: Tensor, base_logits: Tensor, sensor_range_m: Tensor) -> Tensor:
        """See CandidateNetwork."""
        return self.score_and_foresee(candidates, candidate_mask, candidate_distances_m, team, team_mask,
                                      team_distances_m, base_logits, sensor_range_m)[0]

    def foresee(self, observation: Mapping[str, Tensor], hidden_m2: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Logits of a padded batch, and how well what was expected hidden agrees with the truth.

        Args:
            observation: see ``forward``. hidden_m2: truth near each candidate [m2]. Shape: (B, K).

        Returns:
            Logits, Shape: (B, K); mean of the negative log likelihood of the truth (log1p of squares of the sensor
            range, normally distributed), Shape: (); part of its variance that is explained, Shape: ().
        """
        logits, expected = self.batched(observation, self.score_and_foresee)
        truth = torch.log1p(hidden_m2 / observation['sensor_range_m'] ** 2)
        mask = observation['candidate_mask']
        mean, log_variance, truth = expected[..., 0][mask], expected[..., 1][mask], truth[mask]
        missed = (truth - mean) ** 2
        loss = 0.5 * (log_variance + missed * torch.exp(-log_variance)).mean()
        return logits, loss, 1.0 - missed.mean().detach() / truth.var(unbiased=False).clamp(min=1e-6)

    def score_and_foresee(self, candidates: Tensor, candidate_mask: Tensor, candidate_distances_m: Tensor, team: Tensor,
                          team_mask: Tensor, team_distances_m: Tensor, base_logits: Tensor,
                          sensor_range_m: Tensor) -> tuple[Tensor, ...]:
        """Logits, and with foresight mean and log variance of what is expected. Shapes: (..., K), (..., K, 2)."""
        per_range = 1.0 / sensor_range_m.unsqueeze(-1)
        near = candidate_distances_m * per_range
        no_candidate = torch.where(candidate_mask, 0.0, MASKED).unsqueeze(-2)
        no_robot = torch.where(team_mask, 0.0, MASKED).unsqueeze(-2)
        features = candidate_features(candidates, candidate_mask, near, base_logits, per_range)
        tokens = self.embed_candidates(features)
        mates = self.embed_team(team_features(team if self.config.teammate_intent else without_intent(team),
                                              per_range))
        between, team_near = near.unsqueeze(-3), (team_distances_m * per_range).transpose(-1, -2).unsqueeze(-3)
        if not self.config.distance_bias:  # times 0 rather than left out: exporters drop inputs that nobody uses
            between, team_near = 0.0 * between, 0.0 * team_near
        for layer in self.layers:
            tokens = layer(tokens, mates, between, team_near, no_candidate.unsqueeze(-2), no_robot.unsqueeze(-2))
        seen = self.head_norm(tokens)
        residual = self.head(seen) + LINEAR_GAIN * (
            self.linear(features) * contexts(candidate_mask, team_mask)).sum(-1, keepdim=True)
        foreseen: tuple[Tensor, ...] = ()
        if self.expectation is not None:
            expected = self.expectation(seen).clamp(-6.0, 6.0)
            # What is expected shall be what is there, not what it takes to be chosen: no gradient comes back from here.
            residual = residual + LINEAR_GAIN * self.use_of_expectation(expected.detach())
            foreseen = (expected,)
        limit = self.config.residual_limit
        scored = base_logits + self.scorer.terms(features, candidate_mask, team_mask)
        return scored + limit * torch.tanh(residual.squeeze(-1) / limit), *foreseen
