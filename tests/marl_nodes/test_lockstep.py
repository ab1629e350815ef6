from marl_nodes.lockstep import Lockstep


def test_a_step_waits_for_every_robot():
    lockstep = Lockstep(['a', 'b'], timeout_s=1.0)
    lockstep.begin(100, 'ab', 0.0)
    lockstep.heard('a', 100)
    assert not lockstep.ready(0.1)
    lockstep.heard('b', 101)
    assert lockstep.ready(0.1)


def test_an_answer_to_an_earlier_step_does_not_count():
    lockstep = Lockstep(['a'], timeout_s=1.0)
    lockstep.begin(100, 'a', 0.0)
    lockstep.heard('a', 99)
    assert not lockstep.ready(0.1)
    assert lockstep.ready(1.0)


def test_a_command_without_stamp_counts_as_the_answer():
    lockstep = Lockstep(['a'])
    lockstep.begin(100, 'a', 0.0)
    lockstep.heard('a', None)
    assert lockstep.ready(0.0)


def test_a_silent_robot_is_not_waited_for_until_it_speaks_again():
    lockstep = Lockstep(['a', 'b'], timeout_s=1.0, patience=2)
    for step in range(2):
        lockstep.begin(step, 'ab', 10.0 * step)
        lockstep.heard('a', step)
        assert not lockstep.ready(10.0 * step + 0.5)
        assert lockstep.ready(10.0 * step + 1.0)
    assert lockstep.silent == ('b',)
    lockstep.begin(5, 'ab', 50.0)
    lockstep.heard('a', 5)
    assert lockstep.ready(50.0)
    lockstep.heard('b', 3)
    assert lockstep.silent == ()
    lockstep.begin(6, 'ab', 60.0)
    lockstep.heard('a', 6)
    assert not lockstep.ready(60.0)


def test_one_step_is_missed_once_however_often_it_is_asked_about():
    lockstep = Lockstep(['a'], timeout_s=1.0, patience=2)
    lockstep.begin(1, 'a', 0.0)
    assert [lockstep.ready(now_s) for now_s in (1.0, 1.1, 1.2)] == [True] * 3
    assert lockstep.silent == ()


def test_one_answer_forgives_missed_steps():
    lockstep = Lockstep(['a'], timeout_s=1.0, patience=2)
    for step in range(6):
        lockstep.begin(step, 'a', 10.0 * step)
        if step % 2:
            lockstep.heard('a', step)
        assert lockstep.ready(10.0 * step + 2.0)
    assert lockstep.silent == ()


def test_strangers_are_ignored():
    lockstep = Lockstep(['a'], timeout_s=1.0)
    lockstep.begin(1, 'a', 0.0)
    lockstep.heard('stranger', 1)
    assert not lockstep.ready(0.0)
    assert lockstep.silent == ()


def test_who_got_no_scan_need_not_answer():
    lockstep = Lockstep(['a', 'b'], timeout_s=1.0)
    lockstep.begin(1, 'b', 0.0)
    lockstep.heard('b', 1)
    assert lockstep.ready(0.0)
    lockstep.begin(2, '', 0.0)
    assert lockstep.ready(0.0)
