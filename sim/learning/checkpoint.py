"""Checkpoints: written whole or not at all, verified when read, holding everything that training goes on from."""

import io
import os
import random
import subprocess
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import torch

from marl_core.errors import TrainingError

_MAGIC = b'MARL-CHECKPOINT-2\n'


def save(path: str | Path, content: dict[str, Any]) -> None:
    """Write tensors, numbers, strings and containers of them; a crash leaves the previous file intact.

    Raises:
        TrainingError: it cannot be written (disk full, for example); the previous file is still there.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    stream = io.BytesIO()
    torch.save(content, stream)
    payload = stream.getvalue()
    temporary = path.with_name(f'{path.name}.{os.getpid()}.part')
    try:
        with temporary.open('wb') as file:
            file.write(_MAGIC + sha256(payload).digest() + payload)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        kept = 'the previous one is kept' if path.exists() else 'there is none yet'
        raise TrainingError(f'{path}: checkpoint cannot be written ({error.strerror or error}); {kept}') from error


def load(path: str | Path) -> dict[str, Any]:
    """Read what ``save`` wrote.

    Raises:
        TrainingError: the file is missing, not a checkpoint, or damaged; names the file.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise TrainingError(f'{path}: checkpoint cannot be read ({error.strerror})') from error
    start = len(_MAGIC) + sha256().digest_size
    if not data.startswith(_MAGIC):
        raise TrainingError(f'{path}: not a checkpoint of this project (or of another version of it)')
    if sha256(data[start:]).digest() != data[len(_MAGIC):start]:
        raise TrainingError(f'{path}: checkpoint is damaged ({len(data)} bytes, checksum differs); '
                            'use an earlier one')
    # weights_only: a checkpoint from elsewhere must not be able to run code.
    return torch.load(io.BytesIO(data[start:]), weights_only=True)


def random_states() -> dict[str, Any]:
    """States of the process-wide random number generators of Python, numpy and torch."""
    kind, keys, position, has_gauss, gauss = np.random.get_state()
    version, words, python_gauss = random.getstate()
    return {'torch': torch.get_rng_state(), 'numpy': [str(kind), torch.from_numpy(keys.astype(np.int64)),
                                                      int(position), int(has_gauss), float(gauss)],
            'python': [version, list(words), python_gauss]}


def restore_random_states(states: dict[str, Any]) -> None:
    """Put process-wide random number generators back to where ``random_states`` found them."""
    kind, keys, position, has_gauss, gauss = states['numpy']
    version, words, python_gauss = states['python']
    torch.set_rng_state(states['torch'])
    np.random.set_state((kind, keys.numpy().astype(np.uint32), position, has_gauss, gauss))
    random.setstate((version, tuple(words), python_gauss))


def git_commit() -> str:
    """Commit of the checkout, with ``+`` if files differ from it; ``unknown`` outside git."""
    folder = Path(__file__).parent
    try:
        commit = subprocess.run(['git', 'rev-parse', '--short=12', 'HEAD'], cwd=folder, capture_output=True,
                                text=True, check=True).stdout.strip()
        changed = subprocess.run(['git', 'status', '--porcelain', '--untracked-files=no'], cwd=folder,
                                 capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return 'unknown'
    return commit + ('+' if changed else '')
