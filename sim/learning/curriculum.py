"""From easy to hard: each level of a curriculum changes options of the environment; measured skill opens the next."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from marl_core.config import changed


@dataclass(frozen=True, slots=True)
class CurriculumConfig:
    """What gets harder, and when.

    The last level is what is trained for; held-back episodes are always played on it. Levels before it need not be
    mastered for ever: after ``longest`` iterations the next one opens anyway.

    Attributes:
        schedules: one value per level of options of the environment, by dotted name (``task.difficulty``).
        metric: of training episodes; their mean is the skill.
        reference: metric that it is divided by, '' for none.
        lower_is_better: of the metric.
        enough: skill, as a mean over ``window`` iterations, at which the next level opens.
        window, longest: see above [iterations].

    Raises:
        ValueError: schedules of different lengths, or a window that is no number of iterations.
    """

    schedules: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    metric: str = 'makespan_m'
    reference: str = 'reference_m'
    lower_is_better: bool = True
    enough: float = 1.0
    window: int = 5
    longest: int = 25

    def __post_init__(self) -> None:
        lengths = {name: len(values) for name, values in self.schedules.items()}
        if len(set(lengths.values())) > 1 or 0 in lengths.values():
            raise ValueError(f'schedules must have one value per level each, got {lengths}')
        if not 1 <= self.window <= self.longest:
            raise ValueError(f'1 <= window <= longest must hold, got {self.window} and {self.longest}')

    @property
    def levels(self) -> int:
        """How many there are; 1 without schedules."""
        return len(next(iter(self.schedules.values()), ((),)))

    def options(self, level: int, base: Mapping[str, Any]) -> dict[str, Any]:
        """Options of the environment at a level."""
        return changed(base, {name: values[level] for name, values in self.schedules.items()})


class Curriculum:
    """Where a run is on its way.

    Attributes:
        level: that is played now. skills: of its iterations so far, the newest last.
    """

    def __init__(self, config: CurriculumConfig) -> None:
        self.config = config
        self.level = 0
        self.skills: list[float] = []

    def note(self, metrics: Sequence[Mapping[str, float]]) -> None:
        """Take in an iteration's episodes, and open the next level if it is time.

        An episode that did not get there (its metric is infinite) counts as the worst of those that did.
        """
        config = self.config
        skills = [entry[config.metric] / (entry[config.reference] if config.reference else 1.0) for entry in metrics]
        finite = [skill for skill in skills if abs(skill) < float('inf')]
        worst = (max if config.lower_is_better else min)(finite) if finite else float('inf')
        self.skills.append(sum(skill if abs(skill) < float('inf') else worst for skill in skills) / len(skills))
        mean = sum(self.skills[-config.window:]) / min(config.window, len(self.skills))
        able = mean <= config.enough if config.lower_is_better else mean >= config.enough
        ready = len(self.skills) >= config.window and able
        if self.level < config.levels - 1 and (ready or len(self.skills) >= config.longest):
            self.level += 1
            self.skills = []

    def state_dict(self) -> dict[str, Any]:
        """All that the next level depends on."""
        return {'level': self.level, 'skills': list(self.skills)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue where ``state_dict`` was taken."""
        self.level, self.skills = state['level'], list(state['skills'])
