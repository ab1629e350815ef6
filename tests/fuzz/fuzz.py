"""Let atheris look for bytes that break a reader: ``python -m tests.fuzz.fuzz TARGET [SECONDS]``; `make fuzz` runs all.

Python is steered by coverage; compiled kernels check every index. An input that breaks a rule of targets.py, takes
longer than LIMIT_S of the processor or more than LIMIT_MB of memory is kept as crash-* in runs/fuzz/TARGET, beside the
inputs that reached something new, with which the next run begins.
"""

import os
import sys
import tempfile
import time
from pathlib import Path

# Before numba is there: kernels that check indices, and a place of their own to keep them.
os.environ['NUMBA_BOUNDSCHECK'] = '1'
os.environ['NUMBA_CACHE_DIR'] = str(Path(tempfile.gettempdir()) / f'marl-fuzz-kernels-{os.getuid()}')

import atheris  # noqa: E402

from marl_core.mapping import codec  # noqa: E402

LIMIT_S = 0.05
LIMIT_MB = 1024
MAX_INPUT_BYTES = 4096
INSTRUMENTED = ('marl_core.communication', 'marl_core.mapping.persistence', 'marl_core.mapping.bases',
                'marl_core.versions', 'marl_core.types')
"""Modules without kernels: numba reads bytecode and cannot take what atheris writes into it."""

for _function in ('decode', '_leans_on', '_last_base', '_read_tiles'):
    setattr(codec, _function, atheris.instrument_func(getattr(codec, _function)))
with atheris.instrument_imports(include=list(INSTRUMENTED)):
    from tests.fuzz.targets import TARGETS, seeds


def main() -> None:
    """Entry point; ends with libFuzzer's exit code."""
    name, seconds = sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else '120'
    target, worst_s = TARGETS[name], 0.0
    corpus = Path('runs/fuzz') / name
    corpus.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(seeds(name)):
        target(seed)  # compiles what has to be
        (corpus / f'seed-{number}').write_bytes(seed)

    def judged(data: bytes) -> None:
        nonlocal worst_s
        start_s = time.thread_time()
        target(data)
        took_s = time.thread_time() - start_s
        if took_s > worst_s:
            worst_s = took_s
            sys.stderr.write(f'slowest so far: {1e3 * took_s:.1f} ms for {len(data)} bytes\n')
        assert took_s <= LIMIT_S, f'{len(data)} bytes took {1e3 * took_s:.0f} ms'

    atheris.Setup([sys.argv[0], f'-max_total_time={seconds}', f'-max_len={MAX_INPUT_BYTES}', '-timeout=10',
                   f'-rss_limit_mb={LIMIT_MB}', f'-artifact_prefix={corpus}/', '-print_final_stats=1', str(corpus)],
                  judged)
    atheris.Fuzz()


if __name__ == '__main__':
    main()
