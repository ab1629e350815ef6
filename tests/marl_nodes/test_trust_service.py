"""Both ends of the operator's order, without a network between them."""

import pytest

rclpy = pytest.importorskip('rclpy', reason='ROS 2 is not installed: pip install --group ros')
pytest.importorskip('marl_coordination.srv', reason='the messages are not built: pip install --no-build-isolation -e .')

from marl_coordination.srv import SetTrust  # noqa: E402
from rclpy.task import Future  # noqa: E402

from marl_core.mapping.bounds import MapBounds  # noqa: E402
from marl_core.mapping.replica import Replica  # noqa: E402
from marl_core.mapping.trust import Trust  # noqa: E402
from marl_core.mapping.votes import FULL_WEIGHT  # noqa: E402
from marl_core.types import LayerId  # noqa: E402
from marl_nodes.trust_service import obey, tell  # noqa: E402

BOUNDS = MapBounds(resolution_m=0.1, planning_factor=2, tiles_x=2, tiles_y=2)


class Judge:
    """A client whose service may be there or not."""

    def __init__(self, name, is_there=True):
        self.srv_name, self.is_there = name, is_there
        self.asked = []

    def service_is_ready(self):
        return self.is_there

    def call_async(self, request):
        self.asked.append((request.robot, request.order))
        self.future = Future()
        return self.future


def test_who_is_there_is_told_at_once_and_heard_when_it_answers():
    judges, said = [Judge('/a'), Judge('/b', is_there=False), Judge('/c')], {}
    absent = tell(judges, 'liar', 'quarantine', said.__setitem__)
    assert absent == [judges[1]]
    assert [judge.asked for judge in judges] == [[('liar', 'quarantine')], [], [('liar', 'quarantine')]]
    assert said == {}
    answers = [SetTrust.Response(success=True, message='yes'), SetTrust.Response(message='no')]
    for judge, answer in zip((judges[2], judges[0]), answers, strict=True):
        judge.future.set_result(answer)
    assert said == {'/c': answers[0], '/a': answers[1]}


def test_who_comes_later_is_told_once():
    late = Judge('/late', is_there=False)
    absent = tell([late], 'liar', 'reinstate', print)
    late.is_there = True
    assert tell(absent, 'liar', 'reinstate', print) == []
    assert late.asked == [('liar', 'reinstate')]


@pytest.fixture
def judging():
    """A node's trust and replica, with a robot's part in it."""
    return Trust(BOUNDS), Replica(BOUNDS, 'liar', LayerId('liar', 1))


def ordered(judging, robot, order):
    trust, replica = judging
    answer = obey(trust, replica, SetTrust.Request(robot=robot, order=order), SetTrust.Response())
    trust.update(replica, [], None, 1.0)
    return answer


def test_an_order_counts_from_the_next_judgement_on(judging):
    answer = ordered(judging, 'liar', 'quarantine')
    assert (answer.success, answer.message) == (True, 'liar: quarantine')
    assert judging[1].weight('liar') == 0
    assert ordered(judging, 'liar', 'reinstate').success
    assert judging[1].weight('liar') == FULL_WEIGHT


@pytest.mark.parametrize(('robot', 'order', 'words'), [
    ('liar', 'forgive', ["'forgive'", 'reinstate', 'quarantine']), ('nobody', 'quarantine', ["'nobody'", 'liar'])])
def test_an_order_that_cannot_be_obeyed_says_why_and_changes_nothing(judging, robot, order, words):
    answer = ordered(judging, robot, order)
    assert not answer.success
    assert all(word in answer.message for word in words)
    assert judging[1].weight('liar') == FULL_WEIGHT
