"""`marl_fleet keys`: makes the keys of a fleet, replaces some of them, and says what belongs on which machine."""

import secrets
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from marl_core.communication.authentication import GROUP_KEY_BYTES
from marl_core.errors import ConfigError
from marl_nodes.fleet.model import ROBOT_NAME, Fleet
from marl_nodes.key_files import (
    GROUP_FILE,
    MEMBERS_FILE,
    Members,
    fingerprint,
    raw,
    read_group_key,
    read_members,
    read_private_key,
    write_group_key,
    write_members,
    write_private_key,
)

GROUP = Path(GROUP_FILE).stem
"""What ``--rotate`` calls the group key; so no member can have this name."""


@dataclass(frozen=True, slots=True)
class KeyChanges:
    """What make_keys did.

    Attributes:
        folder: where.
        members: public keys by name, as fleet.keys.yaml now says.
        made: whose keys are new, GROUP among them.
        dropped: former members.
    """

    folder: Path
    members: Members
    made: tuple[str, ...]
    dropped: tuple[str, ...]


def member_names(fleet: Fleet, also: Collection[str] = ()) -> tuple[str, ...]:
    """Everybody who speaks in a fleet: robots, the map node, and others that its file does not name.

    Raises:
        ConfigError: a name that no key file can have.
    """
    names = dict.fromkeys((*fleet.robots, *((fleet.map.name,) if fleet.map.enabled else ()), *also))
    for name in names:
        if name == GROUP or not ROBOT_NAME.fullmatch(name):
            raise ConfigError(f'{name!r} cannot have a key: a letter, then letters, digits and _ are valid, '
                              f'except {GROUP!r}')
    return tuple(names)


def make_keys(folder: Path, names: Collection[str], rotate: Collection[str] = (), force: bool = False) -> KeyChanges:
    """Make the keys that are missing in a folder; those that are there stay.

    Args:
        folder: made if it does not exist.
        names: all members; others that fleet.keys.yaml lists are dropped from it.
        rotate: members (or GROUP) that get a new key all the same.
        force: make all anew.

    Raises:
        ConfigError: somebody to rotate is no member, or what is there does not fit together.
    """
    if strangers := set(rotate) - {*names, GROUP}:
        raise ConfigError(f'--rotate {min(strangers)}: no such member; there are {", ".join(names)} and {GROUP}')
    path = folder / MEMBERS_FILE
    known = read_members(path) if path.exists() and not force else None
    renewed = {*names, GROUP} if force else set(rotate)
    made: list[str] = []
    keys: dict[str, Ed25519PublicKey] = {}
    for name in names:
        kept = None if name in renewed else _kept(folder, name, known)
        if kept is None:
            made.append(name)
        else:
            keys[name] = kept
    if GROUP in renewed or (known is None and not (folder / GROUP_FILE).exists()):
        made.append(GROUP)
        group_key = secrets.token_bytes(GROUP_KEY_BYTES)
    else:
        group_key = read_group_key(folder / GROUP_FILE)
    # Everything could be read; only now is anything written.
    _make_folder(folder)
    for name in made:
        if name == GROUP:
            write_group_key(folder / GROUP_FILE, group_key)
        else:
            private_key = Ed25519PrivateKey.generate()
            write_private_key(folder / f'{name}.key', private_key)
            keys[name] = private_key.public_key()
    members = Members(fingerprint(group_key), keys)
    write_members(path, members)
    return KeyChanges(folder, members, tuple(made), tuple(sorted(set(known.keys if known else ()) - set(names))))


def report_of(changes: KeyChanges) -> str:
    """What was done and what to copy where, as text for a terminal."""
    width = max(map(len, (*changes.members.keys, GROUP)))
    fingerprints = {**{name: fingerprint(raw(key)) for name, key in sorted(changes.members.keys.items())},
                    GROUP: changes.members.group}
    lines = [f'{changes.folder}: {len(changes.made)} new keys, {len(changes.members.keys)} members']
    lines += [f'  {name:<{width}}  {print_}{"  new" if name in changes.made else ""}'
              for name, print_ in fingerprints.items()]
    if changes.made or changes.dropped:
        lines += ['', 'Copy to the folder that `security: keys:` names in the fleet file, then restart the node:']
        lines += [f'  {name:<{width}}  {", ".join(_files_for(name, changes))}' for name in sorted(changes.members.keys)]
        lines += ['Keep .key files readable by their owner only (`scp -p` does), and those of other members off a',
                  'robot: who takes it must not be able to speak as another.']
    if changes.dropped:
        lines += ['', f'No members any more: {", ".join(changes.dropped)}. They still know the group key; '
                      f'`--rotate {GROUP}` replaces it.']
    return '\n'.join(lines) + '\n'


def _files_for(name: str, changes: KeyChanges) -> list[str]:
    if name in changes.made:
        return [f'{name}.key', GROUP_FILE, MEMBERS_FILE]
    return [GROUP_FILE, MEMBERS_FILE] if GROUP in changes.made else [MEMBERS_FILE]


def _kept(folder: Path, name: str, known: Members | None) -> Ed25519PublicKey | None:
    """The public key of a member that has one already."""
    listed = known.keys.get(name) if known is not None else None
    path = folder / f'{name}.key'
    if not path.exists():
        return listed
    key = read_private_key(path).public_key()
    if listed is not None and raw(listed) != raw(key):
        raise ConfigError(f'{path}: is not the key that {MEMBERS_FILE} lists ({fingerprint(raw(listed))}); '
                          f'put the right file back, or make a new key with --rotate {name}')
    return key


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        ignore = folder / '.gitignore'
        if not ignore.exists():
            ignore.write_text('*.key\n')  # So that no secret is committed by accident.
    except OSError as error:
        raise ConfigError(f'{folder}: cannot be written ({error.strerror})') from error
