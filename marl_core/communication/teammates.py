"""What the teammates last said of themselves, and how long ago."""

from dataclasses import dataclass
from math import inf, isfinite, isnan
from typing import NamedTuple

from marl_core.errors import MessageError
from marl_core.types import Activity, LayerId, RobotStatus


@dataclass(frozen=True, slots=True)
class TeammatesConfig:
    """What is believed, and for how long.

    Attributes:
        fresh_s: a teammate not heard for longer is not planned with.
        forget_s: a teammate not heard for longer is forgotten.
        max_ahead_s: how far another's clock may be ahead of ours.
        max_teammates: robots remembered.
        max_radius_m: footprint beyond which a status is nonsense.
        max_distance_m: distance from the origin of the map frame beyond which a pose is nonsense.
    """

    fresh_s: float = 5.0
    forget_s: float = 60.0
    max_ahead_s: float = 5.0
    max_teammates: int = 64
    max_radius_m: float = 5.0
    max_distance_m: float = 1e5


class Teammate(NamedTuple):
    """A teammate's last words and the time since they were heard [s]."""

    status: RobotStatus
    age_s: float


class Teammates:
    """Remembers the newest status of each teammate.

    Ages count from when a status was heard, so that robots need no common clock. A status that is older than what
    is known is refused only while that is fresh: a wrong stamp or epoch cannot silence a teammate for longer.
    """

    def __init__(self, name: str, config: TeammatesConfig | None = None) -> None:
        self._name = name
        self._config = config or TeammatesConfig()
        self._heard: dict[str, tuple[RobotStatus, float]] = {}

    def hear(self, status: RobotStatus, now: float) -> None:
        """Take over a status heard at ``now`` [s].

        Raises:
            MessageError: ``own-name``, ``not-finite``, ``bad-status``, ``time-travel`` (stamped in the future),
                ``stale`` (not newer than what is known) or ``too-many-teammates``.
        """
        self._check(status)
        if status.stamp_s > now + self._config.max_ahead_s:
            raise MessageError('time-travel', f'{status.robot} is {status.stamp_s - now:.1f} s ahead')
        if status.robot in self._heard:
            known, heard_at_s = self._heard[status.robot]
            newer = (status.epoch, status.stamp_s) > (known.epoch, known.stamp_s)
            if not newer and now - heard_at_s <= self._config.fresh_s:
                raise MessageError('stale', f'{status.robot} said something newer before')
        else:
            self._forget(now)
            if len(self._heard) >= self._config.max_teammates:
                raise MessageError('too-many-teammates', f'no room for {status.robot!r}')
        self._heard[status.robot] = (status, now)

    def fresh(self, now: float) -> list[Teammate]:
        """Teammates heard within ``fresh_s`` before ``now`` [s], by name."""
        return [mate for mate in self.known(now) if mate.age_s <= self._config.fresh_s]

    def issued(self, layer: LayerId, now: float) -> int | None:
        """The highest version that the layer's writer says to have published; None unless it was heard of late."""
        status, heard_at_s = self._heard.get(layer.robot, (None, 0.0))
        is_fresh = status is not None and status.epoch == layer.epoch and now - heard_at_s <= self._config.fresh_s
        return status.issued if is_fresh else None

    def known(self, now: float) -> list[Teammate]:
        """All that are not forgotten, by name."""
        self._forget(now)
        return [Teammate(status, max(0.0, now - heard_at_s))
                for _, (status, heard_at_s) in sorted(self._heard.items())]

    def _forget(self, now: float) -> None:
        self._heard = {name: entry for name, entry in self._heard.items()
                       if now - entry[1] <= self._config.forget_s}

    def _check(self, status: RobotStatus) -> None:
        if not (isinstance(status.robot, str) and 1 <= len(status.robot) <= 64 and isinstance(status.epoch, int)):
            raise MessageError('bad-status', f'{status.robot!r} is no name of a robot')
        if status.robot == self._name:
            raise MessageError('own-name', f'another robot calls itself {self._name}')
        if not all(map(isfinite, (status.stamp_s, *status.pose, *status.twist, status.radius_m))):
            raise MessageError('not-finite', f'{status.robot}: stamp, pose, twist and radius must be finite')
        goal = (status.goal_x_m, status.goal_y_m)
        if not (all(map(isfinite, goal)) or all(map(isnan, goal))) \
                or not (isnan(status.distance_to_go_m) or 0.0 <= status.distance_to_go_m < inf):
            raise MessageError('not-finite', f'{status.robot}: a goal is two finite numbers or two NaN')
        farthest_m = max(map(abs, (status.pose.x_m, status.pose.y_m, *(x for x in goal if not isnan(x)))))
        if farthest_m > self._config.max_distance_m or not 0.0 < status.radius_m <= self._config.max_radius_m:
            raise MessageError('bad-status', f'{status.robot}: {farthest_m} m away, radius {status.radius_m} m')
        if status.activity not in tuple(Activity):
            raise MessageError('bad-status', f'{status.robot}: unknown activity {status.activity!r}')
