"""Verdicts on disk: they come back as they were, or not at all."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from marl_core.errors import MapError
from marl_core.mapping import verdicts
from marl_core.mapping.bounds import MapBounds
from marl_core.mapping.trust import Trust

BOUNDS = MapBounds(resolution_m=0.05, planning_factor=4, tiles_x=2, tiles_y=2)
NAMES = st.text(min_size=1, max_size=64)
STANDINGS = st.dictionaries(NAMES, st.sampled_from(('doubted', 'quarantined')), max_size=5)
FORGIVEN = st.dictionaries(st.frozensets(NAMES, min_size=2, max_size=2), st.integers(1, 2**31 - 1), max_size=5)


def judge_of(standings, forgiven=None) -> Trust:
    trust = Trust(BOUNDS)
    trust.restore(standings, forgiven or {})
    return trust


@settings(deadline=None)
@given(standings=STANDINGS, forgiven=FORGIVEN)
def test_what_was_saved_comes_back(tmp_path_factory, standings, forgiven):
    path = tmp_path_factory.mktemp('verdicts') / 'map.trust.json'
    verdicts.save(judge_of(standings, forgiven), path)
    again = Trust(BOUNDS)
    assert verdicts.load(again, path) == len(standings)
    assert again.verdicts() == (standings, forgiven)


def test_without_a_file_nobody_is_judged(tmp_path):
    trust = Trust(BOUNDS)
    assert verdicts.load(trust, tmp_path / 'none') == 0
    assert trust.verdicts() == ({}, {})


def test_a_save_that_was_cut_short_leaves_the_one_before(tmp_path):
    path = verdicts.path_beside(tmp_path / 'fleet.state')
    assert path.name == 'fleet.state.trust.json'
    verdicts.save(judge_of({'bob': 'quarantined'}), path)
    path.with_name(path.name + '.new').write_text('{"version": 1, "stan')
    trust = Trust(BOUNDS)
    verdicts.load(trust, path)
    assert trust.state('bob').standing == 'quarantined'
    assert 'last start' in trust.state('bob').reason


GOOD = {'version': 1, 'standings': {}, 'forgiven': []}


@pytest.mark.parametrize('text', [
    '', 'null', '[' * 100_000, '{}', '{"version": 2, "standings": {}, "forgiven": []}',
    *(json.dumps(GOOD | change) for change in (
        {'standings': []}, {'standings': {'bob': 'king'}}, {'standings': {'bob': ['trusted']}},
        {'standings': {'': 'doubted'}}, {'standings': {'b' * 65: 'doubted'}},
        {'standings': {str(n): 'doubted' for n in range(256)}},
        {'forgiven': {}}, {'forgiven': [1]}, {'forgiven': [['a', 'b']]}, {'forgiven': [['a', 'a', 1]]},
        {'forgiven': [['a', 'b', 0]]}, {'forgiven': [['a', 'b', True]]}, {'forgiven': [['a', 'b', 2**31]]},
        {'forgiven': [['a', 'b', 1e300]]}, {'forgiven': [[['a'], 'b', 1]]})),
])
def test_a_hostile_file_is_refused_by_name_and_changes_nothing(tmp_path, text):
    path = tmp_path / 'map.trust.json'
    path.write_text(text)
    trust = judge_of({'ada': 'doubted'})
    with pytest.raises(MapError, match='map.trust.json'):
        verdicts.load(trust, path)
    assert trust.verdicts() == ({'ada': 'doubted'}, {})


def test_a_file_beyond_all_bounds_is_not_read(tmp_path):
    path = tmp_path / 'map.trust.json'
    with path.open('wb') as file:
        file.truncate(2**33)  # sparse
    with pytest.raises(MapError, match='at most'):
        verdicts.load(Trust(BOUNDS), path)


@settings(deadline=None)
@given(data=st.binary(max_size=200))
def test_whatever_bytes_are_there_the_error_is_a_named_one(tmp_path_factory, data):
    path = tmp_path_factory.mktemp('verdicts') / 'map.trust.json'
    path.write_bytes(data)
    trust = judge_of({'liar': 'quarantined'})
    with pytest.raises(MapError, match='map.trust.json: '):
        verdicts.load(trust, path)
    assert trust.verdicts() == ({'liar': 'quarantined'}, {})


def test_where_nothing_can_be_written_the_error_names_the_file(tmp_path):
    (tmp_path / 'file').write_text('')
    with pytest.raises(MapError, match='cannot be saved'):
        verdicts.save(Trust(BOUNDS), tmp_path / 'file' / 'map.trust.json')
