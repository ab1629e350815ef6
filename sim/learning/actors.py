"""Names of actors: networks from observations to logits of actions."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from gymnasium import spaces
from pettingzoo import ParallelEnv
from torch import Tensor, nn

from marl_core.config import from_mapping
from marl_core.errors import TrainingError
from models.coordinator import Coordinator, CoordinatorConfig
from sim.learning.buffer import BOX


class MlpActor(nn.Module):
    """Two hidden layers on a flat observation; for small tasks."""

    def __init__(self, inputs: int, actions: int, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(inputs, width), nn.Tanh(), nn.Linear(width, width), nn.Tanh(),
                                    nn.Linear(width, actions))
        for layer in self.layers[::2]:
            nn.init.orthogonal_(layer.weight, 2 ** 0.5)
            nn.init.zeros_(layer.bias)
        nn.init.orthogonal_(self.layers[-1].weight, 0.01)  # every action starts equally likely

    def forward(self, observation: Mapping[str, Tensor]) -> Tensor:
        """Logits. Shape: (B, A)."""
        return self.layers(observation[BOX])


def _mlp(environment: ParallelEnv, width: int = 64) -> nn.Module:
    agent = environment.possible_agents[0]
    space = environment.observation_space(agent)
    box = space[BOX] if isinstance(space, spaces.Dict) else space
    return MlpActor(int(box.shape[0]), int(environment.action_space(agent).n), width)


def _coordinator(environment: ParallelEnv, **options: Any) -> nn.Module:
    return Coordinator(from_mapping(CoordinatorConfig, options, 'actor_options'))


ACTORS: dict[str, Callable[..., nn.Module]] = {'mlp': _mlp, 'coordinator': _coordinator}


def build_actor(name: str, environment: ParallelEnv, options: Mapping[str, Any], seed: int = 0) -> nn.Module:
    """Build an actor for an environment, with weights that depend on ``seed`` only.

    Raises:
        TrainingError: unknown name or options.
    """
    if name not in ACTORS:
        raise TrainingError(f'unknown actor {name!r}; known: {", ".join(ACTORS)}')
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        try:
            return ACTORS[name](environment, **options)
        except TypeError as error:
            raise TrainingError(f'actor {name!r} refuses its options {dict(options)}: {error}') from error


def observation_shapes(environment: ParallelEnv) -> dict[str, tuple[int, ...]]:
    """Shapes of one agent's observation by name; a Box observation is filed under ``buffer.BOX``."""
    space = environment.observation_space(environment.possible_agents[0])
    if isinstance(space, spaces.Dict):
        return {name: tuple(part.shape) for name, part in space.spaces.items()}
    return {BOX: tuple(space.shape)}
