"""What all networks that choose among candidates have in common: batches, and the way to ONNX."""

from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from marl_core.specs import OBSERVATION
from models.features import MASKED, example_observation

PARTS = 5
"""Into how many parts of like size large batches are sorted."""


class CandidateNetwork(nn.Module):
    """Gives every candidate of an observation a logit; subclasses say how in ``score``."""

    def score(self, candidates: Tensor, candidate_mask: Tensor, candidate_distances_m: Tensor, team: Tensor,
              team_mask: Tensor, team_distances_m: Tensor, base_logits: Tensor, sensor_range_m: Tensor) -> Tensor:
        """Logits from the arrays of specs.OBSERVATION, with any batch dimensions. Shape: (..., K)."""
        raise NotImplementedError

    def forward(self, observation: Mapping[str, Tensor]) -> Tensor:
        """Logits of a padded batch, as training sees it.

        Args:
            observation: the arrays of specs.OBSERVATION with one batch dimension, valid rows first.

        Returns:
            Shape: (B, K). Rows beyond the last valid candidate hold MASKED.
        """
        return self.batched(observation, lambda *arrays: (self.score(*arrays),))[0]

    def batched(self, observation: Mapping[str, Tensor],
                function: Callable[..., tuple[Tensor, ...]]) -> tuple[Tensor, ...]:
        """Outputs of a function of the arrays of specs.OBSERVATION for a padded batch.

        Args:
            observation: see ``forward``.
            function: gives logits, and more if it likes. Shapes: (B, K, ...).

        Returns:
            Beyond the last valid candidate, logits are MASKED and all else is 0. Shapes: (B, K, ...).
        """
        counts = observation['candidate_mask'].sum(-1)
        if len(counts) < 4 * PARTS:
            return _trimmed(observation, function)
        # Most observations fill a third of the padding. Sorted into parts of like size, most of it is cut off.
        order = torch.argsort(counts)
        parts = [_trimmed({name: array[rows] for name, array in observation.items()}, function)
                 for rows in order.chunk(PARTS)]
        place = torch.argsort(order)
        return tuple(torch.cat(outputs)[place] for outputs in zip(*parts, strict=True))

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


def _trimmed(observation: Mapping[str, Tensor], function: Callable[..., tuple[Tensor, ...]]) -> tuple[Tensor, ...]:
    padded = observation['candidate_mask'].shape[-1]
    used = max(1, int(observation['candidate_mask'].sum(-1).max()))
    robots = max(1, int(observation['team_mask'].sum(-1).max()))
    outputs = function(
        observation['candidates'][..., :used, :], observation['candidate_mask'][..., :used],
        observation['candidate_distances_m'][..., :used, :used], observation['team'][..., :robots, :],
        observation['team_mask'][..., :robots], observation['team_distances_m'][..., :robots, :used],
        observation['base_logits'][..., :used], observation['sensor_range_m'])
    return tuple(functional.pad(output, (*(0, 0) * (output.dim() - 2), 0, padded - used), value=0.0 if rank else MASKED)
                 for rank, output in enumerate(outputs))


class _Scorer(nn.Module):
    """Gives ``CandidateNetwork.score`` the name that exporters call."""

    def __init__(self, network: CandidateNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, candidates: Tensor, candidate_mask: Tensor, candidate_distances_m: Tensor, team: Tensor,
                team_mask: Tensor, team_distances_m: Tensor, base_logits: Tensor, sensor_range_m: Tensor) -> Tensor:
        return self.network.score(candidates, candidate_mask, candidate_distances_m, team, team_mask,
                                  team_distances_m, base_logits, sensor_range_m)
