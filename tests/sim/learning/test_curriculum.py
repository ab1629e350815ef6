from math import inf

import pytest

from sim.learning.curriculum import Curriculum, CurriculumConfig

SCHEDULES = {'task.difficulty': (0.2, 0.6, 1.0), 'task.hardships.loss': ((0.0, 0.0), (0.0, 0.1), (0.0, 0.3))}


def played(*skills: float) -> list[dict[str, float]]:
    return [{'makespan_m': 10.0 * skill, 'reference_m': 10.0} for skill in skills]


def test_a_level_changes_named_options_only() -> None:
    config, base = CurriculumConfig(SCHEDULES), {'robots': 3, 'task': {'smallest_m': 9.0}}
    assert config.levels == 3
    assert config.options(1, base) == {
        'robots': 3, 'task': {'smallest_m': 9.0, 'difficulty': 0.6, 'hardships': {'loss': (0.0, 0.1)}}}
    assert base == {'robots': 3, 'task': {'smallest_m': 9.0}}
    assert CurriculumConfig().levels == 1 and CurriculumConfig().options(0, base) == base


def test_skill_opens_the_next_level_and_the_last_one_stays() -> None:
    course = Curriculum(CurriculumConfig(SCHEDULES, enough=1.0, window=2, longest=9))
    course.note(played(0.5, 0.7))
    assert course.level == 0  # one iteration is not enough to judge
    course.note(played(1.6, 1.0))
    assert course.level == 1 and course.skills == []  # (0.6 + 1.3) / 2
    for _ in range(4):
        course.note(played(1.2))
    assert course.level == 1
    for _ in range(20):
        course.note(played(0.1))
    assert course.level == 2


def test_who_never_gets_better_goes_on_in_the_end() -> None:
    course = Curriculum(CurriculumConfig(SCHEDULES, window=2, longest=3))
    for _ in range(2):
        course.note(played(inf, 2.0))
    assert course.level == 0 and course.skills == [2.0, 2.0]
    course.note(played(inf, inf))
    assert course.level == 1


def test_a_resumed_course_goes_on_where_it_was() -> None:
    one = Curriculum(CurriculumConfig(SCHEDULES, window=2, longest=9))
    one.note(played(0.5))
    other = Curriculum(one.config)
    other.load_state_dict(one.state_dict())
    for course in (one, other):
        course.note(played(0.5))
        assert course.level == 1


def test_what_rises_with_skill_is_compared_the_other_way() -> None:
    course = Curriculum(CurriculumConfig(SCHEDULES, metric='return', reference='', lower_is_better=False, enough=-20.0,
                                         window=1))
    course.note([{'return': -25.0}])
    assert course.level == 0
    course.note([{'return': -19.0}])
    assert course.level == 1


@pytest.mark.parametrize(('wrong', 'message'), [
    ({'schedules': {'a': (1, 2), 'b': (1,)}}, 'one value per level'),
    ({'schedules': {'a': ()}}, 'one value per level'),
    ({'window': 6, 'longest': 5}, 'window <= longest'),
])
def test_what_cannot_be_is_refused(wrong: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        CurriculumConfig(**wrong)
