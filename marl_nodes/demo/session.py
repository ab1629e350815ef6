"""`marl_fleet demo`: starts simulator, map node and robots, watches them, and leaves a folder of results."""

import os
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import rclpy
from marl_coordination.srv import SaveMap
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.signals import SignalHandlerOptions

from marl_core.agent import AgentConfig
from marl_core.config import from_mapping, load
from marl_core.errors import ConfigError
from marl_core.mapping.bounds import MapBounds
from marl_core.warm_up import warm_up
from marl_nodes.checkout import require_simulator
from marl_nodes.demo import report
from marl_nodes.demo.accuracy import Walls
from marl_nodes.demo.baselines import Baselines
from marl_nodes.demo.world import largest_radius_m, world_of
from marl_nodes.fleet.model import Fleet, RobotEntry, SecurityEntry, SimulationEntry, load_fleet, require_correct
from marl_nodes.fleet.nodes import FleetNode, nodes_of, require_few
from marl_nodes.fleet.processes import WITHOUT_LOG_FILE, process_specs, require_folder
from marl_nodes.fleet.stopping import StopSignals
from marl_nodes.fleet.supervisor import Supervisor, ending
from marl_nodes.monitor import Monitor

require_simulator()
from sim.coverage import COMPLETE, Coverage  # noqa: E402 - found by the line above.

PUBLISH_PERIOD_S = 0.1
"""Of the map [s; wall clock]: the simulation may run many times faster than the clock on the wall."""
SETTLE_S = 5.0
"""A fleet is done when every robot has said so for this long [s; simulated]."""
RESIGN_S = 60.0
"""Robots that say they are done while the map is not complete get so long to change their mind [s; simulated]."""
STANDSTILL_S = 90.0
"""The demo fails when simulated time stands still for so long [s; wall clock]."""
SAVE_S = 15.0
"""The map node may take so long to save the map [s; wall clock]."""
LINE_PERIOD_S = 5.0
"""Between progress lines where there is no terminal [s; wall clock]."""
LINE_WIDTH = 100
"""What a progress line covers of the one before it on a terminal."""


@dataclass(frozen=True)
class DemoOptions:
    """What to demonstrate.

    Attributes:
        robots: how many. world: see SimulationEntry. policy: see RobotEntry.
        physics: kinematic or pybullet. seed: of noise.
        speed: simulated seconds per second, 0: as fast as the robots answer.
        output: folder for the results; '' for runs/ and the time.
        fleet: a fleet file instead of robots, world, policy, physics and seed; '' for none.
        time_limit_s: the demo fails when the map is not complete by then [s; simulated].
    """

    robots: int = 4
    world: str = 'office:1'
    policy: str = 'minpos'
    physics: str = 'pybullet'
    seed: int = 0
    speed: float = 0.0
    output: str = ''
    fleet: str = ''
    time_limit_s: float = 1800.0


def run(options: DemoOptions) -> int:
    """Run a demo.

    Returns:
        0 if the map became complete and the robots knew it, 1 otherwise.

    Raises:
        MarlError: the options name something that does not exist.
    """
    return play(options, fleet_of(options), Demo)


def play(options: DemoOptions, fleet: Fleet, make: 'Callable[[DemoOptions, Stage], Demo]',
         parameters: Mapping[str, Any] | None = None) -> int:
    """Set a run up and play it; returns its exit code.

    Args:
        options: of the demo. fleet: that they describe.
        make: makes the run.
        parameters: that robots and map node get besides their own.

    Raises:
        MarlError: the options name something that does not exist.
    """
    coverage = coverage_of(fleet)
    folder = Path(options.output or Path('runs') / time.strftime('%Y%m%d-%H%M%S')).resolve()
    require_folder(folder)
    report.remove_results(folder, fleet.simulation.world)
    if not os.environ.get('ROS_DOMAIN_ID'):
        os.environ['ROS_DOMAIN_ID'] = str(1 + os.getpid() % 100)  # Two demos are not one fleet.
    os.environ.setdefault('ROS_AUTOMATIC_DISCOVERY_RANGE', 'LOCALHOST')
    say('compiling what no earlier run has compiled')
    warm_up()  # Else the simulator would go on without robots that are still compiling.
    nodes = [_adapted(node, folder, parameters or {}) for node in nodes_of(fleet)]
    supervisor = Supervisor(process_specs(nodes, folder / report.LOGS), show=_show)
    context = Context()
    rclpy.init(args=list(WITHOUT_LOG_FILE), context=context, signal_handler_options=SignalHandlerOptions.NO)
    try:
        baselines = Baselines(MapBounds.from_config(agent_of(fleet).map))
        monitor = Monitor(list(fleet.robots), fleet.namespace, fleet.map_frame, coverage.of, context, baselines.take)
        return make(options, Stage(fleet, folder, supervisor, monitor, baselines, Walls(world_of(fleet)))).run()
    finally:
        rclpy.shutdown(context=context)


def fleet_of(options: DemoOptions) -> Fleet:
    """The fleet that the options describe.

    Raises:
        ConfigError: the fleet file has no simulation, or something in it is wrong.
    """
    if options.fleet:
        fleet = load_fleet(options.fleet)
        if fleet.simulation is None:
            raise ConfigError(f'{options.fleet}: the demo needs a fleet with a simulation')
        fleet = replace(fleet, simulation=replace(fleet.simulation, real_time_factor=options.speed))
        require_few(len(fleet.robots))
    else:
        if options.robots < 1:
            raise ConfigError(f'--robots must be at least 1, got {options.robots}')
        require_few(options.robots)
        world = str(Path(options.world).resolve()) if '.yaml' in options.world else options.world
        robot = _entry_of(options.policy)
        fleet = Fleet({f'robot_{number + 1}': robot for number in range(options.robots)},
                      security=SecurityEntry('plain'),  # All of it is on this machine.
                      simulation=from_mapping(SimulationEntry, {
                          'world': world, 'physics': options.physics, 'body': 'wheeled', 'seed': options.seed,
                          'real_time_factor': options.speed}, 'demo'))
    require_correct(fleet, options.fleet or 'demo')
    return replace(fleet, map=replace(fleet.map, enabled=True))


def _entry_of(policy: str) -> RobotEntry:
    """A robot with a policy; the scorer that lies beside a model stands in for it."""
    if not policy.endswith('.onnx'):
        return RobotEntry(policy=policy)
    model = Path(policy).resolve()
    scorer = model.with_name('scorer.onnx')
    return RobotEntry(policy=str(model), **({'fallback': str(scorer)} if scorer.is_file() else {}))


def coverage_of(fleet: Fleet) -> Coverage:
    """What there is to see in the fleet's world for its largest robot.

    Raises:
        MarlError: the world, a model or the agents' configuration cannot be read, or the world has no room for all.
    """
    return Coverage(world_of(fleet), radius_m=largest_radius_m(fleet) + agent_of(fleet).exploration.clearance_m)


def agent_of(fleet: Fleet) -> AgentConfig:
    """Configuration of the fleet's agents.

    Raises:
        ConfigError: it cannot be read.
    """
    return load(AgentConfig, fleet.agent) if fleet.agent else AgentConfig()


@dataclass(frozen=True)
class Stage:
    """What a run is made of: the fleet, where results go, its processes, who watches, and what to measure with."""

    fleet: Fleet
    folder: Path
    supervisor: Supervisor
    monitor: Monitor
    baselines: Baselines
    walls: Walls


class Demo:
    """One run."""

    completed = 'the map is complete and the robots know it'

    def __init__(self, options: DemoOptions, stage: Stage) -> None:
        self._options, self._stage = options, stage
        self._fleet, self._folder = stage.fleet, stage.folder
        self._supervisor, self._monitor = stage.supervisor, stage.monitor
        self._executor = SingleThreadedExecutor(context=self._monitor.context)
        self._executor.add_node(self._monitor)
        self._signals = StopSignals()
        self._began_s = self._line_s = self._moved_s = time.monotonic()
        self._moved_time_s = 0.0
        self._first_time: tuple[float, float] | None = None

    def run(self) -> int:
        """Start, watch, stop, report; returns the exit code."""
        robots = report.count_of(len(self._fleet.robots), 'robot')
        say(f'{robots} in {self._fleet.simulation.world}; logs in {self._folder / report.LOGS}')
        with self._signals:
            try:
                self._supervisor.start()
                outcome = self._watch()
                self._end_line()
                saved = self._save_map() if self._monitor.map is not None else False
            finally:
                self._supervisor.stop(hurry=lambda: self._signals.hurried)
            metrics = self._report(outcome)
        say(outcome if saved or outcome != self.completed else f'{outcome}, but it could not be saved')
        say(report.summary_of(metrics))
        say(f'results in {self._folder}')
        return 0 if outcome == self.completed and saved else 1

    def _watch(self) -> str:
        """Serve until the run is over; returns how it ended in one sentence."""
        while True:
            self._executor.spin_once(timeout_sec=0.02)
            self._supervisor.poll(0.0)
            self._stage.baselines.advance(self._monitor.time_s)
            self._show_progress()
            self._act()
            outcome = self._outcome()
            if outcome:
                return outcome

    def _act(self) -> None:
        """What else there is to do, again and again."""

    @property
    def _is_complete(self) -> bool:
        return self._monitor.coverage[-1][1] >= COMPLETE

    def _verdict(self) -> str:
        """How the run ended, if it went its way to the end; else ''."""
        if self._is_complete and self._monitor.done_for_s >= SETTLE_S:
            return self.completed
        return 'the robots are done, but the map is not complete' if self._monitor.done_for_s >= RESIGN_S else ''

    def _outcome(self) -> str:
        monitor, now_s = self._monitor, time.monotonic()
        if monitor.time_s > self._moved_time_s:
            self._moved_time_s, self._moved_s = monitor.time_s, now_s
        if verdict := self._verdict():
            return verdict
        if self._signals.asked:
            return 'stopped before the map was complete'
        for code in self._supervisor.exit_codes_of('simulation'):  # Another one would begin another world.
            return f'the simulator {ending(code)}, and its world with it; see the logs'
        if self._supervisor.given_up:
            return f'{", ".join(self._supervisor.given_up)} failed; see the logs'
        if monitor.time_s >= self._options.time_limit_s:
            return f'not complete within {self._options.time_limit_s:.0f} s'
        if now_s - self._moved_s > STANDSTILL_S:
            return f'nothing was heard for {STANDSTILL_S:.0f} s; see the logs'
        return ''

    def _show_progress(self) -> None:
        monitor, now_s = self._monitor, time.monotonic()
        if self._first_time is None and monitor.time_s > 0.0:
            self._first_time = now_s, monitor.time_s
        terminal = sys.stdout.isatty()
        if now_s - self._line_s < (0.2 if terminal else LINE_PERIOD_S):
            return
        self._line_s = now_s
        line = self._progress()
        sys.stdout.write(f'\r{line:<{LINE_WIDTH}}' if terminal else f'{line}\n')
        sys.stdout.flush()

    def _progress(self) -> str:
        monitor = self._monitor
        if self._first_time is None:
            return 'waiting for the nodes to find each other'
        kilobytes = monitor.sent_bytes / 1000.0 / len(monitor.records)
        return (f'{monitor.time_s:6.1f} s  coverage {100 * monitor.coverage[-1][1]:5.1f} %  '
                f'travelled {monitor.travelled_m:6.1f} m  sent {kilobytes:6.1f} kB per robot  '
                f'{self._real_time_factor():4.1f} x real time')

    def _real_time_factor(self) -> float:
        if self._first_time is None:
            return 0.0
        wall_s, time_s = self._first_time
        return (self._monitor.time_s - time_s) / max(time.monotonic() - wall_s, 1e-3)

    def _end_line(self) -> None:
        if sys.stdout.isatty():
            sys.stdout.write('\n')

    def _save_map(self) -> bool:
        client = self._monitor.create_client(SaveMap, '/map/save_map')
        future = None
        deadline_s = time.monotonic() + SAVE_S
        while time.monotonic() < deadline_s and not self._signals.hurried:
            self._executor.spin_once(timeout_sec=0.05)
            if future is None and client.service_is_ready():
                future = client.call_async(SaveMap.Request(path=str(self._folder / 'map')))
            if future is not None and future.done():
                return future.result().success
        return False

    def _report(self, outcome: str) -> dict[str, Any]:
        path = self._folder / 'trajectories.csv'
        trajectories = report.read_trajectories(path) if path.is_file() else {}
        simulation = self._fleet.simulation
        metrics = {
            'outcome': outcome, 'complete': outcome == self.completed, 'world': simulation.world,
            'physics': simulation.physics, 'seed': simulation.seed,
            'policies': {name: robot.policy for name, robot in self._fleet.robots.items()},
            **report.metrics_of(self._monitor, trajectories, COMPLETE),
            'walls_f1': round(self._stage.walls.f1(self._monitor.map), 4) if self._monitor.map is not None else 0.0,
            'compression': report.compression_of(self._monitor, self._stage.baselines),
            'replicas': self._replicas(),
            'trust': report.trust_of(self._monitor, self._fleet.map.name),
            **self._findings(),
            'odometry_drift_m': report.drift_m(path) if path.is_file() else {},
            'real_time_factor': round(self._real_time_factor(), 2),
            'wall_s': round(time.monotonic() - self._began_s, 1)}
        report.write_metrics(self._folder, metrics)
        if self._signals.hurried:
            return metrics
        report.draw_curves(self._folder, self._monitor, metrics)
        if self._monitor.map is not None:
            report.draw_trajectories(self._folder, self._monitor.map, trajectories, metrics)
        return metrics

    def _findings(self) -> dict[str, Any]:
        """Numbers of this kind of run."""
        return {}

    def _replicas(self) -> dict[str, dict[str, Any]]:
        return report.replicas_of(self._monitor, (*self._fleet.robots, self._fleet.map.name))

    def _disagreement(self) -> str:
        """Which replicas hold different maps as far as they said; '' if all said that they hold the same."""
        replicas = self._replicas()
        silent = [name for name in (*self._fleet.robots, self._fleet.map.name) if name not in replicas]
        if silent:
            return f'{", ".join(silent)} did not say what they hold'
        holders: dict[str, list[str]] = {}
        for name, replica in replicas.items():
            holders.setdefault(replica['state_hash'], []).append(name)
        return '' if len(holders) == 1 else f'{" and ".join(map(", ".join, holders.values()))} hold different maps'


def _adapted(node: FleetNode, folder: Path, parameters: Mapping[str, Any]) -> FleetNode:
    extra = {'map': {**parameters, 'publish_period_s': PUBLISH_PERIOD_S},
             'simulation': {'trajectory_path': str(folder / 'trajectories.csv')}}.get(node.label, parameters)
    return replace(node, parameters={**node.parameters, **extra})


def say(sentence: str) -> None:
    """Write a line."""
    sys.stdout.write(f'{sentence}\n')
    sys.stdout.flush()


def _show(label: str, line: str) -> None:
    """Everything is in the logs; only what went wrong is worth a line here."""
    if not line.startswith(('[INFO]', '[WARN]', '[DEBUG]', 'pybullet build time')):
        say(f'{label} | {line}')
