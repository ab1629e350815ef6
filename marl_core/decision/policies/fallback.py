"""Goes on exploring when a learned policy fails."""

from marl_core.decision.observation import Observation
from marl_core.decision.policies.base import Policy
from marl_core.decision.policies.minpos import MinPos
from marl_core.errors import PolicyError
from marl_core.specs import HOLD


class FallbackPolicy:
    """Asks one policy after the other until one answers, and MinPos, which needs nothing that could fail, after them.

    Attributes:
        policies: in the order in which they are asked.
        failures: decisions that the first one did not take.
        last_error: what was wrong when a policy failed last, '' while none ever did.
    """

    def __init__(self, *policies: Policy) -> None:
        self.policies = policies
        self.failures = 0
        self.last_error = ''
        self._last_resort = MinPos()

    @property
    def name(self) -> str:
        """Name of the first policy."""
        return self.policies[0].name

    def choose(self, observation: Observation) -> int:
        """See Policy; a choice that is no candidate counts as failure."""
        for place, policy in enumerate(self.policies):
            try:
                choice = policy.choose(observation)
            except PolicyError as error:
                self.last_error = str(error)
                continue
            if choice == HOLD or (0 <= choice < len(observation.candidate_mask)
                                  and observation.candidate_mask[choice]):
                self.failures += place > 0
                return choice
            self.last_error = f'policy {policy.name} chose {choice}, which is no candidate'
        self.failures += 1
        return self._last_resort.choose(observation)
