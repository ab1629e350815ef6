"""Goes on exploring when a learned policy fails."""

from marl_core.decision.observation import Observation
from marl_core.decision.policies.base import Policy
from marl_core.decision.policies.minpos import MinPos
from marl_core.errors import PolicyError
from marl_core.specs import HOLD


class FallbackPolicy:
    """Asks a primary policy and, when that fails, a classical one; counts how often.

    Attributes:
        primary: asked first. fallback: asked when the primary fails.
        failures: decisions that the fallback took.
        last_error: what the primary said last when it failed, '' while it never did.
    """

    def __init__(self, primary: Policy, fallback: Policy | None = None) -> None:
        self.primary = primary
        self.fallback: Policy = MinPos() if fallback is None else fallback
        self.failures = 0
        self.last_error = ''

    @property
    def name(self) -> str:
        """Name of the primary."""
        return self.primary.name

    def choose(self, observation: Observation) -> int:
        """See Policy; a choice that is no candidate counts as failure."""
        try:
            choice = self.primary.choose(observation)
            if choice == HOLD or (0 <= choice < len(observation.candidate_mask)
                                  and observation.candidate_mask[choice]):
                return choice
            self.last_error = f'policy {self.primary.name} chose {choice}, which is no candidate'
        except PolicyError as error:
            self.last_error = str(error)
        self.failures += 1
        return self.fallback.choose(observation)
