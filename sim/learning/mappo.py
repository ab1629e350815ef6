"""Multi-agent PPO with a centralized critic and one actor, which all agents share or which has networks for each.

It knows nothing of exploration: it sees named arrays, actions of some kind and, where the environment offers them,
logits of a rule (``reference``) from which the policy should not stray too far. An actor that remembers learns from
whole episodes of agents, back through time.
"""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from marl_core.errors import TrainingError
from sim.learning import buffer, gae
from sim.learning.actions import Actions, Discrete
from sim.learning.actors import memory_size
from sim.learning.buffer import Batch, Episode, Seen
from sim.learning.critic import ActionCritic, Critic, ValueNorm
from sim.learning.shaping import shaped

Part = tuple[Tensor, Tensor, Tensor]
"""A minibatch: its rows, the joint steps (or sequences) among them, and each row's place in the latter."""


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

    def __init__(self, actor: nn.Module, critic: Critic, config: MappoConfig, actions: Actions,
                 reference: str = '', seed: int = 0) -> None:
        """Start with fresh optimizers.

        Args:
            actor, critic, config: see above. actions: that the actor's outputs stand for.
            reference: observation that holds a rule's logits, '' without. seed: of minibatches.

        Raises:
            TrainingError: unknown advantage, or a critic or actions that cannot give it; a reference without logits.
        """
        if config.advantage not in ADVANTAGES:
            raise TrainingError(f'unknown advantage {config.advantage!r}; known: {", ".join(ADVANTAGES)}')
        self.counterfactual = config.advantage == 'counterfactual'
        if config.foresight and not getattr(actor, 'foresees', False):
            raise TrainingError(f'foresight: a {type(actor).__name__} foresees nothing; use a coordinator with '
                                '`actor_options: {foresight: true}`')
        self.remembers = memory_size(actor) > 0
        if self.counterfactual and (self.remembers or not isinstance(actions, Discrete)):
            raise TrainingError("advantage 'counterfactual' needs discrete actions, and an actor that remembers "
                                "nothing; use 'gae'")
        if self.counterfactual != isinstance(critic, ActionCritic):
            raise TrainingError(f'advantage {config.advantage!r} does not go with a {type(critic).__name__}')
        if reference and not isinstance(actions, Discrete):
            raise TrainingError(f"reference {reference!r} needs discrete actions; set it to ''")
        self.actor, self.critic, self.config = actor, critic, config
        self.actions, self.reference = actions, reference
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
        units = batch.step if batch.sequences is None else batch.sequences.owner
        critic_parts = [self._minibatches(batch.step) for _ in range(self.config.critic_epochs)]
        actor_parts = [self._minibatches(units) for _ in range(0 if critic_only else self.config.epochs)]
        critic_numbers = self.critic_thread.submit(self._improve_critic, batch, critic_parts)
        if actor_parts:
            numbers |= self._improve_actor(batch, actor_parts)
            self._average()
        return numbers | critic_numbers.result()

    def _batch(self, episodes: list[Episode]) -> tuple[Batch, float]:
        choices = [buffer.choosing(episode, self.actions.action_mask) for episode in episodes]
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
        if self.remembers:
            batch = replace(batch, sequences=buffer.sequences(episodes, choices))
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
            log_policy = self.actions.policy(self.actor(flat.observations), flat.observations).numpy()
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
            for part in parts:
                loss, numbers = self._actor_loss(batch, part, scaled)
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

    def _actor_loss(self, batch: Batch, part: Part, scaled: Tensor) -> tuple[Tensor, dict[str, float]]:
        rows, units, place = part
        observation = {name: array[rows] for name, array in batch.observations.items()}
        missed = explained = None
        if batch.sequences is not None:
            whole = self.actor({name: array[units] for name, array in batch.sequences.observations.items()})
            outputs = whole[place, batch.sequences.time[rows], :self.actions.outputs]
        elif self.config.foresight:
            outputs, missed, explained = self.actor.foresee(observation, batch.targets[rows])
        else:
            outputs = self.actor(observation)
        policy = self.actions.policy(outputs, observation)
        chosen = self.actions.log_probability(policy, batch.actions[rows])
        old = batch.log_probabilities[rows]
        gain = clipped_objective(chosen, old, scaled[rows], self.config.clip).mean()
        spread = self.actions.entropy(policy).mean()
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
            rule = self.actions.policy(observation[self.reference], observation)
            strayed = self.actions.divergence(policy, rule).mean()
            loss = loss + self.config.reference_weight * strayed
            numbers['actor/reference_divergence'] = float(strayed.detach())
        return loss, numbers

    def _minibatches(self, owner: Tensor) -> list[Part]:
        """Random parts of a batch that never split a joint step, so that each state is encoded once, or a sequence.

        Args:
            owner: joint step or sequence of each row. Shape: (M,).
        """
        units = torch.unique(owner)
        order = torch.randperm(len(units), generator=self.generator)
        number_of = torch.empty(int(units.max()) + 1, dtype=torch.long)
        place = torch.empty_like(number_of)
        parts = []
        for number, chunk in enumerate(order.chunk(self.config.minibatches)):
            number_of[units[chunk]] = number
            place[units[chunk]] = torch.arange(len(chunk))
            parts.append(units[chunk])
        numbers = number_of[owner]
        rows = [(numbers == number).nonzero().squeeze(-1) for number in range(len(parts))]
        return [(mine, part, place[owner[mine]]) for mine, part in zip(rows, parts, strict=True)]

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
              'action': episode.actions, 'log probability of an action': episode.log_probabilities,
              **{f'observation {name!r}': rows for name, rows in episode.observations.items()}}
    for name, rows in arrays.items():
        if rows is not None and rows.dtype.kind == 'f' and not np.isfinite(rows).all():
            step = int(np.argwhere(~np.isfinite(rows))[0, 0])
            raise TrainingError(f'episode of seed {episode.seed}, step {step}: {name} is not finite')


def clipped_objective(log_probability: Tensor, old_log_probability: Tensor, advantage: Tensor, clip: float) -> Tensor:
    """PPO's pessimistic gain of each decision, to be maximised. Shape: (B,)."""
    ratio = torch.exp(log_probability - old_log_probability)
    return torch.minimum(ratio * advantage, ratio.clamp(1 - clip, 1 + clip) * advantage)
