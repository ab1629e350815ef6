"""Turns YAML and keyword overrides into frozen dataclasses, refusing what they do not know.

The defaults live once, in the dataclass beside the class that uses them; a file only overrides.
"""

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar, get_args, get_type_hints

import yaml

from marl_core.errors import ConfigError

T = TypeVar('T')


def from_mapping(kind: type[T], values: Mapping[str, Any], source: str = 'configuration') -> T:
    """Build a dataclass from a mapping; nested dataclasses from nested mappings.

    Args:
        kind: dataclass type with defaults.
        values: overrides; may be partial.
        source: file or origin named in errors.

    Raises:
        ConfigError: unknown key, or a value of the wrong type; names source, key and what is valid.
    """
    if not isinstance(values, Mapping):
        raise ConfigError(f'{source}: expected a mapping of keys for {kind.__name__}, got {values!r}')
    hints = get_type_hints(kind)
    known = [entry.name for entry in fields(kind) if entry.init]
    arguments: dict[str, Any] = {}
    for key, value in values.items():
        if key not in known:
            raise ConfigError(f'{source}: unknown key {key!r}; valid keys: {", ".join(known)}')
        arguments[key] = _converted(hints[key], value, source, key)
    try:
        return kind(**arguments)
    except (TypeError, ValueError) as error:
        raise ConfigError(f'{source}: {error}') from error


def load(kind: type[T], path: str | Path) -> T:
    """Read a YAML file into a dataclass.

    Raises:
        ConfigError: the file is missing, not YAML, or holds an unknown key or a wrong value.
    """
    return from_mapping(kind, read_yaml(path), str(path))


def read_yaml(path: str | Path) -> dict[str, Any]:
    """Read a YAML file that holds one mapping (an empty file is an empty mapping).

    Raises:
        ConfigError: the file is missing, not YAML, or not a mapping.
    """
    try:
        content = yaml.safe_load(Path(path).read_text(encoding='utf-8'))
    except OSError as error:
        raise ConfigError(f'{path}: cannot be read ({error.strerror})') from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f'{path}: is not YAML ({error})') from error
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise ConfigError(f'{path}: expected a mapping of keys, got {type(content).__name__}')
    return content


def changed(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Settings with some of them replaced, which are named with dots (``task.difficulty``); ``base`` stays as it is.

    Raises:
        ConfigError: there is a value where a name goes on.
    """
    result = dict(base)
    for name, value in changes.items():
        first, _, rest = name.partition('.')
        if rest and not isinstance(result.get(first) or {}, Mapping):
            raise ConfigError(f'{name}: {first} is {result[first]!r}, and has no {rest}')
        result[first] = changed(result.get(first) or {}, {rest: value}) if rest else value
    return result


def _converted(hint: Any, value: Any, source: str, key: str) -> Any:
    accepted = get_args(hint) if type(hint).__name__ == 'UnionType' else (hint,)
    if value is None and type(None) in accepted:
        return None
    nested = next((kind for kind in accepted if is_dataclass(kind)), None)
    if nested is not None:
        return value if isinstance(value, nested) else from_mapping(nested, value, f'{source}: {key}')
    if float in accepted and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    plain = tuple(kind for kind in accepted if kind in (bool, int, float, str, type(None)))
    if plain and len(plain) == len(accepted):
        wrong_bool = isinstance(value, bool) and bool not in plain
        if wrong_bool or not isinstance(value, plain):
            names = ' or '.join(kind.__name__ for kind in plain)
            raise ConfigError(f'{source}: {key} must be {names}, got {value!r}')
    if isinstance(value, list):
        return tuple(value)
    return value
