"""The scorer's choice as a kernel, so that episodes which a scorer plays take hardly longer than the base rule's.

What is computed is what ``scorer.Scorer`` computes, from the same rows; a test holds the two together.
"""

from math import exp, log1p, pi, tanh

import numpy as np
from numba import njit
from numpy.typing import NDArray

from marl_core.specs import Candidate

FEATURES = 16
"""Of a candidate, see ``features.candidate_features``."""

CONTEXTS = 3
"""What weights of features may depend on: nothing, size of the team, number of candidates."""

LARGEST_TEAM = 6
"""A larger team weighs features like one of this size, the largest that is trained with: drawn on in a straight line to
sixteen robots, weights would be far from anything that was ever tried."""

BASE_RULE = np.zeros((CONTEXTS, 0))
"""Weights of the rule that features say nothing to."""

# Enum members are frozen to plain ints here: numba reads them as constants.
_X, _Y, _DISTANCE, _SIZE = int(Candidate.X_M), int(Candidate.Y_M), int(Candidate.DISTANCE_M), int(Candidate.SIZE_M)
_GAIN, _RATIO, _IS_GOAL = int(Candidate.GAIN_M2), int(Candidate.UNKNOWN_RATIO), int(Candidate.IS_GOAL)
_NEAREST, _NEARER = int(Candidate.NEAREST_TEAMMATE_M), int(Candidate.TEAMMATES_NEARER)
_DISCOUNT, _ISOLATION = int(Candidate.DISCOUNT), int(Candidate.ISOLATION_M)


@njit(cache=True, nogil=True)
def best_candidate(weights: NDArray[np.float64], features: NDArray[np.float64], candidates: NDArray[np.float32],
                   candidate_distances_m: NDArray[np.float32], base_logits: NDArray[np.float32], count: int,
                   robots: int, range_m: float) -> int:
    """The candidate with the largest logit of ``Scorer``; the first of several.

    Args:
        weights: of features, by context, see ``features.contexts``; or BASE_RULE. Shape: (CONTEXTS, FEATURES).
        features: scratch. Shape: (FEATURES,), or (0,) for BASE_RULE.
        candidates, candidate_distances_m, base_logits: see ``specs.OBSERVATION``; at least ``count`` rows.
        count: candidates, at least one. robots: of the team that is known of, the robot itself among them.
        range_m: reach of the sensor [m].
    """
    per_range = 1.0 / range_m
    nearest, richest, favourite = np.inf, 0.0, -np.inf
    for k in range(count):
        nearest = min(nearest, candidates[k, _DISTANCE] * per_range)
        richest = max(richest, candidates[k, _GAIN] * per_range * per_range / pi)
        favourite = max(favourite, base_logits[k])
    by_team, by_count = 0.25 * (min(robots, LARGEST_TEAM) - 1), 0.4 * log1p(count)
    best, best_k = -np.inf, 0
    for k in range(count):
        if features.size > 0:
            neighbourhood = 0.0
            for other in range(count):
                near = exp(-candidate_distances_m[k, other] * per_range)
                neighbourhood += near * log1p(candidates[other, _SIZE] * per_range)
            _describe(candidates[k], per_range, neighbourhood, nearest, richest, base_logits[k] - favourite, features)
        logit = float(base_logits[k])
        for f in range(features.size):
            value = min(4.0, max(-4.0, features[f]))
            logit += value * (weights[0, f] + by_team * weights[1, f] + by_count * weights[2, f])
        if logit > best:
            best, best_k = logit, k
    return best_k


@njit(cache=True, nogil=True)
def _describe(row: NDArray[np.float32], per_range: float, neighbourhood: float, nearest: float, richest: float,
              behind_favourite: float, features: NDArray[np.float64]) -> None:
    """Write the features of one candidate, as ``features.candidate_features`` does, but for their limits."""
    distance, mate = row[_DISTANCE] * per_range, row[_NEAREST] * per_range
    isolation, gain = row[_ISOLATION] * per_range, row[_GAIN] * per_range * per_range / pi
    features[0], features[1] = row[_X] * per_range, row[_Y] * per_range
    features[2], features[3], features[4] = distance, log1p(row[_SIZE] * per_range), gain
    features[5], features[6] = row[_RATIO], row[_IS_GOAL]
    features[7], features[8] = mate / (mate + 1.0), row[_NEARER]
    features[9], features[10] = row[_DISCOUNT], isolation / (isolation + 1.0)
    features[11], features[12] = tanh(mate - distance), log1p(neighbourhood)
    features[13], features[14] = distance - nearest, gain - richest
    features[15] = 0.25 * max(-8.0, behind_favourite)
