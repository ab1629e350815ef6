"""Names of actors: networks from observations to logits of actions."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from gymnasium import spaces
from pettingzoo import ParallelEnv
from torch import Tensor, nn

from marl_core.config import from_mapping
from marl_core.errors import TrainingError
from models.coordinator import Coordinator, CoordinatorConfig
from models.features import CONTEXTS, FEATURES
from models.scorer import Scorer
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


def _coordinator(environment: ParallelEnv, scorer: str = '', **options: Any) -> nn.Module:
    """``scorer``: manifest (JSON) of an exported scorer to start from; '' for Burgard's rule."""
    network = Coordinator(from_mapping(CoordinatorConfig, options, 'actor_options'))
    if scorer:
        network.scorer.load_state_dict(scorer_weights(scorer))
    return network


def _scorer(environment: ParallelEnv) -> nn.Module:
    return Scorer()


ACTORS: dict[str, Callable[..., nn.Module]] = {'mlp': _mlp, 'coordinator': _coordinator, 'scorer': _scorer}


def scorer_weights(path: str | Path) -> dict[str, Tensor]:
    """State of the Scorer that an exported manifest describes.

    Raises:
        TrainingError: the file cannot be read, or holds no weights of a scorer of today's features.
    """
    try:
        weights = torch.tensor(json.loads(Path(path).read_text(encoding='utf-8'))['weights'])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise TrainingError(f'{path}: holds no weights of a scorer ({error}); python -m sim tune makes them') from error
    if weights.shape != (CONTEXTS, FEATURES):
        raise TrainingError(f'{path}: weights of shape {tuple(weights.shape)}, expected {(CONTEXTS, FEATURES)}')
    return {'linear.weight': weights}


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
