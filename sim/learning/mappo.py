"""Multi-agent PPO with a centralized critic and one actor shared by all agents.

It knows nothing of exploration: it sees named arrays, masked discrete actions and, where the environment offers
them, logits of a rule (``reference``) from which the policy should not stray too far.
"""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from marl_core.errors import TrainingError
from sim.learning import buffer, gae
from sim.learning.buffer import Batch, Episode, Seen
from sim.learning.critic import ActionCritic, Critic, ValueNorm
from sim.learning.shaping import shaped

FORBIDDEN = -1e9

Part = tuple[Tensor, Tensor, Tensor]
"""A minibatch: its rows, the joint steps among them, and each row's place in the latter."""


@dataclass(frozen=True, slots=True)
class MappoConfig:
    """Settings of the algorithm."""

    actor_rate: float = 5e-4
    """Learning rate of the actor. At 2e-3 attention collapses to a constant."""
    critic_rate: float = 1e-3
    """Learning rate of the critic."""
    discount: float = 0.99
    """Per unit of time (whatever ``elapsed`` counts), not per decision."""
    trace: float = 0.95
    """GAE's lambda, per decision."""
    clip: float = 0.2
    """How far the probability of an action may move before its gradient stops."""
    entropy: float = 0.01
    """Bonus for undecided policies [per nat]."""
    sharpness: float = 1.0
    """Factor on all logits, the reference's included, while playing and learning: the inverse temperature at which
    actions are sampled. What is exported takes the best action and does not depend on it."""
    reference_weight: float = 0.0
    """Penalty on the divergence KL(policy || reference rule) [per nat]; needs ``reference``."""
    epochs: int = 4
    """Passes over each batch."""
    minibatches: int = 4
    """Parts into which each pass is cut."""
    critic_epochs: int = 4
    """Passes for the critic; it may learn longer than the actor."""
    target_divergence: float = 0.03
    """The actor stops early once it moved so far from the policy that played [nat]; 0: never."""
    advantage_limit: float = 4.0
    """Largest magnitude of a scaled advantage."""
    robust_scale: bool = True
    """Scale advantages by percentiles instead of the standard deviation."""
    gradient_limit: float = 0.5
    """Largest norm of a gradient."""
    advantage: str = 'gae'
    """``gae``, or ``counterfactual``: what was chosen against what the policy may expect, by a critic that values every
    action and learns from the same lambda-returns. It has nothing but this critic to go by, so let that learn faster
    (``critic_rate``) and earlier (``warm_up`` of the run) than the actor."""
    averaging: float = 0.0
    """What is evaluated and exported is a running average of the actor's weights; this is the part of it that survives
    an update. Averages shed most of the noise that single updates carry (Polyak & Juditsky 1992). 0: no average."""
    shaping: float = 0.0
    """Weight of potential-based shaping; needs an environment whose infos tell a ``potential``."""
    foresight: float = 0.0
    """Weight of what the actor learns to foresee, beside what it earns; needs a ``target`` of the run."""


ADVANTAGES = ('gae', 'counterfactual')


class Mappo:
    """Learns from episodes. All that it changes is in ``state_dict``.

    Attributes:
        actor: who plays, and is learnt.
        policy: weights of what has been learnt so far: the actor's, or their average (``averaging``).
    """

    def __init__(self, actor: nn.Module, critic: Critic, config: MappoConfig, action_mask: str = '',
                 reference: str = '', seed: int = 0) -> None:
        """``action_mask`` and ``reference`` name observations, '' where the environment has none.

        Raises:
            TrainingError: unknown advantage, or a critic that cannot give it.
        """
        if config.advantage not in ADVANTAGES:
            raise TrainingError(f'unknown advantage {config.advantage!r}; known: {", ".join(ADVANTAGES)}')
        self.counterfactual = config.advantage == 'counterfactual'
        if config.foresight and not getattr(actor, 'foresees', False):
            raise TrainingError(f'foresight: a {type(actor).__name__} foresees nothing; use a coordinator with '
                                '`actor_options: {foresight: true}`')
        if self.counterfactual != isinstance(critic, ActionCritic):
            raise TrainingError(f'advantage {config.advantage!r} does not go with a {type(critic).__name__}')
        self.actor, self.critic, self.config = actor, critic, config
        self.action_mask, self.reference = action_mask, reference
        self.policy = _copied(actor)
        self.value_norm = ValueNorm()
        self.actor_optimizer = torch.optim.Adam(actor.parameters(), config.actor_rate, eps=1e-5)
        self.critic_optimizer = torch.optim.Adam(critic.parameters(), config.critic_rate, eps=1e-5)
        self.generator = torch.Generator().manual_seed(seed)
        # Actor and critic learn from the same batch but share no weights: two threads, each of one core.
        self.critic_thread = ThreadPoolExecutor(1, initializer=torch.set_num_threads, initargs=(1,))

    def learn(self, episodes: list[Episode], rate: float = 1.0, critic_only: bool = False) -> dict[str, float]:
        """Update actor and critic from complete episodes.

        Args:
            episodes: played by the present actor. rate: factor on the learning rates (a schedule's).
            critic_only: leave the actor as it is; advantages of an untrained critic would be noise.

        Returns:
            What happened, by name, for the log.

        Raises:
            TrainingError: an episode or a loss holds a number that is not finite; says which. Weights that such a
                loss came from are of no use any more: go on from the last checkpoint. Or shaping is asked for, and an
                episode has no potentials.
        """
        for episode in episodes:
            _require_finite(episode)
        for optimizer, base in ((self.actor_optimizer, self.config.actor_rate),
                                (self.critic_optimizer, self.config.critic_rate)):
            for group in optimizer.param_groups:
                group['lr'] = base * rate
        batch, explained = self._batch(episodes)
        numbers = {'batch/decisions': float(len(batch))}
        if not len(batch):
            return numbers
        self.value_norm.update(batch.returns)
        numbers |= {'critic/explained_variance': explained, 'critic/return_mean': float(batch.returns.mean())}
        critic_parts = [self._minibatches(batch) for _ in range(self.config.critic_epochs)]
        actor_parts = [self._minibatches(batch) for _ in range(0 if critic_only else self.config.epochs)]
        critic_numbers = self.critic_thread.submit(self._improve_critic, batch, critic_parts)
        if actor_parts:
            numbers |= self._improve_actor(batch, actor_parts)
            self._average()
        return numbers | critic_numbers.result()

    def _batch(self, episodes: list[Episode]) -> tuple[Batch, float]:
        choices = [buffer.choosing(episode, self.action_mask) for episode in episodes]
        wanted = [buffer.valued(episode, choice) for episode, choice in zip(episodes, choices, strict=True)]
        flat = buffer.seen(episodes, wanted)
        with torch.no_grad():
            predicted = self.value_norm.restore(self.critic(flat.observations, flat.states, flat.step)).numpy()
        if not np.isfinite(predicted).all():
            raise TrainingError('values of the critic are not finite; lower its learning rate and go on from the last '
                                'checkpoint')
        contrast = None
        if self.counterfactual:
            actions = np.concatenate([np.concatenate((episode.actions, np.zeros_like(episode.actions[:1])))[rows]
                                      for episode, rows in zip(episodes, wanted, strict=True)])
            predicted, contrast = self._expected(flat, actions, predicted)
        values = buffer.spread(predicted, wanted)
        estimated = [gae.advantages(self._rewards(episode), value, episode.elapsed, episode.terminated,
                                    episode.alive, choice, self.config.discount, self.config.trace)
                     for episode, value, choice in zip(episodes, values, choices, strict=True)]
        batch = buffer.batch(episodes, flat, wanted, choices, values, estimated)
        missed = batch.advantages
        if contrast is not None:
            own = torch.from_numpy(contrast)[buffer.chosen_rows(wanted, choices)]
            batch, missed = replace(batch, advantages=own), missed - own
        left = float(missed.var() / (batch.returns.var() + 1e-8)) if len(batch) > 1 else 0.0
        return batch, 1.0 - left

    def _expected(self, flat: Seen, actions: NDArray[np.int64],
                  values: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """From values of all actions what the policy that played may expect, and by how much what it chose differs.

        Shapes: (R,), (R, A) -> (R,), (R,). Where nothing was chosen, because the episode was over, the latter means
        nothing.
        """
        with torch.no_grad():
            log_policy = self._log_policy(self.actor(flat.observations), flat.observations).numpy()
        return gae.expected(values, log_policy), gae.counterfactual(values, log_policy, actions)

    def _rewards(self, episode: Episode) -> NDArray[np.float32]:
        if not self.config.shaping:
            return episode.rewards
        if episode.potentials is None:
            raise TrainingError(f'shaping: {self.config.shaping:g} needs an environment whose infos tell a potential; '
                                'this one tells none')
        return shaped(episode.rewards, episode.potentials, episode.elapsed, episode.terminated, episode.alive,
                      self.config.discount, self.config.shaping)

    def _improve_critic(self, batch: Batch, epochs: list[list[Part]]) -> dict[str, float]:
        target = self.value_norm.normalise(batch.returns)
        losses = []
        for parts in epochs:
            for rows, steps, place in parts:
                states = None if batch.states is None else batch.states[steps]
                values = self.critic({name: array[rows] for name, array in batch.observations.items()}, states, place)
                if self.counterfactual:
                    values = values.gather(-1, batch.actions[rows].unsqueeze(-1)).squeeze(-1)
                loss = functional.huber_loss(values, target[rows], delta=2.0)
                self._descend(self.critic_optimizer, self.critic, loss)
                losses.append(float(loss.detach()))
        return {'critic/loss': float(np.mean(losses))}

    def _improve_actor(self, batch: Batch, epochs: list[list[Part]]) -> dict[str, float]:
        scaled = torch.from_numpy(gae.standardised(batch.advantages.numpy(), self.config.advantage_limit,
                                                   self.config.robust_scale))
        sums: dict[str, list[float]] = {}
        moved = 0.0
        for parts in epochs:
            for rows, _, _ in parts:
                loss, numbers = self._actor_loss(batch, rows, scaled)
                moved = numbers['actor/divergence']
                if 0 < self.config.target_divergence < moved:
                    break
                self._descend(self.actor_optimizer, self.actor, loss)
                for name, value in numbers.items():
                    sums.setdefault(name, []).append(value)
            if 0 < self.config.target_divergence < moved:
                break
        return {name: float(np.mean(values)) for name, values in sums.items()} | {
            'actor/updates': float(len(sums.get('actor/gain', [])))}

    def _average(self) -> None:
        for name, weights in _copied(self.actor).items():
            self.policy[name] = weights + self.config.averaging * (self.policy[name] - weights)

    def _actor_loss(self, batch: Batch, rows: Tensor, scaled: Tensor) -> tuple[Tensor, dict[str, float]]:
        observation = {name: array[rows] for name, array in batch.observations.items()}
        missed = explained = None
        if self.config.foresight:
            logits, missed, explained = self.actor.foresee(observation, batch.targets[rows])
        else:
            logits = self.actor(observation)
        log_policy = self._log_policy(logits, observation)
        chosen = log_policy.gather(-1, batch.actions[rows].unsqueeze(-1)).squeeze(-1)
        old = batch.log_probabilities[rows]
        gain = clipped_objective(chosen, old, scaled[rows], self.config.clip).mean()
        spread = entropy(log_policy).mean()
        loss = -gain - self.config.entropy * spread
        with torch.no_grad():
            change = chosen - old
            numbers = {'actor/entropy': float(spread), 'actor/gain': float(gain),
                       'actor/divergence': float((torch.exp(change) - 1 - change).mean()),
                       'actor/clipped': float(((torch.exp(change) - 1).abs() > self.config.clip).float().mean())}
        if missed is not None:
            loss = loss + self.config.foresight * missed
            numbers['actor/foresight_explained'] = float(explained)
        if self.reference:
            strayed = divergence(log_policy, self._log_policy(observation[self.reference], observation)).mean()
            loss = loss + self.config.reference_weight * strayed
            numbers['actor/reference_divergence'] = float(strayed.detach())
        return loss, numbers

    def _log_policy(self, logits: Tensor, observation: Mapping[str, Tensor]) -> Tensor:
        """Logarithms of the probabilities with which actions are played. Shape: (B, A)."""
        mask = observation[self.action_mask].bool() if self.action_mask else None
        return log_probabilities(self.config.sharpness * logits, mask)

    def _minibatches(self, batch: Batch) -> list[Part]:
        """Random parts of a batch that never split a joint step, so that each state is encoded once."""
        steps = torch.unique_consecutive(batch.step)
        order = torch.randperm(len(steps), generator=self.generator)
        owner = torch.empty(int(steps.max()) + 1, dtype=torch.long)
        place = torch.empty_like(owner)
        parts = []
        for number, chunk in enumerate(order.chunk(self.config.minibatches)):
            owner[steps[chunk]] = number
            place[steps[chunk]] = torch.arange(len(chunk))
            parts.append(steps[chunk])
        owners = owner[batch.step]
        rows = [(owners == number).nonzero().squeeze(-1) for number in range(len(parts))]
        return [(mine, part, place[batch.step[mine]]) for mine, part in zip(rows, parts, strict=True)]

    def _descend(self, optimizer: torch.optim.Optimizer, module: nn.Module, loss: Tensor) -> None:
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        norm = nn.utils.clip_grad_norm_(module.parameters(), self.config.gradient_limit)
        if not bool(torch.isfinite(norm)):
            broken = [name for name, weights in module.named_parameters()
                      if weights.grad is not None and not bool(torch.isfinite(weights.grad).all())]
            whose = 'actor' if module is self.actor else 'critic'
            raise TrainingError(f'the loss of the {whose} is {float(loss.detach()):g}, with gradients '
                                f'that are not finite in {", ".join(broken)}; lower the learning rate and go on from '
                                'the last checkpoint')
        optimizer.step()

    def state_dict(self) -> dict[str, object]:
        """Everything that the next update depends on."""
        return {'actor': self.actor.state_dict(), 'policy': self.policy, 'critic': self.critic.state_dict(),
                'value_norm': self.value_norm.state_dict(), 'actor_optimizer': self.actor_optimizer.state_dict(),
                'critic_optimizer': self.critic_optimizer.state_dict(), 'generator': self.generator.get_state()}

    def load_state_dict(self, state: dict[str, object]) -> None:
        """Continue where ``state_dict`` was taken."""
        for name in ('actor', 'critic', 'value_norm', 'actor_optimizer', 'critic_optimizer'):
            getattr(self, name).load_state_dict(state[name])
        self.generator.set_state(state['generator'])
        self.policy = state['policy']


def _copied(actor: nn.Module) -> dict[str, Tensor]:
    return {name: weights.clone() for name, weights in actor.state_dict().items()}


def _require_finite(episode: Episode) -> None:
    """Refuse an episode with numbers that nothing can be learnt from.

    Raises:
        TrainingError: names the array and the seed.
    """
    arrays = {'state': episode.states, 'potential': episode.potentials, 'reward': episode.rewards,
              'elapsed': episode.elapsed, 'target': episode.targets,
              'log probability of an action': episode.log_probabilities,
              **{f'observation {name!r}': rows for name, rows in episode.observations.items()}}
    for name, rows in arrays.items():
        if rows is not None and rows.dtype.kind == 'f' and not np.isfinite(rows).all():
            step = int(np.argwhere(~np.isfinite(rows))[0, 0])
            raise TrainingError(f'episode of seed {episode.seed}, step {step}: {name} is not finite')


def log_probabilities(logits: Tensor, mask: Tensor | None) -> Tensor:
    """Logarithms of the softmax over allowed actions. Shape: (B, A). Forbidden ones have probability 0."""
    if mask is not None:
        logits = torch.where(mask, logits, FORBIDDEN)
    return torch.log_softmax(logits, dim=-1)


def clipped_objective(log_probability: Tensor, old_log_probability: Tensor, advantage: Tensor, clip: float) -> Tensor:
    """PPO's pessimistic gain of each decision, to be maximised. Shape: (B,)."""
    ratio = torch.exp(log_probability - old_log_probability)
    return torch.minimum(ratio * advantage, ratio.clamp(1 - clip, 1 + clip) * advantage)


def entropy(log_policy: Tensor) -> Tensor:
    """Entropy of each distribution [nat]. Shape: (B, A) -> (B,)."""
    return -(log_policy.exp() * log_policy.clamp(min=-50.0)).sum(-1)


def divergence(log_policy: Tensor, log_other: Tensor) -> Tensor:
    """KL(policy || other) of each pair of distributions over the same allowed actions [nat]. Shape: (B,)."""
    return (log_policy.exp() * (log_policy.clamp(min=-50.0) - log_other.clamp(min=-50.0))).sum(-1)
