import numpy as np
import pytest

from marl_core.config import from_mapping
from marl_core.errors import ConfigError
from sim.tasks import TASKS, ExplorationTask
from sim.tasks.exploration import TRAINING_SEEDS, is_held_back, reference_m
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


@pytest.mark.parametrize(('wrong', 'message'), [
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
