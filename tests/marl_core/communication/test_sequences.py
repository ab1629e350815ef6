import pytest
from hypothesis import given
from hypothesis import strategies as st

from marl_core.communication.sequences import FORGET_S, MAX_SENDERS, SILENCE_S, WINDOW, Sequences
from marl_core.errors import MessageError


def hear(sequences, sequence, epoch=1, now=0.0, robot='ada'):
    """Reason of refusal, '' when taken."""
    try:
        sequences.check(robot, epoch, sequence, now)
    except MessageError as error:
        return error.reason
    sequences.accept(robot, epoch, sequence, now)
    return ''


@given(st.lists(st.integers(1, 3000), max_size=80))
def test_everything_is_taken_once_and_only_within_the_window(arrivals):
    sequences, taken = Sequences(), set()
    for sequence in arrivals:
        fresh = sequence not in taken and sequence > max(taken, default=0) - WINDOW
        assert hear(sequences, sequence) == ('' if fresh else 'repeated')
        taken |= {sequence} if fresh else set()


def test_the_window_ends_where_it_says():
    sequences = Sequences()
    hear(sequences, WINDOW + 1)
    assert hear(sequences, 1) == 'repeated'
    assert hear(sequences, 2) == ''


def test_checking_alone_leaves_no_trace():
    sequences = Sequences()
    for _ in range(3):
        sequences.check('ada', 1, 5, 0.0)
    assert hear(sequences, 5) == ''
    sequences.check('ada', 9, 1, 0.0)
    assert hear(sequences, 6) == ''


def test_a_new_life_counts_from_its_own_start():
    sequences = Sequences()
    hear(sequences, 500, epoch=1)
    assert hear(sequences, 1, epoch=2) == ''
    assert hear(sequences, 501, epoch=1) == 'epoch-rollback'
    assert hear(sequences, 1, epoch=2) == 'repeated'


@pytest.mark.parametrize(('strict', 'later'), [(False, ''), (True, 'epoch-rollback')])
def test_an_older_life_is_heard_again_after_silence_unless_names_are_proven(strict, later):
    sequences = Sequences(strict)
    hear(sequences, 1, epoch=9, now=0.0)
    assert hear(sequences, 1, epoch=3, now=SILENCE_S) == 'epoch-rollback'
    assert hear(sequences, 1, epoch=3, now=SILENCE_S + 0.1) == later


def test_senders_do_not_share_numbers():
    sequences = Sequences()
    assert hear(sequences, 7, robot='ada') == ''
    assert hear(sequences, 7, robot='bob') == ''


def test_senders_are_bounded_and_long_silent_ones_make_room():
    sequences = Sequences()
    for number in range(MAX_SENDERS):
        assert hear(sequences, 1, robot=str(number)) == ''
    assert hear(sequences, 1, robot='one more') == 'too-many-senders'
    assert hear(sequences, 2, robot='0', now=FORGET_S) == ''
    assert hear(sequences, 1, robot='one more', now=FORGET_S + 1.0) == ''
    assert hear(sequences, 2, robot='0', now=FORGET_S + 1.0) == 'repeated'


def test_loss_is_none_without_gaps_and_half_when_every_other_is_lost():
    complete, halved = Sequences(), Sequences()
    for number in range(1, 1001):
        hear(complete, number)
        hear(halved, 2 * number)
    assert complete.loss == 0.0
    assert halved.loss == pytest.approx(0.5, abs=0.02)


def test_what_only_came_late_was_not_lost():
    sequences = Sequences()
    for number in range(1, 1001, 2):
        hear(sequences, number + 1)
        hear(sequences, number)
    assert sequences.loss < 0.05


def test_loss_is_the_mean_over_senders():
    sequences = Sequences()
    assert sequences.loss == 0.0
    for number in range(1, 1001):
        hear(sequences, number, robot='near')
        hear(sequences, 4 * number, robot='far')
    assert sequences.loss == pytest.approx(0.75 / 2, abs=0.02)


def test_a_name_that_proves_nothing_cannot_be_silenced_by_a_huge_sequence():
    heard = Sequences()
    for sequence in (1, 2, 2**32 - 1):
        heard.check('ada', 1, sequence, 0.0)
        heard.accept('ada', 1, sequence, 0.0)
    with pytest.raises(MessageError, match='repeated'):
        heard.check('ada', 1, 3, 1.0)
    heard.check('ada', 1, 3, 6.0)
    heard.accept('ada', 1, 3, 6.0)
    heard.check('ada', 1, 4, 6.1)


def test_loss_is_known_after_a_few_packets():
    sequences = Sequences()
    for number in range(3, 31, 3):
        hear(sequences, number)
    assert sequences.loss == pytest.approx(18 / 28)  # of 3 to 30, 28 packets, 10 came; the first proves nothing lost


def test_out_of_reach_is_not_lost_on_the_way():
    sequences = Sequences()
    for number in range(1, 11):
        hear(sequences, number, now=0.1 * number)
    hear(sequences, 500, now=1.0 + SILENCE_S + 0.1)
    assert sequences.loss == 0.0
