import numpy as np
import pytest
from pettingzoo.test import parallel_api_test, parallel_seed_test

from marl_core.errors import ConfigError, SimulationError
from marl_core.specs import MAX_CANDIDATES, OBSERVATION
from sim.env import ExplorationEnv
from sim.pictures import Plane

SMALL = {'smallest_m': 8.0, 'largest_m': 12.0}


def base_actions(observations: dict) -> dict[str, int]:
    return {agent: int(np.where(seen['candidate_mask'], seen['base_logits'], -np.inf).argmax())
            for agent, seen in observations.items()}


@pytest.mark.filterwarnings('error:.*[Aa]gent.*')
def test_pettingzoo_api() -> None:
    parallel_api_test(ExplorationEnv(SMALL, robots=3), num_cycles=200)


def test_pettingzoo_seeds() -> None:
    parallel_seed_test(lambda: ExplorationEnv(SMALL, robots=2), num_cycles=40)


def test_everything_lies_within_its_space() -> None:
    environment = ExplorationEnv({**SMALL, 'shortest_range_m': 3.0}, robots=3)
    observations, _ = environment.reset(seed=2)
    assert set(observations['robot_0']) == {spec.name for spec in OBSERVATION}
    steps = 0
    while environment.agents:
        for agent, seen in observations.items():
            assert environment.observation_space(agent).contains(seen)
        assert environment.state_space.contains(environment.state())
        observations, *_ = environment.step(base_actions(observations))
        steps += 1
    assert steps > 1


def test_an_episode_of_the_base_rule_ends_complete_and_reports_it() -> None:
    environment = ExplorationEnv({**SMALL, 'difference_weight': 0.0, 'completion_bonus': 1.0}, robots=2)
    observations, infos = environment.reset(seed=4)
    assert infos['robot_0']['makespan_s'] == np.inf
    assert environment.state()[Plane.ROBOTS].sum() == 2
    elapsed_m = earned = 0.0
    while environment.agents:
        observations, rewards, terminations, truncations, infos = environment.step(base_actions(observations))
        elapsed_m += infos['robot_0']['elapsed']
        earned += rewards['robot_1']
    last = infos['robot_1']
    assert terminations == {'robot_0': True, 'robot_1': True}
    assert truncations == {'robot_0': False, 'robot_1': False}
    assert last['complete']
    assert last['coverage'] >= 0.99
    assert last['makespan_m'] == pytest.approx(elapsed_m)
    assert last['makespan_s'] == pytest.approx(elapsed_m / 0.5)
    assert last['travelled_m'] <= elapsed_m + 1e-6
    assert earned == pytest.approx(1.0 - elapsed_m / last['reference_m'])
    with pytest.raises(SimulationError, match='after the end'):
        environment.step({})


def test_what_is_no_candidate_becomes_the_base_choice_and_is_counted() -> None:
    wrong, right = ExplorationEnv(SMALL, robots=2), ExplorationEnv(SMALL, robots=2)
    observations, _ = wrong.reset(seed=6)
    right.reset(seed=6)
    actions = base_actions(observations)
    assert not observations['robot_0']['candidate_mask'][MAX_CANDIDATES - 1]
    ours, *_, infos = wrong.step(actions | {'robot_0': MAX_CANDIDATES - 1})
    theirs, *_ = right.step(actions)
    assert np.array_equal(ours['robot_0']['candidates'], theirs['robot_0']['candidates'])
    assert (infos['robot_0']['invalid_actions'], infos['robot_1']['invalid_actions']) == (1, 0)


def test_the_limit_truncates() -> None:
    environment = ExplorationEnv({'limit': 0.1, 'smallest_m': 30.0}, robots=1)
    observations, _ = environment.reset(seed=1)
    while environment.agents:
        observations, _, terminations, truncations, infos = environment.step(base_actions(observations))
    assert (terminations['robot_0'], truncations['robot_0']) == (False, True)
    assert not infos['robot_0']['complete']


def test_team_size_may_be_drawn() -> None:
    environment = ExplorationEnv({**SMALL, 'smallest_team': 2, 'largest_team': 4}, robots=None)
    assert len(environment.possible_agents) == 4
    sizes = set()
    for seed in range(12):
        observations, _ = environment.reset(seed=seed)
        assert set(observations) == set(environment.agents)
        assert observations['robot_0']['team_mask'].sum() == len(environment.agents)
        sizes.add(len(environment.agents))
    assert sizes == {2, 3, 4}


def test_a_given_episode_is_played() -> None:
    environment = ExplorationEnv(SMALL, robots=2)
    episode = environment.task.sample(9, robots=1)
    observations, _ = environment.reset(seed=1, options={'episode': episode})
    assert list(observations) == ['robot_0']
    with pytest.raises(SimulationError, match='is for 3 robots'):
        environment.reset(options={'episode': environment.task.sample(9, robots=3)})


def test_observations_are_copies() -> None:
    environment = ExplorationEnv(SMALL, robots=2)
    observations, _ = environment.reset(seed=3)
    before = observations['robot_0']['candidates'].copy()
    environment.step(base_actions(observations))
    assert np.array_equal(observations['robot_0']['candidates'], before)


def test_render_is_a_picture() -> None:
    environment = ExplorationEnv(SMALL, robots=2, render_mode='rgb_array')
    environment.reset(seed=3)
    picture = environment.render()
    assert picture.dtype == np.uint8
    assert picture.shape[2] == 3
    assert (picture == (220, 30, 30)).all(axis=2).any()


def test_wrong_use_is_refused() -> None:
    with pytest.raises(ConfigError, match='task: unknown key'):
        ExplorationEnv({'size': 3})
    with pytest.raises(SimulationError, match='asked for 17'):
        ExplorationEnv(robots=17)
    with pytest.raises(SimulationError, match='render_mode'):
        ExplorationEnv(render_mode='human')
    environment = ExplorationEnv(SMALL, robots=2)
    with pytest.raises(SimulationError, match='before reset'):
        environment.step({})
    with pytest.raises(SimulationError, match='before reset'):
        environment.state()
    environment.reset(seed=0)
    with pytest.raises(SimulationError, match='no action for robot_1'):
        environment.step({'robot_0': 0})
