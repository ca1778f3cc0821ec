# SPDX-License-Identifier: Apache-2.0
"""What each layer costs in int8: the loss that is left where it alone stays in float32."""

import shutil
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.progress import Progress

from perception.inference import load_network
from perception.training.calibration_feeds import Feeds, read_feeds
from perception.training.quantize import Recipe, layers, probability_difference, write_int8
from perception.world.record import Recording, record
from perception.world.spec import WorldSpec

CALIBRATION = (('clear', 6200, 0.2), ('autumn', 6201, 0.2), ('clear', 6202, 0.45),
               ('autumn', 6203, 0.45))
JUDGED_ON = (('clear', 6210, 0.2), ('autumn', 6211, 0.2), ('clear', 6212, 0.3),
             ('autumn', 6213, 0.3))
"""Season, seed, relief [m]: training seasons, seeds of neither training nor tests."""
SECONDS, RATE_HZ = 10.0, 2.0
PICTURES = 4  # of each world
METHOD = 'percentile'


def layer_losses(network: Path, folder: Path, progress: Progress) -> dict[str, float]:
    """Mean change of a class probability with no layer in float32 ('') and with each."""
    fit, judge = (_pictures(network, folder, worlds) for worlds in (CALIBRATION, JUDGED_ON))
    reference, losses = load_network(network, 'onnxruntime'), {}
    with TemporaryDirectory() as drafts:
        draft = Path(drafts) / 'draft.onnx'
        for layer in progress.track(['', *layers(network)], description=f'layers {network.stem}'):
            write_int8(network, draft, fit, Recipe(METHOD, (layer,) if layer else ()))
            losses[layer] = probability_difference(reference, draft, judge)
    return losses


def _pictures(
    network: Path, folder: Path, worlds: tuple[tuple[str, int, float], ...]
) -> list[Feeds]:
    return [feeds for world in worlds
            for feeds in read_feeds(network, _recorded(folder, *world), PICTURES)]


def _recorded(folder: Path, season: str, seed: int, relief: float) -> Path:
    """Bag of a world, recorded where it is not yet."""
    bag = folder / f'{season}_{seed}'
    if not (bag / 'metadata.yaml').is_file():
        shutil.rmtree(bag, ignore_errors=True)  # of an interrupted run
        record(WorldSpec(seed, season, relief), bag, Recording(SECONDS, RATE_HZ),
               lambda done, total: None)
    return bag
