# SPDX-License-Identifier: Apache-2.0
"""
Pictures of the training seasons made into pictures of any season, light and camera.

Each function takes and gives (H, W, 3) uint8 BGR and draws from ``rng``; geometry is left alone,
so that labels stay valid.
"""

import cv2
import numpy as np

from perception.types import Float, Image
from perception.world.spec import (
    BUSH,
    CROWN,
    FENCE,
    GRASS,
    HAY,
    LOG,
    MUD,
    PATH,
    ROCK,
    SKY,
    TALL_GRASS,
    TRUNK,
)

Rng = np.random.Generator

# what changes colour together from season to season
MATERIALS = ((PATH,), (MUD,), (GRASS,), (TALL_GRASS,), (BUSH, CROWN), (TRUNK, LOG, FENCE),
             (ROCK,), (HAY,), (SKY,))
FAR_M = 400.0  # stands for the sky in haze


def augment(image: Image, class_ids: Image, depth: Float, rng: Rng) -> Image:
    """
    Change one picture at random.

    Parameters
    ----------
    class_ids : (H, W) uint8
    depth : (H, W) float [m], NaN = sky

    Returns
    -------
    (H, W, 3) uint8 BGR
        Colours of materials, air, light and sensor changed, each with its own probability.
    """
    if rng.random() < 0.75:
        image = recolour(image, class_ids, rng)
    if rng.random() < 0.35:
        image = shade(image, rng)
    if rng.random() < 0.4:
        image = haze(image, depth, rng)
    image = relight(image, rng)
    if rng.random() < 0.15:
        return _grey(sensor(image, rng))
    return sensor(image, rng)


def recolour(image: Image, class_ids: Image, rng: Rng) -> Image:
    """Give each material a hue, chroma, tint and brightness of its own."""
    changed = image.copy()
    strength = rng.uniform(0.3, 1.0)
    for classes in MATERIALS:
        mask = np.isin(class_ids, classes)
        if rng.random() < 0.8 and mask.any():
            matrix = colour_matrix(rng, strength * (0.4 if SKY in classes else 1.0))
            cv2.copyTo(cv2.transform(image, matrix), mask.view(np.uint8), changed)
    return changed


def colour_matrix(rng: Rng, strength: float) -> Float:
    """Affine (3, 4) on BGR: chroma rotated and scaled, tinted; luminance scaled."""
    luminance = np.array([0.114, 0.587, 0.299])
    angle = strength * rng.normal(0, 0.9)
    chroma = max(rng.normal(0.9, 0.5 * strength), 0.0)
    gain = np.exp(strength * rng.normal(0, 0.35))
    # rotation about the grey axis, by Rodrigues' formula
    axis = np.ones(3) / np.sqrt(3)
    cross = np.cross(np.eye(3), axis)
    turn = np.cos(angle) * np.eye(3) + np.sin(angle) * cross
    turn += (1 - np.cos(angle)) * np.outer(axis, axis)
    grey = np.outer(np.ones(3), luminance)
    matrix = gain * (grey + chroma * turn @ (np.eye(3) - grey))
    tint = strength * rng.normal(0, 22, 3)
    return np.column_stack([matrix, tint - tint @ luminance])


def haze(image: Image, depth: Float, rng: Rng) -> Image:
    """Air of a random density and colour between camera and things."""
    density = rng.uniform(0.002, 0.03)
    distance = np.where(np.isfinite(depth), depth, FAR_M).astype(np.float32)
    clear = cv2.exp(distance * np.float32(-density))[..., None]
    air = (rng.uniform(140, 225) + rng.normal(0, 12, 3)).astype(np.float32)
    return _u8((image - air) * clear + air)


def relight(image: Image, rng: Rng) -> Image:
    """White balance, saturation, hue, gamma and exposure of the whole picture."""
    image = cv2.transform(image, colour_matrix(rng, 0.35 if rng.random() < 0.7 else 0.0))
    balance = rng.uniform(0.85, 1.15, 3)
    gamma, exposure = np.exp(rng.normal(0, 0.25)), np.exp(rng.normal(0, 0.2))
    curve = (np.arange(256) / 255)[:, None] ** gamma * exposure * balance * 255
    return np.asarray(cv2.LUT(image, _u8(curve).reshape(1, 256, 3)), np.uint8)


def shade(image: Image, rng: Rng) -> Image:
    """Soft light and shadow patches, some with a hard edge."""
    coarse = rng.standard_normal((rng.integers(3, 12), rng.integers(3, 16))).astype(np.float32)
    field = cv2.resize(coarse, image.shape[1::-1], interpolation=cv2.INTER_CUBIC)
    if rng.random() < 0.5:
        field = np.tanh(field * 8)
    light = cv2.exp(field * np.float32(rng.uniform(0.1, 0.4)))
    return _u8(image * light[..., None])


def sensor(image: Image, rng: Rng) -> Image:
    """Blur and noise of another camera."""
    if rng.random() < 0.3:
        image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.4, 1.3))
    if rng.random() < 0.4:
        noise = np.empty(image.shape, np.int16)
        cv2.setRNGSeed(int(rng.integers(2**31)))
        cv2.randn(noise, 0, rng.uniform(1.0, 7.0))
        image = cv2.add(image, noise, dtype=cv2.CV_8U)
    return np.asarray(image, np.uint8)


def _grey(image: Image) -> Image:
    """Without any colour, as a mono camera sees it."""
    grey = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
    return np.asarray(cv2.merge([grey, grey, grey]), np.uint8)


def _u8(values: Float) -> Image:
    return np.clip(values, 0, 255).astype(np.uint8)
