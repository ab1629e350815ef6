"""What the coordinator expects behind its candidates: learnt from the truth, used, and left alone by rewards."""

import numpy as np
import onnxruntime
import pytest
import torch

from marl_core import specs
from models.coordinator import Coordinator, CoordinatorConfig
from models.features import MASKED, example_observation
from sim.learning import export


def batch(rows: int = 24) -> dict[str, torch.Tensor]:
    """Observations with 3 to 9 candidates, padded to 9."""
    examples = []
    for seed in range(rows):
        count = 3 + seed % 7
        example = example_observation(9, 3, seed=seed)
        example['candidate_mask'] = torch.arange(9) < count
        examples.append(example)
    return {name: torch.stack([example[name] for example in examples]) for name in examples[0]}


def network(seed: int = 0) -> Coordinator:
    torch.manual_seed(seed)
    return Coordinator(CoordinatorConfig(foresight=True))


def test_the_loss_is_the_likelihood_of_the_truth() -> None:
    """Mean 0 and log variance 0 everywhere: half the mean square of log1p(hidden area / range^2)."""
    observation, coordinator = batch(), network()
    for weights in coordinator.expectation.parameters():
        weights.data.zero_()
    hidden_m2 = torch.full((24, 9), 3.0) * observation['sensor_range_m'] ** 2
    hidden_m2[~observation['candidate_mask']] = 1e6  # What is padding does not count.
    logits, loss, _ = coordinator.foresee(observation, hidden_m2)
    assert float(loss.detach()) == pytest.approx(0.5 * np.log(4.0) ** 2, rel=1e-5)
    assert torch.equal(logits, coordinator(observation))
    assert bool((logits[~observation['candidate_mask']] == MASKED).any())


def test_the_truth_is_learnt_and_the_explained_part_says_so() -> None:
    observation, coordinator = batch(), network()
    hidden_m2 = observation['candidates'][..., specs.Candidate.SIZE_M] * 10.0
    optimizer = torch.optim.Adam(coordinator.parameters(), 3e-3)
    explained = []
    for _ in range(150):
        _, loss, part = coordinator.foresee(observation, hidden_m2)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        explained.append(float(part))
    assert explained[0] < 0.3 and explained[-1] > 0.9


def test_what_is_expected_matters_and_rewards_do_not_bend_it() -> None:
    observation, coordinator = batch(), network()
    before = coordinator(observation)
    coordinator.use_of_expectation.weight.data[:] = 1.0
    assert not torch.allclose(before, coordinator(observation))
    coordinator(observation)[observation['candidate_mask']].square().sum().backward()
    assert coordinator.expectation.weight.grad is None
    assert coordinator.use_of_expectation.weight.grad.abs().sum() > 0


def test_foresight_is_exported_with_the_network(tmp_path) -> None:
    coordinator = network()
    for weights in coordinator.parameters():
        weights.data.add_(0.2 * torch.randn_like(weights))
    export.export(coordinator.eval(), tmp_path / 'model.onnx', {})
    session = onnxruntime.InferenceSession(str(tmp_path / 'model.onnx'))
    arrays = example_observation(7, 3, seed=1)
    (logits,) = session.run(['logits'], {name: array.numpy() for name, array in arrays.items()})
    assert np.allclose(logits, coordinator.score(**arrays).detach().numpy(), atol=1e-4)
