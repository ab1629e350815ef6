from dataclasses import replace
from math import inf, nan

import pytest

from marl_core.communication.teammates import Teammates, TeammatesConfig
from marl_core.errors import MessageError
from marl_core.types import LayerId, Pose, RobotStatus, Twist

BOB = RobotStatus('bob', 1, 10.0, Pose(1.0, 2.0, 0.5), Twist(0.1, 0.0))


def reason_of(teammates: Teammates, status: RobotStatus, now: float) -> str:
    with pytest.raises(MessageError) as caught:
        teammates.hear(status, now)
    return caught.value.reason


def test_the_newest_status_is_kept_with_its_age():
    teammates = Teammates('ada')
    teammates.hear(BOB, 10.1)
    teammates.hear(replace(BOB, stamp_s=10.5), 10.6)
    teammates.hear(replace(BOB, robot='abe'), 11.0)
    heard = teammates.fresh(12.0)
    assert [mate.status.robot for mate in heard] == ['abe', 'bob']
    assert heard[1].status.stamp_s == 10.5
    assert [mate.age_s for mate in heard] == pytest.approx([1.0, 1.4])


def test_silence_makes_stale_and_then_forgotten():
    teammates = Teammates('ada', TeammatesConfig(fresh_s=5.0, forget_s=60.0))
    teammates.hear(BOB, 10.0)
    assert len(teammates.fresh(15.0)) == 1
    assert teammates.fresh(15.1) == []
    assert len(teammates.known(70.0)) == 1
    assert teammates.known(70.1) == []


def test_what_was_issued_is_known_of_the_life_that_spoke_of_late():
    teammates = Teammates('ada', TeammatesConfig(fresh_s=5.0))
    teammates.hear(replace(BOB, issued=42), 10.0)
    assert teammates.issued(LayerId('bob', 1), 15.0) == 42
    assert teammates.issued(LayerId('bob', 1), 15.1) is None
    assert teammates.issued(LayerId('bob', 2), 10.0) is None
    assert teammates.issued(LayerId('abe', 1), 10.0) is None


@pytest.mark.parametrize(('changes', 'reason'), [
    ({'robot': 'ada'}, 'own-name'),
    ({'robot': ''}, 'bad-status'),
    ({'stamp_s': nan}, 'not-finite'),
    ({'stamp_s': inf}, 'not-finite'),
    ({'stamp_s': 15.2}, 'time-travel'),
    ({'pose': Pose(nan, 0.0, 0.0)}, 'not-finite'),
    ({'pose': Pose(0.0, 0.0, inf)}, 'not-finite'),
    ({'pose': Pose(1e9, 0.0, 0.0)}, 'bad-status'),
    ({'twist': Twist(nan, 0.0)}, 'not-finite'),
    ({'radius_m': 0.0}, 'bad-status'),
    ({'radius_m': 100.0}, 'bad-status'),
    ({'goal_x_m': 1.0}, 'not-finite'),
    ({'goal_x_m': 1.0, 'goal_y_m': 1e9}, 'bad-status'),
    ({'goal_x_m': inf, 'goal_y_m': inf}, 'not-finite'),
    ({'distance_to_go_m': inf}, 'not-finite'),
    ({'activity': 9}, 'bad-status'),
])
def test_nonsense_is_refused_by_name(changes, reason):
    teammates = Teammates('ada')
    assert reason_of(teammates, replace(BOB, **changes), 10.1) == reason
    assert teammates.known(10.1) == []


def test_repeated_reordered_and_past_lives_are_stale():
    teammates = Teammates('ada')
    teammates.hear(replace(BOB, epoch=2), 10.0)
    assert reason_of(teammates, replace(BOB, epoch=2), 10.1) == 'stale'
    assert reason_of(teammates, replace(BOB, epoch=2, stamp_s=9.0), 10.1) == 'stale'
    assert reason_of(teammates, replace(BOB, epoch=1, stamp_s=11.0), 10.1) == 'stale'
    teammates.hear(replace(BOB, epoch=3, stamp_s=9.0), 10.1)


def test_a_wrong_epoch_silences_a_teammate_only_while_it_is_fresh():
    teammates = Teammates('ada', TeammatesConfig(fresh_s=5.0))
    teammates.hear(replace(BOB, epoch=2**60), 10.0)
    assert reason_of(teammates, replace(BOB, stamp_s=14.0), 14.0) == 'stale'
    teammates.hear(replace(BOB, stamp_s=15.1), 15.1)
    assert teammates.fresh(15.1)[0].status.epoch == 1


def test_a_flood_of_names_leaves_known_teammates_alone():
    teammates = Teammates('ada', TeammatesConfig(max_teammates=2, forget_s=60.0))
    teammates.hear(BOB, 10.0)
    teammates.hear(replace(BOB, robot='cy'), 10.0)
    assert reason_of(teammates, replace(BOB, robot='dot'), 10.0) == 'too-many-teammates'
    teammates.hear(replace(BOB, stamp_s=11.0), 11.0)
    teammates.hear(replace(BOB, robot='dot', stamp_s=70.5), 70.5)
    assert [mate.status.robot for mate in teammates.known(70.5)] == ['bob', 'dot']
