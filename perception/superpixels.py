# SPDX-License-Identifier: Apache-2.0
"""
Superpixels: segment a picture, and let its segments decide on labels together.

Pixels of a segment vote, share their mean class distribution, or choose the purest segment that
holds them.

Source
    Farabet et al., PAMI 2013; algorithms.md B4. Segments: Felzenszwalb and Huttenlocher, IJCV
    2004, and Achanta et al. (SLIC), PAMI 2012, both from scikit-image.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from perception.errors import ConfigError, ImageError, NetworkError
from perception.types import UNLABELED, Float, Image

SuperpixelMethod = Literal['felzenszwalb', 'slic']
Segments = NDArray[np.int32]

SUM_TOLERANCE = 1e-2  # half-precision networks
DOUBT_PX = 10.0


@dataclass(frozen=True)
class SuperpixelConfig:
    """
    How pictures are cut; the defaults suit 480 x 360.

    ``shrink``: the picture is reduced so many times before it is cut: halved, as true to outlines
    in a fifth of the time (``benchmarks/superpixels.py``). ``_px``: pixels of the reduced picture.

    felzenszwalb: ``scale_px`` is k of the paper (larger: fewer, larger segments), ``sigma_px`` the
    blur before, ``min_size_px`` the smallest segment. A stack for ``cover`` has ``levels``
    segmentations, k from ``finest_px`` to ``coarsest_px`` in equal steps.
    slic: about ``n_segments``; ``compactness`` weighs place against colour; k-means iterations.
    """

    shrink: int = 2
    scale_px: float = 50.0
    sigma_px: float = 0.5
    min_size_px: int = 10
    levels: int = 10
    finest_px: float = 25.0
    coarsest_px: float = 100.0
    n_segments: int = 800
    compactness: float = 20.0
    iterations: int = 5

    def __post_init__(self) -> None:
        """Refuse what neither method can work with."""
        for name in ('shrink', 'scale_px', 'min_size_px', 'levels', 'finest_px', 'n_segments',
                     'compactness', 'iterations'):
            if not getattr(self, name) > 0:
                raise ConfigError(f'superpixels: {name} is {getattr(self, name)}, must be > 0')
        for name, least in (('sigma_px', 0.0), ('coarsest_px', self.finest_px)):
            if not getattr(self, name) >= least:
                raise ConfigError(
                    f'superpixels: {name} is {getattr(self, name)}, must be >= {least}')


def segment(
    image: Image, method: SuperpixelMethod = 'felzenszwalb', config: SuperpixelConfig | None = None
) -> Segments:
    """
    Cut a picture into superpixels.

    The reduced picture is cut, then every pixel takes the segment of its nearest reduced pixel.

    Parameters
    ----------
    image : (H, W, 3) uint8 BGR, of any size from one pixel up
    method : 'felzenszwalb' or 'slic'
        Segments along edges, of all sizes; or compact ones of similar size.
    config : SuperpixelConfig, optional

    Returns
    -------
    (H, W) int32
        Segment of each pixel, 0 ... n-1, each of them connected.

    Raises
    ------
    ImageError, ConfigError
        The image has another shape or type, or no pixels; there is no such method.

    Source
        B4, superpixels. Differs: the paper's parameters are not published (part F).
    """
    config = config or SuperpixelConfig()
    small = _reduced(image, config.shrink)
    if method == 'felzenszwalb':
        return _enlarged(_felzenszwalb(small, config.scale_px, config), image.shape[:2])
    if method == 'slic':
        return _enlarged(_slic(small, config), image.shape[:2])
    raise ConfigError(f'superpixels: no method {method}; choose felzenszwalb or slic')


def levels(image: Image, config: SuperpixelConfig | None = None) -> Segments:
    """
    Cut a picture again and again, from fine to coarse, as a family for ``cover``.

    Parameters and errors as ``segment``. Returns (L, H, W) int32: Felzenszwalb segments of each
    level, each numbered from 0; levels are not nested.

    Source
        B4, optimal purity cover: 10 levels, linearly spread. Their range is our choice.
    """
    config = config or SuperpixelConfig()
    small = _reduced(image, config.shrink)
    scales = np.linspace(config.finest_px, config.coarsest_px, config.levels)
    return np.stack([_enlarged(_felzenszwalb(small, float(scale), config), image.shape[:2])
                     for scale in scales])


def _reduced(image: Image, shrink: int) -> Image:
    """Checked picture, reduced by area to ceil(size / shrink)."""
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
        raise ImageError(f'superpixels: image is {image.shape} {image.dtype}; '
                         f'give (H, W, 3) uint8 BGR with H, W > 0')
    height, width = (-(-side // shrink) for side in image.shape[:2])
    small = cv2.resize(np.ascontiguousarray(image), (width, height), interpolation=cv2.INTER_AREA)
    return np.asarray(small, np.uint8)


def _enlarged(cut: NDArray[np.int64], shape: tuple[int, ...]) -> Segments:
    """Segments of the nearest reduced pixel; every reduced pixel keeps one or more."""
    row, column = ((2 * np.arange(full) + 1) * small // (2 * full)
                   for full, small in zip(shape, cut.shape, strict=True))
    return np.asarray(cut.astype(np.int32).take(row, 0).take(column, 1))


def _felzenszwalb(image: Image, scale: float, config: SuperpixelConfig) -> NDArray[np.int64]:
    """Segments of the graph-based method; distances are over B, G, R in any order."""
    from skimage.segmentation import felzenszwalb

    return np.asarray(felzenszwalb(image, scale=scale, sigma=config.sigma_px,
                                   min_size=config.min_size_px))


def _slic(image: Image, config: SuperpixelConfig) -> NDArray[np.int64]:
    """Segments of k-means over place and Lab colour."""
    from skimage.segmentation import slic

    return np.asarray(slic(image[..., ::-1], n_segments=config.n_segments, start_label=0,
                           compactness=config.compactness, max_num_iter=config.iterations))


def majority_vote(labels: Image, segments: Segments, classes: int) -> Image:
    """
    Give every segment its most frequent label.

    Parameters
    ----------
    labels : (H, W) uint8
        0 ... classes-1, or 255 = void, which never votes.
    segments : (H, W) integer
        Segment of each pixel, numbered from 0.
    classes : int, 1 ... 255

    Returns
    -------
    (H, W) uint8
        The lowest of the most frequent labels; 255 where a segment holds nothing but void.

    Raises
    ------
    ImageError
        Shapes differ, a type is wrong, or a label is no class.
    """
    count = _checked_segments(segments, labels.shape)
    if labels.dtype != np.uint8:
        raise ImageError(f'superpixels: labels are {labels.dtype}; give uint8, 255 = void')
    strange = labels[(labels >= classes) & (labels != UNLABELED)]
    if strange.size:
        raise ImageError(f'superpixels: label {strange[0]} of {classes} classes; give more '
                         f'classes, or 255 for void')
    bins = segments.astype(np.intp) * (classes + 1)
    bins += np.minimum(labels, classes)  # void has a bin of its own, which is dropped
    votes = np.bincount(bins.ravel(), minlength=count * (classes + 1))
    votes = votes.reshape(count, classes + 1)[:, :classes]
    winner = np.where(votes.any(1), votes.argmax(1), UNLABELED).astype(np.uint8)
    return winner.take(segments)


def softmax_average(probabilities: Float, segments: Segments) -> Float:
    """
    Give every pixel the mean class distribution of its segment.

    Parameters
    ----------
    probabilities : (C, H, W) float
        Softmax of a network, summing to 1 over C.
    segments : (H, W) integer
        Segment of each pixel, numbered from 0.

    Returns
    -------
    (C, H, W) float32
        Constant within a segment.

    Raises
    ------
    ImageError, NetworkError
        Shapes differ, segments are not whole numbers from 0; NaN, or no probabilities.

    Source
        B4: d_k = 1/s(k) sum over i in k of d_i.
    """
    sums, sizes = _sums(_pixel_rows(probabilities), segments, probabilities.shape[1:])
    mean = np.asarray(sums.T / np.maximum(sizes, 1), np.float32)
    return mean.take(segments.ravel(), 1).reshape(probabilities.shape)


def average_labels(probabilities: Float, segments: Segments) -> tuple[Image, Float]:
    """
    Label every segment by its mean class distribution.

    As ``softmax_average``, without spreading the distributions out.

    Returns
    -------
    label (H, W) uint8, confidence (H, W) float32
        Class of the largest mean, the lower one where equal; that mean.
    """
    sums, sizes = _sums(_pixel_rows(probabilities), segments, probabilities.shape[1:])
    label, confidence = _decided(sums, sizes)
    return label.take(segments), confidence.take(segments)


def cover(
    probabilities: Float, stack: Segments | Sequence[Segments], doubt_px: float = DOUBT_PX
) -> tuple[Image, Float]:
    """
    Label every pixel by the purest of the components that hold it.

    A component's class distribution is the mean softmax of its pixels, its cost the entropy of
    that distribution; over the whole stack each pixel takes the component of the least cost, the
    earlier level where equal.

    Parameters
    ----------
    probabilities : (C, H, W) float
        As ``softmax_average``.
    stack : L >= 1 times (H, W) integer
        Segmentations, as ``levels`` gives them; nested or not, in any order.
    doubt_px : float
        So many pixels of the uniform distribution are added to every component before its entropy
        is taken; 0 is the plain entropy.

    Returns
    -------
    label (H, W) uint8, confidence (H, W) float32
        As ``average_labels``, of the chosen component; doubt plays no part.

    Raises
    ------
    ImageError, NetworkError, ConfigError
        As ``softmax_average``; the stack is empty; the doubt is negative.

    Convention
        Entropy is concave: a component is never purer than its parts are on average. So without
        doubt the finest of nested levels always keeps a part, and single pixels would win most of
        a picture; coarse components win parts less certain than themselves. Doubt makes small
        components pay for having few witnesses, and a large one prefers size to purity.

    Source
        B4, optimal purity cover, eq. 19 with the predicted distribution. Differs: doubt; the
        paper predicts with one more classifier on 3 x 3 elastic max-pooled features. The running
        minimum is the paper's; the released mincover.c compares with the parent only.
    """
    if not len(stack):
        raise ImageError('superpixels: the stack holds no segmentation; give one or more levels')
    if not doubt_px >= 0:
        raise ConfigError(f'superpixels: doubt_px is {doubt_px}, must be >= 0')
    rows, shape = _pixel_rows(probabilities), probabilities.shape[1:]
    least, chosen = np.full(shape, np.inf), np.zeros(shape, np.intp)
    decided, first = [], 0
    for segments in stack:
        sums, sizes = _sums(rows, segments, shape)
        component = segments.astype(np.intp)
        cost = _entropy(sums, sizes, doubt_px).take(component)
        np.copyto(chosen, component + first, where=cost < least)
        np.minimum(least, cost, out=least)
        decided.append(_decided(sums, sizes))
        first += len(sizes)
    label, confidence = (np.concatenate(part) for part in zip(*decided, strict=True))
    return label.take(chosen), confidence.take(chosen)


def _entropy(sums: Float, sizes: NDArray[np.intp], doubt_px: float) -> Float:
    """Entropy [nat] of each row of sums (n, C) as a distribution, doubt added, (n,)."""
    total = np.maximum(sizes + doubt_px, np.finfo(float).tiny)[:, None]
    share = np.maximum((sums + doubt_px / sums.shape[1]) / total, np.finfo(float).tiny)
    return np.asarray(-(share * np.log(share)).sum(1))


def _decided(sums: Float, sizes: NDArray[np.intp]) -> tuple[Image, Float]:
    """Class of the largest sum, and the mean behind it: (n,) uint8, (n,) float32."""
    confidence = sums.max(1) / np.maximum(sizes, 1)
    return sums.argmax(1).astype(np.uint8), confidence.astype(np.float32)


def _pixel_rows(probabilities: Float) -> Float:
    """(C, H, W) -> (H * W, C) float64: single precision drifts in large segments."""
    classes = probabilities.shape[0] if probabilities.ndim == 3 else 0
    if not 1 <= classes <= UNLABELED or not np.issubdtype(probabilities.dtype, np.floating):
        raise NetworkError(
            f'superpixels: probabilities are {probabilities.shape} {probabilities.dtype}; '
            f'give (C, H, W) float, 1 to {UNLABELED} classes')
    return np.ascontiguousarray(probabilities.reshape(classes, -1).T, float)


def _sums(
    rows: Float, segments: Segments, shape: tuple[int, ...]
) -> tuple[Float, NDArray[np.intp]]:
    """Sums of the distributions in each segment (n, C) float64, and its pixels (n,)."""
    count = _checked_segments(segments, shape)
    flat = segments.ravel()
    # measured: faster than a bincount for each class, and than a sort with reduceat
    member = sparse.csc_array((np.ones(flat.size), flat, np.arange(flat.size + 1, dtype=np.int32)),
                              shape=(count, flat.size))
    sums, sizes = np.asarray(member @ rows), np.bincount(flat, minlength=count)
    good = (sums >= 0).all(1) & (np.abs(sums.sum(1) - sizes) <= SUM_TOLERANCE * sizes)
    if not good.all():  # sums carry every NaN on, so pixels need no pass of their own
        raise NetworkError('superpixels: probabilities are NaN, negative or do not sum to 1 over '
                           'the classes; give the softmax, not the logits')
    return sums, sizes


def _checked_segments(segments: Segments, shape: tuple[int, ...]) -> int:
    """Number of segments, once they are known to fit ``shape``."""
    if segments.shape != shape or segments.ndim != 2 or not segments.size:
        raise ImageError(f'superpixels: segments are {segments.shape}, what they cut is {shape}; '
                         f'segment the picture at the size of its labels')
    if not np.issubdtype(segments.dtype, np.integer):
        raise ImageError(f'superpixels: segments are {segments.dtype}; give whole numbers')
    low, high = int(segments.min()), int(segments.max())
    if low < 0 or high >= segments.size:
        raise ImageError(f'superpixels: segments run from {low} to {high}; number them from 0, '
                         f'fewer than the {segments.size} pixels')
    return high + 1
