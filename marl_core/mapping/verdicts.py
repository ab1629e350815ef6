"""Keeps on disk what is thought of robots, so that a verdict survives the process that found it.

A small JSON file beside the map. Saving writes beside the old file, waits for the disk and swaps names: killed at any
moment, one of the two is whole. Loading takes all of a file or nothing.
"""

import json
import os
from pathlib import Path
from typing import Any

from marl_core.errors import MapError
from marl_core.mapping.trust import STANDINGS, Standing, Trust
from marl_core.mapping.votes import MAX_LAYERS

VERSION = 1
MAX_FILE_BYTES = 2**23
MAX_NAME_LENGTH = 64
MAX_PAIRS = MAX_LAYERS * (MAX_LAYERS - 1) // 2


def path_beside(state_path: str | Path) -> Path:
    """Where the verdicts that go with a saved map are."""
    path = Path(state_path)
    return path.with_name(path.name + '.trust.json')


def save(trust: Trust, path: str | Path) -> None:
    """Write who is not trusted, and what was forgiven.

    Raises:
        MapError: the file cannot be written; the old one is then as it was.
    """
    path = Path(path)
    fresh = path.with_name(path.name + '.new')
    text = to_json(trust)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with fresh.open('w', encoding='utf-8') as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(fresh, path)
    except OSError as error:
        raise MapError(f'{path}: verdicts cannot be saved ({error.strerror})') from error


def load(trust: Trust, path: str | Path) -> int:
    """Think of robots as a file says; returns how many it spoke of, 0 if there is none.

    Raises:
        MapError: the file cannot be read, or something in it is not what ``save`` writes; nothing is changed then.
    """
    try:
        with Path(path).open('rb') as file:
            data = file.read(MAX_FILE_BYTES + 1)
    except FileNotFoundError:
        return 0
    except OSError as error:
        raise MapError(f'{path}: verdicts cannot be read ({error.strerror})') from error
    if len(data) > MAX_FILE_BYTES:
        raise MapError(f'{path}: verdicts take at most {MAX_FILE_BYTES} bytes')
    try:
        standings, forgiven = _checked(json.loads(data))
    except (ValueError, RecursionError) as error:
        raise MapError(f'{path}: these are no verdicts ({error})') from error
    trust.restore(standings, forgiven)
    return len(standings)


def to_json(trust: Trust) -> str:
    """What is to be kept, the same text for the same verdicts."""
    standings, forgiven = trust.verdicts()
    pairs = sorted([*sorted(pair), blocks] for pair, blocks in forgiven.items())
    return json.dumps({'version': VERSION, 'standings': dict(sorted(standings.items())), 'forgiven': pairs}, indent=1)


def _checked(found: Any) -> tuple[dict[str, Standing], dict[frozenset[str], int]]:
    """What a file says.

    Raises:
        ValueError: it says something else than ``to_json``.
    """
    if not isinstance(found, dict) or found.get('version') != VERSION:
        raise ValueError(f'expected version {VERSION}')
    standings, pairs = found.get('standings'), found.get('forgiven')
    if not isinstance(standings, dict) or len(standings) > MAX_LAYERS:
        raise ValueError(f'standings must be an object of at most {MAX_LAYERS} robots')
    for robot, standing in standings.items():
        if standing not in STANDINGS:
            raise ValueError(f'standing of {_name(robot)!r} must be one of {", ".join(STANDINGS)}')
        _name(robot)
    if not isinstance(pairs, list) or len(pairs) > MAX_PAIRS:
        raise ValueError(f'forgiven must be a list of at most {MAX_PAIRS}')
    return standings, dict(_forgiven(pair) for pair in pairs)


def _forgiven(given: Any) -> tuple[frozenset[str], int]:
    if not isinstance(given, list) or len(given) != 3:
        raise ValueError('forgiven must hold two robots and a count of blocks each')
    one, other, blocks = given
    if _name(one) == _name(other) or isinstance(blocks, bool) or not isinstance(blocks, int) or not 0 < blocks < 2**31:
        raise ValueError('forgiven must hold two robots and a count of blocks each')
    return frozenset((one, other)), blocks


def _name(given: Any) -> str:
    if not isinstance(given, str) or not 0 < len(given) <= MAX_NAME_LENGTH:
        raise ValueError(f'names must be texts of 1 to {MAX_NAME_LENGTH} characters')
    return given
