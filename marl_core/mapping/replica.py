"""The shared map as one participant holds it: own tiles, everybody else's, and what follows from them.

The map is a replicated data type. Its state is, for each layer (a robot and one of its lives), the newest version
of each tile and the versions known of; joining takes the newer tile and the union of the versions. Joining is
idempotent, commutative and associative, so messages may be lost, repeated, delayed and reordered: replicas whose
digests are equal hold equal maps. Whoever knows a range of versions may answer for it, so nobody is needed.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from math import isfinite

import numpy as np
from numpy.typing import NDArray

from marl_core.errors import MapError, MessageError
from marl_core.mapping.bases import Bases
from marl_core.mapping.bounds import MapBounds, MapConfig
from marl_core.mapping.codec import CODECS, GRADED, MAX_LEANS_ON, MAX_VERSION, DecodeLimits, TileBatch, decode, encode
from marl_core.mapping.layers import Layer, OwnLayer, Urgency
from marl_core.mapping.tile_numbers import flat_of, flat_of_signed, signed_cell_at, signed_of
from marl_core.mapping.votes import FULL_WEIGHT, MAX_LAYERS, Votes
from marl_core.types import LayerDigest, LayerId, MapDigest, MapFeatures, VersionRange
from marl_core.versions import Ranges, above, covers, from_versions, intersect, normalized, subtract, union

_TRINARY_PERCENT = np.array([0, -1, 100], np.int8)  # at class + 1: FREE, UNKNOWN, OCCUPIED


@dataclass(frozen=True, slots=True)
class ReplicaConfig:
    """Limits of a replica, and how it encodes.

    Attributes:
        codec: key in CODECS for what this replica sends; a graded one for a map of graded evidence, and none but
            such are then accepted.
        max_message_bytes: neither sent nor accepted beyond this.
        max_tiles_per_message: likewise; bounds what coding one may cost, 5 ms.
        max_layers: layers held, previous lives included.
        max_ranges_per_layer: fragments of what is known of a layer.
        urgency: what of the own tiles is published first, and what may wait.
        merge_gap: when answering, so many versions that nobody asked for are sent along rather than starting a new
            message.
    """

    codec: str = 'context'
    max_message_bytes: int = 60_000
    max_tiles_per_message: int = 64
    max_layers: int = 64
    max_ranges_per_layer: int = 512
    urgency: Urgency = field(default_factory=Urgency)
    merge_gap: int = 4

    def __post_init__(self) -> None:
        if self.codec not in CODECS:
            raise ValueError(f'codec must be one of {", ".join(CODECS)}, got {self.codec!r}')
        if not 1 <= self.max_layers <= MAX_LAYERS:
            raise ValueError(f'max_layers must be 1 to {MAX_LAYERS}, got {self.max_layers}')
        if not 1 <= self.max_ranges_per_layer <= MAX_LEANS_ON:
            raise ValueError(f'max_ranges_per_layer must be 1 to {MAX_LEANS_ON}, got {self.max_ranges_per_layer}')
        for name in ('max_message_bytes', 'max_tiles_per_message'):
            if getattr(self, name) < 1:
                raise ValueError(f'{name} must be at least 1, got {getattr(self, name)}')

    @classmethod
    def for_map(cls, config: MapConfig) -> 'ReplicaConfig':
        """The defaults for a fleet's kind of evidence."""
        return cls(codec='context' + GRADED) if config.evidence == 'graded' else cls()


class Replica:
    """A copy of the fleet's map.

    Attributes:
        name: whose replica this is; named as the sender of what it sends.
        bounds: geometry.
        layers: what is held, by layer.
    """

    def __init__(self, bounds: MapBounds, name: str, own: LayerId | None = None,
                 config: ReplicaConfig | None = None) -> None:
        """Start empty; ``own`` is the layer that this replica writes (None for one that only keeps the map)."""
        self.name = name
        self.bounds = bounds
        self.config = config or ReplicaConfig()
        self.layers: dict[LayerId, Layer] = {}
        self._limits = DecodeLimits(self.config.max_message_bytes, self.config.max_tiles_per_message)
        self._votes = Votes(bounds)
        self._weights: dict[str, int] = {}
        self._own = OwnLayer(own, bounds) if own is not None else None
        if self._own is not None:
            self.layers[self._own.id] = self._own

    @property
    def own(self) -> LayerId | None:
        """The layer that this replica writes."""
        return self._own.id if self._own is not None else None

    def codec_like(self, codec: str) -> str:
        """The codec of a kind that suits this map's evidence."""
        return codec + GRADED if CODECS[self.config.codec].graded else codec

    @property
    def fused(self) -> NDArray[np.int8]:
        """Classes that the layers vote for; a view that stays valid. Shape: bounds.shape."""
        return self._votes.fused

    def occupancy(self, rows: slice, cols: slice) -> NDArray[np.int8]:
        """As nav_msgs/OccupancyGrid counts: -1 unknown, else how likely it is that a cell is occupied [%].

        Trinary evidence gives 0 or 100. Shape: that of the window.
        """
        if CODECS[self.config.codec].graded:
            return self._votes.occupancy(rows, cols)
        return _TRINARY_PERCENT[self.fused[rows, cols] + 1]

    @property
    def known_cells(self) -> int:
        """Cells that are not UNKNOWN in the fused map."""
        return self._votes.known_cells

    @property
    def known_area_m2(self) -> float:
        """Area that is not UNKNOWN in the fused map [m^2]."""
        return self._votes.known_cells * self.bounds.resolution_m**2

    @property
    def issued(self) -> int:
        """The highest version that the own layer has published."""
        return self._own.issued if self._own is not None else 0

    @property
    def waiting_tiles(self) -> int:
        """Own tiles that changed since they were last published."""
        return int(np.count_nonzero(self._own.waiting_cells)) if self._own is not None else 0

    def take_changed(self) -> NDArray[np.int32]:
        """Tiles (ty, tx) whose fused classes changed since the last call. Shape: (N, 2)."""
        return self._votes.take_changed()

    def weight(self, robot: str) -> int:
        """What the votes of a robot's layers count in the fused map, from 0 to FULL_WEIGHT."""
        return self._weights.get(robot, FULL_WEIGHT)

    def set_weight(self, robot: str, weight: int) -> None:
        """Count the votes of a robot, of all its lives, with another weight from now on.

        Only the fused map changes, only here: what is held, answered and hashed stays as it is.

        Raises:
            MapError: the weight is none of 0 to FULL_WEIGHT.
        """
        if weight not in range(FULL_WEIGHT + 1):
            raise MapError(f'a weight must be a whole number from 0 to {FULL_WEIGHT}, got {weight!r}')
        before = self.weight(robot)
        if weight == before:
            return
        self._weights[robot] = weight
        for layer in self.layers.values():
            if layer.id.robot == robot:
                self._votes.reweigh(layer.seen, before, weight)

    def write(self, layer: LayerId, tiles: NDArray[np.int32], classes: NDArray[np.int8]) -> int:
        """Put own evidence into the map; it counts at once and waits to be published.

        Args:
            layer: must be the own layer.
            tiles: array indices (ty, tx) of tiles that may have changed. Shape: (N, 2).
            classes: the own map. Shape: bounds.shape.

        Returns:
            How many of the tiles were not identical to what was last written.

        Raises:
            MapError: a foreign layer, an array of another shape, or a tile outside the map.
        """
        own = self._own
        if own is None or layer != own.id:
            raise MapError(f'{self.name} writes {own.id if own else "no layer"}, not {layer}')
        if classes.shape != self.bounds.shape or classes.dtype != np.int8 or not classes.flags.c_contiguous:
            raise MapError(f'classes must be C-contiguous int8 {self.bounds.shape}, '
                           f'got {classes.dtype} {classes.shape}')
        indices = flat_of(tiles, self.bounds)
        if indices is None:
            raise MapError(f'a tile is outside the map of {self.bounds.tiles_shape} tiles')
        differs = np.empty(indices.size, np.uint8)
        self._votes.replace_from_raster(indices, classes, own.live, differs, self.weight(layer.robot))
        written = indices[differs != 0]
        own.note_written(written)
        return written.size

    def publish(self, layer: LayerId, budget_bytes: float, now: float,
                value: NDArray[np.floating] | None = None, bases: Ranges | None = (),
                seen_from: tuple[float, float] | None = None) -> MapFeatures | None:
        """Give the most urgent waiting tiles their versions and say so in one message.

        Args:
            layer: must be the own layer.
            budget_bytes: size of the message's data at most [bytes].
            now: stamp of the message [s].
            value: worth of each tile (default: how many of its cells changed). Shape: bounds.tiles_shape.
            bases: own versions that receivers hold, which the message may build on (None: all that were published).
                Only those count before which nothing is missing.
            seen_from: x and y of the robot [m; map frame]; knowing it makes messages smaller.

        Returns:
            The message, or None if nothing is urgent or not even one tile fits.

        Raises:
            MapError: a foreign layer, or versions are used up.
        """
        own = self._own
        if own is None or layer != own.id:
            raise MapError(f'{self.name} publishes {own.id if own else "no layer"}, not {layer}')
        ranked = own.ranked(self.config.urgency, now, None if value is None else np.ravel(value))
        if own.issued + ranked.size > MAX_VERSION:
            raise MapError(f'layer {layer} has used up its versions; start a new epoch')
        start = own.issued + 1
        held_to = own.issued if bases is None else _held_to(bases)
        built_on = Bases(own, self.bounds, min(held_to, own.issued), start)
        origin = None if seen_from is None else signed_cell_at(*seen_from, self.bounds)

        def message(count: int) -> MapFeatures:
            indices = np.sort(ranked[:count])
            versions = VersionRange(start, own.issued + count)
            batch = TileBatch(signed_of(indices, self.bounds), np.arange(start, start + count), own.live[indices])
            return self._message(layer, versions, batch, now, built_on, origin)

        fitting = self._largest(message, ranked.size, budget_bytes)
        if fitting is None:
            return None
        count = fitting.versions.last - own.issued
        own.publish(np.sort(ranked[:count]))
        return fitting

    def answer(self, layer: LayerId, ranges: Ranges, budget_bytes: float, now: float) -> MapFeatures | None:
        """Pass on what is held of the newest part of ``ranges``, in one message that settles a real interval.

        Newest first, because what a message leaves out as replaced is only believed by a receiver that knows of
        the replacements: going down from the top, it always does. Call again with what remains.

        Args:
            layer: whose tiles.
            ranges: versions that somebody lacks.
            budget_bytes: size of the message's data at most [bytes].
            now: stamp of the message [s].

        Returns:
            The message, or None if nothing of it is known here or not even one tile fits.
        """
        if layer not in self.layers:
            return None
        held = self.layers[layer]
        wanted = self._top(intersect(normalized(ranges), held.known), held.known)
        if wanted is None:
            return None
        descending = held.held_between(wanted)[::-1]

        def message(count: int) -> MapFeatures:
            indices = descending[:count][::-1]
            first = wanted.first if count == descending.size else int(held.versions[descending[count]]) + 1
            versions = VersionRange(first, wanted.last)
            complete = count == versions.last - versions.first + 1
            batch = TileBatch(signed_of(indices, self.bounds), held.versions[indices].astype(np.int64),
                              held.tiles[indices], () if complete else above(held.known, versions.last))
            return self._message(layer, versions, batch, now)

        return self._largest(message, descending.size, budget_bytes)

    def join(self, message: MapFeatures) -> int:
        """Take over what a message knows better; returns how many tiles were new.

        Raises:
            MessageError: the message is malformed, too large, outside this map, or speaks for the own layer. Its
                ``reason`` is one of codec.decode's or ``bad-layer``, ``resolution``, ``foreign-evidence``,
                ``outside-bounds``, ``own-layer``, ``too-many-layers``, ``too-many-ranges``. After ``missing-base``
                it may succeed later, once earlier messages of the layer have come. Nothing was changed then.
        """
        self._check_header(message)
        layer = self.layers.get(message.layer)
        try:
            batch = decode(message.data, message.versions, message.codec, self._limits,
                           lambda last: self._bases(layer, last, message.versions.first))
        except MessageError as error:
            if error.reason == 'missing-base' and layer is not None and covers(layer.known, (message.versions,)):
                return 0  # It came again, after what it builds on was replaced, if only by itself.
            raise
        indices = flat_of_signed(batch.tiles, self.bounds)
        if indices is None:
            raise MessageError('outside-bounds', f'a tile lies outside the map of {self.bounds.tiles_shape} tiles')
        if message.layer == self.own:
            return 0
        if layer is None:
            if len(self.layers) >= self.config.max_layers:
                raise MessageError('too-many-layers', f'{message.layer} would be number {len(self.layers) + 1}')
            layer = Layer(message.layer, self.bounds)
        told = union(layer.known, from_versions(batch.versions.tolist()))
        # Versions left out were replaced by others; until those are known here, the gap is not settled.
        if covers(union(told, (message.versions,)), batch.leans_on):
            told = union(told, (message.versions,))
        if len(told) > self.config.max_ranges_per_layer:
            raise MessageError('too-many-ranges', f'{message.layer} would be known in {len(told)} fragments')
        self.layers[message.layer] = layer
        layer.known = told
        return self._votes.replace_newer(indices, batch.versions.astype(np.uint32), batch.classes,
                                         layer.versions, layer.tiles, self.weight(layer.id.robot))

    def digest(self) -> tuple[LayerDigest, ...]:
        """What is known of each layer."""
        return tuple(LayerDigest(layer.id, layer.known) for layer in self.layers.values() if layer.known)

    def lacks(self, other: MapDigest) -> tuple[LayerDigest, ...]:
        """What the sender of a digest lacks and is known here."""
        theirs: dict[LayerId, Ranges] = {}
        for layer, ranges in other.layers:
            theirs[layer] = normalized((*theirs.get(layer, ()), *ranges))
        missing = (LayerDigest(layer.id, subtract(layer.known, theirs.get(layer.id, ())))
                   for layer in self.layers.values() if other.whole or layer.id in theirs)
        return tuple(entry for entry in missing if entry.ranges)

    def state_hash(self) -> str:
        """Fingerprint of the published state: equal for replicas that hold the same."""
        digest = hashlib.blake2b(digest_size=16)
        for layer in sorted((layer for layer in self.layers.values() if layer.known), key=lambda layer: layer.id):
            indices = np.flatnonzero(layer.versions)
            digest.update(repr((tuple(layer.id), [tuple(entry) for entry in layer.known])).encode())
            for part in (indices.astype(np.int64), layer.versions[indices], layer.tiles[indices]):
                digest.update(part.tobytes())
        return digest.hexdigest()

    def _check_header(self, message: MapFeatures) -> None:
        layer, versions = message.layer, message.versions
        if not (isinstance(layer.robot, str) and 1 <= len(layer.robot) <= 64 and layer.robot.isprintable()
                and isinstance(layer.epoch, int) and 0 <= layer.epoch < 2**63):
            raise MessageError('bad-layer', f'{layer!r} names no robot and epoch')
        if not (isinstance(versions.first, int) and isinstance(versions.last, int)
                and 1 <= versions.first <= versions.last <= MAX_VERSION):
            raise MessageError('bad-range', f'{versions!r} is no range of versions')
        expected_m = self.bounds.resolution_m
        # ROS fields may have been float32 on the way.
        if not isfinite(message.resolution_m) or abs(message.resolution_m - expected_m) > 1e-5 * expected_m:
            raise MessageError('resolution', f'cells of {message.resolution_m} m, this map has {expected_m} m')
        codec = CODECS.get(message.codec)
        if codec is not None and codec.graded != CODECS[self.config.codec].graded:
            raise MessageError('foreign-evidence', f'{message.codec}, this map takes {self.codec_like("context")}; '
                               'map.evidence must be the same for the whole fleet')
        if self._own is not None and layer == self._own.id and versions.last > self._own.issued:
            raise MessageError('own-layer', f'{message.robot!r} sends versions of {layer} that it never issued')

    def _top(self, wanted: Ranges, known: Ranges) -> VersionRange | None:
        """The newest range wanted, stretched down over small gaps between it and the next ones."""
        if not wanted:
            return None
        first, last = wanted[-1]
        for lower in reversed(wanted[:-1]):
            stretched = VersionRange(lower.first, last)
            if first - lower.last - 1 > self.config.merge_gap or not covers(known, (stretched,)):
                break
            first = lower.first
        return VersionRange(first, last)

    def _largest(self, message: Callable[[int], MapFeatures], count: int,
                 budget_bytes: float) -> MapFeatures | None:
        """The message with as many tiles as fit (of at most ``count``); None if not even one does."""
        limit = min(budget_bytes, self.config.max_message_bytes)
        if count == 0:
            # Only an answer can settle a range in which every tile was replaced.
            empty = message(0)
            return empty if empty.versions.first <= empty.versions.last and len(empty.data) <= limit else None
        count = min(count, self.config.max_tiles_per_message, max(1, int(limit / 4)))
        while True:
            candidate = message(count)
            if len(candidate.data) <= limit:
                return candidate
            if count == 1:
                return None
            count = max(1, min(count - 1, int(0.95 * count * limit / len(candidate.data))))

    def _message(self, layer: LayerId, versions: VersionRange, batch: TileBatch, now: float,
                 bases: Bases | None = None, origin: tuple[int, int] | None = None) -> MapFeatures:
        codec = self.config.codec
        return MapFeatures(self.name, now, layer, versions, self.bounds.resolution_m, codec,
                           encode(batch, versions, codec, bases, origin))

    def _bases(self, layer: Layer | None, last: int, first: int) -> Bases:
        """What a message that begins with version ``first`` builds on."""
        if layer is None or not covers(layer.known, (VersionRange(1, last),)):
            raise MessageError('missing-base', f'not all versions up to {last} are known')
        return Bases(layer, self.bounds, last, first)


def _held_to(held: Ranges) -> int:
    """The highest version up to which none is missing."""
    ranges = normalized(held)
    return ranges[0].last if ranges and ranges[0].first <= 1 else 0
