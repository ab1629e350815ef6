"""MinPos: go where few teammates are nearer."""

import numpy as np

from marl_core.decision.observation import Observation
from marl_core.specs import HOLD, Candidate


class MinPos:
    """Goes where the robot's rank by distance is lowest, then to the nearest of those (Bautin et al. 2012).

    The rank at a candidate is the number of teammates with a shorter way to it; of equally near robots the
    first by name counts as nearer. Needs no negotiation and spreads robots from a common start.
    """

    name = 'minpos'

    def choose(self, observation: Observation) -> int:
        """See Policy."""
        places = observation.places
        if not places.size:
            return HOLD
        ranks = observation.candidates[places, Candidate.TEAMMATES_NEARER]
        return int(places[np.lexsort((observation.team_distances_m[0, places], ranks))[0]])
