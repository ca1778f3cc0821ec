# SPDX-License-Identifier: Apache-2.0
"""Classes of the labelled data sets: one YAML file each, and how their masks become classes."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated

import numpy as np
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from perception.errors import DataSetError
from perception.types import Image

FOLDER = Path(__file__).with_name('classes')
COMMON = 'common8'
VOID = 255
UNKNOWN = 254  # in look-up tables: a value or colour that the class map does not have

Byte = Annotated[int, Field(ge=0, le=255)]
Colour = tuple[Byte, Byte, Byte]


@dataclass(frozen=True)
class Taxonomy:
    """
    Classes that masks and networks speak of, in the order of their numbers.

    ``colours`` are (r, g, b) for pictures; ``common`` is the number of the common class of each,
    255 where it has none.
    """

    name: str
    classes: tuple[str, ...]
    colours: tuple[tuple[int, int, int], ...]
    common: tuple[int, ...]


class SceneClass(BaseModel):
    """One class: its values in masks, its colour in pictures and coloured masks (r, g, b)."""

    model_config = ConfigDict(frozen=True, extra='forbid')

    name: str
    values: tuple[Byte, ...] = Field(min_length=1)
    colour: Colour
    common: str | None


class VoidLabel(BaseModel):
    """Values and colours that never count."""

    model_config = ConfigDict(frozen=True, extra='forbid')

    values: tuple[Byte, ...] = ()
    colours: tuple[Colour, ...] = ()


class ClassMap(BaseModel):
    """What a file of ``classes/`` holds; a class is its place in the list."""

    model_config = ConfigDict(frozen=True, extra='forbid')

    name: str
    title: str
    source: str
    licence: str
    layout: str
    void: VoidLabel
    classes: tuple[SceneClass, ...] = Field(min_length=1, max_length=UNKNOWN)
    splits: dict[str, tuple[str, ...]] = {}  # split -> folders, where the publication names them

    @model_validator(mode='after')
    def _nothing_twice(self) -> 'ClassMap':
        """A value, colour or name means one thing."""
        values = [*self.void.values, *(v for one in self.classes for v in one.values)]
        colours = [*self.void.colours, *(one.colour for one in self.classes)]
        names = [one.name for one in self.classes]
        for what, items in (('value', values), ('colour', colours), ('name', names)):
            if len(set(items)) < len(items):
                raise ValueError(f'a {what} stands for two classes')
        return self

    def value_table(self) -> Image:
        """Class of each mask value, (256,) uint8; 255 = void, 254 = not in the map."""
        table = np.full(256, UNKNOWN, np.uint8)
        table[list(self.void.values)] = VOID
        for index, one in enumerate(self.classes):
            table[list(one.values)] = index
        return table

    def colour_table(self) -> Image:
        """Class of each colour r << 16 | g << 8 | b, (2^24,) uint8; 255 = void, 254 = unknown."""
        table = np.full(1 << 24, UNKNOWN, np.uint8)
        table[[_packed(colour) for colour in self.void.colours]] = VOID
        table[[_packed(one.colour) for one in self.classes]] = np.arange(len(self.classes))
        return table


def _packed(colour: Colour) -> int:
    return colour[0] << 16 | colour[1] << 8 | colour[2]


def class_map_names() -> list[str]:
    """Names of all class maps, sorted."""
    return sorted(path.stem for path in FOLDER.glob('*.yaml'))


@cache
def load_class_map(name: str) -> ClassMap:
    """
    Class map of a data set, by the stem of its file.

    Raises
    ------
    DataSetError
        No such file, or it contradicts itself.
    """
    path = FOLDER / f'{name}.yaml'
    if not path.is_file():
        raise DataSetError(f'data set {name!r}: choose one of {", ".join(class_map_names())}')
    try:
        return ClassMap.model_validate(yaml.safe_load(path.read_text()))
    except (ValidationError, yaml.YAMLError) as error:
        reason = ' '.join(str(error).split())
        raise DataSetError(f'{path}: {reason}; correct this class map') from None


@cache
def load_taxonomy(name: str) -> Taxonomy:
    """
    Taxonomy of a data set.

    Raises
    ------
    DataSetError
        No such class map, or it names a common class that is none.
    """
    chosen, common = load_class_map(name), load_class_map(COMMON)
    number: dict[str | None, int] = {one.name: k for k, one in enumerate(common.classes)}
    number[None] = VOID
    for one in chosen.classes:
        if one.common not in number:
            raise DataSetError(
                f'{FOLDER / name}.yaml: {one.name}: no common class {one.common!r}; choose one of '
                f'{", ".join(c.name for c in common.classes)}')
    return Taxonomy(
        name, tuple(one.name for one in chosen.classes),
        tuple(one.colour for one in chosen.classes),
        tuple(number[one.common] for one in chosen.classes))


def taxonomy_with(classes: tuple[str, ...]) -> Taxonomy | None:
    """Known taxonomy with exactly these classes, in this order, or None."""
    known = (load_taxonomy(name) for name in class_map_names())
    return next((one for one in known if one.classes == classes), None)


def common_names(classes: tuple[str, ...]) -> tuple[str | None, ...]:
    """Name of the common class of each class, None = none; empty for unknown classes."""
    known, names = taxonomy_with(classes), load_taxonomy(COMMON).classes
    return () if known is None else tuple(
        None if number == VOID else names[number] for number in known.common)


def common_table(taxonomy: Taxonomy) -> Image:
    """Common class of each class, (256,) uint8; void and unknown stay what they are."""
    table = np.full(256, VOID, np.uint8)
    table[:len(taxonomy.common)] = taxonomy.common
    table[UNKNOWN] = UNKNOWN
    return table
