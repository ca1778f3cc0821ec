# SPDX-License-Identifier: Apache-2.0
"""Scene checkpoint -> ONNX and manifest, checked against torch on real pictures."""

import hashlib
import warnings
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

from perception.errors import NetworkError
from perception.scene import SceneNetwork, SceneSpec, fitted, load_scene_network, prepare
from perception.training.export import LICENCE, OPSET
from perception.training.scene_checkpoint import SceneTrained, sources_of
from perception.training.scene_classes import common_names, load_class_map
from perception.training.scene_config import MULTIPLE
from perception.training.scene_networks import SCALES, scene_stride
from perception.types import Image

WORLDS = 'worlds'  # the one data set that is ours
COARSE_MULTIPLE = 16  # input pixels of a feature on the coarsest of three scales
TOLERANCE = 2e-3  # of a logit: what other orders of summing float32 may change
AGREEING = 0.9999  # share of the cells with the same class


def export_scene(
    trained: SceneTrained, path: Path, pictures: Sequence[Image]
) -> SceneSpec:
    """
    Write ``path`` (.onnx) and the manifest beside it.

    Parameters
    ----------
    pictures : sequence of (H, W, 3) uint8 BGR
        On which ONNX Runtime is compared with torch.

    Returns
    -------
    SceneSpec
        The manifest as written.

    Raises
    ------
    NetworkError
        ``path`` cannot be written, or ONNX Runtime differs from torch by more than 2e-3 in a
        logit, or in the class of more than one cell in ten thousand.
    """
    if path.suffix != '.onnx':
        raise NetworkError(f'{path}: the exported file must end in .onnx')
    trained.network.eval()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=path.parent) as folder:
            draft = Path(folder) / path.name
            _write_onnx(trained, draft)
            spec = _manifest(trained, draft)
            draft.with_suffix('.json').write_text(spec.model_dump_json(indent=1) + '\n')
            network = load_scene_network(draft, engine='onnxruntime')
            for picture in pictures:
                _compare(trained, network, picture, path)
            for suffix in ('.onnx', '.json'):
                draft.with_suffix(suffix).replace(path.with_suffix(suffix))
    except OSError as error:
        raise NetworkError(f'{path}: cannot be written ({error}); choose another --out') from None
    return spec


def _write_onnx(trained: SceneTrained, path: Path) -> None:
    scales = SCALES.get(trained.architecture)
    names = [f'scale{k}' for k in range(scales)] if scales else ['image']
    example = tuple(torch.zeros(1, 3, 96 >> k, 128 >> k) for k in range(len(names)))
    axes = {name: {2: f'height{k}', 3: f'width{k}'} for k, name in enumerate(names)}
    with warnings.catch_warnings():
        # deprecated, but it folds batch norms and takes dynamic axes (see export.py)
        warnings.simplefilter('ignore', DeprecationWarning)
        warnings.filterwarnings('ignore', 'Constant folding')  # of padding; engines fold it
        torch.onnx.export(
            trained.network, example, str(path), input_names=names, output_names=['logits'],
            opset_version=OPSET, dynamo=False,
            dynamic_axes={**axes, 'logits': {2: 'rows', 3: 'columns'}})


def _manifest(trained: SceneTrained, path: Path) -> SceneSpec:
    scales = SCALES.get(trained.architecture)
    return SceneSpec(
        task='scene', name=path.stem, sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
        architecture=trained.architecture, preprocess='laplacian_yuv' if scales else 'bgr',
        scales=3 if scales == 3 else 1, input_width=trained.width,
        multiple=COARSE_MULTIPLE if scales == 3 else MULTIPLE,
        stride=scene_stride(trained.architecture), classes=trained.classes,
        colours=trained.colours, common=common_names(trained.classes), trained=trained.trained,
        licence=licence_of(trained), data=trained.data, scores=trained.scores,
        command=trained.command)


def licence_of(trained: SceneTrained) -> str:
    """Licence of the weights: that of our own worlds, or of every data set they learned from."""
    names = sorted({source['data_set'] for source in sources_of(trained)} - {WORLDS})
    if not names:
        return LICENCE
    return 'research only, not for commercial use; trained on ' + '; '.join(
        f'{name}: {load_class_map(name).licence}' for name in names)


def _compare(trained: SceneTrained, network: SceneNetwork, picture: Image, path: Path) -> None:
    inputs = prepare(fitted(picture, network.spec), network.spec)
    with torch.inference_mode():
        expected = trained.network(*(torch.from_numpy(x) for x in inputs.values()))[0].numpy()
    found = network.logits(picture)
    difference = float(np.abs(found - expected).max())
    same = float((found.argmax(0) == expected.argmax(0)).mean())
    if not difference <= TOLERANCE or same < AGREEING:  # also where a logit is no number
        raise NetworkError(
            f'{path}: ONNX Runtime differs from torch by {difference:.2g} (> {TOLERANCE:g}) in a '
            f'logit, {1 - same:.2%} of the cells change class; nothing was written')
