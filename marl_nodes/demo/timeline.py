"""What goes wrong in a chaos run, and when."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import isfinite
from pathlib import Path
from typing import Any

from marl_core.config import from_mapping, read_yaml
from marl_core.errors import ConfigError
from marl_nodes.faults import FaultState, LinkFaults, names_of

MAP = 'map'
"""What timelines call the map node, whatever its name in the fleet."""

LIARS_NEED = 4
"""Robots of a fleet that can tell who lies: two accuse, and a third tells them from accomplices."""


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happens. What is None stays as it was.

    Attributes:
        at_s: when [s; simulated].
        kill: nodes that are ended by SIGKILL; they are started again.
        partition: groups that do not hear each other from now on, see FaultState; empty: all do.
        links: what links do from now on; empty: nothing.
        lie: robots that publish phantom walls from now on; empty: nobody.
        reinstate: robots that the operator tells all who judge to believe again.
    """

    at_s: float = 0.0
    kill: tuple[str, ...] = ()
    partition: tuple[tuple[str, ...], ...] | None = None
    links: LinkFaults | None = None
    lie: tuple[str, ...] | None = None
    reinstate: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not (isfinite(self.at_s) and self.at_s >= 0.0):
            raise ValueError(f'at_s must be 0 or more, got {self.at_s}')
        for key in ('kill', 'reinstate'):
            object.__setattr__(self, key, names_of(key, getattr(self, key)))
        state = FaultState(self.partition or (), lie=self.lie or ())  # Raises what is wrong with them.
        for key in ('partition', 'lie'):
            if getattr(self, key) is not None:
                object.__setattr__(self, key, getattr(state, key))
        if self.changes_nothing and not (self.kill or self.reinstate):
            raise ValueError('one of kill, partition, links, lie and reinstate must be given')

    @property
    def changes_nothing(self) -> bool:
        """Whether faults that last stay as they are."""
        return self.partition is None and self.links is None and self.lie is None

    @property
    def names(self) -> tuple[str, ...]:
        """Everybody who is named."""
        groups = self.partition or ()
        return (*self.kill, *self.reinstate, *(self.lie or ()), *(name for group in groups for name in group))

    def after(self, state: FaultState) -> FaultState:
        """What is wrong from now on."""
        changes = {key: getattr(self, key) for key in ('partition', 'links', 'lie') if getattr(self, key) is not None}
        return replace(state, **changes)

    def __str__(self) -> str:
        """In words."""
        said = [f'kill -9 {_and(self.kill)}'] if self.kill else []
        if self.partition is not None:
            groups = ' | '.join(' '.join(group) for group in self.partition)
            said.append(f'partition {groups}{"" if len(self.partition) > 1 else " | the others"}'
                        if self.partition else 'partition heals')
        if self.links is not None:
            said.append(f'links lose {100 * self.links.loss:.0f} %, repeat {100 * self.links.duplication:.0f} %, '
                        f'delay by up to {self.links.delay_s:g} s' if self.links != LinkFaults() else 'links are good')
        if self.lie is not None:
            said.append(f'{_and(self.lie)} begins to lie' if self.lie else 'nobody lies any more')
        if self.reinstate:
            said.append(f'the operator reinstates {_and(self.reinstate)}')
        return '; '.join(said)


def default_timeline(robots: Sequence[str]) -> tuple[Event, ...]:
    """One of everything, for a fleet that needs a minute and a half when nothing happens."""
    half = len(robots) // 2
    events = [
        Event(5.0, links=LinkFaults(loss=0.3, duplication=0.1, delay_s=1.0)),
        Event(15.0, kill=(MAP,)),
        Event(20.0, kill=(robots[0],)),
        Event(35.0, partition=((*robots[:half], MAP), tuple(robots[half:]))),
        Event(50.0, kill=(robots[-1],)) if len(robots) < LIARS_NEED else Event(50.0, kill=(robots[1],)),
        Event(60.0, partition=()),
        Event(70.0, kill=(robots[0], MAP)),
        Event(95.0, links=LinkFaults())]
    if len(robots) >= LIARS_NEED:
        events += [Event(10.0, lie=(robots[-1],)), Event(80.0, lie=()), Event(95.0, reinstate=(robots[-1],))]
    return tuple(sorted(events, key=lambda event: event.at_s))


def load_timeline(path: str | Path) -> tuple[Event, ...]:
    """Read a YAML file with a list ``events`` of entries as in Event.

    Raises:
        ConfigError: names the file, the event and what is wrong with it.
    """
    content = read_yaml(path)
    for key in content:
        if key != 'events':
            raise ConfigError(f'{path}: unknown key {key!r}; valid keys: events')
    entries = content.get('events')
    if not isinstance(entries, list) or not entries:
        raise ConfigError(f'{path}: events must be a list of what happens, each with at_s')
    events = [_event(entry, f'{path}: event {number}') for number, entry in enumerate(entries, 1)]
    return tuple(sorted(events, key=lambda event: event.at_s))


def require_known(events: Iterable[Event], robots: Sequence[str], source: str) -> None:
    """Refuse a timeline that does not fit a fleet.

    Raises:
        ConfigError: somebody is named who is not there, or cannot do that.
    """
    for event in events:
        for name in event.names:
            if name not in robots and name != MAP:
                raise ConfigError(f'{source}: at {event.at_s:g} s: no {name!r} in this fleet; there are '
                                  f'{", ".join((*robots, MAP))}')
        if MAP in (*(event.lie or ()), *event.reinstate):
            raise ConfigError(f'{source}: at {event.at_s:g} s: only robots lie and are reinstated')


def _event(entry: Any, source: str) -> Event:
    if not isinstance(entry, Mapping) or 'at_s' not in entry:
        raise ConfigError(f'{source}: expected a mapping with at_s, got {entry!r}')
    values = dict(entry)
    if 'links' in values:
        values['links'] = from_mapping(LinkFaults, values['links'] or {}, f'{source}: links')
    return from_mapping(Event, values, source)


def _and(names: Sequence[str]) -> str:
    return ' and '.join(names)
