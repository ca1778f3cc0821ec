# SPDX-License-Identifier: Apache-2.0
"""
Time superpixels on the shipped picture at 480 x 360, as ratios to one stereo match.

Run ``python benchmarks/superpixels.py --json out/superpixels.json`` (half a minute, one thread).
``--camvid FOLDER`` also asks how well segments follow the true outlines: the share of pixels that
are right where every segment votes with its true labels.
"""

import argparse
import json
from collections import defaultdict
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from rich.progress import track

from perception.bench import Samples, read_pair, timed
from perception.stereo import to_grey
from perception.superpixels import (
    SuperpixelConfig,
    SuperpixelMethod,
    average_labels,
    cover,
    levels,
    majority_vote,
    segment,
    softmax_average,
)
from perception.types import UNLABELED, Float, Image

HEIGHT, WIDTH, CLASSES = 360, 480, 11
WARM_UP = 2
CONFIG = SuperpixelConfig()
FULL = replace(CONFIG, shrink=1, scale_px=100.0, sigma_px=0.5, min_size_px=30)
SIMILAR: dict[str, tuple[SuperpixelMethod, SuperpixelConfig]] = {
    'felzenszwalb': ('felzenszwalb', CONFIG),
    'felzenszwalb, not reduced': ('felzenszwalb', FULL),
    'slic': ('slic', CONFIG),
    'slic, not reduced': ('slic', FULL),
}


def softmaxes(seed: int = 0) -> Float:
    """(C, H, W) float32 that vary smoothly, as a network at stride 4 gives them."""
    coarse = np.random.default_rng(seed).normal(0, 2, (HEIGHT // 8, WIDTH // 8, CLASSES))
    scores = np.exp(cv2.resize(coarse, (WIDTH, HEIGHT)))
    share = np.moveaxis(scores / scores.sum(-1, keepdims=True), -1, 0)
    return np.ascontiguousarray(share, np.float32)


def subjects() -> dict[str, Callable[[], Any]]:
    """What is timed, with the yardstick of ``lagr bench`` first."""
    frame = read_pair()
    image = np.asarray(cv2.resize(frame.image, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA))
    matcher = cv2.StereoSGBM.create(0, 96, 5, 8 * 25, 32 * 25, 1, 31, 10, 50, 1,
                                    cv2.STEREO_SGBM_MODE_SGBM_3WAY)
    probabilities, segments, stack = softmaxes(), segment(image), levels(image)
    labels = probabilities.argmax(0).astype(np.uint8)
    return {
        'yardstick': partial(matcher.compute, to_grey(frame.image), frame.right),
        **{f'segment {name}': partial(segment, image, *how) for name, how in SIMILAR.items()},
        'majority_vote': partial(majority_vote, labels, segments, CLASSES),
        'softmax_average': partial(softmax_average, probabilities, segments),
        'average_labels': partial(average_labels, probabilities, segments),
        'levels': partial(levels, image),
        'cover': partial(cover, probabilities, stack),
        'levels + cover': lambda: cover(probabilities, levels(image)),
    }


def times(rounds: int) -> dict[str, Any]:
    """Processor times; every round runs everything once, every second one backwards."""
    cv2.setNumThreads(1)
    ms: Samples = defaultdict(list)
    tasks = list(subjects().items())
    for index in track(range(WARM_UP + rounds), description='rounds'):
        for name, task in tasks if index % 2 == 0 else reversed(tasks):
            once: dict[str, float] = {}
            with timed(once, name):
                task()
            if index >= WARM_UP:
                ms[name].append(once[name])
    yardstick = float(np.median(ms.pop('yardstick')))
    rows = [{'name': name, 'threads': 1, 'p50_ms': float(np.median(ms[name])),
             'p95_ms': float(np.percentile(ms[name], 95)),
             'ratio': float(np.median(ms[name])) / yardstick} for name, _ in tasks[1:]]
    return {'yardstick_ms': yardstick, 'rows': rows}


def read(path: Path, flags: int) -> Image:
    """Picture from disk."""
    image = cv2.imread(str(path), flags)
    if image is None:
        raise SystemExit(f'{path}: no picture; give the CamVid folder, with train and trainannot')
    return np.asarray(image, np.uint8)


def outlines(folder: Path, every: int = 12) -> list[dict[str, Any]]:
    """Segments a picture, and accuracy if each had its most frequent true label."""
    pairs = [(read(path, cv2.IMREAD_COLOR),
              read(folder / 'trainannot' / f'{path.stem}.png', cv2.IMREAD_GRAYSCALE))
             for path in sorted((folder / 'train').glob('*.jpg'))[::every]]
    rows = []
    for name, (method, config) in SIMILAR.items():
        table, counts = np.zeros((CLASSES, 2)), []
        for image, truth in pairs:
            segments = segment(image, method, config)
            truth = np.where(truth < CLASSES, truth, UNLABELED).astype(np.uint8)
            right = (majority_vote(truth, segments, CLASSES) == truth) & (truth < CLASSES)
            for column, where in enumerate((right, truth < CLASSES)):
                table[:, column] += np.bincount(truth[where], minlength=CLASSES)
            counts.append(int(segments.max()) + 1)
        rows.append({'name': name, 'segments': float(np.mean(counts)), 'pictures': len(pairs),
                     'pixels_right': float(table[:, 0].sum() / table[:, 1].sum()),
                     'classes_right': float((table[:, 0] / table[:, 1]).mean())})
    return rows


def main() -> None:
    """Measure, print and write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--json', type=Path, required=True)
    parser.add_argument('--rounds', type=int, default=20)
    parser.add_argument('--camvid', type=Path)
    options = parser.parse_args()
    options.json.parent.mkdir(parents=True, exist_ok=True)
    result = {'height': HEIGHT, 'width': WIDTH, 'classes': CLASSES, 'config': asdict(CONFIG),
              **times(options.rounds)}
    for row in result['rows']:
        print(f"{row['name']:38}{row['p50_ms']:8.2f} ms{row['ratio']:8.3f}")
    if options.camvid:
        result['outlines'] = outlines(options.camvid)
        for row in result['outlines']:
            print(f"{row['name']:28}{row['segments']:6.0f} segments{row['pixels_right']:8.4f} "
                  f"pixels{row['classes_right']:8.4f} classes right")
    options.json.write_text(json.dumps(result, indent=1) + '\n')


if __name__ == '__main__':
    main()
