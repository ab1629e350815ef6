#!/usr/bin/env python3
"""Count what cells follow which neighbours on maps of generated worlds; writes marl_core/mapping/context_table.py.

The table is part of the wire format: who writes a new one must raise codec.FORMAT. Run from the checkout:
``python scripts/train_codec.py`` (some minutes).
"""

import sys
import textwrap
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.sharing import batches_of, drive  # noqa: E402
from marl_core.mapping.context_codec import (  # noqa: E402
    CONTEXTS,
    coding_order,
    count_contexts,
    limits_from_counts,
    text_of,
)
from sim.worlds import load_world  # noqa: E402

WORLDS = tuple(f'{kind}:{seed}@30x24' for kind in ('office', 'rooms', 'warehouse', 'cave', 'maze')
               for seed in (101, 102, 103))
DURATION_S = 300.0
TARGET = ROOT / 'marl_core' / 'mapping' / 'context_table.py'


def main() -> None:
    """Drive through all worlds, count, write."""
    counts = np.zeros((CONTEXTS, 3), np.int64)
    for number, name in enumerate(WORLDS):
        for batch in batches_of(drive(load_world(name), DURATION_S, seed=number)):
            count_contexts(batch.classes, *coding_order(batch.tiles), counts)
    lines = textwrap.wrap(text_of(limits_from_counts(counts)), 100)
    rows = '\n'.join(f"    r'{line}'" for line in lines)
    TARGET.write_text('"""Written by scripts/train_codec.py; see marl_core/mapping/context_codec.py."""\n\n'
                      f'TABLE = (\n{rows}\n)\n', encoding='utf-8')


if __name__ == '__main__':
    main()
