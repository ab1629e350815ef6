"""Which nodes a fleet consists of, and with which parameters; launch files and the runner both start these."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from marl_core.errors import ConfigError
from marl_nodes.fleet.model import Fleet

ROBOTS_PER_MACHINE = 64
"""As many as one machine is asked to start. Each takes some 150 MB and 17 threads, so this many take 10 GB; and a ROS
domain has ports for 120 processes on a machine."""

LOCKSTEP_SCAN_TIMEOUT_S = 10.0
"""A simulation without pace answers when it can; on a busy machine a scan may take seconds of wall clock."""


@dataclass(frozen=True, slots=True)
class FleetNode:
    """One process of a fleet.

    Attributes:
        label: names it in log lines and files, unique in the fleet.
        executable: of package marl_coordination; also the module in marl_nodes.
        name: of the ROS node.
        namespace: of the ROS node, '' for the root.
        parameters: of the ROS node.
        stop_order: lower ones are stopped first.
        restart_note: what it means that it was started again; '' if nothing.
    """

    label: str
    executable: str
    name: str
    namespace: str = ''
    parameters: dict[str, Any] = field(default_factory=dict)
    stop_order: int = 0
    restart_note: str = ''

    @property
    def enclave(self) -> str:
        """Full name of the ROS node, which is also the name of its SROS2 enclave."""
        return f'{self.namespace}/{self.name}'


def require_few(robots: int) -> None:
    """Refuse more robots than one machine can start; ask before anything is made for each of them.

    Raises:
        ConfigError: says the limit and why.
    """
    if robots > ROBOTS_PER_MACHINE:
        raise ConfigError(f'{robots} robots: one machine starts at most {ROBOTS_PER_MACHINE}, for each is a process of '
                          'some 150 MB; with `marl_fleet up --only` a larger fleet is started on several machines')


def robots_among(nodes: Iterable[FleetNode]) -> int:
    """How many of the nodes are robots."""
    return sum(node.executable == 'robot_node' for node in nodes)


def nodes_of(fleet: Fleet) -> tuple[FleetNode, ...]:
    """Every node of a fleet in the order of starting: simulator, map, robots."""
    nodes = [robot_node(fleet, name) for name in fleet.robots]
    if fleet.map.enabled:
        nodes.insert(0, map_node(fleet))
    if fleet.simulation is not None:
        nodes.insert(0, simulation_node(fleet))
    return tuple(nodes)


def trust_services(fleet: Fleet) -> tuple[str, ...]:
    """Full names of the services through which the operator tells all who judge whom to believe."""
    return tuple(f'{node.enclave}/set_trust' for node in nodes_of(fleet)
                 if node.executable in ('map_node', 'robot_node'))


def robot_node(fleet: Fleet, name: str) -> FleetNode:
    """The node of one robot."""
    robot, simulation = fleet.robots[name], fleet.simulation
    # The odometry of simulated bases begins at their start in the map, so nothing needs to know it beforehand.
    start = robot.start if simulation is None and robot.start is not None else (0.0, 0.0, 0.0)
    parameters = {
        'robot_name': name, 'model': robot.model, 'policy': robot.policy, 'fallback': robot.fallback,
        'agent_config': fleet.agent, 'initial_pose': list(start), 'map_frame': fleet.map_frame,
        'fleet_namespace': fleet.namespace, 'stamped_cmd_vel': robot.stamped_cmd_vel, **_security_of(fleet)}
    if simulation is not None and simulation.real_time_factor == 0.0:
        parameters['scan_timeout_s'] = LOCKSTEP_SCAN_TIMEOUT_S
    return FleetNode(name, 'robot_node', 'robot', f'/{name}', parameters)


def map_node(fleet: Fleet) -> FleetNode:
    """The map node."""
    return FleetNode('map', 'map_node', 'map', '', {
        'name': fleet.map.name, 'agent_config': fleet.agent, 'map_frame': fleet.map_frame,
        'fleet_namespace': fleet.namespace, 'state_path': fleet.map.state_path, **_security_of(fleet),
        'use_sim_time': fleet.simulation is not None}, stop_order=1)


def simulation_node(fleet: Fleet) -> FleetNode:
    """The simulator's node."""
    simulation = fleet.simulation
    names = list(fleet.robots)
    starts = [number for name in names for number in (fleet.robots[name].start or (float('nan'),) * 3)]
    return FleetNode('simulation', 'sim_node', 'simulation', '', {
        'robots': names, 'models': [fleet.robots[name].model for name in names],
        'stamped_cmd_vel': [fleet.robots[name].stamped_cmd_vel for name in names], 'starts': starts,
        'world': simulation.world, 'physics': simulation.physics, 'body': simulation.body,
        'seed': simulation.seed, 'real_time_factor': simulation.real_time_factor,
        'drift_along': simulation.drift_along, 'drift_turn_rad': simulation.drift_turn_rad}, stop_order=2,
        restart_note='a new simulator begins anew: its time is set back to 0 and every robot to its start, while the '
                     'robots keep what they know; what is measured on this fleet from now on means little')


def _security_of(fleet: Fleet) -> dict[str, Any]:
    return {'security_mode': fleet.security.mode, 'keys_path': fleet.security.keys}
