"""The contract between training, export and the robot: every array that a policy sees or emits.

``K`` counts candidates (places worth going to), ``T`` counts robots of the team (row 0 is the robot itself).
Padding rows are marked False in the masks; on the robot nothing is padded. All arrays are float32 except the
masks. Change a spec and its ``VERSION``, and models exported before are refused by name.
"""

from dataclasses import dataclass
from enum import IntEnum
from hashlib import sha256

VERSION = 1

MAX_CANDIDATES = 32
MAX_TEAM = 16
"""Rows of padded arrays in training: the robot and fifteen teammates."""

HOLD = -1
"""The choice to stay."""


class Candidate(IntEnum):
    """Columns of ``candidates``."""

    X_M = 0                  # [m; robot frame, x along its heading]
    Y_M = 1                  # [m; robot frame]
    DISTANCE_M = 2           # geodesic distance from the robot [m]
    SIZE_M = 3               # length of the frontier [m]
    GAIN_M2 = 4              # unknown area expected in view from there [m2]
    UNKNOWN_RATIO = 5        # unknown part of the square of one sensor range around [0..1]
    IS_GOAL = 6              # 1 for the candidate that continues the current goal
    NEAREST_TEAMMATE_M = 7   # smallest geodesic distance of a teammate [m]; FAR_M without
    TEAMMATES_NEARER = 8     # teammates with a shorter way there [count]
    DISCOUNT = 9             # how much teammates' expected choices lower its worth [0..]
    ISOLATION_M = 10         # distance to the nearest other candidate [m]; FAR_M without


class Team(IntEnum):
    """Columns of ``team``; row 0 is the robot itself."""

    X_M = 0                  # [m; robot frame]
    Y_M = 1                  # [m; robot frame]
    GOAL_X_M = 2             # [m; robot frame], 0 without a goal
    GOAL_Y_M = 3             # [m; robot frame], 0 without a goal
    HAS_GOAL = 4             # 1 or 0
    DISTANCE_TO_GO_M = 5     # [m], 0 without a goal
    AGE_S = 6                # since it was heard [s]


FAR_M = 1000.0
"""Stands for an unreachable or missing distance [m]."""


@dataclass(frozen=True, slots=True)
class ArraySpec:
    """One named array. Shape entries are ints or the symbols ``K`` and ``T``."""

    name: str
    shape: tuple[int | str, ...]
    dtype: str
    unit: str
    low: float
    high: float


OBSERVATION: tuple[ArraySpec, ...] = (
    ArraySpec('candidates', ('K', len(Candidate)), 'float32', 'see Candidate', -1e4, 1e4),
    ArraySpec('candidate_mask', ('K',), 'bool', 'True where a candidate is', 0, 1),
    ArraySpec('candidate_distances_m', ('K', 'K'), 'float32', 'm', 0, FAR_M),
    ArraySpec('team', ('T', len(Team)), 'float32', 'see Team', -1e4, 1e4),
    ArraySpec('team_mask', ('T',), 'bool', 'True where a robot is', 0, 1),
    ArraySpec('team_distances_m', ('T', 'K'), 'float32', 'm', 0, FAR_M),
    ArraySpec('base_logits', ('K',), 'float32', 'logit of the Burgard rule', -1e4, 1e4),
    ArraySpec('sensor_range_m', (1,), 'float32', 'm', 0.1, 1e3),
)

ACTION: tuple[ArraySpec, ...] = (
    ArraySpec('logits', ('K',), 'float32', 'unnormalised log-probability of each candidate', -1e4, 1e4),
)


def fingerprint() -> str:
    """A short hash of the specs, written into every manifest and checked when a model is loaded."""
    described = repr((VERSION, [column.name for column in Candidate], [column.name for column in Team],
                      OBSERVATION, ACTION))
    return sha256(described.encode()).hexdigest()[:16]
