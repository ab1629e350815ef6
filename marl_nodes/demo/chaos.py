"""`marl_fleet chaos`: a demo in which nodes die, links fail and a robot lies, and the map must be right in the end."""

import os
import signal
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from marl_coordination.srv import SetTrust
from std_msgs.msg import String

from marl_core.mapping.layers import Urgency
from marl_nodes.demo.session import RESIGN_S, SETTLE_S, Demo, DemoOptions, Stage, fleet_of, play, say
from marl_nodes.demo.timeline import MAP, Event, default_timeline, load_timeline, require_known
from marl_nodes.faults import FaultState
from marl_nodes.fleet.nodes import trust_services
from marl_nodes.qos import LATCHED
from marl_nodes.trust_service import tell

RIGHT_F1 = 0.95
"""Walls of a map that is right agree with those of the world at least so well. Without faults it is 0.99 and more;
one liar among four made it 0.84 while it was believed."""
AGREED_S = 40.0
"""All replicas must hold the same, and have held it for HOLDS_S, so long after the last change [s; simulated]."""
HOLDS_S = Urgency().hold_s + 3.0
"""Replicas agree once they hold the same and have not changed for so long [s; simulated]: small changes that a robot
has already made wait ``hold_s`` for company before it publishes them, and what a node says of itself is 1 s old."""
LOOK_PERIOD_S = 1.0
"""Time between two comparisons of the map with the world [s; wall clock]."""


def run(options: DemoOptions, timeline: str = '') -> int:
    """Run a demo with faults.

    Args:
        options: of the demo.
        timeline: YAML file with what happens when; '' for the one built in.

    Returns:
        0 if, after all that happened, the map became complete and right, and all replicas hold the same; else 1.

    Raises:
        MarlError: the options or the timeline name something that does not exist.
    """
    fleet = fleet_of(options)
    robots = list(fleet.robots)
    events = load_timeline(timeline) if timeline else default_timeline(robots)
    require_known(events, robots, timeline or 'chaos')
    return play(options, fleet, partial(Chaos, events=events), {'allow_faults': True})


class Chaos(Demo):
    """One run with faults."""

    completed = 'after all that happened the map is complete and right, and all replicas hold the same'

    def __init__(self, options: DemoOptions, stage: Stage, events: Sequence[Event]) -> None:
        super().__init__(options, stage)
        self._waiting = deque(events)
        self._state = FaultState()
        self._happened: list[dict[str, Any]] = []
        self._standings: dict[str, str] = {}
        self._accuracy: list[tuple[float, float]] = []
        self._looked_s = self._last_s = 0.0
        self._still_s: float | None = None
        self._held: tuple[frozenset[str], float] = frozenset(), 0.0
        self._faults = self._monitor.create_publisher(String, f'{self._fleet.namespace}/faults', LATCHED)
        self._judges = [self._monitor.create_client(SetTrust, name) for name in trust_services(self._fleet)]

    def _act(self) -> None:
        while self._waiting and self._monitor.time_s >= self._waiting[0].at_s:
            self._last_s = self._monitor.time_s
            self._happen(self._waiting.popleft())
        self._note_verdicts()
        now_s = time.monotonic()
        if now_s - self._looked_s >= LOOK_PERIOD_S and self._monitor.map is not None:
            self._looked_s = now_s
            self._accuracy.append((round(self._monitor.time_s, 1),
                                   round(self._stage.walls.f1(self._monitor.map), 4)))

    def _happen(self, event: Event) -> None:
        self._note(str(event))
        for label in event.kill:
            pid = self._supervisor.pid_of(label)
            if pid is None:
                self._note(f'{label} does not run, and cannot be killed')
                continue
            os.kill(pid, signal.SIGKILL)
            self._monitor.diagnostics.pop(self._name_of(label), None)  # What the dead said does not count.
        for robot in event.reinstate:
            for absent in tell(self._judges, robot, SetTrust.Request.REINSTATE, self._heed):
                self._note(f'{absent.srv_name} is not there, and is not told to believe {robot}')
        if not event.changes_nothing:
            self._publish(event.after(self._state))

    def _heed(self, judge: str, answer: SetTrust.Response) -> None:
        if not answer.success:
            self._note(f'{judge}: {answer.message}')

    def _name_of(self, label: str) -> str:
        return self._fleet.map.name if label == MAP else label

    def _note_verdicts(self) -> None:
        """Note whom the map node believes less or more than before."""
        for key, value in self._monitor.diagnostics.get(self._fleet.map.name, {}).items():
            if key.startswith('trust_'):
                robot, standing = key.removeprefix('trust_'), value.split()[-1]
                if self._standings.get(robot, 'trusted') != standing:
                    self._note(f'the map node finds {robot} {standing}')
                self._standings[robot] = standing

    def _note(self, what: str) -> None:
        self._happened.append({'time_s': round(self._monitor.time_s, 2), 'event': what})
        self._end_line()
        say(f'{self._monitor.time_s:6.1f} s  [{len(self._happened)}] {what}')

    def _verdict(self) -> str:
        """Once nothing more happens and the map is complete and right, see whether all hold the same."""
        time_s = self._monitor.time_s
        if self._still_s is not None:
            disagreement = self._disagreement()
            hashes = frozenset(replica['state_hash'] for replica in self._replicas().values())
            if disagreement or hashes != self._held[0]:
                self._held = hashes, time_s
            if time_s - self._held[1] >= HOLDS_S:
                return self.completed
            over = time_s - self._still_s >= AGREED_S
            return (disagreement or 'the map still changed at the end') if over else ''
        if self._waiting or time_s - self._last_s < SETTLE_S:
            return ''
        f1 = self._accuracy[-1][1] if self._accuracy else 0.0
        if self._is_complete and f1 >= RIGHT_F1:
            self._still_s = time_s
            self._note('the map is complete and right; robots add nothing more to it, so that replicas can be compared')
            self._publish(replace(self._state, still=True))
        elif min(self._monitor.done_for_s, time_s - self._last_s) >= RESIGN_S:
            return f'the robots are done, but {"the map is wrong" if self._is_complete else "the map is not complete"}'
        return ''

    def _publish(self, state: FaultState) -> None:
        self._state = state
        partition = tuple(tuple(map(self._name_of, group)) for group in state.partition)
        self._faults.publish(String(data=replace(state, partition=partition).to_json()))

    def _findings(self) -> dict[str, Any]:
        return {'replicas_agree': not self._disagreement(), 'events': self._happened,
                'events_left': [str(event) for event in self._waiting], 'walls_f1_over_time': self._accuracy}
