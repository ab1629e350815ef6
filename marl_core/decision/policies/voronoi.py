"""Voronoi partition: each robot explores what is nearer to it than to any teammate."""

from marl_core.decision.observation import Observation
from marl_core.decision.policies.nearest import Nearest
from marl_core.specs import Candidate


class Voronoi:
    """Goes to the nearest candidate of its own geodesic Voronoi cell, else to the nearest of all.

    Of equally near robots the first by name owns a candidate.
    """

    name = 'voronoi'

    def choose(self, observation: Observation) -> int:
        """See Policy."""
        places = observation.places
        own = places[observation.candidates[places, Candidate.TEAMMATES_NEARER] == 0]
        if not own.size:
            return Nearest().choose(observation)
        return int(own[observation.team_distances_m[0, own].argmin()])
