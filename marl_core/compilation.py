"""Where compiled kernels are kept: never beside sources that have changed since.

Numba compiles a kernel anew when its own file changes, not when a constant or a kernel that it takes from another file
does, so an upgrade could go on with half of the old code. Here every state of the compiled sources has a folder of its
own.
"""

import os
import shutil
import tempfile
from hashlib import blake2b
from pathlib import Path

KEPT = 4
"""States of the sources whose kernels are kept; the least recently used are removed."""

CONSTANTS = ('specs.py', 'types.py')
"""Files without kernels whose constants kernels take."""


def use_own_cache() -> Path | None:
    """Direct numba's cache to the folder of these sources; call it before any kernel is defined.

    The root is $NUMBA_CACHE_DIR, or marl_coordination in $XDG_CACHE_HOME (~/.cache); where that cannot be written, in
    the folder for temporary files.

    Returns:
        The folder, None where no place can be written: kernels are then compiled by every process.
    """
    import numba
    homes = [Path(os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache') / 'marl_coordination',
             Path(tempfile.gettempdir()) / f'marl_coordination-{os.getuid()}']
    if os.environ.get('NUMBA_CACHE_DIR'):
        homes.insert(0, Path(os.environ['NUMBA_CACHE_DIR']))
    for home in homes:
        folder = home / fingerprint()
        try:
            folder.mkdir(parents=True, exist_ok=True)
            os.utime(folder)
            numba.config.CACHE_DIR = str(folder)
        except OSError:
            continue
        _prune(home)
        return folder
    return None


def fingerprint() -> str:
    """Hash of all sources with kernels, here and in the simulator beside it."""
    digest = blake2b(digest_size=8)
    package = Path(__file__).parent
    for folder in (package, package.parent / 'sim'):
        for path in sorted(folder.rglob('*.py')):
            content = path.read_bytes()
            if b'njit' in content or path.name in CONSTANTS:
                digest.update(str(path.relative_to(package.parent)).encode() + content)
    return f'kernels-{digest.hexdigest()}'


def _prune(home: Path) -> None:
    states = sorted(home.glob('kernels-*'), key=lambda path: path.stat().st_mtime, reverse=True)
    for old in states[KEPT:]:
        shutil.rmtree(old, ignore_errors=True)
