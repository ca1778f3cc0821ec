# SPDX-License-Identifier: Apache-2.0
"""Labelled data sets for scene networks: one split as pairs of picture and classes."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np

from perception.errors import DataSetError
from perception.training.scene_classes import (
    COMMON,
    UNKNOWN,
    VOID,
    Taxonomy,
    common_table,
    load_class_map,
    load_taxonomy,
)
from perception.training.scene_files import read_colours, read_indices, read_picture
from perception.training.scene_layouts import Listing, find_layout, list_split
from perception.training.scene_worlds import class_at, depth_at, picture_at
from perception.types import Float, Image

WORLDS = 'worlds'
__all__ = ['VOID', 'SceneSet', 'Taxonomy', 'check', 'open_scene_set']


@dataclass(frozen=True)
class SceneSet:
    """
    One split of a labelled data set.

    ``pairs`` are picture and mask files; masks are ``coloured`` or hold label values, both as in
    the published data set. ``taxonomy`` is the data set's own, or the common one.
    """

    name: str
    split: str
    taxonomy: Taxonomy
    pairs: tuple[tuple[Path, Path], ...]
    coloured: bool = False

    def __len__(self) -> int:
        """Pictures of the split."""
        return len(self.pairs)

    def read(self, item: int) -> tuple[Image, Image]:
        """
        Picture and classes of one pair.

        Returns
        -------
        picture : (H, W, 3) uint8
            BGR.
        classes : (H, W) uint8
            Place in ``taxonomy.classes``, 255 = void.

        Raises
        ------
        DataSetError
            A file is damaged, sizes differ, or the mask holds what the class map does not have.
        """
        picture_path, mask_path = self.pairs[item]
        picture = (picture_at if self.name == WORLDS else read_picture)(picture_path)
        return picture, self._classes(self._labels(mask_path), mask_path, picture)

    def depth(self, item: int) -> Float | None:
        """Distance along the optical axis, (H, W) float32 [m], NaN = none; None = not recorded."""
        return depth_at(self.pairs[item][1]) if self.name == WORLDS else None

    def common(self) -> 'SceneSet':
        """Give the same pictures in the common taxonomy of eight classes."""
        return replace(self, taxonomy=load_taxonomy(COMMON))

    def _labels(self, path: Path) -> Image:
        """Mask (H, W) as label values, or as colours r << 16 | g << 8 | b."""
        if not self.coloured:
            return (class_at if self.name == WORLDS else read_indices)(path)
        red, green, blue = np.moveaxis(read_colours(path).astype(np.int32), 2, 0)
        return np.asarray(red << 16 | green << 8 | blue)

    def _classes(self, labels: Image, path: Path, picture: Image) -> Image:
        """Classes (H, W) of a mask that fits its picture."""
        if labels.shape != picture.shape[:2]:
            raise DataSetError(
                f'{path}: mask of {_size(labels)} for a picture of {_size(picture)}; restore the '
                'mask, or scale it with nearest neighbour')
        table = _table(self.name, self.taxonomy.name == COMMON, self.coloured)
        if labels.dtype.itemsize > 1 and not self.coloured:
            labels = _narrowed(labels, path, self.name)
        classes: Image = table[labels]
        if (classes == UNKNOWN).any():
            raise _unknown(labels, classes, path, self)
        return classes


def open_scene_set(folder: Path, split: str, name: str | None = None) -> SceneSet:
    """
    Open one split, or several joined by ``+``, of a data set in its published layout.

    Parameters
    ----------
    folder : Path
        Root of the data set.
    split : str
        Such as ``train``; YCOR without a file ``SPLIT.txt`` gives all its pictures.
    name : str or None
        Which data set it is; None = seen from the folders inside.

    Raises
    ------
    DataSetError
        Unknown layout, no such split, no pictures, or pictures without masks and the reverse.
    """
    layout = find_layout(folder, name)
    listings = [list_split(layout, folder, part) for part in split.split('+')]
    pairs = tuple(pair for listing in listings for pair in listing.pairs)
    return SceneSet(layout, split, load_taxonomy(layout), pairs, _coloured(listings))


def _coloured(listings: list[Listing]) -> bool:
    return any(listing.coloured for listing in listings)


def check(scene_set: SceneSet, advance: Callable[[int], object] = lambda done: None) -> None:
    """
    Read every pair once, so that a fault shows before the hours are spent.

    Parameters
    ----------
    advance : callable
        Told the number of pairs that were read, for a progress bar.

    Raises
    ------
    DataSetError
        Names the first bad file and the remedy.
    """
    for item in range(len(scene_set)):
        scene_set.read(item)
        advance(1)


@cache
def _table(name: str, to_common: bool, coloured: bool) -> Image:
    """Class of each label value (256,), or of each colour (2^24,), uint8."""
    chosen = load_class_map(name)
    table = chosen.colour_table() if coloured else chosen.value_table()
    return common_table(load_taxonomy(name))[table] if to_common else table


def _narrowed(labels: Image, path: Path, name: str) -> Image:
    """Labels of more than 8 bits as uint8."""
    if labels.max() > UNKNOWN + 1:
        count = int((labels > UNKNOWN + 1).sum())
        raise DataSetError(
            f'{path}: value {labels.max()} ({count} pixels above 255) is no class of {name}; '
            'use the mask of 8-bit label values')
    return labels.astype(np.uint8)


def _unknown(labels: Image, classes: Image, path: Path, scene_set: SceneSet) -> DataSetError:
    """Name the first label that the class map lacks, and how often such labels stand there."""
    wrong = labels[classes == UNKNOWN]
    first = int(wrong[0])
    count = int((labels == first).sum())
    if scene_set.coloured:
        shown = f'colour ({first >> 16}, {first >> 8 & 255}, {first & 255})'
    else:
        shown = f'value {first}'
    more = f', {len(wrong) - count} pixels more are wrong' if len(wrong) > count else ''
    return DataSetError(
        f'{path}: {shown} ({count} pixels{more}) is no class of {scene_set.name}; restore the '
        'mask from the data set, or name the data set it belongs to')


def _size(image: Image) -> str:
    return f'{image.shape[1]}x{image.shape[0]}'
