"""The files that hold a fleet's keys: `marl_fleet keys` writes them, nodes read them when they start.

A folder holds ``NAME.key`` (private, one per member), ``group.key`` (secret, the same for all) and
``fleet.keys.yaml`` (public: whose key is which). No error shows a key.
"""

import os
import stat
from base64 import b64decode, b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import yaml
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from marl_core.communication.authentication import GROUP_KEY_BYTES, MODES, GroupMac, Plain, Seal, Signed
from marl_core.config import read_yaml
from marl_core.errors import ConfigError

MEMBERS_FILE = 'fleet.keys.yaml'
GROUP_FILE = 'group.key'
_HEAD = ('# Who may speak in the fleet: public keys, made by `marl_fleet keys`. Nothing here is secret,\n'
         '# but every member needs the same file, and who can change it decides whom to believe.\n')


@dataclass(frozen=True, slots=True)
class Members:
    """What fleet.keys.yaml says.

    Attributes:
        group: fingerprint of the group key.
        keys: public keys by name.
    """

    group: str
    keys: Mapping[str, Ed25519PublicKey]


def load_seal(mode: str, folder: str | Path, name: str) -> Seal:
    """What a node puts on its messages and demands of others.

    Args:
        mode: one of MODES; '' is refused, because to go without protection has to be somebody's choice.
        folder: of the key files; not read in mode ``plain``.
        name: under which the node speaks.

    Raises:
        ConfigError: no or an unknown mode, or a key file that is missing, readable by others, malformed or of
            somebody else.
    """
    if mode not in MODES:
        given = f'unknown security_mode {mode!r}' if mode else 'security_mode is not set'
        raise ConfigError(f'{given}: signed or mac with keys_path (the folder that `marl_fleet keys` made), '
                          'or plain if everybody in the network may speak')
    if mode == 'plain':
        return Plain()
    if not str(folder):
        raise ConfigError(f'security_mode {mode} needs keys_path, the folder that `marl_fleet keys` made')
    folder = Path(folder)
    group_key = read_group_key(folder / GROUP_FILE)
    if mode == 'mac':
        return GroupMac(group_key)
    members = read_members(folder / MEMBERS_FILE)
    if fingerprint(group_key) != members.group:
        raise ConfigError(f'{folder / GROUP_FILE}: is not the group key that {MEMBERS_FILE} names '
                          f'({members.group}); copy both from one run of `marl_fleet keys`')
    if name not in members.keys:
        raise ConfigError(f'{folder / MEMBERS_FILE}: {name} is no member; it has {", ".join(sorted(members.keys))}')
    private_key = read_private_key(folder / f'{name}.key')
    if raw(private_key.public_key()) != raw(members.keys[name]):
        raise ConfigError(f'{folder / name}.key: is not the key of {name} in {MEMBERS_FILE} '
                          f'({fingerprint(raw(members.keys[name]))}); copy both from one run of `marl_fleet keys`')
    return Signed(private_key, members.keys, group_key)


def read_members(path: Path) -> Members:
    """Read fleet.keys.yaml.

    Raises:
        ConfigError: it is missing or malformed, or a key does not have the fingerprint beside it.
    """
    if not path.exists():
        raise _missing(path)
    content = read_yaml(path)
    if set(content) != {'group', 'members'} or not isinstance(content['members'], dict):
        raise ConfigError(f'{path}: expected the keys group and members, got {", ".join(map(str, content))}')
    return Members(str(content['group']), {
        str(name): _member(entry, f'{path}: members: {name}') for name, entry in content['members'].items()})


def _member(entry: object, source: str) -> Ed25519PublicKey:
    if not isinstance(entry, dict) or set(entry) != {'key', 'fingerprint'}:
        raise ConfigError(f'{source}: expected a key and its fingerprint')
    try:
        data = b64decode(str(entry['key']), validate=True)
        key = Ed25519PublicKey.from_public_bytes(data)
    except ValueError as error:
        raise ConfigError(f'{source}: key must be 32 bytes in base64') from error
    if fingerprint(data) != entry['fingerprint']:
        raise ConfigError(f'{source}: the key has fingerprint {fingerprint(data)}, not {entry["fingerprint"]}')
    return key


def write_members(path: Path, members: Members) -> None:
    """Write fleet.keys.yaml, readable by all."""
    entries = {name: {'key': b64encode(raw(key)).decode(), 'fingerprint': fingerprint(raw(key))}
               for name, key in sorted(members.keys.items())}
    text = _HEAD + yaml.safe_dump({'group': members.group, 'members': entries}, sort_keys=False, width=200)
    _write(path, text.encode(), 0o644)


def read_private_key(path: Path) -> Ed25519PrivateKey:
    """Read NAME.key, an unencrypted PKCS #8 PEM file.

    Raises:
        ConfigError: it is missing, readable by others, or no private Ed25519 key.
    """
    try:
        key = load_pem_private_key(_read_secret(path), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise ConfigError(f'{path}: is no unencrypted private key in PEM') from error
    if not isinstance(key, Ed25519PrivateKey):
        raise ConfigError(f'{path}: is a {type(key).__name__}, expected a private Ed25519 key')
    return key


def write_private_key(path: Path, key: Ed25519PrivateKey) -> None:
    """Write NAME.key, for its owner's eyes only."""
    _write(path, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()), 0o600)


def read_group_key(path: Path) -> bytes:
    """Read group.key.

    Raises:
        ConfigError: it is missing, readable by others, or not 64 hexadecimal digits.
    """
    try:
        key = bytes.fromhex(_read_secret(path).decode('ascii'))
    except ValueError as error:
        raise ConfigError(f'{path}: is not {2 * GROUP_KEY_BYTES} hexadecimal digits') from error
    if len(key) != GROUP_KEY_BYTES:
        raise ConfigError(f'{path}: is not {2 * GROUP_KEY_BYTES} hexadecimal digits')
    return key


def write_group_key(path: Path, key: bytes) -> None:
    """Write group.key, for its owner's eyes only."""
    _write(path, f'{key.hex()}\n'.encode(), 0o600)


def raw(key: Ed25519PublicKey) -> bytes:
    """The 32 bytes of a public key."""
    return key.public_bytes(Encoding.Raw, PublicFormat.Raw)


def fingerprint(key: bytes) -> str:
    """A name for a key that people can compare, and that does not tell the key."""
    return 'SHA256:' + b64encode(sha256(key).digest()).decode().rstrip('=')


def _read_secret(path: Path) -> bytes:
    try:
        with path.open('rb') as file:
            allowed = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            if allowed & 0o077:
                raise ConfigError(f'{path}: others may read this secret (mode {allowed:04o}); `chmod 600 {path}`, '
                                  'and `marl_fleet keys --rotate` if somebody may have')
            return file.read(65_536)
    except FileNotFoundError as error:
        raise _missing(path) from error
    except OSError as error:
        raise ConfigError(f'{path}: cannot be read ({error.strerror})') from error


def _missing(path: Path) -> ConfigError:
    return ConfigError(f'{path}: does not exist; copy it from where `marl_fleet keys` made the keys of the fleet')


def _write(path: Path, content: bytes, mode: int) -> None:
    """Replace a file at once, never readable by more than ``mode`` says, not even for a moment."""
    new = path.with_name(f'.{path.name}.new')
    try:
        new.unlink(missing_ok=True)
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), 'wb') as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)
    except OSError as error:
        raise ConfigError(f'{path}: cannot be written ({error.strerror})') from error
