"""Compiled kernels never outlive the sources they were made from."""

import shutil
from pathlib import Path

import numba
import pytest

from marl_core import compilation


@pytest.fixture
def sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / 'marl_core'
    shutil.copytree(Path(compilation.__file__).parent, folder, ignore=shutil.ignore_patterns('__pycache__'))
    monkeypatch.setattr(compilation, '__file__', str(folder / 'compilation.py'))
    return folder


def test_changed_kernels_and_constants_change_the_folder_and_prose_does_not(sources: Path) -> None:
    before = compilation.fingerprint()
    (sources / 'errors.py').write_text('# nothing compiled here\n')
    assert compilation.fingerprint() == before
    constants = sources / 'specs.py'
    constants.write_text(constants.read_text() + '\nNEW = 1\n')
    changed = compilation.fingerprint()
    assert changed != before
    kernels = sources / 'mapping' / 'geodesics.py'
    kernels.write_text(kernels.read_text() + '\n')
    assert compilation.fingerprint() not in (before, changed)


def test_old_states_are_removed_and_an_unwritable_home_is_passed_over(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(numba.config, 'CACHE_DIR', numba.config.CACHE_DIR)
    monkeypatch.delenv('NUMBA_CACHE_DIR', raising=False)
    blocked = tmp_path / 'file'
    blocked.write_text('no folder')
    monkeypatch.setenv('XDG_CACHE_HOME', str(blocked))
    monkeypatch.setattr(compilation.tempfile, 'gettempdir', lambda: str(tmp_path))

    folder = compilation.use_own_cache()
    assert folder is not None
    assert folder.is_relative_to(tmp_path)
    for state in range(compilation.KEPT + 3):
        (folder.parent / f'kernels-{state}').mkdir()
    assert compilation.use_own_cache() == folder
    assert len(list(folder.parent.glob('kernels-*'))) == compilation.KEPT
    assert folder.exists()
