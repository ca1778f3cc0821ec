# SPDX-License-Identifier: Apache-2.0
"""What pip and colcon install, read from a wheel built without a network."""

import configparser
import importlib.metadata
import importlib.util
import re
import shutil
import subprocess
import sys
from email.parser import Parser
from pathlib import Path
from xml.etree import ElementTree
from zipfile import ZipFile

import pytest
import yaml

from perception.config import Config, load_config

SHIPPED = ('setup.py', 'setup.cfg', 'pyproject.toml', 'package.xml', 'README.md', 'LICENSE')
FOLDERS = ('perception', 'resource', 'config', 'calibration', 'launch')
DATA = re.compile(r'[^/]+\.data/data/(.+)')


@pytest.fixture(scope='module')
def wheel(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> ZipFile:
    """A wheel of this checkout, built from a copy."""
    source, out = tmp_path_factory.mktemp('source'), tmp_path_factory.mktemp('wheel')
    for name in SHIPPED:
        shutil.copy(repository / name, source)
    for name in FOLDERS:
        if (repository / name).is_dir():
            shutil.copytree(repository / name, source / name,
                            ignore=shutil.ignore_patterns('__pycache__'))
    command = [sys.executable, '-m', 'pip', 'wheel', '--no-deps', '--no-build-isolation',
               '--no-index', '--quiet', '--wheel-dir', str(out), '.']
    done = subprocess.run(command, cwd=source, text=True, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    (path,) = out.glob('lagr_perception-*.whl')
    return ZipFile(path)


def installed_data(wheel: ZipFile) -> set[str]:
    """Paths below the installation prefix."""
    return {found[1] for name in wheel.namelist() if (found := DATA.fullmatch(name))}


def test_ament_finds_the_package(wheel: ZipFile) -> None:
    data = installed_data(wheel)
    assert 'share/ament_index/resource_index/packages/lagr_perception' in data
    assert 'share/lagr_perception/package.xml' in data
    assert 'share/lagr_perception/config/default.yaml' in data


def test_the_wheel_holds_every_module_and_no_tests(wheel: ZipFile, repository: Path) -> None:
    names = set(wheel.namelist())
    modules = {str(path.relative_to(repository))
               for path in (repository / 'perception').rglob('*.py')}
    assert modules <= names
    assert not [name for name in names if name.startswith(('tests/', 'benchmarks/', 'docs/'))]
    assert not [name for name in names if 'research_weights' in name]


def test_the_wheel_holds_what_the_modules_read(wheel: ZipFile, repository: Path) -> None:
    names = set(wheel.namelist())
    assert 'perception/weights/default.onnx' in names
    data = [str(path.relative_to(repository)) for path in (repository / 'perception').rglob('*')
            if path.is_file() and path.suffix != '.py' and path.parent.name != '__pycache__']
    assert len(data) > 5
    assert set(data) <= names


def test_the_wheel_is_small(wheel: ZipFile) -> None:
    assert sum(item.compress_size for item in wheel.infolist()) < 20e6


def test_entry_point_resolves(wheel: ZipFile) -> None:
    (name,) = [name for name in wheel.namelist() if name.endswith('entry_points.txt')]
    parser = configparser.ConfigParser()
    parser.read_string(wheel.read(name).decode())
    scripts = dict(parser['console_scripts'])
    assert scripts['lagr'] == 'perception.commands.main:main'
    assert set(scripts) == {'lagr', 'traversability_node', 'costmap_node', 'scene_node'}
    installed = importlib.util.find_spec('rclpy') is not None
    for name, target in scripts.items() if installed else [('lagr', scripts['lagr'])]:
        assert callable(importlib.metadata.EntryPoint(name, target, 'console_scripts').load())


def test_metadata(wheel: ZipFile) -> None:
    (name,) = [name for name in wheel.namelist() if name.endswith('.dist-info/METADATA')]
    metadata = Parser().parsestr(wheel.read(name).decode())
    extras = metadata.get_all('Provides-Extra') or []
    assert {'ros', 'world', 'train', 'test', 'dev'} <= set(extras)
    required = [line for line in metadata.get_all('Requires-Dist') or [] if 'extra' not in line]
    assert not [line for line in required if re.match('torch|moderngl|opencv-contrib', line)]
    assert any('LICENSE' in item for item in wheel.namelist())


def test_one_version_everywhere(wheel: ZipFile, repository: Path) -> None:
    version = Path(wheel.filename or '').name.split('-')[1]
    package = ElementTree.parse(repository / 'package.xml').getroot()
    assert package.findtext('version') == version
    assert package.findtext('name') == 'lagr_perception'
    changelog = (repository / 'CHANGELOG.rst').read_text()
    newest = re.search(r'^(\d+\.\d+\.\d+) ', changelog, re.MULTILINE)
    assert newest is not None
    assert newest[1] == version


def test_default_yaml_is_the_schema(repository: Path) -> None:
    path = repository / 'config' / 'default.yaml'
    spec = importlib.util.spec_from_file_location('generate', repository / 'config/generate.py')
    assert spec is not None
    assert spec.loader is not None
    generate = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(generate)
    assert path.read_text() == generate.default_yaml(), 'run: python config/generate.py'


def test_default_yaml_says_every_default(repository: Path) -> None:
    path = repository / 'config' / 'default.yaml'
    written = yaml.safe_load(path.read_text())['/**']['ros__parameters']
    assert written == Config().model_dump()
    assert load_config(path) == Config()


def test_the_licence_is_complete(repository: Path) -> None:
    text = (repository / 'LICENSE').read_text()
    assert 'Apache License' in text
    assert 'END OF TERMS AND CONDITIONS' in text
