"""The centralized critic. It sees what no robot sees, helps the actor learn, and is never exported.

Beside the acting robot's own observation it reads the environment's state: an image (the true map, the robots, what
is known) through a small CNN, or a vector through an MLP.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True, slots=True)
class CriticConfig:
    """Size of the critic, and what it sees."""

    width: int = 64
    channels: int = 16
    central: bool = True
    """See the environment's state, if it has one. False: a local critic, on each agent's own observation alone, which
    makes the algorithm independent PPO (IPPO)."""


class Critic(nn.Module):
    """Value of the state for one agent, normalised (see ``value_norm``)."""

    def __init__(self, observation_shapes: Mapping[str, tuple[int, ...]], state_shape: tuple[int, ...] | None,
                 config: CriticConfig = CriticConfig()) -> None:
        """Build for arrays of the given shapes, without batch dimension; ``state_shape`` None: there is no state."""
        super().__init__()
        self.pooled = nn.ModuleDict()
        self.plain: list[str] = []
        size = 0
        for name, shape in observation_shapes.items():
            if len(shape) == 2 and shape[0] != shape[1]:
                self.pooled[name] = nn.Sequential(nn.Linear(shape[1], config.width // 2), nn.ReLU())
                size += config.width
            elif len(shape) <= 1:
                self.plain.append(name)
                size += shape[0] if shape else 1
        self.state = _state_network(state_shape if config.central else None, config)
        size += config.width if self.state is not None else 0
        self.value = nn.Sequential(nn.Linear(size, config.width), nn.ReLU(), nn.Linear(config.width, config.width),
                                   nn.ReLU(), nn.Linear(config.width, 1))

    def forward(self, observation: Mapping[str, Tensor], states: Tensor | None, step: Tensor) -> Tensor:
        """Values of decisions.

        Args:
            observation: each Shape: (M, ...). Square tables (distances among rows) are left out.
            states: one per joint step, which all agents of that step share; a local critic ignores them.
                Shape: (J, ...).
            step: which state belongs to each decision. Shape: (M,).

        Returns:
            Shape: (M,).
        """
        return self.value(self._seen(observation, states, step)).squeeze(-1)

    def _seen(self, observation: Mapping[str, Tensor], states: Tensor | None, step: Tensor) -> Tensor:
        """All that the critic knows of each decision, in a row. Shape: (M, size)."""
        parts = [_compressed(observation[name].to(torch.float32)).reshape(len(step), -1) for name in self.plain]
        for name, embed in self.pooled.items():
            rows = embed(_compressed(observation[name].to(torch.float32)))
            parts += [rows.mean(-2), rows.amax(-2)]
        if self.state is not None and states is not None:
            parts.append(self.state(states.to(torch.float32))[step])
        return torch.cat(parts, dim=-1)


class ActionCritic(Critic):
    """Value of every action of an agent, normalised, for counterfactual advantages (see ``gae.counterfactual``).

        value of the state + term of the action,

    where the term of an action that the mask forbids is 0: where an agent has nothing to choose, all actions have the
    value of the state. If the environment describes its actions in the rows of a table (as ``candidates`` does), one
    network gives the terms of all rows; otherwise every action has an output of its own. Unlike the critic of the COMA
    paper it does not see what the teammates choose at the same step, only what observation and state tell of them.
    """

    def __init__(self, observation_shapes: Mapping[str, tuple[int, ...]], state_shape: tuple[int, ...] | None,
                 actions: int, action_mask: str, config: CriticConfig = CriticConfig()) -> None:
        """``actions``: how many there are. ``action_mask``: observation that marks allowed ones, '' if all are."""
        super().__init__(observation_shapes, state_shape, config)
        self.actions, self.action_mask = actions, action_mask
        tables = [name for name in self.pooled if observation_shapes[name][0] == actions]
        self.columns = [*tables, *(name for name in self.plain if observation_shapes[name] == (actions,))]
        size, width = self.value[0].in_features, config.width
        self.embed_action: nn.Module | None = None
        if tables:
            features = sum(observation_shapes[name][1] if name in tables else 1 for name in self.columns)
            self.embed_action = nn.Linear(features, width)
        self.embed_state = nn.Linear(size, width)
        self.term = nn.Sequential(nn.ReLU(), nn.Linear(width, width), nn.ReLU(),
                                  nn.Linear(width, 1 if tables else actions))

    def forward(self, observation: Mapping[str, Tensor], states: Tensor | None, step: Tensor) -> Tensor:
        """Values of all actions. Shape: (M, actions). See Critic."""
        seen = self._seen(observation, states, step)
        mixed = self.embed_state(seen)
        allowed = torch.ones(len(step), self.actions, dtype=torch.bool)
        if self.action_mask:
            allowed = observation[self.action_mask].bool()
        if self.embed_action is None:
            return self.value(seen) + torch.where(allowed, self.term(mixed), 0.0)
        rows = torch.cat([_compressed(observation[name].to(torch.float32)).reshape(len(step), self.actions, -1)
                          for name in self.columns], dim=-1)
        # Most rows are padding: only the others are looked at, which is several times as quick.
        terms = torch.zeros(allowed.shape)
        terms[allowed] = self.term(mixed[allowed.nonzero()[:, 0]] + self.embed_action(rows[allowed])).squeeze(-1)
        return self.value(seen) + terms


def _state_network(shape: tuple[int, ...] | None, config: CriticConfig) -> nn.Module | None:
    if shape is None:
        return None
    if len(shape) != 3:
        return nn.Sequential(nn.Flatten(), nn.Linear(int(torch.tensor(shape).prod()), config.width), nn.ReLU())
    small, large = config.channels, 2 * config.channels
    eyes = nn.Sequential(
        nn.Conv2d(shape[0], small, 5, stride=3, padding=2), nn.ReLU(),
        nn.Conv2d(small, large, 3, stride=2, padding=1), nn.ReLU(),
        nn.Conv2d(large, large, 3, stride=2, padding=1), nn.ReLU(),
        nn.Flatten())
    return nn.Sequential(eyes, nn.Linear(eyes(torch.zeros(1, *shape)).shape[-1], config.width), nn.ReLU())


def _compressed(values: Tensor) -> Tensor:
    """Sign-preserving logarithm: metres, counts and logits all come out at order one."""
    return torch.sign(values) * torch.log1p(values.abs())


class ValueNorm(nn.Module):
    """Running mean and standard deviation of returns, so that the critic always learns targets of order one."""

    def __init__(self, decay: float = 0.95) -> None:
        """``decay``: how much of the old estimate survives one update."""
        super().__init__()
        self.decay = decay
        self.register_buffer('mean', torch.zeros(()))
        self.register_buffer('square', torch.zeros(()))
        self.register_buffer('weight', torch.zeros(()))

    def update(self, returns: Tensor) -> None:
        """Take in a batch of returns."""
        for name, value in (('mean', returns.mean()), ('square', (returns ** 2).mean()), ('weight', torch.ones(()))):
            setattr(self, name, self.decay * getattr(self, name) + (1 - self.decay) * value)

    def normalise(self, returns: Tensor) -> Tensor:
        """Returns -> what the critic predicts."""
        centre, scale = self._moments()
        return (returns - centre) / scale

    def restore(self, values: Tensor) -> Tensor:
        """What the critic predicts -> returns."""
        centre, scale = self._moments()
        return values * scale + centre

    def _moments(self) -> tuple[Tensor, Tensor]:
        if float(self.weight) == 0.0:  # nothing seen yet
            return torch.zeros(()), torch.ones(())
        centre = self.mean / self.weight
        variance = self.square / self.weight - centre ** 2
        return centre, variance.clamp(min=1e-4).sqrt()
