"""Workers of a Ray cluster: one that runs already, or one of this machine that lasts as long as its players.

Every node needs the same checkout in the same place, with the same Python packages.
"""

import logging
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from socket import create_connection, gethostname
from typing import Any

import ray
import torch
from ray import exceptions

from marl_core.errors import TrainingError
from sim.learning.players import Do, Players, Work, WorkerDied, attempt
from sim.learning.rollout import Player, Source

START_TIMEOUT_S = 180.0
"""So long may a cluster take to find room for all workers."""

CONNECT_TIMEOUT_S = 5.0
"""So long may a machine take to answer at $RAY_ADDRESS; Ray itself would try for minutes."""

STORE_BYTES = 1_000_000_000
"""Shared memory of a cluster that is started here; episodes that do not fit are spilled to disk."""


class _Actor:
    """Lives in a worker's process."""

    def __init__(self, source: Source, folder: str, path: list[str]) -> None:
        os.chdir(folder)  # models and maps are named relative to it
        sys.path += [entry for entry in path if entry not in sys.path]
        torch.set_num_threads(1)
        self.player = Player(source)

    def place(self) -> str:
        """Who this is, for messages."""
        return f'process {os.getpid()} on {gethostname()}'

    def do(self, do: Do, shared: Any, items: Sequence[Any]) -> list[Any] | str:
        """See ``attempt``."""
        return attempt(self.player, do, shared, items)


@dataclass(slots=True)
class _Worker:
    actor: Any
    pending: Any = None


class RayPlayers(Players[_Worker]):
    """Workers are actors of a Ray cluster, spread over its nodes.

    Weights go into the object store once for all workers of a play. When the cluster's head dies, so does this
    process; a run then continues from its last checkpoint.
    """

    def __init__(self, source: Source, count: int) -> None:
        """Find or start the cluster, and wait for ``count`` workers.

        Raises:
            TrainingError: the cluster cannot be reached, has no room, or its nodes cannot run the workers.
        """
        self._connected = _connect(count)
        self.workers = []
        try:
            super().__init__(source, count)
            self._await_start()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """End the workers, and the cluster if it was started here."""
        for worker in self.workers:
            _kill(worker)
        self.workers.clear()
        if self._connected:
            self._connected = False
            ray.shutdown()

    def _start(self) -> _Worker:
        # Whoever takes a dead one's place makes do with any node: that of the dead one may be gone with its CPUs.
        actor = ray.remote(_Actor).options(num_cpus=0 if self.replaced else 1, scheduling_strategy='SPREAD')
        return _Worker(actor.remote(self.source, os.getcwd(), sys.path))

    def _await_start(self) -> None:
        places = [worker.actor.place.remote() for worker in self.workers]
        started, missing = ray.wait(places, num_returns=len(places), timeout=START_TIMEOUT_S)
        try:
            ray.get(started)
        except exceptions.RayError as error:
            raise TrainingError('a Ray worker cannot start; every node needs this checkout in the same place, with '
                                f'the same packages: {error}') from error
        if missing:
            raise TrainingError(
                f'{len(started)} of {len(places)} workers found a place on the Ray cluster within '
                f'{START_TIMEOUT_S:.0f} s; it has {ray.cluster_resources().get("CPU", 0):.0f} CPUs: take so many '
                '--processes at most, end what else runs there, or add nodes (`ray start --address=HEAD:6379`)')

    def _publish(self, shared: Any) -> Any:
        return ray.put(shared)

    def _send(self, worker: _Worker, work: Work) -> None:
        worker.pending = worker.actor.do.remote(*work)

    def _receive(self, worker: _Worker) -> list[Any] | str:
        pending, worker.pending = worker.pending, None  # the store may forget the answer once it was used
        try:
            return ray.get(pending)
        except exceptions.RayTaskError as error:
            return str(error)
        except exceptions.RayError as error:
            _kill(worker)  # it may live, out of reach
            raise WorkerDied(f'{type(error).__name__}: {error}') from error


def _kill(worker: _Worker) -> None:
    with suppress(exceptions.RayError, ValueError):
        ray.kill(worker.actor)


def _connect(cpus: int) -> bool:
    """Join the cluster at $RAY_ADDRESS or the one that runs on this machine, else start one with so many CPUs.

    Returns:
        Whether there was something to do: who connected before disconnects, too.

    Raises:
        TrainingError: no cluster at $RAY_ADDRESS, or one of other versions, or none can be started.
    """
    if ray.is_initialized():
        return False
    os.environ['RAY_USAGE_STATS_ENABLED'] = '0'
    quiet = {'log_to_driver': False, 'logging_level': logging.ERROR}
    address = os.environ.get('RAY_ADDRESS')
    try:
        host, colon, port = (address or '').rpartition(':')
        if colon and port.isdecimal():
            create_connection((host.removeprefix('ray://'), int(port)), CONNECT_TIMEOUT_S).close()
        try:
            ray.init(address=address or 'auto', **quiet)
        except ConnectionError:
            if address:
                raise
            ray.init(address='local', num_cpus=cpus, include_dashboard=False, object_store_memory=STORE_BYTES, **quiet)
    except (OSError, RuntimeError, ValueError, ImportError, exceptions.RayError) as error:
        ray.shutdown()
        where = f'the Ray cluster at RAY_ADDRESS={address} cannot be reached' if address else 'Ray does not start'
        raise TrainingError(f'{where} ({error}); start one with `ray start --head`, or unset RAY_ADDRESS to use this '
                            'machine alone') from error
    return True
