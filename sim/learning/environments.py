"""Names of environments that can be trained on: any PettingZoo parallel environment will do."""

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Any

from pettingzoo import ParallelEnv

from marl_core.config import from_mapping
from marl_core.errors import TrainingError


def _exploration(agents: Mapping[str, Any] | None = None, grid: Mapping[str, Any] | None = None,
                 **options: Any) -> ParallelEnv:
    """``agents``: overrides of AgentHostConfig; whole agents explore then, instead of points on a grid, for which
    ``grid`` holds overrides of FastConfig.
    """
    from sim.env import ExplorationEnv  # compiled kernels load here, only where they are used
    return ExplorationEnv(**options, host=_host(agents, grid))


def _host(agents: Mapping[str, Any] | None, grid: Mapping[str, Any] | None = None) -> Any:
    if agents is None:
        from sim.fast import FastConfig
        from sim.hosts import FastHost
        return FastHost(from_mapping(FastConfig, grid or {}, 'grid'))
    from sim.agent_host import AgentHost, AgentHostConfig
    return AgentHost(from_mapping(AgentHostConfig, agents, 'agents'))


def _exploration_in(worlds: Sequence[str], speckle_m2: float = 0.5, agents: Mapping[str, Any] | None = None,
                    grid: Mapping[str, Any] | None = None, **options: Any) -> ParallelEnv:
    """Exploration of given worlds, see ``load_world``; the seed picks the world and, in a map, the start."""
    from sim.env import ExplorationEnv
    from sim.worlds import load_world

    class ExplorationIn(ExplorationEnv):
        def reset(self, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
            turn, place = divmod(seed or 0, len(worlds))
            name = worlds[place]
            world = load_world(f'{name}:{turn % 1000}' if name.endswith('.yaml') else name, speckle_m2=speckle_m2)
            drawn = self.task.sample(seed or 0, self.robots)
            episode = self.task.episode(world, drawn.robots, drawn.sensor_range_m, seed or 0)
            return super().reset(seed=seed, options={**(options or {}), 'episode': episode})

    return ExplorationIn(**options, host=_host(agents, grid))


def _simple_spread(**options: Any) -> ParallelEnv:
    from mpe2 import simple_spread_v3

    from sim.learning.turns import AtOnce
    return AtOnce(simple_spread_v3.raw_env(**options))


def _padded(environment: str, options: Mapping[str, Any] | None = None) -> ParallelEnv:
    """``environment``, ``options``: of another environment, whose agents see or do different things."""
    from sim.learning.padded import Padded
    return Padded(make_environment(environment, options or {}))


ENVIRONMENTS: dict[str, Callable[..., ParallelEnv]] = {
    'exploration': _exploration,
    'exploration_in': _exploration_in,
    'padded': _padded,
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
