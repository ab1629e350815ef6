"""A robot's whole tick, from scan to command and messages, while four robots explore a building."""

from time import thread_time

import numpy as np

from benchmarks.rows import Row
from marl_core.decision.policies import make_policy
from models import SHIPPED
from sim.agent_host import AgentHostConfig, SimulatedFleet
from sim.worlds import load_world


def measure() -> list[Row]:
    """Ticks of the shipped policy, or of Burgard's rule where none is shipped; the first second is not counted."""
    policy = str(SHIPPED) if SHIPPED.exists() else 'burgard'
    fleet = SimulatedFleet(load_world('office:1'), [f'robot_{index}' for index in range(4)], AgentHostConfig(),
                           policy=lambda: make_policy(policy))
    times_s: list[float] = []
    for agent in fleet.agents:
        agent.tick = _timed(agent.tick, times_s)
    while not fleet.is_done and fleet.simulation.time_s < 300.0:
        _tick(fleet)
    ticks_ms = 1e3 * np.array(times_s[40:])
    return [Row(f'robot tick with {fleet.agents[0].policy.name}, p50', float(np.median(ticks_ms)), 'ms', 5.0, False),
            Row('robot tick, p99', float(np.percentile(ticks_ms, 99)), 'ms', 5.0, at_least=False)]


def _timed(call, times_s: list[float]):  # noqa: ANN001, ANN202 (a closure)
    def timed(*arguments):  # noqa: ANN002, ANN202
        started_s = thread_time()
        answer = call(*arguments)
        times_s.append(thread_time() - started_s)
        return answer
    return timed


def _tick(fleet: SimulatedFleet) -> None:
    now_s, poses = fleet.simulation.time_s, fleet.simulation.true_poses[:, :2]
    commands = np.zeros((len(fleet.agents), 2))
    for row, (agent, readings) in enumerate(zip(fleet.agents, fleet.simulation.readings())):
        commands[row], outbox = agent.tick(readings, fleet.channel.deliver(agent.name, now_s), now_s)
        for message in outbox:
            fleet.channel.send(agent.name, message, now_s, poses)
    fleet.simulation.step(commands)
