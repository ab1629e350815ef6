"""Optimal assignment of robots to candidates."""

import numpy as np
from scipy.optimize import linear_sum_assignment

from marl_core.decision.observation import Observation
from marl_core.decision.policies.nearest import Nearest


class Hungarian:
    """Takes the robot's part of the assignment with the least summed distance (Kuhn 1955).

    With more robots than candidates, a robot that is left over goes to its nearest candidate.
    """

    name = 'hungarian'

    def choose(self, observation: Observation) -> int:
        """See Policy."""
        places, order = observation.places, observation.order
        if places.size:
            # Rows in order of names, so that robots with the same knowledge solve the same problem.
            rows, columns = linear_sum_assignment(observation.team_distances_m[np.ix_(order, places)])
            own = np.flatnonzero(rows == order.index(0))
            if own.size:
                return int(places[columns[own[0]]])
        return Nearest().choose(observation)
