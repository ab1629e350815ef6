from pathlib import Path
from textwrap import dedent

import pytest

from marl_core.errors import ConfigError
from marl_nodes.fleet.keys import make_keys, member_names
from marl_nodes.fleet.model import BODIES, PHYSICS, check_fleet, load_fleet
from marl_nodes.fleet.nodes import LOCKSTEP_SCAN_TIMEOUT_S, ROBOTS_PER_MACHINE, nodes_of, require_few
from marl_nodes.fleet.processes import process_specs, require_folder
from sim import simulation

CONFIG = Path(__file__).parents[2] / 'config'


def fleet_file(folder, text):
    path = folder / 'fleet.yaml'
    text = dedent(text)
    path.write_text(f'{text}\nsecurity: {{mode: plain}}\n' if 'robots:' in text and 'security' not in text else text)
    return path


@pytest.mark.parametrize('path', sorted((CONFIG / 'fleets').glob('*.yaml')), ids=lambda path: path.name)
def test_shipped_fleets_are_correct(path):
    assert check_fleet(load_fleet(path)) == ()


def test_a_robot_overrides_what_all_share(tmp_path):
    fleet = load_fleet(fleet_file(tmp_path, """
        every_robot: {policy: nearest, start: [0, 0, 0]}
        robots: {a: {}, b: {policy: burgard, start: [1, 2, 3]}}
        """))
    assert [robot.policy for robot in fleet.robots.values()] == ['nearest', 'burgard']
    assert fleet.robots['b'].start == (1.0, 2.0, 3.0)


def test_keys_are_merged_as_yaml_has_it(tmp_path):
    fleet = load_fleet(fleet_file(tmp_path, """
        robots:
          a: &a {<<: &base {policy: nearest, stamped_cmd_vel: false}, policy: burgard}
          b: {<<: [*a, *base], start: [1, 2, 3]}
          c: {<<: *a, policy: mtsp}
        """))
    assert [robot.policy for robot in fleet.robots.values()] == ['burgard', 'burgard', 'mtsp']
    assert not any(robot.stamped_cmd_vel for robot in fleet.robots.values())


def test_an_anchor_with_merged_keys_may_be_merged_before_it_is_read(tmp_path):
    fleet = load_fleet(fleet_file(tmp_path, """
        robots: {deep: &deep {<<: {policy: nearest}, policy: burgard}}
        every_robot: {<<: *deep}
        """))
    assert fleet.robots['deep'].policy == 'burgard'


def test_paths_are_relative_to_the_file(tmp_path):
    fleet = load_fleet(fleet_file(tmp_path, """
        agent: agent.yaml
        robots: {a: {model: bots/a.yaml, policy: ../p.onnx}}
        simulation: {world: maps/w.yaml}
        """))
    assert fleet.agent == str(tmp_path / 'agent.yaml')
    assert fleet.robots['a'].model == str(tmp_path / 'bots/a.yaml')
    assert fleet.robots['a'].policy == str(tmp_path.parent / 'p.onnx')
    assert fleet.simulation.world == str(tmp_path / 'maps/w.yaml')


@pytest.mark.parametrize(('text', 'words'), [
    ('robots: {a: {polcy: nearest}}', ['a', 'polcy', 'policy']),
    ('robots: {a: {}}\nsimulaton: {}', ['simulaton', 'simulation', 'every_robot']),
    ('robots: {a: {}}\nsimulation: {wrld: x}', ['simulation', 'wrld', 'world']),
    ('robots: {a: {}}\nmap: {nme: x}', ['map', 'nme', 'name']),
    ('robots: {a: {start: [1, 2]}}', ['a', 'start']),
    ('robots: {a: {start: 7}}', ['a', 'start']),
    ('robots: {a: {start: [x, y, z]}}', ['a', 'start']),
    ('robots: {2nd: {}}', ['2nd', 'letter']),
    ('robots: {a-b: {}}', ['a-b']),
    ('robots: {map: {}}', ['map']),
    ('robots: {simulation: {}}', ['simulation', 'another name']),
    ('robots: {map: {}}\nmap: {name: atlas}', ['map', 'another name']),
    ('robots: []', ['robots']),
    ('robots: {}', ['robots']),
    ('robots: {a: {}, a: {}}', ['a', 'twice']),
    ('robots: {a: {}}\nnamespace: fleet', ['namespace', '/fleet']),
    ('robots: {a: {policy: nearest, policy: minpos}}', ['policy', 'twice', 'line 1']),
    ('robots: {a: {<<: {policy: nearest}, <<: {model: x.yaml}}}', ['<<', 'twice']),
    ('robots: {a: {}}\nmap_frame: 2024-99-99', ['YAML', 'month']),
    ('robots: {a: {}}\nsimulation: {seed: -1}', ['simulation', 'seed']),
    ('robots: {a: 5}', ['a', 'mapping']),
    ('every_robot: 5\nrobots: {a: {}}', ['every_robot', 'mapping']),
    ('robots: {a: {start: [.nan, 0, 0]}}', ['a', 'start']),
    ('robots: {a: {}}\nsimulation: {physics: magic}', ['simulation', 'physics', 'pybullet']),
    ('robots: {a: {}}\nsimulation: {body: cube}', ['simulation', 'body', 'wheeled']),
    ('robots: {a: {}}\nsimulation: {real_time_factor: -1}', ['simulation', 'real_time_factor']),
    ('robots: {a: {}}\nmap_frame: ""', ['map_frame']),
    ('- a', ['mapping']),
    ('{', ['YAML'])])
def test_mistakes_are_named_with_the_file(tmp_path, text, words):
    path = fleet_file(tmp_path, text)
    with pytest.raises(ConfigError) as refusal:
        load_fleet(path)
    for word in [str(path), *words]:
        assert word in str(refusal.value)


@pytest.mark.parametrize(('security', 'words'), [
    ('', ['chosen', 'mode: plain', 'mode: signed', 'marl_fleet keys --fleet']),
    ('security: {}', ['chosen']), ('security: {mode: none}', ["'none'", 'plain', 'signed']),
    ('security: {mode: signed}', ['needs keys']), ('security: {mod: mac}', ['mod', 'mode, keys']),
    ('security: {mode: 5}', ['mode', '5']), ('security: signed', ['mapping', 'signed'])])
def test_who_may_speak_must_be_chosen(tmp_path, security, words):
    path = tmp_path / 'fleet.yaml'
    path.write_text(f'robots: {{a: {{}}}}\n{security}')
    with pytest.raises(ConfigError) as refusal:
        load_fleet(path)
    for word in [f'{path}: security', *words]:
        assert word in str(refusal.value)


@pytest.mark.parametrize('mode', ['mac', 'signed'])
def test_check_finds_keys_that_are_missing(tmp_path, mode):
    path = fleet_file(tmp_path, f"""
        security: {{mode: {mode}, keys: secret}}
        robots: {{a: {{}}, b: {{}}}}
        simulation: {{}}
        """)
    fleet = load_fleet(path)
    assert fleet.security.keys == str(tmp_path / 'secret')
    problems = check_fleet(fleet)
    assert len(problems) == (4 if mode == 'signed' else 1)
    assert all('marl_fleet keys' in problem and str(tmp_path / 'secret') in problem for problem in problems)
    make_keys(tmp_path / 'secret', ('a', 'map'))
    assert len(check_fleet(fleet)) == (1 if mode == 'signed' else 0)
    make_keys(tmp_path / 'secret', member_names(fleet))
    assert check_fleet(fleet) == ()
    (tmp_path / 'secret' / 'fleet.keys.yaml').write_text('{')
    assert len(check_fleet(fleet)) == (1 if mode == 'signed' else 0)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ConfigError, match='nowhere.yaml'):
        load_fleet(tmp_path / 'nowhere.yaml')


def test_check_finds_what_single_values_do_not_show(tmp_path):
    problems = check_fleet(load_fleet(fleet_file(tmp_path, """
        every_robot: {start: [0, 0, 0]}
        robots:
          a: {model: missing.yaml}
          b: {policy: missing.onnx}
          c: {start: [0.3, 0, 0]}
          d: {start: null}
        """)))
    assert len(problems) == 4
    for problem, words in zip(problems, [('a:', 'missing.yaml'), ('b:', 'missing.onnx'), ('d:', 'start'),
                                         ('b and c', '0.30 m', '0.40 m')]):
        assert all(word in problem for word in words), problem


def test_nodes_of_a_simulated_fleet(tmp_path):
    nodes = nodes_of(load_fleet(fleet_file(tmp_path, """
        namespace: /north
        robots: {a: {start: [1, 2, 3]}, b: {}}
        simulation: {real_time_factor: 0}
        """)))
    assert [(node.label, node.executable, node.namespace) for node in nodes] == [
        ('simulation', 'sim_node', ''), ('map', 'map_node', ''), ('a', 'robot_node', '/a'), ('b', 'robot_node', '/b')]
    simulation, map_node, robot, _ = (node.parameters for node in nodes)
    assert simulation['starts'][:3] == [1.0, 2.0, 3.0]
    assert map_node['use_sim_time']
    assert robot['initial_pose'] == [0.0, 0.0, 0.0]
    assert robot['scan_timeout_s'] == LOCKSTEP_SCAN_TIMEOUT_S
    assert map_node['fleet_namespace'] == robot['fleet_namespace'] == '/north'


def test_nodes_of_a_real_fleet(tmp_path):
    nodes = nodes_of(load_fleet(fleet_file(tmp_path, 'robots: {a: {start: [1, 2, 3]}}\nmap: {enabled: false}')))
    assert [node.label for node in nodes] == ['a']
    assert nodes[0].parameters['initial_pose'] == [1.0, 2.0, 3.0]
    assert 'scan_timeout_s' not in nodes[0].parameters


def test_check_names_files_that_the_fleet_needs_and_cannot_have(tmp_path):
    problems = check_fleet(load_fleet(fleet_file(tmp_path, """
        agent: nowhere.yaml
        robots: {a: {}}
        simulation: {world: no_map.yaml}
        """)))
    assert any('nowhere.yaml' in problem for problem in problems)
    assert any('no_map.yaml' in problem for problem in problems)


def test_options_of_the_simulation_are_those_of_the_simulator():
    assert (PHYSICS, BODIES) == (simulation.PHYSICS, simulation.BODIES)


def test_more_robots_than_one_machine_can_start_are_refused_with_the_reason(tmp_path):
    require_few(ROBOTS_PER_MACHINE)
    robots = '\n'.join(f'  r{number}: {{}}' for number in range(ROBOTS_PER_MACHINE + 1))
    fleet = load_fleet(fleet_file(tmp_path, f'simulation: {{}}\nrobots:\n{robots}'))
    with pytest.raises(ConfigError, match='65 robots: one machine starts at most 64, .*150 MB.*--only'):
        process_specs(nodes_of(fleet), tmp_path / 'runs')
    assert not (tmp_path / 'runs').exists()


def test_a_log_folder_of_ros_that_cannot_be_made_is_named(tmp_path, monkeypatch):
    (tmp_path / 'file').touch()
    monkeypatch.setenv('ROS_LOG_DIR', str(tmp_path / 'file' / 'ros'))
    fleet = load_fleet(fleet_file(tmp_path, 'robots: {a: {start: [0, 0, 0]}}'))
    with pytest.raises(ConfigError, match='ROS_LOG_DIR: .*file/ros'):
        process_specs(nodes_of(fleet), tmp_path / 'runs')


def test_a_folder_for_results_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / 'file').touch()
    with pytest.raises(ConfigError, match='file'):
        require_folder(tmp_path / 'file' / 'runs')
