"""What every policy is."""

from typing import Protocol, runtime_checkable

from marl_core.decision.observation import Observation


@runtime_checkable
class Policy(Protocol):
    """Chooses where a robot goes. Deterministic: the same observation gives the same choice.

    Attributes:
        name: key under which it is registered, or where it was loaded from.
    """

    name: str

    def choose(self, observation: Observation) -> int:
        """Return the index of a candidate that is no padding, or HOLD.

        Raises:
            PolicyError: the policy cannot decide (a learned model failed); classical policies never raise.
        """
        ...
