"""Who plays episodes: this process, several of this machine, or a Ray cluster. Results do not depend on which."""

import multiprocessing
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any, Generic, TypeVar

import torch

from marl_core.errors import TrainingError
from sim.learning.buffer import Episode
from sim.learning.rollout import Player, Plays, Source, Ticket

PROCESS_LIVES = 3
"""A worker that dies so often at the same work is not replaced any more."""

DEFAULT_ENGINE = 'processes'

Worker = TypeVar('Worker')
Item = TypeVar('Item')
Result = TypeVar('Result')

Do = Callable[[Player, Any, Sequence[Any]], list[Any]]
"""What workers do: their player, what all of them share, and their share of the items -> a result per item."""

Work = tuple[Do, Any, Sequence[Any]]
"""What a worker is told: what to do, with what all share, on its share of the items."""


class WorkerDied(Exception):
    """A worker is gone, and its work with it; the message is what is known of how."""


class Players(ABC, Generic[Worker]):
    """Workers that share out episodes. A worker that dies is replaced and its share done again.

    That is safe because tickets determine what happens in episodes; who plays them when, does not.

    Attributes:
        source: what workers build their environments and actor from.
        workers: who plays, by rank. replaced: dead workers whose place others took.
    """

    def __init__(self, source: Source, count: int) -> None:
        """Start ``count`` workers."""
        self.source = source
        self.replaced = 0
        self.workers: list[Worker] = [self._start() for _ in range(count)]

    def play(self, plays: Plays, tickets: Sequence[Ticket], record: bool = True) -> list[Episode]:
        """Play tickets, in their order; see ``Player.play``.

        Raises:
            TrainingError: a worker failed, or died again and again; carries its message.
        """
        return self._share_out(_play, (plays, record), tickets)

    def map(self, function: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
        """Results of a function that follow from its argument alone, in the order of items.

        Raises:
            TrainingError: see ``play``.
        """
        return self._share_out(_apply, function, items)

    @abstractmethod
    def close(self) -> None:
        """End the workers."""

    @abstractmethod
    def _start(self) -> Worker:
        """A new worker."""

    @abstractmethod
    def _send(self, worker: Worker, work: Work) -> None:
        """Hand out work; that a worker died is found when it should answer."""

    @abstractmethod
    def _receive(self, worker: Worker) -> list[Any] | str:
        """What a worker answers, see ``attempt``.

        Raises:
            WorkerDied: instead of answering.
        """

    def _publish(self, shared: Any) -> Any:
        """What is sent in the place of something that all workers need."""
        return shared

    def _share_out(self, do: Do, shared: Any, items: Sequence[Any]) -> list[Any]:
        share, published = len(self.workers), self._publish(shared)
        works = [(do, published, items[rank::share]) for rank in range(share)]
        for worker, work in zip(self.workers, works, strict=True):
            self._send(worker, work)
        answers = [self._answer(rank, work) for rank, work in enumerate(works)]
        for rank, answer in enumerate(answers):
            if isinstance(answer, str):
                raise TrainingError(f'rollout worker {rank} failed: {answer}')
        return [answers[number % share][number // share] for number in range(len(items))]

    def _answer(self, rank: int, work: Work) -> list[Any] | str:
        """What a worker answers, or one that takes its place."""
        how = ''
        for life in range(PROCESS_LIVES):
            if life > 0:
                self.replaced += 1
                self.workers[rank] = self._start()
                self._send(self.workers[rank], work)
            try:
                return self._receive(self.workers[rank])
            except WorkerDied as death:
                how = str(death)
        raise TrainingError(f'rollout workers died {PROCESS_LIVES} times at the same work (the last: {how}); '
                            f'is there memory for {len(self.workers)} of them?')

    def __enter__(self) -> 'Players':
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Processes(Players[tuple[BaseProcess, Connection]]):
    """Workers are processes of this machine; a single one is this process itself.

    Attributes:
        player: plays in this process, None where others do.
    """

    def __init__(self, source: Source, count: int) -> None:
        """Start ``count`` processes, none for 1."""
        self.player = Player(source) if count == 1 else None
        super().__init__(source, count if count > 1 else 0)

    def close(self) -> None:
        """End the processes."""
        for process, connection in self.workers:
            connection.close()
            process.join(timeout=10)
        self.workers.clear()

    def _share_out(self, do: Do, shared: Any, items: Sequence[Any]) -> list[Any]:
        if self.player is not None:
            return do(self.player, shared, items)
        return super()._share_out(do, shared, items)

    def _start(self) -> tuple[BaseProcess, Connection]:
        context = multiprocessing.get_context('spawn')  # a forked copy of torch's thread pool would hang
        ours, theirs = context.Pipe()
        process = context.Process(target=_serve, args=(self.source, theirs), daemon=True)
        process.start()
        theirs.close()
        return process, ours

    def _send(self, worker: tuple[BaseProcess, Connection], work: Work) -> None:
        with suppress(OSError):
            worker[1].send(work)

    def _receive(self, worker: tuple[BaseProcess, Connection]) -> list[Any] | str:
        process, connection = worker
        try:
            return connection.recv()
        except (EOFError, OSError) as error:
            process.join(timeout=10)
            raise WorkerDied(f'process {process.pid} with exit code {process.exitcode}') from error


def _ray_players(source: Source, count: int) -> Players:
    try:
        from sim.learning.ray_players import RayPlayers  # most machines have no Ray
    except ModuleNotFoundError as error:
        if error.name != 'ray':
            raise
        raise TrainingError("engine 'ray' needs Ray: pip install 'marl_coordination[ray]', on every node of the "
                            f'cluster; without it, engine {DEFAULT_ENGINE!r} plays on this machine') from error
    return RayPlayers(source, count)


ENGINES: dict[str, Callable[[Source, int], Players]] = {DEFAULT_ENGINE: Processes, 'ray': _ray_players}


def make_players(engine: str, source: Source, count: int) -> Players:
    """Start who plays.

    Args:
        engine: key in ENGINES. source: what is played. count: workers.

    Raises:
        TrainingError: an unknown engine, one that is not installed or cannot be reached, or less than one worker.
    """
    if engine not in ENGINES:
        raise TrainingError(f'unknown engine {engine!r}; known: {", ".join(ENGINES)}')
    if count < 1:
        raise TrainingError(f'processes must be at least 1, got {count}')
    return ENGINES[engine](source, count)


def attempt(player: Player, do: Do, shared: Any, items: Sequence[Any]) -> list[Any] | str:
    """Do it where a worker is; an error becomes its message, for the process that waits and knows what to do."""
    try:
        return do(player, shared, items)
    except Exception as error:  # noqa: BLE001 - raised again in the parent
        return f'{type(error).__name__}: {error}'


def _serve(source: Source, connection: Connection) -> None:
    torch.set_num_threads(1)
    player = Player(source)
    while True:
        try:
            connection.send(attempt(player, *connection.recv()))
        except (EOFError, OSError, KeyboardInterrupt):  # Whoever asked is gone.
            return


def _play(player: Player, shared: tuple[Plays, bool], tickets: Sequence[Ticket]) -> list[Episode]:
    plays, record = shared
    return player.play(player.decider(plays), tickets, record)


def _apply(player: Player, function: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
    return [function(item) for item in items]
