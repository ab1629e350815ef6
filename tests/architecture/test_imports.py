"""The import rules of ARCHITECTURE.md hold, and a robot never loads what only training needs."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def test_import_contracts_hold() -> None:
    outcome = subprocess.run([Path(sys.executable).parent / 'lint-imports', '--no-cache'], cwd=ROOT,
                             capture_output=True, text=True, check=False)
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr


@pytest.mark.parametrize('module', ['marl_core.agent', 'marl_nodes.robot_node', 'marl_nodes.map_node'])
def test_robot_runtime_loads_no_training_code(module: str) -> None:
    if module.startswith('marl_nodes'):
        pytest.importorskip('rclpy', reason='ROS 2 is not installed')
    program = (f'import sys, {module}; '
               'heavy = {"torch", "pybullet", "sim", "models", "matplotlib"} & set(sys.modules); '
               'sys.exit(", ".join(sorted(heavy)) or 0)')
    outcome = subprocess.run([sys.executable, '-c', program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert outcome.returncode == 0, outcome.stderr


def test_the_grid_plays_scorers_without_torch() -> None:
    program = 'import sys, sim.fast; sys.exit("torch" if "torch" in sys.modules else 0)'
    outcome = subprocess.run([sys.executable, '-c', program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert outcome.returncode == 0, outcome.stderr


@pytest.mark.parametrize(('library', 'home'), [('pybullet', 'sim/physics.py'), ('ray', 'sim/learning/ray_players.py'),
                                               ('onnxruntime', 'marl_core/decision/policies/onnx.py')])
def test_library_is_imported_in_one_file(library: str, home: str) -> None:
    importers = {str(path.relative_to(ROOT)) for folder in ('marl_core', 'marl_nodes', 'sim')
                 for path in (ROOT / folder).rglob('*.py')
                 if any(line.split()[:2] in (['import', library], ['from', library])
                        for line in path.read_text(encoding='utf-8').splitlines())}
    assert importers <= {home, 'sim/learning/export.py'}
    assert home in importers
