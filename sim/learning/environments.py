"""Names of environments that can be trained on: any PettingZoo parallel environment will do."""

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

from pettingzoo import ParallelEnv

from marl_core.errors import TrainingError


def _exploration(**options: Any) -> ParallelEnv:
    from sim.env import ExplorationEnv  # compiled kernels load here, only where they are used
    return ExplorationEnv(**options)


def _simple_spread(**options: Any) -> ParallelEnv:
    from mpe2 import simple_spread_v3
    return simple_spread_v3.parallel_env(**options)


ENVIRONMENTS: dict[str, Callable[..., ParallelEnv]] = {
    'exploration': _exploration,
    'simple_spread': _simple_spread,
}


def make_environment(name: str, options: Mapping[str, Any]) -> ParallelEnv:
    """Build an environment.

    Args:
        name: key in ENVIRONMENTS, or ``module:callable`` for one that is not listed.
        options: keyword arguments of its factory.

    Raises:
        TrainingError: nobody knows the name, or the factory refuses the options.
    """
    factory = ENVIRONMENTS.get(name)
    if factory is None:
        module, colon, attribute = name.partition(':')
        try:
            factory = getattr(import_module(module), attribute) if colon else None
        except (ImportError, AttributeError) as error:
            raise TrainingError(f'environment {name!r} cannot be imported: {error}') from error
    if factory is None:
        raise TrainingError(f'unknown environment {name!r}; known: {", ".join(ENVIRONMENTS)}, or module:callable')
    try:
        return factory(**options)
    except TypeError as error:
        raise TrainingError(f'environment {name!r} refuses its options {dict(options)}: {error}') from error
