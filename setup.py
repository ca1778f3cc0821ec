# SPDX-License-Identifier: Apache-2.0
"""One package for pip and for colcon (ament_python): ``pip install .`` or ``colcon build``."""

from glob import glob
from pathlib import Path

from setuptools import find_packages, setup

NAME = 'lagr_perception'

# ROS 2 Kilted on PyPI: wheels exist for these only; elsewhere a distribution brings it.
ROS_PLATFORM = ("python_version < '3.13' and sys_platform == 'linux' "
                "and platform_machine == 'x86_64'")
ROS = [
    f'ros-{name}; {ROS_PLATFORM}' for name in (
        'rclpy[fastrtps]', 'sensor-msgs', 'nav-msgs', 'geometry-msgs', 'diagnostic-msgs',
        'lifecycle-msgs', 'visualization-msgs', 'std-srvs')
]
TEST = ['pytest >= 8', 'pytest-timeout', 'pytest-xdist >= 3.8', 'hypothesis', 'psutil',
        'setuptools >= 70.1']

setup(
    name=NAME,
    version='0.1.0',
    description='Traversability to the horizon and cost maps from cameras',
    long_description=Path(__file__).resolve().with_name('README.md').read_text(),
    long_description_content_type='text/markdown',
    license='Apache-2.0',
    maintainer='lagr_perception maintainers',
    maintainer_email='maintainers@lagr-perception.invalid',
    python_requires='>= 3.11',
    packages=find_packages(include=['perception', 'perception.*']),
    package_data={
        'perception': [
            'py.typed',
            'weights/*.onnx', 'weights/*.json', 'weights/*.md', 'weights/*.png',
            'templates/*',
            'commands/bench_pair/*',
            'evaluation/*.npz',
            'training/classes/*.yaml',
        ],
    },
    data_files=[
        ('share/ament_index/resource_index/packages', [f'resource/{NAME}']),
        (f'share/{NAME}', ['package.xml']),
        (f'share/{NAME}/launch', sorted(glob('launch/*.launch.py'))),
        (f'share/{NAME}/config', sorted(glob('config/*.yaml') + glob('config/*.xml')
                                        + glob('config/*.rviz'))),
        (f'share/{NAME}/calibration', sorted(glob('calibration/*.yaml'))),
    ],
    install_requires=[
        'numpy >= 1.26',
        'scipy >= 1.11',
        'numba >= 0.58',
        'opencv-python-headless >= 4.6',
        'scikit-image >= 0.20',
        'pyyaml >= 6',
        'pydantic >= 2.5',
        'onnxruntime >= 1.19',
        'rosbags >= 0.11.1',
        'apsw',
        'typer >= 0.12',
        'rich >= 13',
        'jinja2 >= 3',
        'matplotlib >= 3.6',
        'pillow >= 9',
    ],
    extras_require={
        'ros': ROS,
        'world': ['moderngl >= 5.10'],
        'openvino': ['openvino >= 2024.4'],
        'tensorrt-rtx': ['tensorrt-rtx >= 1.7; platform_machine in "x86_64 AMD64" '
                         'and sys_platform != "darwin"',
                         'cuda-bindings >= 12.6; sys_platform != "darwin"'],
        'train': ['torch == 2.13.0', 'onnx >= 1.16', 'onnxscript >= 0.1'],
        'test': TEST,
        'dev': ['ruff >= 0.6', 'mypy >= 1.11', 'types-PyYAML', 'pre-commit', *TEST],
    },
    entry_points={'console_scripts': [
        'lagr = perception.commands.main:main',
        'traversability_node = perception.nodes.traversability_node:main',
        'costmap_node = perception.nodes.costmap_node:main',
        'scene_node = perception.nodes.scene_node:main',
    ]},
    zip_safe=False,
)
