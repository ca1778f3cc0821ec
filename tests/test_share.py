# SPDX-License-Identifier: Apache-2.0
"""The package's files are found from a checkout, a virtual environment, a prefix, a workspace."""

import importlib.util
import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import pytest

from perception.share import PACKAGE, share_folder

SHIPPED = ('setup.py', 'setup.cfg', 'pyproject.toml', 'package.xml', 'README.md', 'LICENSE')
FOLDERS = ('perception', 'resource', 'config', 'calibration', 'launch')
FILES = ('package.xml', 'config/default.yaml', 'config/fastdds_shm.xml', 'config/perception.rviz',
         'config/nav2_costmap.yaml', 'launch/perception.launch.py', 'launch/replay.launch.py')
OFFLINE = ('--no-deps', '--no-index')
SHARE = 'from perception.share import share_folder as f; print(f())'
AMENT = ('from ament_index_python.packages import get_package_share_directory as f; '
         f'print(f({PACKAGE!r}))')
PROFILE = 'from perception.nodes.fastdds import profile_path as f; print(f())'


@pytest.fixture(scope='module')
def source(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what makes the package."""
    folder = tmp_path_factory.mktemp('source')
    for name in SHIPPED:
        shutil.copy(repository / name, folder)
    for name in FOLDERS:
        shutil.copytree(repository / name, folder / name,
                        ignore=shutil.ignore_patterns('__pycache__'))
    return folder


@pytest.fixture(scope='module')
def wheel(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel built from a copy of the copy: a build leaves files behind."""
    built = tmp_path_factory.mktemp('built')
    shutil.copytree(source, built / 'source')
    pip('wheel', *OFFLINE, '--no-build-isolation', '--wheel-dir', built, built / 'source')
    (path,) = built.glob(f'{PACKAGE}-*.whl')
    return path


@pytest.fixture(scope='module')
def ament(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with ament_index_python alone; it is pure Python."""
    spec = importlib.util.find_spec('ament_index_python')
    if spec is None or spec.origin is None:
        pytest.skip('ament_index_python is not installed')
    folder = tmp_path_factory.mktemp('ament')
    shutil.copytree(Path(spec.origin).parent, folder / 'ament_index_python')
    return folder


def pip(*arguments: str | Path) -> None:
    """Run pip without a network."""
    done = subprocess.run([sys.executable, '-m', 'pip', '--quiet', *map(str, arguments)],
                          text=True, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr


def bare(folder: Path) -> Path:
    """Python of a new virtual environment with nothing in it, not even pip."""
    venv.create(folder, symlinks=True)
    return folder / 'bin' / 'python'


def run(python: Path, code: str, *path: Path, prefixes: str = '') -> str:
    """What a program prints, outside the checkout; ``prefixes`` is AMENT_PREFIX_PATH."""
    environment = {name: value for name, value in os.environ.items()
                   if not name.startswith(('PYTHON', 'AMENT_'))}
    environment |= {'PYTHONPATH': os.pathsep.join(map(str, path)), 'AMENT_PREFIX_PATH': prefixes}
    done = subprocess.run([python, '-c', code], cwd=python.parent, env=environment, text=True,
                          capture_output=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else done.stderr


def test_checkout(repository: Path) -> None:
    assert share_folder() == repository
    assert all((repository / name).is_file() for name in FILES)


def test_environment_with_the_wheel(wheel: Path, ament: Path, tmp_path: Path) -> None:
    python = bare(tmp_path / 'venv')
    pip('--python', python, 'install', *OFFLINE, wheel)
    share = tmp_path / 'venv' / 'share' / PACKAGE
    assert run(python, SHARE) == str(share)
    assert run(python, PROFILE) == str(share / 'config' / 'fastdds_shm.xml')
    assert run(python, AMENT, ament, prefixes=str(tmp_path / 'venv')) == str(share)
    assert all((share / name).is_file() for name in FILES)


def test_prefix_with_the_wheel(wheel: Path, tmp_path: Path) -> None:
    prefix = tmp_path / 'prefix'
    pip('install', *OFFLINE, '--ignore-installed', '--prefix', prefix, wheel)
    (module,) = prefix.rglob('perception/share.py')
    share = prefix / 'share' / PACKAGE
    assert run(bare(tmp_path / 'venv'), SHARE, module.parents[1]) == str(share)


def test_workspace_that_ament_names(repository: Path, tmp_path: Path) -> None:
    python, site = bare(tmp_path / 'venv'), modules_alone(repository, tmp_path)
    share = tmp_path / 'install' / 'share' / PACKAGE
    (share / 'config').mkdir(parents=True)
    prefixes = os.pathsep.join([str(tmp_path / 'other'), str(tmp_path / 'install')])
    assert run(python, SHARE, site, prefixes=prefixes) == str(share)


def test_files_that_are_nowhere(repository: Path, tmp_path: Path) -> None:
    python, site = bare(tmp_path / 'venv'), modules_alone(repository, tmp_path)
    told = run(python, SHARE, site, prefixes='/nowhere')
    assert 'NodeError' in told
    assert f'no share/{PACKAGE}/config under /nowhere, {tmp_path / "venv"}' in told
    assert 'pip install .' in told


def modules_alone(repository: Path, folder: Path) -> Path:
    """Folder with the modules that look for the files, and nothing to find near them."""
    package = folder / 'lib' / 'perception'
    package.mkdir(parents=True)
    for name in ('__init__', 'errors', 'share'):
        shutil.copy(repository / 'perception' / f'{name}.py', package)
    return package.parent


@pytest.mark.skipif(shutil.which('make') is None, reason='make is not installed')
def test_editable_install_with_the_links_of_make_setup(
    repository: Path, source: Path, ament: Path
) -> None:
    shutil.copy(repository / 'Makefile', source)
    python = bare(source / '.venv')
    (site,) = (source / '.venv').glob('lib/python3*/site-packages')
    (site / 'editable.pth').write_text(f'{source}\n')
    for _ in range(2):  # twice: it may be repeated
        subprocess.run(['make', '--silent', 'links'], cwd=source, check=True)
    assert run(python, SHARE) == str(source)
    share = Path(run(python, AMENT, ament, prefixes=str(source / '.venv')))
    assert share == source / '.venv' / 'share' / PACKAGE
    assert share.resolve() == source
    assert all((share / name).is_file() for name in FILES)
