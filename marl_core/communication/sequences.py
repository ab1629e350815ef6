"""Which packets of whom were heard: replays and repetitions are known, and how many were lost on the way."""

from dataclasses import dataclass

from marl_core.errors import MessageError

WINDOW = 1024
"""Packets that far behind the newest may still come late; older ones count as repeated."""
MAX_SENDERS = 256
SILENCE_S = 5.0
"""After so long a name that proves nothing may go on with an older epoch or sequence: nobody can silence it for longer
by speaking in its name."""
FORGET_S = 600.0
_MEMORY = 32
"""Packets over which loss is estimated: the mean of the first ones, a fading memory from then on."""


@dataclass(slots=True)
class _Sender:
    epoch: int
    newest: int
    heard: int  # bit k: packet newest - k
    last_s: float
    loss: float = 0.0
    due: int = 1  # packets that the estimate rests on


class Sequences:
    """Remembers a window of sequence numbers for each sender."""

    def __init__(self, strict: bool = False) -> None:
        """``strict``: names are proven, so an older epoch can only be a replay, however long ago."""
        self._strict = strict
        self._senders: dict[str, _Sender] = {}

    @property
    def loss(self) -> float:
        """Part of the packets that were lost on the way here of late, the mean over all senders [0..1]."""
        losses = [sender.loss for sender in self._senders.values()]
        return sum(losses) / len(losses) if losses else 0.0

    def check(self, robot: str, epoch: int, sequence: int, now: float) -> None:
        """Refuse what was heard before; believe nothing yet.

        Raises:
            MessageError: ``repeated``, ``epoch-rollback`` or ``too-many-senders``.
        """
        sender = self._senders.get(robot)
        if sender is None:
            if len(self._senders) >= MAX_SENDERS:
                self._forget(now)
            if len(self._senders) >= MAX_SENDERS:
                raise MessageError('too-many-senders', f'no room for {robot!r}')
            return
        if not self._strict and now - sender.last_s > SILENCE_S:
            return
        if epoch < sender.epoch:
            raise MessageError('epoch-rollback', f'{robot} spoke in epoch {sender.epoch} before, now {epoch}')
        if epoch == sender.epoch and sequence <= sender.newest:
            behind = sender.newest - sequence
            if behind >= WINDOW or sender.heard >> behind & 1:
                raise MessageError('repeated', f'packet {sequence} of {robot} was heard before')

    def accept(self, robot: str, epoch: int, sequence: int, now: float) -> None:
        """Take note of a packet that is known to be genuine and passed ``check``."""
        sender = self._senders.get(robot)
        behind = sender.newest - sequence if sender is not None else 0
        if sender is None or sender.epoch != epoch or behind >= WINDOW:
            self._senders[robot] = _Sender(epoch, sequence, 1, now)
            return
        lost = -behind - 1 if now - sender.last_s <= SILENCE_S else 0  # Out of reach is not lost on the way.
        sender.last_s = now
        if behind >= 0:
            sender.heard |= 1 << behind
            sender.loss = max(0.0, sender.loss - 1.0 / sender.due)  # it was taken for lost
            return
        sender.heard = (sender.heard << min(-behind, WINDOW) | 1) & ((1 << WINDOW) - 1)
        sender.newest = sequence
        for was_lost in [1.0] * min(lost, 4 * _MEMORY) + [0.0]:
            sender.due = min(sender.due + 1, _MEMORY)
            sender.loss += (was_lost - sender.loss) / sender.due

    def _forget(self, now: float) -> None:
        for robot in [robot for robot, sender in self._senders.items() if now - sender.last_s > FORGET_S]:
            del self._senders[robot]
