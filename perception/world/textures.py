# SPDX-License-Identifier: Apache-2.0
"""Procedural textures: tileable ground, bark and stone; cut-out cards for leaves and grass."""

from collections.abc import Callable, Sequence

import cv2
import numpy as np

from perception.types import Float, Image

Rng = np.random.Generator
Rgb = tuple[int, int, int]

GREENS: list[Rgb] = [(70, 92, 36), (92, 112, 48), (112, 128, 58), (56, 78, 30), (132, 130, 72)]
DRY: list[Rgb] = [(150, 136, 84), (128, 112, 66), (170, 154, 104), (104, 100, 56)]
LEAVES: list[Rgb] = [(58, 80, 34), (74, 98, 40), (92, 114, 48), (44, 62, 26)]
LEAVES_2: list[Rgb] = [(84, 92, 44), (110, 112, 58), (70, 84, 42), (128, 120, 70)]
NEEDLES: list[Rgb] = [(40, 62, 36), (52, 76, 42), (34, 50, 30), (64, 84, 48)]
STALKS: list[Rgb] = [(112, 120, 56), (134, 132, 70), (160, 146, 90), (92, 104, 46)]
STALKS_2: list[Rgb] = [(80, 104, 40), (98, 118, 50), (120, 130, 64)]
SHIFT = 3  # fractional bits of OpenCV drawing coordinates


def fractal_noise(
    n: int, rng: Rng, beta: float = 2.0, *, low: float = 1, high: float | None = None,
    stretch: float = 1.0,
) -> Float:
    """
    Tileable 1/f^beta noise.

    Parameters
    ----------
    low, high : float
        Band kept [cycles a tile].
    stretch : float
        Rows vary this many times more slowly than columns (bark, planks).

    Returns
    -------
    (n, n) float32 in [0, 1]
    """
    rows = np.fft.fftfreq(n)[:, None] * n * stretch
    frequency = np.hypot(rows, np.fft.rfftfreq(n)[None] * n)
    keep = (frequency >= low) & (frequency <= (high or n))
    amplitude = np.where(keep, np.maximum(frequency, 1e-9) ** (-beta / 2), 0)
    phase = np.exp(2j * np.pi * rng.random(amplitude.shape))
    noise = np.fft.irfft2(amplitude * phase, s=(n, n))
    noise = (noise - noise.mean()) / noise.std()
    return np.asarray(1 / (1 + np.exp(-1.4 * noise)), np.float32)


def ground_textures(rng: Rng, n: int = 1024) -> list[Image]:
    """Grass, path, mud and dry grass: four (n, n, 3) uint8 RGB, tileable."""
    path = _gravel(n, rng) if rng.random() < 0.6 else _earth(n, rng)
    return [_grass(n, rng, 0.0), path, _mud(n, rng), _grass(n, rng, 1.0)]


def surface_textures(rng: Rng, n: int = 256) -> dict[str, Image]:
    """Bark, rock, straw, wood and the cut-out cards: name -> (n, n, 4) uint8 RGBA."""
    opaque = {
        'bark': _fibre(n, rng, (46, 36, 28), (128, 108, 88), 9),
        'bark_pale': _fibre(n, rng, (92, 88, 80), (188, 182, 170), 5),
        'rock': _rock(n, rng, (84, 82, 80), (164, 160, 150)),
        'rock_warm': _rock(n, rng, (92, 76, 60), (172, 148, 120)),
        'straw': _straw(n, rng),
        'wood': _fibre(n, rng, (96, 82, 64), (172, 156, 130), 16),
    }
    cards = {
        'leaf': _leaf_card(n, rng, LEAVES, 240),
        'leaf_pale': _leaf_card(n, rng, LEAVES_2, 240),
        'needle': _leaf_card(n, rng, NEEDLES, 420, slim=0.16),
        'needle_pale': _leaf_card(n, rng, NEEDLES, 300, slim=0.2),
        'stalk': _stalk_card(n, rng, STALKS, ears=0.35),
        'stalk_green': _stalk_card(n, rng, STALKS_2, ears=0.1),
    }
    solid = np.full((n, n), 255, np.uint8)
    return {name: np.dstack([image, solid]) for name, image in opaque.items()} | cards


def recolour(texture: Image, matrix: Float) -> Image:
    """Texture with its RGB mapped by a (3, 3) matrix; alpha stays."""
    out = texture.copy()
    out[..., :3] = np.clip(texture[..., :3].astype(np.float32) @ matrix.T.astype('f4'), 0, 255)
    return out


def _mix(a: Rgb | Float, b: Rgb | Float, share: Float) -> Float:
    """Blend of two colours or images by a (n, n) share of the second."""
    t = share[..., None]
    return np.asarray(np.asarray(a, np.float32) * (1 - t) + np.asarray(b, np.float32) * t)


def _u8(image: Float) -> Image:
    return np.clip(image, 0, 255).astype(np.uint8)


def _wrapped(shapes: Float, n: int) -> Float:
    """Shapes (m, k, 2), and copies of those that cross the border of the tile."""
    low, high = shapes.min(axis=1), shapes.max(axis=1)
    copies = []
    for shift in ((dx, dy) for dx in (0, n, -n) for dy in (0, n, -n)):
        touches = np.all((high + shift > -2) & (low + shift < n + 2), axis=1)
        copies.append(shapes[touches] + shift)
    return np.concatenate(copies)


def _fixed(points: Float) -> np.ndarray[tuple[int, ...], np.dtype[np.int32]]:
    return np.round(points * (1 << SHIFT)).astype(np.int32)


def _strokes(
    image: Image, rng: Rng, count: int, length: tuple[float, float], colours: Sequence[Rgb]
) -> Image:
    """Draw bent strokes of random colour over the tile, in batches of one colour."""
    n, batch = image.shape[0], 60
    for _ in range(count // batch):
        colour = np.array(colours[int(rng.integers(len(colours)))]) * rng.uniform(0.7, 1.3)
        lines = list(_fixed(_wrapped(_bent_lines(rng, n, batch, length), n)))
        width = int(rng.integers(1, 3))
        cv2.polylines(image, lines, False, colour.tolist(), width, cv2.LINE_AA, SHIFT)
    return image


def _bent_lines(rng: Rng, n: int, count: int, length: tuple[float, float]) -> Float:
    """Random lines of four points, (count, 4, 2)."""
    angle, reach = rng.uniform(0, 2 * np.pi, count), rng.uniform(*length, count)
    along = np.stack([np.cos(angle), np.sin(angle)], -1)[:, None] * reach[:, None, None]
    across = along[..., ::-1] * (-1, 1) * rng.uniform(-0.3, 0.3, (count, 1, 1))
    t = np.linspace(0, 1, 4)[:, None]
    return np.asarray(rng.uniform(0, n, (count, 1, 2)) + along * t + across * t**2)


def _grass(n: int, rng: Rng, dry: float) -> Image:
    base = _mix((60, 66, 34), (88, 96, 46), fractal_noise(n, rng, 1.6, low=2))
    base = _mix(base, (112, 100, 62), fractal_noise(n, rng, 1.2, low=4) ** 4 * 0.9)
    colours = GREENS * (1 + round(3 * (1 - dry))) + DRY * max(1, round(7 * dry))
    image = _strokes(_u8(base * 0.62), rng, 8000, (14, 46), colours)
    return _strokes(image, rng, 360, (6, 16), [(176, 164, 116), (60, 52, 36)])


def _gravel(n: int, rng: Rng) -> Image:
    image = _u8(_mix((92, 82, 68), (140, 126, 106), fractal_noise(n, rng, 1.0, low=3)))
    size = rng.uniform(0.6, 1.2)
    for count, radius in ((2600, (3, 7)), (900, (6, 13)), (int(rng.integers(20, 160)), (12, 24))):
        for _ in range(count):
            _stone(image, rng, rng.uniform(*radius) * size)
    grain = fractal_noise(n, rng, 0.3, low=40)[..., None]
    return _u8(image * (0.86 + 0.28 * grain))


def _stone(image: Image, rng: Rng, radius: float) -> None:
    """One angular stone with its dark lower edge."""
    n = image.shape[0]
    angle = np.sort(rng.uniform(0, 2 * np.pi, 7))
    outline = np.stack([np.cos(angle), np.sin(angle) * rng.uniform(0.6, 1)], -1)
    points = rng.uniform(0, n, 2) + outline * radius * rng.uniform(0.75, 1.1, (7, 1))
    colour = np.array([142, 132, 118]) * rng.uniform(0.62, 1.3) + rng.normal(0, 7, 3)
    for copy in _wrapped(points[None], n):
        shape = _fixed(copy)
        cv2.fillConvexPoly(image, shape + 10, (62, 54, 46), cv2.LINE_AA, SHIFT)
        cv2.fillConvexPoly(image, shape, np.clip(colour, 0, 255).tolist(), cv2.LINE_AA, SHIFT)


def _earth(n: int, rng: Rng) -> Image:
    """Trodden earth with few stones."""
    shade = 0.8 + 0.4 * fractal_noise(n, rng, 0.7, low=20)[..., None]
    image = _u8(_mix((104, 84, 60), (150, 126, 94), fractal_noise(n, rng, 1.5, low=2)) * shade)
    for _ in range(int(rng.integers(200, 900))):
        _stone(image, rng, rng.uniform(2, 6))
    return _strokes(image, rng, 600, (6, 24), [(84, 66, 46), (164, 142, 108)])


def _mud(n: int, rng: Rng) -> Image:
    colour = _mix((66, 50, 36), (112, 90, 66), fractal_noise(n, rng, 1.9, low=2))
    colour = colour * (0.7 + 0.6 * fractal_noise(n, rng, 0.9, low=16)[..., None])
    height = fractal_noise(n, rng, 1.6, low=6)
    slope = np.roll(height, 1, 1) - np.roll(height, -1, 1)
    image = _u8(colour * (1 + np.clip(slope * 9, -0.45, 0.6)[..., None]))
    return _strokes(image, rng, 480, (6, 24), [(58, 44, 30), (132, 112, 82)])


def _fibre(n: int, rng: Rng, dark: Rgb, light: Rgb, stretch: float) -> Image:
    grain = fractal_noise(n, rng, 1.5, low=3, stretch=stretch)
    patches = 0.75 + 0.5 * fractal_noise(n, rng, 0.6, low=8)[..., None]
    return _u8(_mix(dark, light, grain) * patches)


def _rock(n: int, rng: Rng, dark: Rgb, light: Rgb) -> Image:
    image = _mix(dark, light, fractal_noise(n, rng, 2.0, low=2))
    image = image * (0.6 + 0.8 * fractal_noise(n, rng, 1.0, low=10)[..., None])
    moss = np.clip((fractal_noise(n, rng, 1.4, low=4) - 0.62) * 4, 0, 0.7)
    return _u8(_mix(image, (120, 124, 84), moss))


def _straw(n: int, rng: Rng) -> Image:
    image = np.full((n, n, 3), (128, 104, 58), np.uint8)
    colours = [(196, 170, 104), (168, 140, 78), (214, 192, 132), (122, 98, 54), (90, 70, 38)]
    return _strokes(image, rng, 2400, (12, 50), colours)


def _leaf_card(
    n: int, rng: Rng, colours: Sequence[Rgb], count: int, slim: float = 0.45
) -> Image:
    """A spray of leaves (``slim`` = width / length of one) in a lobed disc."""
    image, alpha = np.zeros((n, n, 3), np.uint8), np.zeros((n, n), np.uint8)
    lobes, phase = int(rng.integers(3, 7)), rng.uniform(0, 6)
    for k in range(count):
        angle, reach = rng.uniform(0, 2 * np.pi), n * 0.45 * np.sqrt(rng.random())
        reach *= 0.8 + 0.2 * np.sin(lobes * angle + phase)
        centre = n / 2 + reach * np.array([np.cos(angle), np.sin(angle)])
        colour = np.array(colours[int(rng.integers(len(colours)))]) * rng.uniform(0.55, 1.35)
        colour = np.clip(colour * (0.55 + 0.45 * k / count), 0, 255)
        axis = rng.uniform(8, 15)
        turn = rng.uniform(0, 360)
        _on_both(image, alpha, colour, lambda canvas, paint, c=centre, a=axis, t=turn: cv2.ellipse(
            canvas, _fixed(c).tolist(), (int(a * 8), max(int(a * 8 * slim), 6)), t, 0, 360,
            paint, -1, cv2.LINE_AA, SHIFT))
    return _cut_out(image, alpha)


def _on_both(
    image: Image, alpha: Image, colour: Float, draw: Callable[..., object]
) -> None:
    draw(image, colour.tolist())
    draw(alpha, 255)


def _stalk_card(n: int, rng: Rng, colours: Sequence[Rgb], ears: float) -> Image:
    """A tussock of bent blades, some with an ear, darker towards the root."""
    image, alpha = np.zeros((n, n, 3), np.uint8), np.zeros((n, n), np.uint8)
    for _ in range(80):
        x, y, width = _blade(n, rng)
        outline = [_fixed(np.r_[np.c_[x - width, y], np.c_[x + width, y][::-1]])]
        colour = np.clip(np.array(colours[int(rng.integers(len(colours)))])
                         * rng.uniform(0.65, 1.2), 0, 255)
        _on_both(image, alpha, colour, lambda canvas, paint, o=outline: cv2.fillPoly(
            canvas, o, paint, cv2.LINE_AA, SHIFT))
        if rng.random() < ears:
            tip = _fixed(np.array([x[-1], y[-1] + 9])).tolist()
            _on_both(image, alpha, np.array([186.0, 166.0, 116.0]),
                     lambda canvas, paint, t=tip: cv2.ellipse(
                         canvas, t, (26, 80), 0, 0, 360, paint, -1, cv2.LINE_AA, SHIFT))
    shade = np.linspace(1.05, 0.5, n)[:, None, None]
    return _cut_out(_u8(image * shade), alpha)


def _blade(n: int, rng: Rng) -> tuple[Float, Float, Float]:
    """Centre line (9,), (9,) and half width (9,) of one blade."""
    spread = rng.normal(0, 0.16)
    foot = (0.5 + np.clip(spread, -0.33, 0.33)) * n
    height = rng.uniform(0.45, 0.95) * n * (1 - 0.5 * abs(spread))
    t = np.linspace(0, 1, 9)
    x = foot + (rng.normal(0, 0.11) + 0.5 * spread) * n * t**2
    y = n + 2 - rng.uniform(0, 0.06) * n - height * t
    return x, y, rng.uniform(2.2, 4.6) * (1 - t**1.5) + 0.35


def _cut_out(image: Image, alpha: Image) -> Image:
    """RGBA whose transparent texels carry nearby colour, so that mip levels stay bright."""
    weight = cv2.GaussianBlur(alpha.astype(np.float32) / 255, (0, 0), 4)[..., None]
    spread = cv2.GaussianBlur(image.astype(np.float32), (0, 0), 4) / np.maximum(weight, 0.02)
    fill = np.where(weight > 0.02, spread, image[alpha > 128].mean(axis=0))
    share = alpha[..., None] / 255.0
    return np.dstack([_u8(image * share + fill * (1 - share)), alpha])
