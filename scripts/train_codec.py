#!/usr/bin/env python3
"""Learn what cells to expect on maps of generated worlds; writes marl_core/mapping/context_table.py.

The weights are part of the wire format: robots with others cannot read each other's messages. Run from the checkout:
``python scripts/train_codec.py`` (about 15 minutes, 4 GB).
"""

import logging
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import nn

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.sharing import BOUNDS, LAYER, Run, published  # noqa: E402
from marl_core.mapping.bases import Bases  # noqa: E402
from marl_core.mapping.cell_model import HIDDEN, ROWS, TABLE_CONTEXTS, WEIGHT_SCALE, Weights, check, text_of  # noqa: E402
from marl_core.mapping.codec import DecodeLimits, decode  # noqa: E402
from marl_core.mapping.context_codec import Context, Notes  # noqa: E402
from marl_core.mapping.coordinates import STEP_CONTEXTS  # noqa: E402
from marl_core.mapping.layers import Layer  # noqa: E402
from marl_core.mapping.range_coder import CERTAIN, MAX_LOG_ODDS, STEPS_PER_NAT  # noqa: E402
from marl_core.mapping.replica import Replica, ReplicaConfig  # noqa: E402
from marl_core.types import MapFeatures  # noqa: E402
from sim.worlds import World, load_world  # noqa: E402

KINDS = ('office', 'rooms', 'warehouse', 'cave', 'maze')
SEEDS = range(101, 113)
"""No test and no benchmark uses worlds of these seeds."""
DURATION_S = 240.0
NOISES_M = (0.0, 0.02, 0.02, 0.02)
TURNED = 1 / 3
"""Part of the worlds whose walls run at an angle to the map."""
STEPS, BATCH, LEARNING_RATE = 60_000, 2048, 4e-3
KEPT = 0.4
"""Part of the cells that is learned from."""
TARGET = ROOT / 'marl_core' / 'mapping' / 'context_table.py'
LOG = logging.getLogger('train_codec')


class Expectation(nn.Module):
    """The network of cell_model, with floats: log-odds of being known, and of being occupied if known."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden = nn.Linear(ROWS, HIDDEN, bias=False)
        self.output = nn.Linear(HIDDEN, 2)
        nn.init.normal_(self.hidden.weight, 0.0, 0.1)

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        """Args: rows that are active, filled up with 0, which always is. Shape: (N, MAX_ACTIVE). Shape: (N, 2)."""
        return self.output(torch.relu(self.hidden(torch.zeros(len(rows), ROWS).scatter_(1, rows, 1.0))))


class Examples:
    """Cells as messages of all sorts meet them.

    Attributes:
        rows, codes: of cells for the network, a part of them; see Notes.
        table: counts of cells for the table. Shape: (TABLE_CONTEXTS, 3).
        steps: mean odds of coordinates. Shape: (STEP_CONTEXTS,).
    """

    def __init__(self) -> None:
        self._random = np.random.default_rng(0)
        self._blank = Weights(np.zeros((ROWS, HIDDEN), np.int16), np.zeros((2, HIDDEN), np.int64),
                              np.zeros(2, np.int64), np.zeros((TABLE_CONTEXTS, 2), np.int64),
                              np.full(STEP_CONTEXTS, CERTAIN // 2))
        self._codec = Context(self._blank)
        self._parts: list[tuple[NDArray[np.uint8], NDArray[np.uint8]]] = []
        self._odds, self._messages = np.zeros(STEP_CONTEXTS), 0
        self.table = np.zeros((TABLE_CONTEXTS, 3), np.int64)
        for seed in SEEDS:
            for number, kind in enumerate(KINDS):
                name, noise_m = f'{kind}:{seed}@30x24', NOISES_M[(seed + number) % len(NOISES_M)]
                self._meet(load_world(name), Run(name, noise_m, seed))
                LOG.info('%s:%d', kind, seed)
        self.rows, self.codes = (np.concatenate(arrays) for arrays in zip(*self._parts, strict=True))
        self.steps = np.rint(self._odds / self._messages).astype(np.int64)

    def _meet(self, world: World, run: Run) -> None:
        if self._random.random() < TURNED:
            world = turned(world, self._random.uniform(5.0, 85.0))
        layer = Layer(LAYER, BOUNDS)
        keeper = Replica(BOUNDS, 'keeper')
        for number, (message, tiles, classes, origin) in enumerate(messages(world, run)):
            first = message.versions.first
            notes = self._note(tiles, classes, Bases(layer, BOUNDS, first - 1, first), origin)
            # Odds live on through all messages, so that their mean is that of the decisions.
            self._blank.steps[:] = notes.steps
            self._odds += notes.steps
            self._messages += 1
            if number % 5 == 0:  # To somebody who holds nothing.
                self._note(tiles, classes, None, origin)
            if number % 5 == 1:  # To somebody who lags behind.
                last = max(first - int(self._random.integers(20, 200)), 0)
                self._note(tiles, classes, Bases(layer, BOUNDS, last, first), origin)
            keeper.join(message)
            layer = keeper.layers[LAYER]
            if number % 70 == 69:  # To a late joiner, from the newest down.
                held = np.flatnonzero(layer.versions)
                held = held[np.argsort(layer.versions[held])][-int(self._random.integers(15, 250)):]
                half = np.array((BOUNDS.tiles_y // 2, BOUNDS.tiles_x // 2))
                self._note((np.stack(np.divmod(held, BOUNDS.tiles_x), axis=1) - half).astype(np.int32),
                           layer.tiles[held], None, None)

    def _note(self, tiles: NDArray[np.int32], classes: NDArray[np.int8], bases: Bases | None,
              origin: tuple[int, int] | None) -> Notes:
        notes = self._codec.note(tiles, classes, bases, origin)
        count = int(notes.count[0])
        kept = self._random.random(count) < KEPT
        self._parts.append((notes.rows[:count][kept], notes.codes[:count][kept]))
        self.table += notes.table
        return notes


def messages(world: World, run: Run) -> Iterator[tuple[MapFeatures, NDArray[np.int32], NDArray[np.int8],
                                                       tuple[int, int]]]:
    """What a robot says, its tiles and their classes, and where it sees them from [cells]."""
    sender = Replica(BOUNDS, LAYER.robot, LAYER, ReplicaConfig(codec='raw'))
    rows, cols = BOUNDS.shape
    for step, message, _ in published(world, run, sender, DURATION_S):
        if message is not None:
            batch = decode(message.data, message.versions, message.codec, DecodeLimits())
            row, col = BOUNDS.cell_of(step.x_m, step.y_m)
            yield message, batch.tiles, batch.classes, (row - rows // 2, col - cols // 2)


def turned(world: World, angle_deg: float) -> World:
    """A world whose walls run at an angle to the map."""
    occupied = ndimage.rotate(world.occupied, angle_deg, order=0, cval=1)
    start = np.zeros(world.occupied.shape, np.uint8)
    row = int((world.anchor_y_m - world.origin_y_m) / world.resolution_m)
    col = int((world.anchor_x_m - world.origin_x_m) / world.resolution_m)
    start[row - 1:row + 2, col - 1:col + 2] = 1
    row, col = np.argwhere(ndimage.rotate(start, angle_deg, order=0)).mean(axis=0)
    return replace(world, occupied=occupied, anchor_x_m=world.origin_x_m + (col + 0.5) * world.resolution_m,
                   anchor_y_m=world.origin_y_m + (row + 0.5) * world.resolution_m)


def learned(examples: Examples) -> Weights:
    """Fit the network, and put everything into whole numbers."""
    torch.manual_seed(0)
    network, random = Expectation(), np.random.default_rng(1)
    optimizer = torch.optim.Adam(network.parameters())
    bits = nn.functional.binary_cross_entropy_with_logits
    losses = []
    for step in range(STEPS):
        for group in optimizer.param_groups:
            group['lr'] = LEARNING_RATE * (1.0 - step / STEPS)**1.3 + 1e-5
        chosen = random.integers(0, len(examples.codes), BATCH)
        codes = torch.from_numpy(examples.codes[chosen])
        known, occupied = (codes > 0).float(), (codes == 2).float()
        outputs = network(torch.from_numpy(examples.rows[chosen]).long())
        loss = (bits(outputs[:, 0], known) + (known * bits(outputs[:, 1], occupied, reduction='none')).mean())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        if step % 2000 == 1999:
            LOG.info('step %d: %.4f bits per cell', step + 1, np.mean(losses[-2000:]) / np.log(2))
    counts = examples.table + 0.02
    table = np.log(np.stack(((counts[:, 1] + counts[:, 2]) / counts[:, 0], counts[:, 2] / counts[:, 1]), axis=1))
    with torch.no_grad():
        hidden = rounded(network.hidden.weight.T.numpy(), WEIGHT_SCALE).astype(np.int16)
        weights = Weights(hidden, rounded(network.output.weight.numpy(), STEPS_PER_NAT),
                          rounded(network.output.bias.numpy(), STEPS_PER_NAT),
                          np.clip(rounded(table, STEPS_PER_NAT), -MAX_LOG_ODDS, MAX_LOG_ODDS), examples.steps)
    check(weights)
    return weights


def rounded(numbers: NDArray[np.floating], scale: int) -> NDArray[np.int64]:
    """Fixed point."""
    return np.rint(numbers * scale).astype(np.int64)


def main() -> None:
    """Drive through all worlds, learn, write."""
    logging.basicConfig(level=logging.INFO, format='%(message)s')
    lines = textwrap.wrap(text_of(learned(Examples())), 100, break_on_hyphens=False)
    rows = '\n'.join(f"    r'{line}'" for line in lines)
    TARGET.write_text('"""Written by scripts/train_codec.py; see marl_core/mapping/cell_model.py."""\n\n'
                      f'TABLE = (\n{rows}\n)\n', encoding='utf-8')


if __name__ == '__main__':
    main()
