from math import inf

import numpy as np
import pytest

from marl_core.config import from_mapping
from marl_core.errors import ConfigError
from sim.conditions import Conditions
from sim.tasks import TASKS, ExplorationTask
from sim.tasks.exploration import TRAINING_SEEDS, Hardships, base_progress, is_held_back, reference_m
from sim.worlds import load_world


def test_a_seed_says_everything() -> None:
    task = ExplorationTask()
    one, two, other = task.sample(5_000), task.sample(5_000), task.sample(5_001)
    assert np.array_equal(one.world.occupied, two.world.occupied)
    assert (one.world.anchor_x_m, one.robots, one.sensor_range_m) == (two.world.anchor_x_m, two.robots,
                                                                     two.sensor_range_m)
    assert one.world.name.endswith(':5000')
    assert one.world.name != other.world.name


def test_training_and_held_back_seeds_are_disjoint() -> None:
    assert is_held_back([0, 3, 999, 1_000_000_000])
    assert not is_held_back([0, 1_000])
    assert TRAINING_SEEDS.stop == 1_000_000_000


def test_draws_stay_within_the_configured_ranges() -> None:
    task = ExplorationTask(worlds=('rooms', 'warehouse'), smallest_m=10.0, largest_m=20.0, difficulty=0.5,
                           smallest_team=2, largest_team=3, shortest_range_m=6.0, longest_range_m=7.0)
    drawn = [task.sample(seed) for seed in range(30)]
    assert {episode.world.name.split(':')[0] for episode in drawn} == {'rooms', 'warehouse'}
    assert {episode.robots for episode in drawn} == {2, 3}
    assert all(9.9 < edge < 15.1 for episode in drawn for edge in (episode.world.width_m, episode.world.height_m))
    assert all(6.0 <= episode.sensor_range_m <= 7.0 for episode in drawn)
    assert task.sample(7, robots=5).robots == 5


def test_random_starts_fit_a_robot_and_differ_from_the_worlds_own() -> None:
    for seed in range(5):
        fixed = ExplorationTask(random_start=0.0).sample(seed).world
        moved = ExplorationTask(random_start=1.0).sample(seed).world
        assert np.array_equal(fixed.occupied, moved.occupied)
        assert moved.fits(moved.anchor_x_m, moved.anchor_y_m, 0.35)
        assert (fixed.anchor_x_m, fixed.anchor_y_m) != (moved.anchor_x_m, moved.anchor_y_m)


def test_rewards_by_hand() -> None:
    task = ExplorationTask(difference_weight=0.5, completion_bonus=2.0)
    episode = task.episode(load_world('rooms:1'), robots=2, sensor_range_m=8.0)
    elapsed_m, alone_m2 = 0.1 * episode.reference_m, np.array([0.25, 0.0]) * episode.area_m2
    # a quarter of the world, of which an equal share would be half
    assert task.rewards(episode, elapsed_m, alone_m2, False) == pytest.approx([0.5 * 0.5 - 0.1, -0.1])
    assert task.rewards(episode, elapsed_m, alone_m2, True) == pytest.approx([2.15, 1.9])


def test_reference_falls_with_robots_and_range_and_grows_with_area() -> None:
    assert reference_m(400, 4, 8) < reference_m(400, 2, 8) < reference_m(800, 2, 8)
    assert reference_m(400, 4, 8) < reference_m(400, 4, 5)
    assert reference_m(1.0, 1, 1.0) == pytest.approx(0.24)
    assert ExplorationTask(limit=3.0).sample(1).limit_m == pytest.approx(3 * ExplorationTask().sample(1).reference_m)


def test_hardships_change_neither_world_nor_start_and_are_drawn_within_their_bounds() -> None:
    plain = ExplorationTask(smallest_team=2)
    hard = ExplorationTask(smallest_team=2, hardships=Hardships((5.0, 20.0), (0.1, 0.4), (0.0, 3.0), 0.5, 0.5))
    dead, late = [], []
    for seed in range(60):
        one, two = plain.sample(seed), hard.sample(seed)
        assert one.conditions is None and (one.robots, one.world.anchor_x_m) == (two.robots, two.world.anchor_x_m)
        drawn = two.conditions
        assert drawn == hard.sample(seed).conditions
        assert 5.0 <= drawn.radio.range_m <= 20.0 and 0.1 <= drawn.radio.loss <= 0.4
        assert 0.0 == drawn.radio.delay_min_s <= drawn.radio.delay_max_s <= 3.0
        dead += [(dies_m - joins_m) / two.reference_m for joins_m, dies_m in zip(drawn.joins_m, drawn.dies_m)
                 if dies_m < inf]
        late += [joins_m / two.reference_m for joins_m in drawn.joins_m if joins_m > 0.0]
    assert 15 < len(dead) < 45 and min(dead) >= 0.1 and max(dead) <= 0.5
    assert 15 < len(late) < 45 and min(late) >= 0.05 and max(late) <= 0.5


def test_repeats_differ_in_what_is_drawn_while_playing_only() -> None:
    hardships = Hardships(radio_range_m=(8.0, 60.0), loss=(0.0, 0.3), death=0.5)
    first, again = (ExplorationTask(largest_m=16.0, hardships=hardships, repeat=repeat).sample(77) for repeat in (0, 1))
    assert first.seed == 77 != again.seed
    assert np.array_equal(first.world.occupied, again.world.occupied)
    assert (first.world.anchor_x_m, first.world.anchor_y_m) == (again.world.anchor_x_m, again.world.anchor_y_m)
    assert (first.robots, first.conditions) == (again.robots, again.conditions)


def test_one_robot_alone_neither_dies_nor_comes_late() -> None:
    task = ExplorationTask(hardships=Hardships(death=1.0, late=1.0))
    assert task.sample(1, robots=1).conditions == Conditions((0.0,), (inf,))


def test_progress_of_the_base_rule_grows_with_coverage() -> None:
    steps = [base_progress(coverage) for coverage in np.linspace(0.0, 1.0, 50)]
    assert steps[0] == 0.0 and steps[-1] == 1.0 and steps == sorted(steps)


@pytest.mark.parametrize(('wrong', 'message'), [
    ({'hardships': {'loss': [0.5, 0.1]}}, 'hardships: loss must be a smallest and a largest'),
    ({'hardships': {'loss': [0.5, 1.1]}}, 'hardships: loss must be a probability'),
    ({'hardships': {'radio_range_m': [0.0, 1.0]}}, 'hardships: range_m must be positive'),
    ({'hardships': {'death': 2.0}}, 'hardships: death and late'),
    ({'hardships': {'radio': 2.0}}, "hardships: unknown key 'radio'"),
    ({'worlds': ('rooms', 'moon')}, 'worlds must name some of rooms'),
    ({'smallest_team': 4, 'largest_team': 3}, 'smallest_team <= largest_team'),
    ({'difficulty': 1.5}, 'difficulty'),
    ({'longest_range_m': 1.0}, 'longest_range_m'),
    ({'smallest_m': 3.0}, 'smallest_m'),
    ({'lambda': 1.0}, 'unknown key'),
])
def test_wrong_configurations_are_refused(wrong: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        from_mapping(TASKS['exploration'], wrong)
