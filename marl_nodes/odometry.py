"""Where a base was when a scan was taken: odometry in the map frame, between the samples that arrived."""

from bisect import bisect_left
from collections import deque
from math import atan2, cos, sin

from marl_core.types import STOP, Pose, Twist

CLOCK_RESTART_S = 2.0
"""A stamp so much older than the newest is no late message: the clock began anew [s]."""


def compose(outer: Pose, inner: Pose) -> Pose:
    """``inner``, given in the frame that stands at ``outer``, in the frame of ``outer``."""
    cosine, sine = cos(outer.heading_rad), sin(outer.heading_rad)
    return Pose(outer.x_m + cosine * inner.x_m - sine * inner.y_m,
                outer.y_m + sine * inner.x_m + cosine * inner.y_m,
                wrapped(outer.heading_rad + inner.heading_rad))


def inverse(pose: Pose) -> Pose:
    """The pose of the outer frame, seen from the frame that stands at ``pose``."""
    cosine, sine = cos(pose.heading_rad), sin(pose.heading_rad)
    return Pose(-cosine * pose.x_m - sine * pose.y_m, sine * pose.x_m - cosine * pose.y_m, wrapped(-pose.heading_rad))


def wrapped(angle_rad: float) -> float:
    """The same direction in -pi..pi [rad]."""
    return atan2(sin(angle_rad), cos(angle_rad))


class OdometryTrack:
    """The last seconds of odometry, and where the odometry frame lies in the map.

    A stamp that runs backwards (a simulation or bag that began anew) empties the track.
    """

    def __init__(self, odometry_in_map: Pose, keep_s: float = CLOCK_RESTART_S) -> None:
        self.odometry_in_map = odometry_in_map
        self._keep_s = keep_s
        self._stamps: deque[float] = deque()
        self._samples: deque[tuple[Pose, Twist]] = deque()

    @property
    def newest_s(self) -> float | None:
        """Stamp of the newest sample [s], None before the first."""
        return self._stamps[-1] if self._stamps else None

    @property
    def twist(self) -> Twist:
        """Newest measured velocity."""
        return self._samples[-1][1] if self._samples else STOP

    def add(self, stamp_s: float, pose: Pose, twist: Twist) -> bool:
        """Take a sample: pose in the odometry frame, and velocity of the base; False if it came too late to count."""
        if self._stamps and stamp_s <= self._stamps[-1]:
            if stamp_s > self._stamps[-1] - self._keep_s:
                return False
            self._stamps.clear()
            self._samples.clear()
        self._stamps.append(stamp_s)
        self._samples.append((pose, twist))
        while self._stamps[-1] - self._stamps[0] > self._keep_s:
            self._stamps.popleft()
            self._samples.popleft()
        return True

    def pose_in_map(self, stamp_s: float, reach_s: float) -> Pose | None:
        """Pose of the base at a time [map frame].

        Between samples it is interpolated; beyond the newest it is continued with the measured velocity.

        Args:
            stamp_s: when [s].
            reach_s: how far beyond the first or newest sample is acceptable [s].

        Returns:
            None when the samples do not reach there.
        """
        pose = self._pose_in_odometry(stamp_s, reach_s)
        return None if pose is None else compose(self.odometry_in_map, pose)

    def correct(self, stamp_s: float, pose_in_map: Pose, reach_s: float) -> bool:
        """Move the odometry frame so that the base was at ``pose_in_map`` then; False if that time is not known."""
        pose = self._pose_in_odometry(stamp_s, reach_s)
        if pose is None:
            return False
        self.odometry_in_map = compose(pose_in_map, inverse(pose))
        return True

    def _pose_in_odometry(self, stamp_s: float, reach_s: float) -> Pose | None:
        if not self._stamps or not self._stamps[0] - reach_s <= stamp_s <= self._stamps[-1] + reach_s:
            return None
        after = bisect_left(self._stamps, stamp_s)
        if after == len(self._stamps):
            pose, twist = self._samples[-1]
            gap_s = stamp_s - self._stamps[-1]
            return compose(pose, _arc(twist, gap_s))
        later, _ = self._samples[after]
        if after == 0 or self._stamps[after] == stamp_s:
            return later
        earlier, _ = self._samples[after - 1]
        share = (stamp_s - self._stamps[after - 1]) / (self._stamps[after] - self._stamps[after - 1])
        turn_rad = wrapped(later.heading_rad - earlier.heading_rad)
        return Pose(earlier.x_m + share * (later.x_m - earlier.x_m), earlier.y_m + share * (later.y_m - earlier.y_m),
                    wrapped(earlier.heading_rad + share * turn_rad))


def _arc(twist: Twist, duration_s: float) -> Pose:
    turn_rad = twist.angular_radps * duration_s
    length_m = twist.linear_mps * duration_s
    return Pose(length_m * cos(turn_rad / 2.0), length_m * sin(turn_rad / 2.0), turn_rad)
