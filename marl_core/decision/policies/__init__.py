"""Policies by name: classical ones, and learned ones by the path of their ONNX file."""

from collections.abc import Callable
from pathlib import Path

from marl_core.decision.policies.base import Policy
from marl_core.decision.policies.burgard import Burgard
from marl_core.decision.policies.fallback import FallbackPolicy
from marl_core.decision.policies.hungarian import Hungarian
from marl_core.decision.policies.minpos import MinPos
from marl_core.decision.policies.mtsp import MultipleTravellingSalesmen
from marl_core.decision.policies.nearest import Nearest
from marl_core.decision.policies.voronoi import Voronoi
from marl_core.errors import PolicyError

POLICIES: dict[str, Callable[[], Policy]] = {
    'nearest': Nearest,
    'burgard': Burgard,
    'minpos': MinPos,
    'hungarian': Hungarian,
    'voronoi': Voronoi,
    'mtsp': MultipleTravellingSalesmen,
}

__all__ = ['POLICIES', 'FallbackPolicy', 'Policy', 'make_policy']


def make_policy(name_or_path: str | Path) -> Policy:
    """Build a policy.

    Args:
        name_or_path: a key of POLICIES, or the path of an ONNX model.

    Raises:
        PolicyError: neither a known name nor a model; or a model that cannot be loaded or does not fit the specs.
    """
    if str(name_or_path) in POLICIES:
        return POLICIES[str(name_or_path)]()
    if Path(name_or_path).suffix != '.onnx':
        raise PolicyError(f'unknown policy {str(name_or_path)!r}; valid: {", ".join(POLICIES)}, '
                          'or the path of a model that ends in .onnx')
    from marl_core.decision.policies.onnx import OnnxPolicy  # the runtime is loaded by those who use it
    return OnnxPolicy(name_or_path)
