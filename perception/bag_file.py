# SPDX-License-Identifier: Apache-2.0
"""One rosbag2 on disk: open it or say why not, and give its messages deserialised."""

import struct
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import apsw
from rosbags.interfaces import Connection, MessageDefinition, MessageDefinitionFormat
from rosbags.rosbag2 import Reader, ReaderError
from rosbags.serde import SerdeError
from rosbags.typesys import (
    Stores,
    TypesysError,
    get_types_from_idl,
    get_types_from_msg,
    get_typestore,
)
from rosbags.typesys.store import Typestore

from perception.bag_encode import typestore
from perception.errors import BagError

_MCAP_MAGIC = b'\x89MCAP0\r\n'
# what a damaged file makes rosbags raise, besides its own errors
_DAMAGE = (ReaderError, SerdeError, apsw.Error, OSError, EOFError, struct.error,
           ValueError, KeyError, TypeError, AssertionError, OverflowError, MemoryError)


class BagFile:
    """
    A rosbag2 folder, or a bare .mcap or .db3 file, open for reading; a context manager.

    Raises
    ------
    BagError
        Missing path, no metadata.yaml, truncated or damaged file; the text names the repair.
    """

    def __init__(self, path: Path) -> None:
        """Open the bag."""
        self.path = Path(path)
        _check_files(self.path)
        try:
            self._reader = Reader(self.path)
            self._reader.open()
        except _DAMAGE as error:
            raise _damaged(self.path, error) from None
        self.connections: dict[str, Connection] = {}
        for connection in self._reader.connections:
            self.connections.setdefault(connection.topic, connection)
        self.counts = {name: info.msgcount for name, info in self._reader.topics.items()}
        self.duration_ns = self._reader.duration

    def __enter__(self) -> Self:
        """Give the file itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the file."""
        self.close()

    def close(self) -> None:
        """Close the file; a second call does nothing."""
        if self._reader.is_open:
            self._reader.close()

    @property
    def topics(self) -> dict[str, str]:
        """Topic -> type, such as ``sensor_msgs/msg/Image``."""
        return {topic: c.msgtype for topic, c in self.connections.items()}

    def of_type(self, *kinds: str) -> list[str]:
        """Topics with messages of these types (``package/Name``), sorted; never /truth."""
        names = {kind.replace('/', '/msg/') for kind in kinds}
        return sorted(
            topic for topic, c in self.connections.items()
            if c.msgtype in names and self.counts[topic] and not is_truth(topic)
        )

    @property
    def unknown(self) -> dict[str, str]:
        """Topics skipped because nothing says how their type is laid out -> that type."""
        return {
            topic: c.msgtype for topic, c in sorted(self.connections.items())
            if self.counts[topic] and c.msgdef.format == MessageDefinitionFormat.NONE
            and c.msgtype not in typestore().fielddefs
        }

    def raw(self, topics: list[str]) -> Iterator[tuple[str, int, bytes]]:
        """
        (topic, receive time [ns], bytes) in order of receive time.

        Raises BagError where the file is damaged, or holds fewer messages than it says.
        """
        wanted = [c for c in self._reader.connections if c.topic in topics]
        if not wanted:
            return
        missing = {c.topic: self.counts[c.topic] for c in wanted}
        try:
            for connection, received_ns, data in self._reader.messages(wanted):
                missing[connection.topic] -= 1
                yield connection.topic, received_ns, data
        except _DAMAGE as error:
            raise _damaged(self.path, error) from None
        for topic, count in missing.items():
            if count > 0:
                raise _damaged(self.path, f'{count} messages of {topic} cannot be found')

    def at(self, topics: list[str], received_ns: int) -> dict[str, bytes]:
        """
        Bytes by topic of what was received at exactly this time [ns]; the index finds it.

        Raises BagError where the file is damaged.
        """
        wanted = [c for c in self._reader.connections if c.topic in topics]
        try:
            found = self._reader.messages(wanted, start=received_ns, stop=received_ns + 1)
            return {connection.topic: data for connection, _, data in found}
        except _DAMAGE as error:
            raise _damaged(self.path, error) from None

    def decode(self, topic: str, data: bytes) -> Any:
        """Message of a topic from its bytes."""
        connection = self.connections[topic]
        store = _store(connection.msgtype, connection.msgdef)
        if store is None:
            raise BagError(
                f'{self.path}: {topic}: type {connection.msgtype} is not defined in the bag and '
                f'no standard type; record it as mcap, which carries the definition'
            )
        try:
            return store.deserialize_cdr(data, connection.msgtype)
        except (*_DAMAGE, TypesysError) as error:
            reason = ' '.join(str(error).split()) or type(error).__name__
            raise BagError(f'{self.path}: {topic}: damaged message ({reason}); record again, or '
                           'cut the bag there') from None

    def messages(self, topics: list[str]) -> Iterator[tuple[str, int, Any]]:
        """(topic, stamp [ns], message): header stamp, or receive time where that is missing."""
        for topic, received_ns, data in self.raw(topics):
            message = self.decode(topic, data)
            yield topic, stamp_ns(message, received_ns), message

    def first(self, topic: str) -> tuple[int, Any] | None:
        """Stamp [ns] and first message of a topic, or None."""
        for _, stamp, message in self.messages([topic]):
            return stamp, message
        return None


def is_truth(topic: str) -> bool:
    """True for what only evaluation and training may read."""
    return topic == '/truth' or topic.startswith('/truth/')


def stamp_ns(message: Any, received_ns: int) -> int:
    """Header stamp [ns]; the receive time where there is none or it is zero."""
    header = getattr(message, 'header', None)
    if header is None:
        return received_ns
    return header.stamp.sec * 1_000_000_000 + header.stamp.nanosec or received_ns


@lru_cache(maxsize=256)
def _store(kind: str, definition: MessageDefinition) -> Typestore | None:
    """Type store of one message type: the bag's own definition, else ROS 2 Kilted's."""
    own = _own_types(kind, definition)
    if not own:
        return typestore() if kind in typestore().fielddefs else None
    store = get_typestore(Stores.EMPTY)
    store.register(own)
    return store


def _own_types(kind: str, definition: MessageDefinition) -> Any:
    """Types that the bag itself defines for a topic; None = no usable definition."""
    form, text = definition
    try:
        if form == MessageDefinitionFormat.MSG:
            return get_types_from_msg(text, kind)
        if form == MessageDefinitionFormat.IDL:
            parts = text.split('=' * 80 + '\n')
            types = {}
            for part in parts:
                body = part.split('\n', 1)[1] if part.startswith('IDL: ') else part
                types.update(get_types_from_idl(body) if body.strip() else {})
            return types
    except TypesysError:
        return None
    return None


def _check_files(path: Path) -> None:
    if not path.exists():
        raise BagError(f'{path}: no such bag; give a rosbag2 folder, a .mcap or a .db3 file')
    if path.suffix == '.bag':
        raise BagError(
            f'{path}: a ROS 1 bag; convert it with `rosbags-convert --src {path} --dst FOLDER`'
        )
    if path.is_dir() and not (path / 'metadata.yaml').exists():
        inside = [*sorted(path.glob('*.mcap')), *sorted(path.glob('*.db3'))]
        remedy = (
            f'open {inside[0]} itself, or run `ros2 bag reindex {path}`' if inside
            else 'give the folder of a rosbag2, or a .mcap or .db3 file'
        )
        raise BagError(f'{path}: folder without metadata.yaml; {remedy}')
    if path.is_file() and path.suffix not in ('.mcap', '.db3'):
        raise BagError(f'{path}: not a bag; give a rosbag2 folder, a .mcap or a .db3 file')
    for file in sorted(path.glob('*.mcap')) if path.is_dir() else [path]:
        if file.suffix == '.mcap':
            _check_mcap(file)


def _check_mcap(file: Path) -> None:
    """Refuse a file without the closing mark, even if some messages could be had."""
    try:
        with file.open('rb') as stream:
            head = stream.read(len(_MCAP_MAGIC))
            stream.seek(0, 2)
            size = stream.tell()
            stream.seek(max(0, size - len(_MCAP_MAGIC)))
            tail = stream.read()
    except OSError as error:
        reason = error.strerror or str(error)
        raise BagError(f'{file}: cannot be read ({reason}); check the permissions') from None
    if not size:
        raise BagError(f'{file}: empty file; record the bag again')
    if head != _MCAP_MAGIC[:size]:
        raise BagError(f'{file}: not an mcap file; give a rosbag2 folder, a .mcap or a .db3 file')
    if tail != _MCAP_MAGIC or size < 2 * len(_MCAP_MAGIC):
        raise BagError(f'{file}: truncated mcap; {_recover(file)}')


def _recover(file: Path) -> str:
    """Repair command of a damaged mcap, or sqlite3, file."""
    if file.suffix == '.db3':
        return f'repair it with `sqlite3 {file} .recover | sqlite3 FIXED.db3` and use FIXED.db3'
    return f'repair it with `mcap recover {file} -o FIXED.mcap` and use FIXED.mcap'


def _damaged(path: Path, error: BaseException | str) -> BagError:
    """One line for what rosbags said; names the file in the folder where there is one."""
    file = path
    if path.is_dir():
        file = next(iter([*sorted(path.glob('*.mcap')), *sorted(path.glob('*.db3'))]), path)
    reason = ' '.join(str(error).split()) or type(error).__name__
    if reason.startswith('Profile') or isinstance(error, KeyError):
        return BagError(f'{path}: no ROS 2 recording; record with `ros2 bag record -s mcap`')
    index = path.is_dir() and ('metadata' in reason or 'missing' in reason)
    remedy = f'rebuild metadata.yaml with `ros2 bag reindex {path}`' if index else _recover(file)
    return BagError(f'{path}: damaged bag ({reason}); {remedy}')
