"""Burgard's rule: utility less cost, and what a teammate takes is worth less to the others."""

from marl_core.decision.observation import Observation
from marl_core.specs import HOLD


class Burgard:
    """Takes what the greedy allocation over the whole team gives to this robot (Burgard et al. 2005).

    The allocation is part of the observation, because learned policies start from it.
    """

    name = 'burgard'

    def choose(self, observation: Observation) -> int:
        """See Policy."""
        places = observation.places
        if not places.size:
            return HOLD
        return int(places[observation.base_logits[places].argmax()])
