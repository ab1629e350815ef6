"""Finds the simulator, which is no part of what robots install: it lives in the checkout."""

import importlib.util
import sys
from pathlib import Path

_EXIT_MISCONFIGURED = 2


def require_simulator() -> None:
    """Make the package ``sim`` importable: from where one stands, or from beside an editable installation.

    Raises:
        SystemExit: there is no checkout; says so. With the code after which nothing is started again.
    """
    if importlib.util.find_spec('sim') is not None:
        return
    for folder in (Path.cwd(), Path(__file__).resolve().parents[1]):
        if (folder / 'sim' / 'simulation.py').is_file():
            sys.path.append(str(folder))
            return
    sys.stderr.write('the simulator is not installed with the nodes: start this in a checkout of the project, '
                     'or install from it with `pip install -e .`\n')
    sys.exit(_EXIT_MISCONFIGURED)
