"""What makes a packet its sender's: seals that close packets on one side and open them on the other.

Three of them, chosen for a whole fleet: ``plain`` only notices damage, ``mac`` shuts out who lacks the group key, and
``signed`` also keeps members from speaking under each other's names.
"""

from collections.abc import Mapping
from hashlib import blake2b
from hmac import compare_digest
from typing import Protocol
from zlib import crc32

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from marl_core.communication.budget import TokenBucket
from marl_core.errors import ConfigError, MessageError

MODES = ('plain', 'mac', 'signed')
"""Names of the seals; their place is their code in a packet's second byte."""
GROUP_KEY_BYTES = 32
CHECKS_PER_S, CHECKS_AT_ONCE = 100.0, 50.0
"""Signatures looked at per name: ten times what a member has to say, and a hundredth of a processor core."""
_SIGNATURE_BYTES = 64


class Seal(Protocol):
    """Closes own packets and opens those of others.

    Attributes:
        mode: see MODES.
        overhead_bytes: what it adds to every packet.
        strict: whether a name is proven, so that an older epoch under it can only be a replay.
    """

    mode: str
    overhead_bytes: int
    strict: bool

    def close(self, data: bytes) -> bytes:
        """The packet that carries ``data``."""

    def open(self, packet: bytes, sender: str, now: float) -> bytes:
        """What a packet carries.

        Args:
            packet: as it came.
            sender: whose it claims to be.
            now: time of arrival [s].

        Raises:
            MessageError: ``unsigned`` (closed by another kind of seal), ``corrupt`` (too short, or damaged in mode
                plain), ``unknown-sender`` (no member), ``forged`` (by somebody without the group key),
                ``impersonated`` (by a member, under another's name), ``unchecked`` (too many under that name of late).
        """


class Plain:
    """Anybody may speak; a checksum finds packets that were damaged on the way."""

    mode = 'plain'
    overhead_bytes = 4
    strict = False

    def close(self, data: bytes) -> bytes:
        """See Seal."""
        data = _marked(data, self.mode)
        return data + crc32(data).to_bytes(4, 'little')

    def open(self, packet: bytes, sender: str, now: float) -> bytes:
        """See Seal."""
        data, check = _parts(packet, self)
        if crc32(data) != int.from_bytes(check, 'little'):
            raise MessageError('corrupt', f'a packet of {sender} was damaged on the way')
        return data


class GroupMac:
    """Who has the group key may speak, under any name."""

    mode = 'mac'
    overhead_bytes = 12
    strict = True

    def __init__(self, key: bytes) -> None:
        """Args: key: GROUP_KEY_BYTES long."""
        self._mac = _keyed(key, self.overhead_bytes)

    def close(self, data: bytes) -> bytes:
        """See Seal."""
        data = _marked(data, self.mode)
        return data + _digest(self._mac, data)

    def open(self, packet: bytes, sender: str, now: float) -> bytes:
        """See Seal."""
        data, mac = _parts(packet, self)
        if not compare_digest(mac, _digest(self._mac, data)):
            raise MessageError('forged', f'somebody without the group key speaks as {sender}')
        return data


class Signed:
    """Every member signs with a key of its own; nobody else can speak under its name.

    A signature takes a hundred times as long to check as a MAC. So a MAC goes round data and signature and is checked
    first: what strangers send costs next to nothing, be it a member's packet with one bit changed. Rubbish from a
    member passes the MAC, under whatever name. Therefore only so many signatures per name are looked at (CHECKS_PER_S),
    and what comes beyond that is dropped unchecked: a flood under one name costs little and touches no other name.
    """

    mode = 'signed'
    overhead_bytes = 72
    strict = True

    def __init__(self, private_key: Ed25519PrivateKey, public_keys: Mapping[str, Ed25519PublicKey],
                 group_key: bytes) -> None:
        """Make the seal of one member.

        Args:
            private_key: its own.
            public_keys: of all members, by name.
            group_key: GROUP_KEY_BYTES long.
        """
        self._private_key, self._public_keys = private_key, dict(public_keys)
        self._mac = _keyed(group_key, self.overhead_bytes - _SIGNATURE_BYTES)
        self._checks = {name: TokenBucket(CHECKS_PER_S, CHECKS_AT_ONCE) for name in self._public_keys}

    def close(self, data: bytes) -> bytes:
        """See Seal."""
        data = _marked(data, self.mode)
        data += self._private_key.sign(data)
        return data + _digest(self._mac, data)

    def open(self, packet: bytes, sender: str, now: float) -> bytes:
        """See Seal."""
        data, trailer = _parts(packet, self)
        key = self._public_keys.get(sender)
        if key is None:
            raise MessageError('unknown-sender', f'{sender} is no member of the fleet')
        signature, mac = trailer[:_SIGNATURE_BYTES], trailer[_SIGNATURE_BYTES:]
        if not compare_digest(mac, _digest(self._mac, data + signature)):
            raise MessageError('forged', f'somebody without the group key speaks as {sender}')
        if not self._checks[sender].spend(1.0, now):
            raise MessageError('unchecked', f'more messages under the name of {sender} than there is time to check')
        try:
            key.verify(signature, data)
        except InvalidSignature:
            raise MessageError('impersonated', f'a member of the fleet speaks as {sender}') from None
        return data


def unchecked(packet: bytes) -> bytes:
    """What a packet carries, believed without a check: for those who only watch.

    Raises:
        MessageError: ``unsigned`` or ``corrupt``.
    """
    kind = packet[1] >> 4 if len(packet) > 1 else len(MODES)
    if kind >= len(MODES):
        raise MessageError('unsigned', 'a packet is closed by no known seal')
    return _parts(packet, (Plain, GroupMac, Signed)[kind])[0]


def _keyed(key: bytes, size_bytes: int) -> 'blake2b':
    if len(key) != GROUP_KEY_BYTES:
        raise ConfigError(f'the group key must have {GROUP_KEY_BYTES} bytes, got {len(key)}')
    return blake2b(key=key, digest_size=size_bytes)


def _digest(keyed: 'blake2b', data: bytes) -> bytes:
    fresh = keyed.copy()
    fresh.update(data)
    return fresh.digest()


def _marked(data: bytes, mode: str) -> bytes:
    """Data whose second byte names the seal, so that it is authenticated as well."""
    return bytes((data[0], data[1] & 0x0F | MODES.index(mode) << 4)) + data[2:]


def _parts(packet: bytes, seal: Seal | type[Seal]) -> tuple[bytes, bytes]:
    """Data and trailer of a packet that was closed by this kind of seal."""
    if len(packet) > 1 and packet[1] >> 4 != MODES.index(seal.mode):
        raise MessageError('unsigned', f'a packet is not closed by {seal.mode}')
    if len(packet) < 2 + seal.overhead_bytes:
        raise MessageError('corrupt', f'{len(packet)} bytes are too few')
    return packet[:-seal.overhead_bytes], packet[-seal.overhead_bytes:]
