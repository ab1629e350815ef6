"""What makes an episode hard: a radio that is not perfect, robots that die, robots that join late."""

from dataclasses import dataclass, field
from math import isinf

from sim.channel import ChannelConfig


@dataclass(frozen=True, slots=True)
class Conditions:
    """Of one episode, for all hosts. Times are told as the way that a moving robot could have gone by then.

    Attributes:
        joins_m: when each robot begins to work; before, it stands at its start and says nothing [m]. Shape: (N,).
        dies_m: when each falls silent and stands for ever, inf: never [m]. Shape: (N,).
        radio: over which they hear each other.

    Raises:
        ValueError: times that are not in order, or not one of each for every robot.
    """

    joins_m: tuple[float, ...]
    dies_m: tuple[float, ...]
    radio: ChannelConfig = field(default_factory=ChannelConfig)

    def __post_init__(self) -> None:
        if len(self.joins_m) != len(self.dies_m):
            raise ValueError(f'every robot joins once and dies once, got {self.joins_m} and {self.dies_m}')
        if not all(0.0 <= joins_m < dies_m for joins_m, dies_m in zip(self.joins_m, self.dies_m)):
            raise ValueError(f'0 <= joins_m < dies_m must hold for every robot, got {self.joins_m} and {self.dies_m}')

    @property
    def perfect(self) -> bool:
        """Whether everybody works from the beginning to the end, and hears everything at once."""
        radio = self.radio
        return (not any(self.joins_m) and all(map(isinf, self.dies_m)) and isinf(radio.range_m) and radio.loss == 0.0
                and radio.delay_max_s == 0.0)
