"""The compiled scorer and the one of torch are one."""

import numpy as np
import pytest
import torch

from models.compiled_scorer import BASE_RULE, CONTEXTS, FEATURES, best_candidate
from models.features import example_observation
from models.scorer import Scorer


def _chosen(weights, observation, count, robots):
    return best_candidate(
        weights, np.empty(weights.shape[1]), observation['candidates'].numpy(),
        observation['candidate_distances_m'].numpy(), observation['base_logits'].numpy(), count, robots,
        float(observation['sensor_range_m'][0]))


@pytest.mark.parametrize('robots', [1, 2, 6, 16])
@pytest.mark.parametrize('count', [1, 2, 9, 32])
def test_it_chooses_what_the_logits_of_torch_say(count, robots):
    scorer, rng = Scorer(), np.random.default_rng(count * 10 + robots)
    for seed in range(40):
        observation = example_observation(count, robots, seed=seed)
        weights = rng.normal(0.0, 1.0, (CONTEXTS, FEATURES))
        scorer.linear.weight.data = torch.from_numpy(weights.astype(np.float32))
        with torch.inference_mode():
            logits = scorer.score(**observation).numpy()
        chosen = _chosen(weights, observation, count, robots)
        assert logits[chosen] == pytest.approx(logits.max(), abs=1e-3)


@pytest.mark.parametrize('feature', range(FEATURES))
@pytest.mark.parametrize('context', range(CONTEXTS))
def test_every_feature_in_every_context_is_the_same(feature, context):
    """One weight, so large that nothing else decides; where its feature is the same for all, the first is chosen."""
    scorer, weights = Scorer(), np.zeros((CONTEXTS, FEATURES))
    weights[context, feature] = 1e3
    scorer.linear.weight.data = torch.from_numpy(weights.astype(np.float32))
    for seed in range(10):
        observation = example_observation(12, 4, seed=seed)
        observation['base_logits'] *= 1e-3
        with torch.inference_mode():
            logits = scorer.score(**observation).numpy()
        assert logits[_chosen(weights, observation, 12, 4)] == pytest.approx(logits.max(), abs=1e-2)


def test_without_weights_it_is_the_base_rule():
    observation = example_observation(20, 3)
    assert _chosen(BASE_RULE, observation, 20, 3) == int(observation['base_logits'].argmax())
