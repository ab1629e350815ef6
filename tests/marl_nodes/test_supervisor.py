"""The process runner, with small shell and Python children; timing bounds only guard against hanging."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from marl_nodes.fleet.stopping import ONE_REQUEST_S, StopSignals
from marl_nodes.fleet.supervisor import ProcessSpec, Restart, RestartPolicy, Supervisor

QUICK = RestartPolicy(delay_s=0.01, longest_delay_s=0.02, limit=2)


def python(label, code, **options):
    return ProcessSpec(label, (sys.executable, '-u', '-c', textwrap.dedent(code)), dict(os.environ), **options)


class Said(list):
    def __call__(self, label, line):
        self.append((label, line))

    def by(self, label):
        return [line for speaker, line in self if speaker == label]


def supervise(specs, restart=QUICK, until=lambda supervisor: supervisor.finished, **options):
    said = Said()
    supervisor = Supervisor(specs, restart, show=said, **options)
    supervisor.start()
    try:
        deadline_s = time.monotonic() + 30.0
        while not until(supervisor):
            assert time.monotonic() < deadline_s, said
            supervisor.poll(0.02)
    finally:
        supervisor.stop()
    return supervisor, said


def is_alive(pid):
    try:
        state = Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != 'Z'


def wait_until(condition):
    deadline_s = time.monotonic() + 20.0
    while not condition():
        assert time.monotonic() < deadline_s
        time.sleep(0.02)


def test_lines_come_under_the_label_of_who_said_them_and_into_the_log(tmp_path):
    log = tmp_path / 'a.log'
    _, said = supervise([python('a', "print('one'); print('two'); print('end', end='')", log=log),
                         python('b', "import sys; print('from b', file=sys.stderr)")])
    assert said.by('a')[:3] == ['one', 'two', 'end']
    assert said.by('b')[0] == 'from b'
    assert log.read_text() == 'one\ntwo\nend'


def test_a_failing_process_is_started_again_and_then_given_up():
    supervisor, said = supervise([python('a', 'raise SystemExit(3)')])
    assert supervisor.exit_codes_of('a') == (3, 3, 3)
    assert supervisor.given_up == ('a',)
    assert 'not started again' in said.by('a')[-1]


def test_a_misconfigured_process_is_not_started_again():
    supervisor, _ = supervise([python('a', 'raise SystemExit(2)')])
    assert supervisor.exit_codes_of('a') == (2,)
    assert supervisor.given_up == ('a',)


def test_an_orderly_end_is_not_a_failure():
    supervisor, _ = supervise([python('a', '')])
    assert supervisor.exit_codes_of('a') == (0,)
    assert supervisor.given_up == ()


def test_never_means_never():
    supervisor, _ = supervise([python('a', 'raise SystemExit(1)')], RestartPolicy(Restart.NEVER))
    assert supervisor.exit_codes_of('a') == (1,)
    assert supervisor.given_up == ('a',)


def test_a_killed_process_comes_back():
    said = Said()
    supervisor = Supervisor([python('a', "print('up')\nimport time; time.sleep(60)")], QUICK, show=said)
    supervisor.start()
    try:
        wait_until(lambda: supervisor.poll(0.02) or said.by('a').count('up') == 1)
        os.kill(supervisor.pid_of('a'), signal.SIGKILL)
        wait_until(lambda: supervisor.poll(0.02) or said.by('a').count('up') == 2)
    finally:
        supervisor.stop()
    assert supervisor.exit_codes_of('a')[0] == -signal.SIGKILL


def test_processes_are_stopped_in_order_and_may_finish_their_work():
    code = """
        import signal, sys, time
        def stop(number, frame):
            time.sleep(0.1)
            print('stopped')
            sys.exit(0)
        signal.signal(signal.SIGTERM, stop)
        print('up')
        time.sleep(60)
        """
    said = Said()
    supervisor = Supervisor([python('last', code, stop_order=2), python('first', code, stop_order=0)], show=said)
    supervisor.start()
    wait_until(lambda: supervisor.poll(0.02) or len([1 for _, line in said if line == 'up']) == 2)
    supervisor.stop()
    assert [label for label, line in said if line == 'stopped'] == ['first', 'last']
    assert supervisor.exit_codes_of('last') == (0,)


STUBBORN = """
    import os, signal, time
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    print(os.getpid(), flush=True)
    time.sleep(60)
    """


def test_who_ignores_signals_is_killed():
    said = Said()
    supervisor = Supervisor([python('a', STUBBORN)], show=said, patience_s=0.1)
    supervisor.start()
    wait_until(lambda: supervisor.poll(0.02) or said.by('a'))
    supervisor.stop()
    assert supervisor.exit_codes_of('a') == (-signal.SIGKILL,)


def test_asked_twice_the_runner_kills_what_takes_its_time():
    code = f"""
        import os, sys
        from marl_nodes.fleet.supervisor import ProcessSpec, Supervisor
        spec = ProcessSpec('a', (sys.executable, '-c', {textwrap.dedent(STUBBORN)!r}), dict(os.environ))
        sys.exit(Supervisor([spec], patience_s=3600.0).run())
        """
    runner = subprocess.Popen([sys.executable, '-c', textwrap.dedent(code)], stdout=subprocess.PIPE, text=True)
    child = int(runner.stdout.readline().split('|')[1])
    runner.send_signal(signal.SIGINT)
    assert 'stops every node' in runner.stdout.readline()
    assert is_alive(child)
    time.sleep(ONE_REQUEST_S + 0.1)
    runner.send_signal(signal.SIGINT)
    assert runner.wait(20) == 0
    assert not is_alive(child)
    runner.stdout.close()


def test_signals_at_once_are_one_request():
    before = signal.getsignal(signal.SIGTERM)
    with StopSignals() as signals:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.raise_signal(number)
        assert signals.asked and not signals.hurried
        time.sleep(ONE_REQUEST_S + 0.1)
        assert not signals.hurried
        signal.raise_signal(signal.SIGINT)
        assert signals.hurried
    assert signal.getsignal(signal.SIGTERM) is before


def test_nohup_holds():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with StopSignals() as signals:
            signal.raise_signal(signal.SIGHUP)
            assert not signals.asked
    finally:
        signal.signal(signal.SIGHUP, before)


def test_what_a_restart_means_is_said():
    _, said = supervise([python('a', 'raise SystemExit(3)', restart_note='all is new')])
    assert said.by('a').count('all is new') == QUICK.limit


def test_a_full_disk_ends_the_log_and_nothing_else():
    _, said = supervise([python('a', "print('one'); import time; time.sleep(0.2); print('two')",
                                log=Path('/dev/full'))])
    assert [line for line in said.by('a') if line in ('one', 'two')] == ['one', 'two']
    assert sum('/dev/full: cannot be written' in line for line in said.by('a')) == 1


def test_what_a_process_leaves_in_its_group_is_killed_with_it():
    code = """
        import subprocess, sys
        child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])
        print(child.pid)
        """
    _, said = supervise([python('a', code)])
    wait_until(lambda: not is_alive(int(said.by('a')[0])))


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_to_the_runner_ends_everything_in_good_order(number):
    code = """
        import os, signal, sys
        from marl_nodes.fleet.supervisor import ProcessSpec, Supervisor
        signal.signal(signal.SIGHUP, signal.SIG_DFL)  # tests under nohup inherit that it is ignored
        child = "import os, time\\nprint(os.getpid(), flush=True)\\ntime.sleep(60)"
        sys.exit(Supervisor([ProcessSpec('a', (sys.executable, '-c', child), dict(os.environ))]).run())
        """
    runner = subprocess.Popen([sys.executable, '-c', textwrap.dedent(code)], stdout=subprocess.PIPE, text=True)
    child = int(runner.stdout.readline().split('|')[1])
    runner.send_signal(number)
    assert runner.wait(20) == 0
    assert not is_alive(child)
    runner.stdout.close()
