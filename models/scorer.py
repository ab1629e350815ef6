"""A small scorer that a person can read: Burgard's rule plus a weighted sum of features.

    logits = base_logits + sum over features f and contexts c of weight[c, f] * f * c,

where the contexts are 1, the size of the team and the number of candidates, so that what counts may depend on how
many share the work. At zero weights it *is* Burgard's rule. It is tuned by ``python -m sim tune``, and every claim
that a network learnt something has to beat it.
"""

from torch import Tensor, nn

from models.compiled_scorer import CONTEXTS, FEATURES
from models.features import candidate_features, contexts
from models.network import CandidateNetwork


class Scorer(CandidateNetwork):
    """See the module's docstring."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(FEATURES, CONTEXTS, bias=False)
        nn.init.zeros_(self.linear.weight)

    def score(self, candidates: Tensor, candidate_mask: Tensor, candidate_distances_m: Tensor, team: Tensor,
              team_mask: Tensor, team_distances_m: Tensor, base_logits: Tensor, sensor_range_m: Tensor) -> Tensor:
        """See CandidateNetwork."""
        per_range = 1.0 / sensor_range_m.unsqueeze(-1)
        features = candidate_features(candidates, candidate_mask, candidate_distances_m * per_range, base_logits,
                                      per_range)
        # The team takes part in the graph even if no weight looks at it: exporters drop inputs that nobody uses.
        unused = 0.0 * (team.sum() + team_distances_m.sum())
        return base_logits + self.terms(features, candidate_mask, team_mask) + unused

    def terms(self, features: Tensor, candidate_mask: Tensor, team_mask: Tensor) -> Tensor:
        """The weighted sum. Shape of features: (..., K, FEATURES). Shape: (..., K)."""
        context = contexts(candidate_mask, team_mask)
        return (self.linear(features) * context).sum(-1)
