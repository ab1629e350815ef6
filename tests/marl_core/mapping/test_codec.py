import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from marl_core.errors import MapError, MessageError
from marl_core.mapping.codec import CODECS, GRADED, DecodeLimits, TileBatch, decode, encode
from marl_core.mapping.votes import TILE_CELLS
from marl_core.types import FAINT, OCCUPIED, VersionRange

LIMITS = DecodeLimits()


@st.composite
def batches(draw) -> tuple[TileBatch, VersionRange]:
    count = draw(st.integers(0, 12))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    spread = draw(st.sampled_from((4, 64, 2**29)))
    tiles = np.unique(random.integers(-spread, spread, (count, 2)), axis=0).astype(np.int32)
    tiles = random.permutation(tiles)
    gaps = random.integers(1, draw(st.sampled_from((2, 5, 2**20))), len(tiles) + 1)
    first = draw(st.integers(1, 2**31))
    versions = first + np.cumsum(gaps[:-1]) - 1
    last = int(versions[-1] if len(tiles) else first) + int(gaps[-1]) - 1
    density = draw(st.sampled_from((0.0, 0.01, 1.0)))
    shape = len(tiles), TILE_CELLS
    classes = random.integers(-1, 2, shape) * (random.random(shape) < density)
    leans_on, start = [], last + 1
    for _ in range(draw(st.integers(0, 3))):
        extent = draw(st.integers(0, 1000))
        leans_on.append(VersionRange(start, start + extent))
        start += extent + 2
    return TileBatch(tiles, versions, classes.astype(np.int8), tuple(leans_on)), VersionRange(first, last)


def suited(batch: TileBatch, codec: str) -> TileBatch:
    """In a graded codec, some walls are faint."""
    if not CODECS[codec].graded:
        return batch
    is_faint = (batch.classes == OCCUPIED) & (np.arange(TILE_CELLS) // 3 % 2 == 0)
    return replace(batch, classes=np.where(is_faint, np.int8(FAINT), batch.classes))


@pytest.mark.parametrize('codec', CODECS)
@given(drawn=batches())
@settings(max_examples=60, deadline=None)
def test_round_trip(codec, drawn):
    batch, versions = drawn
    batch = suited(batch, codec)
    back = decode(encode(batch, versions, codec), versions, codec, LIMITS)
    np.testing.assert_array_equal(back.tiles, batch.tiles)
    np.testing.assert_array_equal(back.versions, batch.versions)
    np.testing.assert_array_equal(back.classes, batch.classes)
    assert back.classes.dtype == np.int8
    assert back.leans_on == batch.leans_on


def _read_or_refused(data, versions, codec):
    """Damage is found by the checksum of the packet; what somebody lies in is refused, or well formed."""
    try:
        back = decode(data, versions, codec, LIMITS)
    except MessageError:
        return
    assert back.classes.shape == (len(back.tiles), TILE_CELLS)
    assert np.isin(back.classes, (-1, 0, 1, 2) if CODECS[codec].graded else (-1, 0, 1)).all()
    assert (np.diff(back.versions) > 0).all()
    assert all(versions.first <= version <= versions.last for version in back.versions)


@pytest.mark.parametrize('codec', CODECS)
@given(data=st.binary(max_size=300))
@settings(max_examples=100, deadline=None)
def test_noise_is_refused_or_harmless(codec, data):
    _read_or_refused(data, VersionRange(1, 100), codec)


@pytest.mark.parametrize('codec', CODECS)
@given(drawn=batches(), position=st.integers(0, 10**6), flip=st.integers(1, 255))
@settings(max_examples=100, deadline=None)
def test_one_wrong_byte_is_refused_or_harmless(codec, drawn, position, flip):
    batch, versions = drawn
    data = bytearray(encode(suited(batch, codec), versions, codec))
    data[position % len(data)] ^= flip
    _read_or_refused(bytes(data), versions, codec)


@pytest.mark.parametrize('codec', CODECS)
@given(drawn=batches(), kept=st.floats(0.0, 1.0, exclude_max=True))
@settings(max_examples=60, deadline=None)
def test_cut_messages_are_refused_or_harmless(codec, drawn, kept):
    batch, versions = drawn
    data = encode(suited(batch, codec), versions, codec)
    _read_or_refused(data[:int(kept * len(data))], versions, codec)


ONE_TILE = bytes((1 << 3,))
AT_ORIGIN = bytes((0, 0))


def one_tile(codec: str, classes: bytes) -> bytes:
    return ONE_TILE + (b'' if codec == 'context' else AT_ORIGIN) + classes


@pytest.mark.parametrize(('bomb', 'announced'), [(True, False), (True, True)])
def test_a_decompression_bomb_costs_nothing(bomb, announced):
    parameters = zstandard.ZstdCompressionParameters(format=zstandard.FORMAT_ZSTD1_MAGICLESS,
                                                     write_content_size=announced)
    frame = zstandard.ZstdCompressor(compression_params=parameters).compress(bytes(50_000_000))
    assert len(frame) < 10_000
    data = one_tile('rle-zstd', frame)
    tracemalloc.start()
    with pytest.raises(MessageError) as caught:
        decode(data, VersionRange(1, 1), 'rle-zstd', LIMITS)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert caught.value.reason == 'bad-data'
    assert peak < 1_000_000


@pytest.mark.parametrize(('data', 'versions', 'codec', 'limits', 'reason'), [
    (one_tile('raw', bytes(256)), (1, 1), 'gif', LIMITS, 'bad-codec'),
    (one_tile('raw', bytes(256)), (1, 1), 'raw', DecodeLimits(max_message_bytes=100), 'oversized'),
    (one_tile('raw', bytes(256)), (1, 1), 'raw', DecodeLimits(max_tiles=0), 'too-many-tiles'),
    (one_tile('raw', bytes(255)), (1, 1), 'raw', LIMITS, 'truncated'),
    (one_tile('raw', bytes(257)), (1, 1), 'raw', LIMITS, 'truncated'),
    (one_tile('raw', b'\xff' * 256), (1, 1), 'raw', LIMITS, 'bad-data'),
    (b'', (1, 1), 'raw', LIMITS, 'truncated'),
    (ONE_TILE + b'\x00', (1, 1), 'raw', LIMITS, 'truncated'),
    (bytes((2 << 3,)) + bytes(4 + 512), (1, 2), 'raw', LIMITS, 'duplicate-tile'),
    (ONE_TILE + b'\x80\x80\x80\x80\x10\x00' + bytes(256), (1, 1), 'raw', LIMITS, 'outside-bounds'),
    (bytes((1 << 3 | 4, 0)) + bytes(260), (1, 1), 'raw', LIMITS, 'bad-range'),
    (bytes((1 << 3 | 1,)), (9, 9), 'context', LIMITS, 'missing-base'),
    (bytes((1 << 3 | 1,)), (1, 1), 'context', LIMITS, 'bad-range'),
    (bytes((1 << 3 | 2, 0)), (9, 9), 'context', LIMITS, 'bad-range'),
    (bytes((1 << 3 | 2, 8)), (9, 9), 'context', LIMITS, 'bad-range'),
    (bytes((1 << 3 | 2, 7)), (9, 9), 'context', LIMITS, 'missing-base'),
    (bytes((1 << 3 | 3,)), (9, 9), 'context', LIMITS, 'bad-range'),
    (bytes((1 << 3 | 1,)) + bytes(258), (9, 9), 'raw', LIMITS, 'bad-data'),
    (bytes((0 << 3 | 1,)), (9, 9), 'context', LIMITS, 'bad-data'),
    (bytes((100, 1)), (1, 1), 'raw', LIMITS, 'bad-range'),
    (one_tile('context', bytes(2000)), (1, 1), 'context', LIMITS, 'bad-data'),
    (one_tile('rle-zstd', b''), (1, 1), 'rle-zstd', LIMITS, 'bad-data'),
])
def test_reasons(data, versions, codec, limits, reason):
    with pytest.raises(MessageError) as caught:
        decode(data, VersionRange(*versions), codec, limits)
    assert caught.value.reason == reason


def test_raw_is_two_bits_per_cell_in_known_order():
    classes = np.zeros((1, TILE_CELLS), np.int8)
    classes[0, :4] = (-1, 0, 1, 1)
    packed = CODECS['raw'].pack(np.array(((-1, 70),), np.int32), classes, None, None)
    assert packed[:5] == bytes((1, 0x8C, 0x01, 0b10_10_01_00, 0b01_01_01_01))


@pytest.mark.parametrize('codec', ['raw', 'rle-zstd', 'context'])
def test_faint_walls_are_for_graded_codecs_only(codec):
    classes = np.zeros((1, TILE_CELLS), np.int8)
    classes[0, 5] = FAINT
    batch = TileBatch(np.zeros((1, 2), np.int32), np.array((1,)), classes)
    data = encode(batch, VersionRange(1, 1), codec + GRADED)
    assert decode(data, VersionRange(1, 1), codec + GRADED, LIMITS).classes[0, 5] == FAINT
    with pytest.raises(MapError, match=f'{codec}{GRADED}'):
        encode(batch, VersionRange(1, 1), codec)
    if codec != 'context':
        with pytest.raises(MessageError) as caught:
            decode(data, VersionRange(1, 1), codec, LIMITS)
        assert caught.value.reason == 'bad-data'


def test_the_worst_tile_fits_every_burst():
    noise = np.random.default_rng(0).integers(-1, 2, (1, TILE_CELLS)).astype(np.int8)
    odd = np.tile(np.array((1, 0, -1, 0), np.int8), TILE_CELLS // 4)[None]
    for codec in CODECS.values():
        assert max(len(codec.pack(np.zeros((1, 2), np.int32), tile, None, None)) for tile in (noise, odd)) < 1500
    graded = np.random.default_rng(0).integers(-1, 3, (1, TILE_CELLS)).astype(np.int8)
    walls = np.random.default_rng(0).integers(1, 3, (1, TILE_CELLS)).astype(np.int8)
    for codec in (codec for codec in CODECS.values() if codec.graded):
        assert max(len(codec.pack(np.zeros((1, 2), np.int32), tile, None, None)) for tile in (graded, walls)) < 1500
