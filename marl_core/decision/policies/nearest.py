"""Nearest frontier: every robot for itself."""

from marl_core.decision.observation import Observation
from marl_core.specs import HOLD


class Nearest:
    """Goes to the candidate with the shortest way, whatever the teammates do (Yamauchi 1997)."""

    name = 'nearest'

    def choose(self, observation: Observation) -> int:
        """See Policy."""
        places = observation.places
        if not places.size:
            return HOLD
        return int(places[observation.team_distances_m[0, places].argmin()])
