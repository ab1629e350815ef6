"""The policy of a fleet for SROS2: which node may use which topics and services, where DDS itself has security.

docs/security.md says how it is used. The enclave of a node is its full name, such as ``/robot_1/robot``.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from xml.etree import ElementTree

from marl_nodes.fleet.model import Fleet
from marl_nodes.fleet.nodes import nodes_of

OPERATOR = '/operator'
"""Enclave of those who look at a fleet and call its services: `marl_fleet watch` and `save`, `ros2`, RViz."""
DRIVERS = 'drivers'
"""Last part of the enclave of a real robot's base, lidar and localizer, such as ``/robot_1/drivers``."""

OPERATOR_TOOLS = ('monitor', 'map_saver', 'rviz', '_ros2cli')
"""How the names of their nodes begin."""
_OF_EVERY_NODE = ('/rosout', '/diagnostics', '/parameter_events')
_FLEET_TOPICS = ('features', 'status', 'digest')


@dataclass(frozen=True, slots=True)
class Profile:
    """What one enclave may do.

    Attributes:
        enclave: its path.
        publish: topics; a name without a slash belongs to the namespace, ``~`` is the node.
        subscribe: topics.
        request: services that it calls.
        own: topics that it publishes and services that it offers besides, by default all below the node's own name:
            parameters, life cycle, duties.
    """

    enclave: str
    publish: tuple[str, ...] = ()
    subscribe: tuple[str, ...] = ()
    request: tuple[str, ...] = ()
    own: tuple[str, ...] = ('~/*',)


def profiles_of(fleet: Fleet) -> tuple[Profile, ...]:
    """One profile per node of a fleet, one for the operator, and one for the drivers of each real robot."""
    nodes = nodes_of(fleet)
    shared = tuple(f'{fleet.namespace}/{topic}' for topic in _FLEET_TOPICS)
    sensed = tuple(f'/{robot}/{topic}' for robot in fleet.robots for topic in ('odom', 'scan'))
    profiles = []
    for node in nodes:
        if node.executable == 'robot_node':
            profile = Profile(node.enclave, (*shared, 'cmd_vel', '/tf'), (*shared, 'odom', 'pose', 'scan'))
        elif node.executable == 'map_node':
            profile = Profile(node.enclave, (*shared, '/map', '/map_updates'), shared)
        else:
            profile = Profile(node.enclave, ('/clock', *sensed), tuple(f'/{robot}/cmd_vel' for robot in fleet.robots))
        profiles.append(profile)
    if fleet.simulation is None:
        profiles += [Profile(f'/{robot}/{DRIVERS}', ('/tf', '/tf_static'), ('*', '/tf', '/tf_static'), own=('*',))
                     for robot in fleet.robots]
    seen = (*shared, '/map', '/map_updates', '/diagnostics', '/rosout', '/tf', '/tf_static',
            *(f'/{robot}/*' for robot in fleet.robots))
    profiles.append(Profile(OPERATOR, subscribe=seen, request=tuple(f'{node.enclave}/*' for node in nodes),
                            own=tuple(f'/{name}*' for name in OPERATOR_TOOLS)))
    return tuple(profiles)


def policy_of(fleet: Fleet) -> str:
    """The policy as XML, version 0.2.0 of the schema of sros2."""
    policy = ElementTree.Element('policy', version='0.2.0')
    enclaves = ElementTree.SubElement(policy, 'enclaves')
    for profile in profiles_of(fleet):
        enclave = ElementTree.SubElement(enclaves, 'enclave', path=profile.enclave)
        namespace, _, name = profile.enclave.rpartition('/')
        rules = ElementTree.SubElement(ElementTree.SubElement(enclave, 'profiles'), 'profile',
                                       ns=namespace or '/', node=name)
        _add(rules, 'topic', 'publish', (*profile.publish, *_OF_EVERY_NODE, *profile.own))
        _add(rules, 'topic', 'subscribe', (*profile.subscribe, '/parameter_events', '/clock'))
        _add(rules, 'service', 'reply', profile.own)
        _add(rules, 'service', 'request', profile.request)
    ElementTree.indent(policy)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{ElementTree.tostring(policy, encoding="unicode")}\n'


def _add(rules: ElementTree.Element, kind: str, verb: str, names: Iterable[str]) -> None:
    group = None
    for name in dict.fromkeys(names):
        if group is None:  # The schema allows no empty group.
            group = ElementTree.SubElement(rules, f'{kind}s', {verb: 'ALLOW'})
        ElementTree.SubElement(group, kind).text = name
