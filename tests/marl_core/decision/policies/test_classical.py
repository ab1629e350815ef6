"""Each rule on a case small enough to solve by hand."""

import numpy as np
import pytest

from marl_core.decision.features import allocate_greedily
from marl_core.decision.observation import Observation
from marl_core.decision.policies import POLICIES, Policy, make_policy
from marl_core.decision.policies.mtsp import plan_tours
from marl_core.errors import PolicyError
from marl_core.specs import FAR_M, HOLD, Candidate
from marl_core.testing import check_policy, random_observation

RANGE_M = 4.0


def situation(ways_m, own_rank=0, between_m=None, overlaps=None):
    """Row 0 of ``ways_m`` is the robot itself."""
    ways_m = np.array(ways_m, np.float32)
    robots, count = ways_m.shape
    seen = Observation.empty(count, robots, RANGE_M, own_rank)
    seen.candidate_mask[:] = seen.team_mask[:] = True
    seen.team_distances_m[:] = ways_m
    seen.candidate_distances_m[:] = np.abs(ways_m[:1].T - ways_m[:1]) if between_m is None else between_m
    for robot in range(1, robots):
        first = robot <= own_rank
        seen.candidates[:, Candidate.TEAMMATES_NEARER] += (ways_m[robot] <= ways_m[0]) if first else (
            ways_m[robot] < ways_m[0])
    allocate_greedily(seen.team_distances_m, robots, count, own_rank,
                      np.eye(count, dtype=np.float32) if overlaps is None else np.array(overlaps, np.float32),
                      RANGE_M, seen.candidates[:, Candidate.DISCOUNT], seen.base_logits)
    return seen


@pytest.mark.parametrize('name', POLICIES)
def test_conforms(name) -> None:
    policy = make_policy(name)
    assert isinstance(policy, Policy)
    assert policy.name == name
    check_policy(policy)


@pytest.mark.parametrize('name', POLICIES)
def test_alone_and_with_one_candidate_there_is_no_choice(name) -> None:
    assert make_policy(name).choose(situation([[3.0]])) == 0
    assert make_policy(name).choose(situation(np.empty((1, 0)))) == HOLD


@pytest.mark.parametrize('name', ['nearest', 'burgard', 'minpos', 'hungarian', 'voronoi'])
def test_alone_all_but_the_tour_go_to_the_nearest(name) -> None:
    assert make_policy(name).choose(situation([[9.0, 3.0, 5.0]])) == 1


@pytest.mark.parametrize(('name', 'choice'), [('nearest', 0), ('burgard', 1), ('minpos', 1), ('hungarian', 1),
                                              ('voronoi', 0), ('mtsp', 1)])
def test_a_teammate_nearer_to_the_nearest(name, choice) -> None:
    # Own ways 2, 5; the mate's 1, 6... but candidate 1 belongs to nobody but me, except for Voronoi (mate 4 < 5).
    mate_m = [1.0, 4.0] if name == 'voronoi' else [1.0, 6.0]
    assert make_policy(name).choose(situation([[2.0, 5.0], mate_m], between_m=[[0, 7], [7, 0]])) == choice


def test_voronoi_takes_the_nearest_of_its_own_cell() -> None:
    assert make_policy('voronoi').choose(situation([[2.0, 9.0, 5.0], [1.0, 10.0, 6.0]])) == 2


def test_minpos_prefers_rank_to_distance() -> None:
    # Ranks: two mates nearer to 0, one to 1 and to 2; of those the nearer.
    ways_m = [[2.0, 8.0, 7.0], [1.0, 7.0, 9.0], [1.0, 9.0, 6.0]]
    assert make_policy('minpos').choose(situation(ways_m)) == 2


def test_hungarian_minimises_the_sum() -> None:
    # 1 + 9 = 10 against 2 + 3 = 5: the robot leaves its nearest to the mate that has nothing else near.
    assert make_policy('hungarian').choose(situation([[1.0, 2.0], [3.0, 9.0]])) == 1


@pytest.mark.parametrize(('own_rank', 'choice'), [(0, 0), (1, 0)])
def test_hungarian_without_a_share_goes_to_the_nearest(own_rank, choice) -> None:
    assert make_policy('hungarian').choose(situation([[5.0], [1.0]], own_rank)) == choice


@pytest.mark.parametrize('name', ['burgard', 'minpos', 'hungarian', 'voronoi', 'mtsp'])
def test_two_robots_at_one_place_part(name) -> None:
    # Same ways, same knowledge; only the names differ.
    ways_m, apart_m = [[4.0, 4.0]] * 2, [[0, 8], [8, 0]]
    first = make_policy(name).choose(situation(ways_m, own_rank=0, between_m=apart_m))
    second = make_policy(name).choose(situation(ways_m, own_rank=1, between_m=apart_m))
    if name in ('minpos', 'voronoi'):  # ranks alone cannot part them: the second is second everywhere
        assert first == second == 0
    else:
        assert {first, second} == {0, 1}


def test_burgard_avoids_what_the_teammates_goal_covers() -> None:
    # The mate takes 0; 1 overlaps with it by 0.9, 2 not at all: -3/8 - 0.9 against -6/8.
    overlaps = [[1, 0.9, 0], [0.9, 1, 0], [0, 0, 1]]
    assert make_policy('burgard').choose(situation([[2.0, 3.0, 6.0], [1.0, 9.0, 9.0]], overlaps=overlaps)) == 2


def test_tour_visits_everything_once() -> None:
    generator = np.random.default_rng(3)
    places_m = generator.uniform(0, 30, (20, 2))
    robots_m = generator.uniform(0, 30, (4, 2))
    tours, stops = plan_tours(np.linalg.norm(robots_m[:, None] - places_m, axis=-1).astype(np.float32),
                              np.linalg.norm(places_m[:, None] - places_m, axis=-1).astype(np.float32))
    visited = np.concatenate([tours[robot, :stops[robot]] for robot in range(4)])
    assert sorted(visited.tolist()) == list(range(20))


def test_tour_of_one_robot_on_a_line_goes_one_way() -> None:
    # At 0 with places at -1, 2, 5: out to -1 and then through, 1 + 6 = 7, against 5 + 6 = 11.
    places_m = np.array([5.0, -1.0, 2.0], np.float32)
    tours, stops = plan_tours(np.abs(places_m)[None], np.abs(places_m[:, None] - places_m))
    assert stops.tolist() == [3]
    assert tours[0].tolist() == [1, 2, 0]


@pytest.mark.parametrize(('places_m', 'choice'), [
    ([-4.0, 4.2], 1),    # 4 + 8.2 = 12.2 against 4.2 + 8.2 = 12.4 by way of the goal: hardly longer, so it is kept
    ([-2.0, 5.0], 0),    # 2 + 7 = 9 against 5 + 7 = 12
])
def test_a_tour_hardly_longer_is_no_reason_to_turn_round(places_m, choice) -> None:
    places_m = np.array(places_m, np.float32)
    seen = situation(np.abs(places_m)[None], between_m=np.abs(places_m[:, None] - places_m))
    assert make_policy('mtsp').choose(seen) == 0
    seen.candidates[1, Candidate.IS_GOAL] = 1.0
    assert make_policy('mtsp').choose(seen) == choice


def test_tour_untangles_what_insertion_crossed() -> None:
    generator = np.random.default_rng(0)
    for _ in range(20):
        places_m = generator.uniform(0, 30, (6, 2))
        start_m = np.linalg.norm(places_m, axis=-1).astype(np.float32)
        between_m = np.linalg.norm(places_m[:, None] - places_m, axis=-1).astype(np.float32)
        tour = plan_tours(start_m[None], between_m)[0][0]

        def length_m(order, start_m=start_m, between_m=between_m):
            return start_m[order[0]] + between_m[order[:-1], order[1:]].sum()

        for first in range(6):
            for last in range(first + 1, 6):
                reversed_piece = np.concatenate((tour[:first], tour[first:last + 1][::-1], tour[last + 1:]))
                assert length_m(tour) <= length_m(reversed_piece) + 1e-3


def test_unreachable_for_a_teammate_is_left_to_the_robot() -> None:
    seen = situation([[9.0, 3.0], [FAR_M, 1.0]], between_m=[[0, 9], [9, 0]])
    assert {name: make_policy(name).choose(seen) for name in ('burgard', 'minpos', 'hungarian', 'voronoi', 'mtsp')} == {
        'burgard': 0, 'minpos': 0, 'hungarian': 0, 'voronoi': 0, 'mtsp': 0}


def test_unknown_name_lists_the_valid_ones() -> None:
    with pytest.raises(PolicyError, match=r"unknown policy 'nearst'; valid: nearest, burgard.*\.onnx"):
        make_policy('nearst')


@pytest.mark.parametrize('fault', ['random', 'hold', 'range', 'writes', 'padding'])
def test_the_check_finds_faults(fault) -> None:
    class Faulty:
        name = 'faulty'
        calls = 0

        def choose(self, seen) -> int:
            self.calls += 1
            if not seen.places.size:
                return HOLD
            if fault == 'writes':
                seen.base_logits[0] += 1.0
            return {'random': self.calls % seen.places.size, 'hold': HOLD, 'range': len(seen.candidate_mask),
                    'writes': 0, 'padding': int(seen.base_logits.argmax())}[fault]

    with pytest.raises(AssertionError, match='faulty'):
        check_policy(Faulty())


def test_random_observations_differ() -> None:
    generator = np.random.default_rng(0)
    first, second = (random_observation(generator, 5, 3) for _ in range(2))
    assert not np.array_equal(first.candidates, second.candidates)
