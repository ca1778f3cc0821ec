# SPDX-License-Identifier: Apache-2.0
"""A recorded drive as frames: what is in a rosbag2, matched by stamp and rectified."""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from perception.bag_file import BagFile, stamp_ns
from perception.bag_inputs import Kind, choose_inputs
from perception.bag_match import Pairer
from perception.bag_mount import find_poses, lidar_mount
from perception.bag_poses import static_tree
from perception.bumper import BUMPER_TYPE, Bumper
from perception.config import Config
from perception.errors import BagError, ImageError
from perception.frames import FrameBuilder
from perception.types import Camera, Frame

_BLIND_FRAMES = 10  # so many depth images without a single value, from the start, are a fault


@dataclass(frozen=True)
class Found:
    """What a bag holds for us; ``frames`` is an upper bound."""

    kind: Kind
    image_topic: str
    right_image_topic: str | None
    depth_topic: str | None
    info_topics: tuple[str, ...]
    camera: Camera
    colour: bool
    rectified: bool
    baseline_m: float | None
    pose_source: str
    mount_source: str
    frames: int
    sync_tolerance_s: float
    notes: tuple[str, ...] = ()
    skipped: tuple[str, ...] = ()
    lidar_topic: str | None = None
    bumper_topic: str | None = None

    def lines(self) -> list[str]:
        """One line for each thing found, for printing."""
        c = self.camera
        names = {'stereo': 'stereo pair', 'rgbd': 'RGB-D pair', 'mono': 'one camera',
                 'lidar': 'camera and lidar'}
        topics = [t for t in (self.image_topic, self.right_image_topic, self.depth_topic,
                              self.lidar_topic) if t]
        base = f', baseline {self.baseline_m:.3f} m' if self.baseline_m else ''
        lines = [
            f'{names[self.kind]}: {" + ".join(topics)}',
            f'images: {c.width} x {c.height}, {"colour" if self.colour else "grey"}, '
            f'{"recorded rectified" if self.rectified else "rectified here"}, '
            f'fx {c.fx:.1f} px{base}',
            f'calibration: {", ".join(self.info_topics)}',
            f'frames: up to {self.frames}',
            f'poses: {self.pose_source}',
            f'mount: {self.mount_source}',
        ]
        if self.kind != 'mono':
            lines[3] += f', matched by stamp within {self.sync_tolerance_s:g} s'
        lines += [f'bumper: {self.bumper_topic}'] if self.bumper_topic else []
        lines += [f'note: {note}' for note in self.notes]
        return lines + [f'skipped: {item}' for item in self.skipped]


class BagSource:
    """
    The frames of one bag; a context manager. Memory does not grow with the bag's length.

    Poses are read at the start (they are small), images as they are asked for.
    """

    def __init__(self, path: Path, config: Config) -> None:
        """Open the bag and find its inputs; see ``open_bag``."""
        self._config = config.input
        with ExitStack() as stack:  # closes the file where its contents are refused
            self._file = stack.enter_context(BagFile(path))
            tree = static_tree(self._file)
            self._inputs = choose_inputs(self._file, tree, config.input)
            self._camera_from_lidar = lidar_mount(tree, self._inputs, config.mount)
            self._bumper = _bumper_of(self._file, config.input.bumper_topic)
            self._tolerance_s: float = getattr(config.input, self._inputs.tolerance)
            self._poses = find_poses(self._file, tree, self._inputs.image, config)
            stack.pop_all()

    def __enter__(self) -> Self:
        """Give the source itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the file."""
        self.close()

    def close(self) -> None:
        """Close the file; a second call does nothing."""
        self._file.close()

    def __len__(self) -> int:
        """Give the number of frames expected, an upper bound."""
        partner = self._inputs.partner
        counts = self._file.counts
        image = counts[self._inputs.image.topic]
        return min(image, counts[partner.topic]) if partner else image

    @property
    def topics(self) -> dict[str, str]:
        """Topic -> type of everything in the bag."""
        return self._file.topics

    def messages(self, topics: list[str]) -> Iterator[tuple[str, int, Any]]:
        """(topic, header stamp or else receive time [ns], message), in order of receiving."""
        return self._file.messages(topics)

    @cached_property
    def found(self) -> Found:
        """What will be read, and what not."""
        chosen = self._inputs
        return Found(
            kind=chosen.kind,
            image_topic=chosen.image.topic,
            right_image_topic=chosen.right.topic if chosen.right else None,
            depth_topic=chosen.depth.topic if chosen.depth else None,
            info_topics=tuple(dict.fromkeys(
                c.info_topic for c in chosen.cameras if c.info_topic)),
            camera=self._builder.camera,
            colour=chosen.image.pixels == 'colour',
            rectified=self._builder.rectified,
            baseline_m=chosen.baseline_m,
            pose_source=self._poses.source,
            mount_source=self._poses.mount_source,
            frames=len(self),
            sync_tolerance_s=self._tolerance_s,
            notes=chosen.notes + self._poses.notes,
            skipped=tuple(
                f'{topic}: type {kind} is not defined in the bag'
                for topic, kind in self._file.unknown.items()
            ),
            lidar_topic=chosen.lidar.topic if chosen.lidar else None,
            bumper_topic=self._config.bumper_topic or None,
        )

    def frames(self) -> Iterator[Frame]:
        """
        Frames in the order of their stamps.

        Raises
        ------
        BagError
            Stamps run backwards, no pair within the tolerance, or a damaged file.
        ImageError, CalibrationError
            An image that cannot be decoded, or of another size than its CameraInfo; depth
            images, or clouds, without any measurement.
        MessageError
            A cloud that cannot be decoded.
        """
        blind = count = 0
        for stamp, image, partner in self._matched():
            frame = self._builder.build(
                stamp, image, partner, odom_from_base=self._poses.at(stamp),
                base_from_camera=self._poses.base_from_camera,
                camera_from_lidar=self._camera_from_lidar)
            frame = replace(frame, bumped=self._bumper.take(stamp))
            if frame.depth is not None and blind == count:
                blind += not np.isfinite(frame.depth).any()
            count += 1
            if blind == min(_BLIND_FRAMES, len(self)):
                raise self._blind(blind)
            yield frame
        if count and blind == count:
            raise self._blind(blind)

    @cached_property
    def _builder(self) -> FrameBuilder:
        return FrameBuilder.of(self._inputs)

    def _blind(self, frames: int) -> ImageError:
        if self._inputs.lidar:
            return ImageError(
                f'{self._inputs.lidar.topic}: no point of the first {frames} clouds is in view of '
                f'{self._inputs.image.topic}; check the transform between the two')
        topic = self._inputs.depth.topic if self._inputs.depth else ''
        return ImageError(
            f'{topic}: no valid depth in the first {frames} images (all 0, NaN or infinite); '
            f'check the depth camera, or name input.image_topic and input.right_image_topic'
        )

    def _matched(self) -> Iterator[tuple[int, Any, Any]]:
        """(stamp, image message, partner message or None), nearest stamps within tolerance."""
        chosen = self._inputs
        partner = chosen.partner
        if partner is None:
            for _, stamp, data in self._ordered([chosen.image.topic]):
                yield stamp, self._file.decode(chosen.image.topic, data), None
            return
        pairer = Pairer(round(self._tolerance_s * 1e9))
        for topic, stamp, data in self._ordered([chosen.image.topic, partner.topic]):
            pairer.add(topic == chosen.image.topic, stamp, data)
            yield from self._decoded(pairer.take(ended=False), partner.topic)
        yield from self._decoded(pairer.take(ended=True), partner.topic)
        if not pairer.pairs:
            raise BagError(
                f'{self._file.path}: no image of {chosen.image.topic} and {partner.topic} within '
                f'input.{chosen.tolerance} = {self._tolerance_s:g} s (nearest: '
                f'{pairer.nearest}); raise the tolerance, or synchronise the sensors'
            )

    def _decoded(
        self, pairs: Iterator[tuple[int, bytes, bytes]], partner_topic: str
    ) -> Iterator[tuple[int, Any, Any]]:
        for stamp, data, partner in pairs:
            yield (stamp, self._file.decode(self._inputs.image.topic, data),
                   self._file.decode(partner_topic, partner))

    def _ordered(self, topics: list[str]) -> Iterator[tuple[str, int, bytes]]:
        """Raw messages with their stamps, which must rise on each topic; repeats are dropped."""
        last: dict[str, int] = {}
        bumper = self._config.bumper_topic
        for topic, received_ns, data in self._file.raw([*topics, *filter(None, [bumper])]):
            if topic == bumper:
                self._bumper.tell(self._file.decode(topic, data).data)
                continue
            stamp = stamp_ns(self._file.decode(topic, data), received_ns)
            previous = last.get(topic, -1)
            if stamp < previous:
                raise BagError(
                    f'{self._file.path}: {topic}: stamps run backwards, {_seconds(stamp)} s '
                    f'after {_seconds(previous)} s; record again, or cut the bag there'
                )
            last[topic] = stamp
            if topic == self._inputs.image.topic:
                self._bumper.image(stamp)
            if stamp > previous:
                yield topic, stamp, data


def open_bag(path: Path, config: Config) -> BagSource:
    """
    Open a rosbag2 and find its cameras, calibration and poses; prints nothing.

    Parameters
    ----------
    path : Path
        Folder with metadata.yaml, or a bare .mcap or .db3 file.
    config : Config
        ``config.input`` may name topics and sets the tolerances.

    Raises
    ------
    BagError, ImageError, CalibrationError
        One line that names the path or topic and the remedy.
    """
    return BagSource(Path(path), config)


def _bumper_of(bag: BagFile, topic: str) -> Bumper:
    """A bumper that has heard nothing; BagError where the named topic is none."""
    held = bag.of_type(BUMPER_TYPE)
    if topic and topic not in held:
        raise BagError(f'{bag.path}: input.bumper_topic = {topic}: no such {BUMPER_TYPE} topic '
                       f'with messages; it has: {", ".join(held) or "none"}')
    return Bumper()


def _seconds(stamp: int) -> str:
    """Stamp in seconds with all nine digits, which a float would not keep."""
    return f'{stamp // 1_000_000_000}.{stamp % 1_000_000_000:09d}'
