# SPDX-License-Identifier: Apache-2.0
"""
Random views of labelled pictures: where one looks, what is pasted in, and in which light.

Pictures are (H, W, 3) uint8 BGR, labels (H, W) uint8 with 255 = void.
"""

from collections.abc import Sequence
from typing import Annotated

import cv2
import numpy as np
from pydantic import BaseModel, ConfigDict, Field, field_validator

from perception.training.augment import Rng, colour_matrix, relight, sensor, shade
from perception.types import Float, Image

VOID = 255
RARE_SHARE = 0.03  # of all pixels; classes below it are pasted into other pictures
RECOLOURED = 0.8  # share of the classes of a view
Labelled = tuple[Image, Image]
Scale = Annotated[float, Field(ge=0.1, le=10)]


class Jitter(BaseModel):
    """How far the views of a picture differ."""

    model_config = ConfigDict(frozen=True, extra='forbid')

    scale: tuple[Scale, Scale] = Field((0.6, 1.8), description='Size of things, least and most')
    rotation_deg: float = Field(3.0, ge=0, le=45, description='Largest turn either way')
    focus: float = Field(
        0.5, ge=0, le=1, description='Share of views that look at a class drawn by lot')
    paste: float = Field(
        0.3, ge=0, le=1, description='Share of views with the rare things of another picture')
    recolour: float = Field(
        0.0, ge=0, le=1, description='Share of views whose classes change colour one by one')
    light: float = Field(0.8, ge=0, le=1, description='Share of views in another light')
    shadow: float = Field(0.15, ge=0, le=1, description='Share of views with soft shadows')
    sensor: float = Field(0.3, ge=0, le=1, description='Share of views of another camera')

    @field_validator('scale')
    @classmethod
    def _rising(cls, scale: tuple[float, float]) -> tuple[float, float]:
        if scale[0] > scale[1]:
            raise ValueError('write the least scale first')
        return scale


def draw_view(
    pictures: Sequence[Labelled], item: int, size: tuple[int, int], jitter: Jitter, rng: Rng,
    rare: Sequence[int] = (),
) -> Labelled:
    """
    One random view of one picture.

    Parameters
    ----------
    size : (rows, columns)
        Of the view.
    rare : classes
        That may come from another picture.
    """
    image, label = _view(pictures[item], size, jitter, rng)
    if rare and rng.random() < jitter.paste:
        other, names = _view(pictures[int(rng.integers(len(pictures)))], size, jitter, rng)
        pasted = np.isin(names, rare)
        image[pasted], label[pasted] = other[pasted], names[pasted]
    if rng.random() < jitter.recolour:
        image = recolour_classes(image, label, rng)
    return _in_other_light(image, jitter, rng), label


def _view(picture: Labelled, size: tuple[int, int], jitter: Jitter, rng: Rng) -> Labelled:
    """Cut out, scaled, turned and mirrored by one warp."""
    image, label = picture
    scale = np.exp(rng.uniform(*np.log(jitter.scale)))
    angle = np.deg2rad(rng.uniform(-1, 1) * jitter.rotation_deg)
    centre = _centre(label, (size[0] / scale, size[1] / scale), jitter.focus, rng)
    matrix = _affine(centre, size, scale, angle, rng.random() < 0.5)
    extent = size[1], size[0]
    return (np.asarray(cv2.warpAffine(image, matrix, extent, flags=cv2.INTER_LINEAR,
                                      borderMode=cv2.BORDER_REFLECT_101), np.uint8),
            np.asarray(cv2.warpAffine(label, matrix, extent, flags=cv2.INTER_NEAREST,
                                      borderMode=cv2.BORDER_CONSTANT, borderValue=VOID), np.uint8))


def _centre(label: Image, extent: tuple[float, float], focus: float, rng: Rng) -> Float:
    """Pixel (u, v) in the middle of the view, inside the picture where the view fits."""
    rows, columns = label.shape
    v, u = rng.uniform(0, rows), rng.uniform(0, columns)
    if rng.random() < focus:
        present = np.flatnonzero(np.bincount(label.ravel(), minlength=256)[:VOID])
        if len(present):
            places = np.flatnonzero(label == rng.choice(present))
            v, u = divmod(int(rng.choice(places)), columns)
            v, u = v + rng.uniform(-0.4, 0.4) * extent[0], u + rng.uniform(-0.4, 0.4) * extent[1]
    half_v, half_u = min(extent[0], rows) / 2, min(extent[1], columns) / 2
    return np.array([np.clip(u, half_u, columns - half_u), np.clip(v, half_v, rows - half_v)])


def _affine(
    centre: Float, size: tuple[int, int], scale: float, angle: float, mirrored: bool
) -> Float:
    """Source pixel -> pixel of the view, (2, 3)."""
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    if mirrored:
        turn[0] *= -1
    middle = np.array([size[1], size[0]]) / 2 - 0.5  # a pixel's own centre is a whole number
    return np.column_stack([turn, middle - turn @ (centre - 0.5)])


def recolour_classes(image: Image, label: Image, rng: Rng) -> Image:
    """Give most classes a hue, chroma, tint and brightness of their own; void keeps its own."""
    changed, strength = image.copy(), rng.uniform(0.3, 1.0)
    for number in np.flatnonzero(np.bincount(label.ravel(), minlength=256)[:VOID]):
        if rng.random() < RECOLOURED:
            mask = (label == number).view(np.uint8)
            cv2.copyTo(cv2.transform(image, colour_matrix(rng, strength)), mask, changed)
    return changed


def _in_other_light(image: Image, jitter: Jitter, rng: Rng) -> Image:
    if rng.random() < jitter.light:
        image = relight(image, rng)
    if rng.random() < jitter.shadow:
        image = shade(image, rng)
    return sensor(image, rng) if rng.random() < jitter.sensor else image


def class_shares(pictures: Sequence[Labelled], classes: int) -> Float:
    """Share of each class of all labelled pixels, (classes,)."""
    counts = sum(np.bincount(label.ravel(), minlength=256)[:classes] for _, label in pictures)
    return np.asarray(counts) / max(np.sum(counts), 1)
