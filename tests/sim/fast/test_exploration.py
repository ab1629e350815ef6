import numpy as np
import pytest

from marl_core.errors import SimulationError
from marl_core.specs import HOLD, Candidate
from marl_core.types import FREE, OCCUPIED
from sim.fast import CoarseGrid, FastConfig, FastExploration
from sim.worlds import load_world


def corridor(length: int) -> CoarseGrid:
    return CoarseGrid.from_free(np.ones((1, length), np.bool_), 0.4, anchor=(0, 0))


def test_corridor_by_hand() -> None:
    """20 cells of 0.4 m, range 5 cells: sees 6 cells from the end, then one more with each cell of way.

    Walls beside are seen at a glancing angle only up to 3 cells ahead, so cells 4 and 5 ahead are the frontier.
    """
    episode = FastExploration(corridor(20), robots=1, sensor_range_m=2.0)
    episode.reset()
    assert episode.coverage == pytest.approx(6 / 20)
    assert episode.candidate_cells[0, 0].tolist() == [1, 5]
    first = episode.observations['candidates'][0, 0]
    assert first[Candidate.DISTANCE_M] == pytest.approx(4 * 0.4)
    assert first[Candidate.SIZE_M] == pytest.approx(2 * 0.4)
    outcome = episode.step(np.array([0]))
    assert outcome.elapsed_m == pytest.approx(0.4)
    assert outcome.elapsed_s == pytest.approx(0.8)
    assert outcome.coverage == pytest.approx(7 / 20)
    assert outcome.revealed_m2.tolist() == pytest.approx([0.16])
    assert outcome.revealed_alone_m2.tolist() == pytest.approx([0.16])
    assert episode.cells.tolist() == [[1, 2]]
    episode.play_out()
    # 18, 19 and 20 of 20 cells are seen after 12, 13 and 14 cells of way
    assert episode.milestones_m.tolist() == pytest.approx([12 * 0.4, 13 * 0.4, 14 * 0.4])
    assert episode.travelled_m.tolist() == pytest.approx([14 * 0.4])
    assert episode.done


def test_hidden_area_is_shared_by_the_nearest_candidates() -> None:
    """Cells 11 to 22 of 40 are known: 10 are left on one side and 18 on the other, and behind the ends nothing is."""
    episode = FastExploration(corridor(40), robots=2, sensor_range_m=2.0, config=FastConfig(measures_hidden=True))
    episode.reset(np.array([[1, 16], [1, 17]]))
    cols = episode.candidate_cells[0, :2, 1]
    hidden = {int(col < 17): area for col, area in zip(cols, episode.hidden_m2[0, :2], strict=True)}
    assert hidden == {1: pytest.approx(10 * 0.16), 0: pytest.approx(18 * 0.16)}
    assert not episode.hidden_m2[:, 2:].any()


def choice_of(episode: FastExploration, robot: int, col: int) -> int:
    return int(np.flatnonzero(episode.candidate_cells[robot, :2, 1] == col)[0])


def test_a_follower_is_worth_nothing() -> None:
    episode = FastExploration(corridor(40), robots=2, sensor_range_m=2.0)
    episode.reset(np.array([[1, 15], [1, 17]]))  # cells 10 to 22 are known
    outcome = episode.step(np.array([choice_of(episode, 0, 21), choice_of(episode, 1, 21)]))
    assert outcome.revealed_m2.tolist() == pytest.approx([0.0, 0.16])
    assert outcome.revealed_alone_m2.tolist() == pytest.approx([0.0, 0.16])


def test_robots_that_part_are_worth_what_each_sees() -> None:
    episode = FastExploration(corridor(40), robots=2, sensor_range_m=2.0)
    episode.reset(np.array([[1, 16], [1, 17]]))  # cells 11 to 22 are known
    outcome = episode.step(np.array([choice_of(episode, 0, 11), choice_of(episode, 1, 21)]))
    assert outcome.revealed_alone_m2.tolist() == pytest.approx([0.16, 0.16])


def test_what_both_see_in_one_window_is_credited_to_neither_alone() -> None:
    """Two robots abreast in a broad corridor: the shared part is what each saw beyond its own."""
    grid = CoarseGrid.from_free(np.ones((3, 40), np.bool_), 0.4, anchor=(0, 0))
    episode = FastExploration(grid, robots=2, sensor_range_m=2.0, config=FastConfig(decide_every_m=0.8))
    episode.reset(np.array([[1, 1], [3, 1]]))
    before = episode.coverage
    outcome = episode.step(np.array([0, 0]))
    shared_m2 = outcome.revealed_m2 - outcome.revealed_alone_m2
    assert shared_m2[0] == pytest.approx(shared_m2[1])
    assert shared_m2[0] > 0
    gained_m2 = (outcome.coverage - before) * grid.area_m2
    assert outcome.revealed_alone_m2.sum() + shared_m2[0] == pytest.approx(gained_m2)


@pytest.fixture(scope='module')
def office() -> CoarseGrid:
    return CoarseGrid.from_world(load_world('office:5'), 0.2)


def test_beliefs_never_contradict_the_truth_and_credits_add_up(office: CoarseGrid) -> None:
    episode = FastExploration(office, robots=3, sensor_range_m=5.0)
    episode.reset()
    rng, before = np.random.default_rng(0), episode.coverage
    for _ in range(25):
        counts = episode.observations['candidate_mask'].sum(axis=1)
        outcome = episode.step(rng.integers(0, counts))
        known = episode.beliefs.state[0]
        assert office.free[known == FREE].all()
        assert not office.free[known == OCCUPIED].any()
        assert np.array_equal(known == FREE, episode.covered)
        assert office.free[episode.cells[:, 0], episode.cells[:, 1]].all()
        gained_m2 = (outcome.coverage - before) * office.area_m2
        assert outcome.revealed_alone_m2.sum() <= gained_m2 + 1e-9
        assert outcome.revealed_m2.sum() >= gained_m2 - 1e-9
        assert np.all(outcome.revealed_alone_m2 <= outcome.revealed_m2 + 1e-9)
        assert np.all(episode.travelled_m <= episode.elapsed_m + 1e-6)
        before = outcome.coverage
        if outcome.done:
            break


def test_compiled_base_rule_plays_as_step_by_step(office: CoarseGrid) -> None:
    whole, steps = FastExploration(office, 4), FastExploration(office, 4)
    whole.reset(seed=3)
    decisions = whole.play_out()
    steps.reset(seed=3)
    count = 0
    while not steps.done:
        seen = steps.observations
        steps.step(np.where(seen['candidate_mask'], seen['base_logits'], -np.inf).argmax(axis=1))
        count += 1
    assert count == decisions
    assert steps.milestones_m.tolist() == whole.milestones_m.tolist()
    assert np.array_equal(steps.cells, whole.cells)


@pytest.mark.parametrize(('name', 'decisions', 'milestones_m', 'cells'), [
    ('office:5', 65, (18.8, 19.6, 26.0), [[22, 43], [23, 44], [6, 47], [18, 40]]),
    ('maze:7@28x26', 224, (76.8, 82.4, 89.6), [[26, 68], [14, 68], [51, 36], [49, 64]]),
    ('cave:7@28x26', 75, (24.4, 27.6, 30.0), [[34, 47], [39, 11], [57, 25], [61, 56]]),
])
def test_episodes_of_one_belief_that_decide_together_stay_as_they_are(
        name: str, decisions: int, milestones_m: tuple[float, ...], cells: list[list[int]]) -> None:
    """Recorded, not derived: models and the reference were fitted to these; who moves them does so knowingly."""
    episode = FastExploration(CoarseGrid.from_world(load_world(name), 0.4), robots=4)
    episode.reset(seed=3)
    assert episode.play_out() == decisions
    assert episode.milestones_m.tolist() == pytest.approx(milestones_m)
    assert episode.cells.tolist() == cells


def test_a_reset_forgets_everything(office: CoarseGrid) -> None:
    episode = FastExploration(office, 2)
    episode.reset(seed=1)
    first = {name: array.copy() for name, array in episode.observations.items()}
    episode.play_out()
    milestones = episode.milestones_m
    episode.reset(seed=1)
    assert all(np.array_equal(array, first[name]) for name, array in episode.observations.items())
    episode.play_out()
    assert episode.milestones_m.tolist() == milestones.tolist()


def test_robots_that_hold_wait_until_the_next_decision() -> None:
    episode = FastExploration(corridor(30), robots=1, sensor_range_m=2.0, config=FastConfig(decide_every_m=2.0))
    episode.reset()
    outcome = episode.step(np.array([HOLD]))
    assert outcome.elapsed_m == pytest.approx(2.0)
    assert outcome.revealed_m2.tolist() == [0.0]
    assert episode.travelled_m.tolist() == [0.0]


def test_limit_ends_the_episode() -> None:
    episode = FastExploration(corridor(40), robots=1, sensor_range_m=2.0)
    episode.reset(limit_m=2.8)
    episode.play_out()
    assert episode.out_of_time
    assert not episode.done
    assert episode.elapsed_m == pytest.approx(2.8)
    assert np.isinf(episode.milestones_m).all()


def test_candidates_are_ordered_by_each_robots_own_way(office: CoarseGrid) -> None:
    episode = FastExploration(office, 3, 5.0)
    episode.reset()
    for _ in range(5):
        episode.step(np.zeros(3, np.int64))
    for robot in range(3):
        count = episode.observations['candidate_mask'][robot].sum()
        ways = episode.observations['candidates'][robot, :count, Candidate.DISTANCE_M]
        assert count > 1
        assert np.all(np.diff(ways) >= 0)
        assert np.allclose(ways, episode.observations['team_distances_m'][robot, 0, :count])


def test_wrong_use_is_refused() -> None:
    with pytest.raises(SimulationError, match='asked for 17'):
        FastExploration(corridor(40), robots=17)
    with pytest.raises(SimulationError, match='at least one cell'):
        FastExploration(corridor(40), robots=1, sensor_range_m=0.3)
    episode = FastExploration(corridor(40), robots=1, config=FastConfig(step_m=0.2))
    with pytest.raises(SimulationError, match='before reset'):
        episode.step(np.array([0]))
    with pytest.raises(SimulationError, match='free cells'):
        episode.reset(np.array([[0, 0]]))
    episode.reset()
    for wrong in ([31], [-2], [0, 0]):
        with pytest.raises(SimulationError, match='must choose HOLD or one of its candidates'):
            episode.step(np.array(wrong))


@pytest.mark.parametrize(('turns', 'completes'), [(8, True), (10**6, False)])
def test_who_always_wants_to_be_elsewhere_arrives_all_the_same(turns: int, completes: bool) -> None:
    """In the middle of a corridor whose both ends are unknown, a robot turns round at every decision."""
    episode = FastExploration(corridor(40), robots=1, sensor_range_m=2.0, config=FastConfig(turns=turns))
    episode.reset(np.array([[1, 20]]), limit_m=200.0)
    while not (episode.done or episode.out_of_time):
        others = episode.observations['candidates'][0, :, Candidate.IS_GOAL] == 0.0
        episode.step(np.array([np.argmax(others & episode.observations['candidate_mask'][0])]))
    assert episode.complete == completes
