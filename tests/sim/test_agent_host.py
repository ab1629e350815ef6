"""Whole agents in simulation: they explore, over bad radio too, and as a PettingZoo environment."""

from dataclasses import replace
from math import inf

import numpy as np
import pytest
from pettingzoo.test import parallel_api_test

from marl_core.agent import AgentConfig, ExplorationConfig
from marl_core.decision.observation import Observation
from marl_core.decision.policies import POLICIES, make_policy
from marl_core.specs import OBSERVATION, Candidate
from marl_core.trace import TraceWriter, read_trace
from marl_core.types import Twist
from sim.agent_host import AgentHost, AgentHostConfig, SimulatedFleet
from sim.channel import ChannelConfig
from sim.conditions import Conditions
from sim.coverage import COMPLETE, Coverage
from sim.env import ExplorationEnv
from sim.worlds import WorldSize, load_world

SMALL = WorldSize(10.0, 8.0, 0.05)
TASK = {'smallest_m': 9.0, 'largest_m': 11.0, 'random_start': 0.0, 'worlds': ['rooms']}
BAD_RADIO = ChannelConfig(loss=0.3, duplication=0.1, delay_min_s=0.0, delay_max_s=2.0, range_m=6.0)


def base_choices(observations: dict) -> dict[str, int]:
    return {agent: int(np.argmax(np.where(seen['candidate_mask'], seen['base_logits'], -np.inf)))
            for agent, seen in observations.items()}


def coverage_of(fleet: SimulatedFleet, coverage: Coverage, row: int) -> float:
    world = fleet.agents[row].world
    return coverage.of(world.planning.state, world.bounds.planning_resolution_m, world.bounds.origin_x_m,
                       world.bounds.origin_y_m)


@pytest.mark.parametrize('physics', ['kinematic', 'pybullet'])
def test_conforms_to_pettingzoo(physics: str) -> None:
    parallel_api_test(ExplorationEnv(TASK, robots=2, host=AgentHost(AgentHostConfig(physics=physics))), num_cycles=30)


def test_the_same_seed_gives_the_same_episode() -> None:
    ends = []
    for _ in range(2):
        env = ExplorationEnv(TASK, robots=2, host=AgentHost(AgentHostConfig(channel=BAD_RADIO)))
        observations, _ = env.reset(seed=3)
        rewards = []
        for _ in range(6):
            if env.agents:
                observations, reward, *_ = env.step(base_choices(observations))
                rewards.append(reward)
        ends.append((rewards, {name: array.copy() for name, array in env.host.observations.items()}))
    assert ends[0][0] == ends[1][0]
    assert all(np.array_equal(ends[0][1][spec.name], ends[1][1][spec.name]) for spec in OBSERVATION)


@pytest.mark.parametrize('physics', ['kinematic', 'pybullet'])
def test_the_base_rule_completes_an_episode(physics: str) -> None:
    env = ExplorationEnv(TASK, robots=2, host=AgentHost(AgentHostConfig(physics=physics)))
    observations, infos = env.reset(seed=5)
    while env.agents:
        observations, _, terminations, _, infos = env.step(base_choices(observations))
    assert infos['robot_0']['complete']
    assert all(terminations.values())
    assert env.host.fleet.simulation.collisions == 0
    assert 0.2 < infos['robot_0']['makespan_m'] / infos['robot_0']['reference_m'] < 4.0
    assert env.state().shape == env.state_space.shape


@pytest.mark.parametrize('policy', POLICIES)
def test_every_policy_explores_alone_and_together(policy: str) -> None:
    world = load_world('rooms:3', SMALL)
    fleet = SimulatedFleet(world, ['a', 'b', 'c'], AgentHostConfig(), policy=lambda: make_policy(policy))
    coverage = Coverage(world, radius_m=0.25)
    while not fleet.is_done and fleet.simulation.time_s < 200.0:
        fleet.tick()
    assert fleet.is_done
    assert min(coverage_of(fleet, coverage, row) for row in range(3)) >= COMPLETE
    assert fleet.simulation.collisions == 0
    assert all(agent.policy.failures == 0 for agent in fleet.agents)


def test_bad_radio_delays_but_does_not_stop_it_and_maps_agree_in_the_end() -> None:
    world = load_world('office:2', SMALL)
    fleet = SimulatedFleet(world, ['a', 'b', 'c'], AgentHostConfig(channel=BAD_RADIO), seed=2)
    while not fleet.is_done and fleet.simulation.time_s < 300.0:
        fleet.tick()
    assert fleet.is_done
    fleet.channel.config = ChannelConfig()
    assert any(_agree_after_a_tick(fleet) for _ in range(300))


def _agree_after_a_tick(fleet: SimulatedFleet) -> bool:
    """Robots that stand still measure on, and what noise changes takes a tick to the others."""
    fleet.tick()
    return len({agent.world.replica.state_hash() for agent in fleet.agents}) == 1


def test_a_robot_that_dies_does_not_stop_the_others() -> None:
    world = load_world('office:2', SMALL)
    fleet = SimulatedFleet(world, ['a', 'b', 'c'], AgentHostConfig())
    for _ in range(50):
        fleet.tick()
    fleet.simulation.remove('a')
    survivors = fleet.agents[1:]
    for _ in range(2000):
        fleet.tick()
        if all(agent.activity.name == 'DONE' for agent in survivors):
            break
    coverage = Coverage(world, radius_m=0.25)
    assert min(coverage_of(fleet, coverage, row) for row in (1, 2)) >= COMPLETE
    assert fleet.simulation.collisions == 0


def test_a_recorded_robot_commands_the_same_again(tmp_path) -> None:
    world = load_world('rooms:3', SMALL)
    fleet = SimulatedFleet(world, ['a', 'b'], AgentHostConfig(channel=BAD_RADIO), seed=4)
    writer = TraceWriter(tmp_path / 'b.jsonl')
    recorded = fleet.agents[1]
    commands = []
    for _ in range(200):
        now_s = fleet.simulation.time_s
        outboxes, both = [], np.zeros((2, 2))
        for row, agent in enumerate(fleet.agents):
            readings, inbox = fleet.simulation.readings()[row], fleet.channel.deliver(agent.name, now_s)
            both[row], outbox = agent.tick(readings, inbox, now_s)
            outboxes.append(outbox)
            if agent is recorded:
                commands.append(Twist(*both[row]))
                writer.write(readings, inbox, now_s, commands[-1])
        for agent, outbox in zip(fleet.agents, outboxes):
            for message in outbox:
                fleet.channel.send(agent.name, message, now_s, fleet.simulation.true_poses[:, :2])
        fleet.simulation.step(both)
    writer.close()
    again = SimulatedFleet(world, ['a', 'b'], AgentHostConfig()).agents[1]
    replayed = [again.tick(step.readings, step.inbox, step.now_s)[0] for step in read_trace(tmp_path / 'b.jsonl')]
    assert replayed == commands


def test_under_conditions_the_environment_moves_robots_as_they_move_themselves() -> None:
    """Who decides when, and on what, is the same in the environment as for robots on their own."""
    env = ExplorationEnv(TASK | {'hardships': {'radio_range_m': [6.0, 6.0], 'loss': [0.3, 0.3], 'delay_s': [2.0, 2.0]}},
                         robots=3, host=AgentHost())
    observations, _ = env.reset(seed=7)
    episode = env.episode
    assert episode.conditions.radio == ChannelConfig(6.0, 0.3, delay_max_s=2.0)
    decided = 0
    for _ in range(25):
        if env.agents:
            decided += sum(seen['candidate_mask'].any() for seen in observations.values())
            observations, *_ = env.step(base_choices(observations))
    there = env.host.fleet
    assert 0 < decided < 3 * 25  # one decides while others are on their way
    alone = SimulatedFleet(episode.world, [f'robot_{row}' for row in range(3)],
                           AgentHostConfig(channel=episode.conditions.radio), episode.seed)
    while alone.simulation.time_s < there.simulation.time_s - 1e-9:
        alone.tick()
    assert np.array_equal(alone.simulation.true_poses, there.simulation.true_poses)
    assert alone.channel.counts.sent_bytes == there.channel.counts.sent_bytes


def test_agents_die_and_join_late() -> None:
    env = ExplorationEnv(TASK, robots=3, host=AgentHost())
    drawn = env.task.sample(5, 3)
    hard = Conditions((0.0, 3.0, 0.0), (inf, inf, 2.0))
    observations, infos = env.reset(seed=5, options={'episode': replace(drawn, conditions=hard)})
    fleet, speed_mps = env.host.fleet, env.host.config.model.max_linear_mps
    start = fleet.simulation.true_poses.copy()
    there = None
    while env.agents:
        way_m = fleet.simulation.time_s * speed_mps
        if way_m < 3.0:
            assert np.allclose(fleet.simulation.true_poses[1], start[1]) and fleet.agents[1].decisions == 0
        if way_m > 2.5:  # it has come to a stop by then
            there = fleet.simulation.true_poses[2].copy() if there is None else there
            assert np.allclose(fleet.simulation.true_poses[2], there)
            assert not observations['robot_2']['candidate_mask'].any()
        observations, _, _, _, infos = env.step(base_choices(observations))
    assert infos['robot_0']['complete'] and fleet.agents[1].decisions > 0
    assert [status.robot for status in fleet.agents[0]._team] == ['robot_1']


class Turncoat:
    """Goes anywhere but to where it goes."""

    name = 'turncoat'

    def choose(self, observation: Observation) -> int:
        """See Policy."""
        return int(np.argmin(observation.candidates[:, Candidate.IS_GOAL]))


@pytest.mark.parametrize(('turns', 'completes'), [(8, True), (10**6, False)])
def test_a_robot_that_always_wants_to_be_elsewhere_arrives_all_the_same(turns: int, completes: bool) -> None:
    config = AgentHostConfig(agent=AgentConfig(exploration=ExplorationConfig(turns=turns, patience_s=1e3)))
    fleet = SimulatedFleet(load_world('maze:3', SMALL), ['a'], config, policy=Turncoat)
    while not fleet.is_done and fleet.simulation.time_s < 500.0:
        fleet.tick()
    assert fleet.is_done == completes
