"""Install with pip where ROS 2 came from pip too; elsewhere use colcon. Everything else is in pyproject.toml."""
import os
import sys
from pathlib import Path
from subprocess import check_call

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext


class BuildMessages(build_ext):
    """Let CMake build msg/ and srv/ and pass what it installs on as data files."""

    def run(self) -> None:
        """Configure, build and stage; a sourced ROS is kept, otherwise ROS is taken from this environment."""
        build = Path(self.build_temp).resolve()
        stage = build / 'stage'
        os.environ.pop('PYTHONPATH', None)  # pip hides what is installed, ROS 2 included.
        os.environ.setdefault('AMENT_PREFIX_PATH', sys.prefix)
        os.environ.setdefault('CMAKE_PREFIX_PATH', os.environ['AMENT_PREFIX_PATH'])
        check_call(['cmake', '-S', '.', '-B', build, '-DBUILT_BY_PIP=ON', '-DBUILD_TESTING=OFF',
                    f'-DCMAKE_INSTALL_PREFIX={stage}', f'-DPython3_EXECUTABLE={sys.executable}'])
        check_call(['cmake', '--build', build, '--parallel'])
        check_call(['cmake', '--install', build])
        self.distribution.data_files = [
            (str(file.parent.relative_to(stage)), [str(file)])
            for file in stage.rglob('*')
            if file.is_file() and '.egg-info' not in file.parent.name]
        if self.editable_mode:  # Here setuptools would leave the data files out.
            self.run_command('install_data')

    def get_outputs(self) -> list[str]:
        """No extension module comes out of this."""
        return []

    def get_output_mapping(self) -> dict[str, str]:
        """No extension module comes out of this."""
        return {}


setup(ext_modules=[Extension('marl_coordination', [])], cmdclass={'build_ext': BuildMessages})
