# SPDX-License-Identifier: Apache-2.0
"""Bags on disk: both storages, folder and bare file, old ones, and every kind of damage."""

import re
from pathlib import Path

import pytest
from drives import START, copy, old_sqlite, stamp, write_stereo
from rosbags.rosbag2 import StoragePlugin

from perception.bag_file import BagFile
from perception.bag_writer import BagWriter
from perception.errors import BagError


def refusal(path: Path) -> str:
    """The one line with which a bag is refused."""
    with pytest.raises(BagError) as caught, BagFile(path) as bag:
        list(bag.messages(list(bag.topics)))
    text = str(caught.value)
    assert '\n' not in text
    assert str(path) in text
    return text


@pytest.mark.parametrize('bare', [False, True])
@pytest.mark.parametrize('plugin', list(StoragePlugin))
def test_storages(tmp_path: Path, plugin: StoragePlugin, bare: bool) -> None:
    path = copy(write_stereo(tmp_path / 'source'), tmp_path / 'bag', plugin=plugin)
    if bare:
        (path,) = [file for file in path.iterdir() if file.suffix in ('.mcap', '.db3')]
    with BagFile(path) as bag:
        found = list(bag.messages(['/odom', '/stereo/left/image_rect']))
        assert bag.topics['/odom'] == 'nav_msgs/msg/Odometry'
        assert bag.counts['/stereo/left/image_rect'] == 3
    assert [at for topic, at, _ in found if topic == '/odom'] == [stamp(i) for i in range(3)]
    assert found[-1][2].width == 48


def test_old_sqlite_without_definitions_skips_custom_types(tmp_path: Path) -> None:
    source = write_stereo(tmp_path / 'source')
    path = old_sqlite(source, tmp_path / 'old.db3', {'/drive': 'ackermann_msgs/msg/Drive'})
    with BagFile(path) as bag:
        assert bag.unknown == {'/drive': 'ackermann_msgs/msg/Drive'}
        first = bag.first('/odom')
        assert first is not None
        assert first[0] == START
        with pytest.raises(BagError, match=r'/drive: type ackermann_msgs/msg/Drive is not defin'):
            bag.first('/drive')


def test_definition_in_the_bag_wins_over_the_standard_one(tmp_path: Path) -> None:
    """A std_msgs/String that calls its field otherwise is read by its own definition."""
    with BagWriter(tmp_path / 'bag') as bag:
        bag.string('/note', 'hello')
    file = tmp_path / 'bag' / 'bag.mcap'
    data = file.read_bytes()
    assert data.count(b'string data') > 0
    file.write_bytes(data.replace(b'string data', b'string text'))
    with BagFile(file) as bag_file:
        first = bag_file.first('/note')
    assert first is not None
    assert first[1].text == 'hello'


def test_missing_path(tmp_path: Path) -> None:
    assert 'no such bag; give a rosbag2 folder' in refusal(tmp_path / 'nowhere')


def test_other_files(tmp_path: Path) -> None:
    for name, text in (('drive.bag', 'a ROS 1 bag; convert it with `rosbags-convert'),
                       ('drive.mp4', 'not a bag; give a rosbag2 folder')):
        (tmp_path / name).write_bytes(b'x')
        assert text in refusal(tmp_path / name)
    (tmp_path / 'text.mcap').write_bytes(b'some text that is no mcap')
    assert 'not an mcap file' in refusal(tmp_path / 'text.mcap')
    (tmp_path / 'empty.mcap').write_bytes(b'')
    assert 'empty file; record the bag again' in refusal(tmp_path / 'empty.mcap')
    (tmp_path / 'text.db3').write_bytes(b'some text that is no database' * 100)
    assert 'sqlite3' in refusal(tmp_path / 'text.db3')


def test_mcap_of_another_system(tmp_path: Path) -> None:
    file = write_stereo(tmp_path / 'bag') / 'bag.mcap'
    data = file.read_bytes()
    for old, new in ((b'ros2', b'ros1'), (b'ros2msg', b'rosjson')):
        file.write_bytes(data.replace(old, new))
        assert 'no ROS 2 recording; record with `ros2 bag record -s mcap`' in refusal(file)


def test_folder_without_metadata(tmp_path: Path) -> None:
    path = write_stereo(tmp_path / 'bag')
    (path / 'metadata.yaml').unlink()
    text = refusal(path)
    assert f'folder without metadata.yaml; open {path / "bag.mcap"} itself' in text
    assert f'`ros2 bag reindex {path}`' in text
    empty = tmp_path / 'empty'
    empty.mkdir()
    assert 'folder without metadata.yaml; give the folder of a rosbag2' in refusal(empty)


@pytest.mark.parametrize('text', ['{', 'a: 1', 'rosbag2_bagfile_information: 3'])
def test_damaged_metadata(tmp_path: Path, text: str) -> None:
    path = write_stereo(tmp_path / 'bag')
    (path / 'metadata.yaml').write_text(text)
    assert f'`ros2 bag reindex {path}`' in refusal(path)


def test_missing_storage_file(tmp_path: Path) -> None:
    path = write_stereo(tmp_path / 'bag')
    (path / 'bag.mcap').unlink()
    assert 'ros2 bag reindex' in refusal(path)


@pytest.mark.parametrize('folder', [False, True])
@pytest.mark.parametrize('share', [0.0001, 0.3, 0.9, 0.9999])
def test_truncated_mcap_is_refused_with_the_repair(
    tmp_path: Path, share: float, folder: bool
) -> None:
    path = write_stereo(tmp_path / 'bag')
    file = path / 'bag.mcap'
    data = file.read_bytes()
    file.write_bytes(data[: max(4, int(len(data) * share))])
    text = refusal(path if folder else file)
    assert f'truncated mcap; repair it with `mcap recover {file} -o FIXED.mcap`' in text


def test_mcap_with_a_hole(tmp_path: Path) -> None:
    file = write_stereo(tmp_path / 'bag') / 'bag.mcap'
    data = bytearray(file.read_bytes())
    data[2000: len(data) // 2] = bytes(len(data) // 2 - 2000)
    file.write_bytes(bytes(data))
    text = refusal(file)
    assert re.search(r'damaged bag \(\d+ messages of /\S+ cannot be found\)', text)
    assert f'`mcap recover {file} -o FIXED.mcap`' in text


def test_a_damaged_definition(tmp_path: Path) -> None:
    file = write_stereo(tmp_path / 'bag') / 'bag.mcap'
    file.write_bytes(file.read_bytes().replace(b'uint32 height', b'uint34 height'))
    assert 'damaged message' in refusal(file)


@pytest.mark.parametrize('share', [0.1, 0.5, 0.9])
def test_truncated_sqlite(tmp_path: Path, share: float) -> None:
    source = write_stereo(tmp_path / 'source', frames=40)
    file = copy(source, tmp_path / 'bag', plugin=StoragePlugin.SQLITE3) / 'bag.db3'
    data = file.read_bytes()
    file.write_bytes(data[: int(len(data) * share)])
    assert f'`sqlite3 {file} .recover | sqlite3 FIXED.db3`' in refusal(file)


def test_truth_is_no_input(tmp_path: Path) -> None:
    with BagWriter(tmp_path / 'bag') as bag:
        bag.string('/truth/classes', '{}', latched=True)
        bag.string('/truthful', '{}')
    with BagFile(tmp_path / 'bag') as bag_file:
        assert bag_file.of_type('std_msgs/String') == ['/truthful']
        assert len(list(bag_file.messages(['/truth/classes']))) == 1
