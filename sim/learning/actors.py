"""Names of actors: networks from observations to what ``actions`` knows the meaning of, such as logits."""

import json
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from gymnasium import spaces
from pettingzoo import ParallelEnv
from torch import Tensor, nn

from marl_core.config import from_mapping
from marl_core.errors import TrainingError
from models.compiled_scorer import CONTEXTS, FEATURES
from models.coordinator import Coordinator, CoordinatorConfig
from models.scorer import Scorer
from sim.learning.actions import Discrete, actions_of
from sim.learning.buffer import AGENT, BOX, MEMORY

FIRST_LOG_DEVIATION = -0.5
"""Of continuous actions, in half widths of their bounds: wide enough to find both bounds, but seldom beyond them."""


class GaussianHead(nn.Linear):
    """Means, and beside them logarithms of standard deviations, which are learnt but depend on nothing."""

    def __init__(self, inputs: int, dimensions: int) -> None:
        super().__init__(inputs, dimensions)
        self.log_deviation = nn.Parameter(torch.full((dimensions,), FIRST_LOG_DEVIATION))

    def forward(self, seen: Tensor) -> Tensor:
        """Shapes: (..., inputs) -> (..., 2 * dimensions)."""
        mean = super().forward(seen)
        return torch.cat((mean, self.log_deviation.expand_as(mean)), dim=-1)


class MlpActor(nn.Module):
    """Two hidden layers on a flat observation; for small tasks."""

    def __init__(self, inputs: int, head: nn.Linear, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(inputs, width), nn.Tanh(), nn.Linear(width, width), nn.Tanh(), head)
        _start(*self.layers[::2])

    def forward(self, observation: Mapping[str, Tensor]) -> Tensor:
        """What ``Actions`` knows the meaning of. Shape: (B, outputs)."""
        return self.layers(observation[BOX])


class GruActor(nn.Module):
    """A flat observation through a layer, a gated recurrent unit (Cho et al. 2014) and a head: it remembers.

    While it plays, what it remembers comes back to it as the observation MEMORY. Whole episodes it sees at once.

    Attributes:
        memory_size: how many of its outputs, the last ones, are what it remembers from now on.
    """

    def __init__(self, inputs: int, head: nn.Linear, width: int) -> None:
        super().__init__()
        self.memory_size = width
        self.layers = nn.Sequential(nn.Linear(inputs, width), nn.Tanh())
        self.gru = nn.GRU(width, width, batch_first=True)
        self.head = head
        _start(self.layers[0], head)

    def forward(self, observation: Mapping[str, Tensor]) -> Tensor:
        """Outputs, and memories behind them.

        Args:
            observation: with MEMORY, of one step, each Shape: (B, ...). Without, of T steps from the first on, each
                Shape: (B, T, ...).

        Returns:
            Shape: (B, outputs + memory_size), or (B, T, outputs + memory_size).
        """
        seen = self.layers(observation[BOX])
        if MEMORY in observation:
            memory = self.gru(seen.unsqueeze(1), observation[MEMORY].unsqueeze(0))[0].squeeze(1)
        else:
            memory, _ = self.gru(seen)
        return torch.cat((self.head(memory), memory), dim=-1)


class Separate(nn.Module):
    """A network for each possible agent; the observation AGENT says whose turn it is."""

    def __init__(self, actors: Iterable[nn.Module]) -> None:
        super().__init__()
        self.actors = nn.ModuleList(actors)
        self.memory_size = memory_size(self.actors[0])

    def forward(self, observation: Mapping[str, Tensor]) -> Tensor:
        """See the networks. Shape: (B, ...)."""
        agents = len(self.actors)
        who = observation[AGENT].flatten(1)[:, :agents].argmax(-1)  # of a whole episode, who began it
        order = who.argsort(stable=True)
        parts = [actor({name: array[rows] for name, array in observation.items()})
                 for actor, rows in zip(self.actors, order.split(who.bincount(minlength=agents).tolist()), strict=True)
                 if len(rows)]
        return torch.cat(parts)[order.argsort()]


def memory_size(actor: nn.Module) -> int:
    """How many numbers an actor remembers from step to step; 0: it does not."""
    return getattr(actor, 'memory_size', 0)


def _start(*layers: nn.Linear) -> None:
    for layer in layers:
        nn.init.orthogonal_(layer.weight, 2 ** 0.5)
        nn.init.zeros_(layer.bias)
    nn.init.orthogonal_(layers[-1].weight, 0.01)  # every action starts equally likely


def _on_a_box(actor: type[nn.Module], environment: ParallelEnv, width: int = 64) -> nn.Module:
    shape = observation_shapes(environment).get(BOX, ())
    if len(shape) != 1:
        raise TrainingError(f'a {actor.__name__} needs a flat Box as observation or as its part {BOX!r}, not '
                            f"{environment.observation_space(environment.possible_agents[0])}; environment 'padded' "
                            'makes flat ones')
    actions = actions_of(environment)
    head = nn.Linear(width, actions.outputs) if isinstance(actions, Discrete) else GaussianHead(width, *actions.shape)
    return actor(*shape, head, width)


def _coordinator(environment: ParallelEnv, scorer: str = '', **options: Any) -> nn.Module:
    """``scorer``: manifest (JSON) of an exported scorer to start from; '' for Burgard's rule."""
    network = Coordinator(from_mapping(CoordinatorConfig, options, 'actor_options'))
    if scorer:
        network.scorer.load_state_dict(scorer_weights(scorer))
    return network


def _scorer(environment: ParallelEnv) -> nn.Module:
    return Scorer()


ACTORS: dict[str, Callable[..., nn.Module]] = {
    'mlp': partial(_on_a_box, MlpActor),
    'gru': partial(_on_a_box, GruActor),
    'coordinator': _coordinator,
    'scorer': _scorer,
}


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


def build_actor(name: str, environment: ParallelEnv, options: Mapping[str, Any], seed: int = 0,
                separate: bool = False) -> nn.Module:
    """Build an actor for an environment, with weights that depend on ``seed`` only.

    Args:
        name: key in ACTORS. environment: that it acts in. options: of the actor. seed: see above.
        separate: every possible agent has weights of its own.

    Raises:
        TrainingError: unknown name or options, or an environment that the actor cannot act in.
    """
    if name not in ACTORS:
        raise TrainingError(f'unknown actor {name!r}; known: {", ".join(ACTORS)}')
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        try:
            if separate:
                return Separate(ACTORS[name](environment, **options) for _ in environment.possible_agents)
            return ACTORS[name](environment, **options)
        except TypeError as error:
            raise TrainingError(f'actor {name!r} refuses its options {dict(options)}: {error}') from error


def observation_shapes(environment: ParallelEnv, separate: bool = False) -> dict[str, tuple[int, ...]]:
    """Shapes of one agent's observation by name; a Box observation is filed under ``buffer.BOX``.

    Args:
        environment: see above. separate: agents are told apart, by the observation ``buffer.AGENT``.

    Raises:
        TrainingError: agents that see differently.
    """
    shapes, *others = (_shapes(environment.observation_space(agent)) for agent in environment.possible_agents)
    if any(other != shapes for other in others):
        raise TrainingError(f'agents must have observations of the same shapes, not {shapes}, '
                            f"{', '.join(map(str, others))}; environment 'padded' makes them alike")
    return shapes | ({AGENT: (len(environment.possible_agents),)} if separate else {})


def _shapes(space: spaces.Space) -> dict[str, tuple[int, ...]]:
    parts = space.spaces if isinstance(space, spaces.Dict) else {BOX: space}
    return {name: tuple(part.shape) for name, part in parts.items()}
