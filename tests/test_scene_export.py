# SPDX-License-Identifier: Apache-2.0
"""Export of scene networks: ONNX Runtime = torch, and what is refused."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from command import lagr

torch = pytest.importorskip('torch')

from perception.errors import NetworkError  # noqa: E402
from perception.scene import fitted, load_scene_network, prepare  # noqa: E402
from perception.training.export import save_checkpoint, untrained  # noqa: E402
from perception.training.farabet2013 import Farabet2013  # noqa: E402
from perception.training.scene_checkpoint import (  # noqa: E402
    SceneTrained,
    holds_scene_network,
    load_scene_checkpoint,
    untrained_scene,
)
from perception.training.scene_export import export_scene, licence_of  # noqa: E402

torch.set_num_threads(1)

CLASSES, COLOURS = ('path', 'grass', 'sky'), ((150, 120, 90), (40, 160, 60), (200, 220, 255))
SIZES = ((40, 72), (64, 48))
ARCHITECTURES = ('modern', 'farabet2013', 'fast_scnn')


def pictures() -> list[np.ndarray]:
    rng = np.random.default_rng(2)
    return [cv2.resize(rng.integers(0, 256, (5, 6, 3), np.uint8), (columns, rows))
            for rows, columns in SIZES]


def shaken(architecture: str, width: int | None = None) -> SceneTrained:
    """Network whose batch statistics differ from their start."""
    trained = untrained_scene(architecture, CLASSES, COLOURS, width, seed=3)
    generator = torch.Generator().manual_seed(4)
    for tensor in (*trained.network.parameters(), *trained.network.buffers()):
        if tensor.is_floating_point() and tensor.ndim == 1:
            tensor.data += 0.3 * torch.rand(tensor.shape, generator=generator)
    return trained


@pytest.mark.parametrize('architecture', ARCHITECTURES)
def test_exported_network_equals_torch_at_any_size(architecture: str, tmp_path: Path) -> None:
    trained, path = shaken(architecture), tmp_path / 'a' / 'net.onnx'
    trained.command, trained.scores = 'lagr train scene', {'validation': {'miou': 0.5}}
    spec = export_scene(trained, path, pictures())
    network = load_scene_network(path, engine='onnxruntime')
    assert network.spec == spec
    multiple = 16 if architecture == 'farabet2013' else 8
    assert (spec.name, spec.architecture, spec.multiple) == ('net', architecture, multiple)
    assert (spec.classes, spec.colours, spec.input_width) == (CLASSES, COLOURS, None)
    assert spec.stride == {'modern': 2, 'farabet2013': 4, 'fast_scnn': 8}[architecture]
    assert (spec.preprocess, spec.scales) == (
        ('laplacian_yuv', 3) if architecture == 'farabet2013' else ('bgr', 1))
    assert (spec.licence, spec.trained, spec.command) == ('Apache-2.0', False, 'lagr train scene')
    assert spec.scores == trained.scores
    for picture, (rows, columns) in zip([one[:-3, :-2] for one in pictures()], SIZES):
        inputs = prepare(fitted(picture, spec), spec)
        with torch.no_grad():
            expected = trained.network(*(torch.from_numpy(one) for one in inputs.values()))[0]
        logits = network.logits(picture)
        cells = (-(-side // multiple) * multiple // spec.stride for side in (rows, columns))
        assert logits.shape == (3, *cells)
        np.testing.assert_allclose(logits, expected.numpy(), atol=1e-4)
        assert np.ptp(logits, axis=(1, 2)).max() > 5e-3


def test_a_file_that_was_tampered_with_is_refused(tmp_path: Path) -> None:
    path = tmp_path / 'net.onnx'
    export_scene(shaken('farabet2013_single'), path, [])
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(NetworkError, match=r'net\.onnx: damaged, or not the file its manifest'):
        load_scene_network(path)


class Untraceable(Farabet2013):
    """Does something else where it is exported."""

    def forward(self, *scales: torch.Tensor) -> torch.Tensor:
        return super().forward(*scales) + (0.1 if torch.jit.is_tracing() else 0.0)


def test_a_file_that_differs_from_torch_is_refused(tmp_path: Path) -> None:
    trained = SceneTrained('farabet2013_single', Untraceable(3, 1), CLASSES, COLOURS, None)
    with pytest.raises(NetworkError, match=r'net\.onnx: ONNX Runtime differs from torch by 0\.1 '):
        export_scene(trained, tmp_path / 'net.onnx', pictures()[:1])


def test_paths_that_cannot_be_written_are_named(tmp_path: Path) -> None:
    with pytest.raises(NetworkError, match=r'net\.pt: the exported file must end in \.onnx'):
        export_scene(shaken('modern'), tmp_path / 'net.pt', [])
    (tmp_path / 'file').write_text('')
    with pytest.raises(NetworkError, match=r'net\.onnx: cannot be written.*another --out'):
        export_scene(shaken('modern'), tmp_path / 'file' / 'net.onnx', [])


@pytest.mark.parametrize('architecture', ['modern', 'farabet2013_single'])
def test_checkpoint_round_trip(architecture: str, tmp_path: Path) -> None:
    trained, path = shaken(architecture, 480), tmp_path / 'trained.pt'
    trained.trained, trained.data = True, {'sources': [{'data_set': 'worlds'}], 'seed': 3}
    trained.save(path)
    assert [one.name for one in tmp_path.iterdir()] == ['trained.pt']
    again = load_scene_checkpoint(path)
    for name in ('architecture', 'classes', 'colours', 'width', 'trained', 'data', 'command'):
        assert getattr(again, name) == getattr(trained, name), name
    for name, value in again.network.state_dict().items():
        assert torch.equal(value, trained.network.state_dict()[name]), name


@pytest.mark.parametrize('deep', [True, False])
def test_checkpoint_tells_which_classifier_was_trained(deep: bool, tmp_path: Path) -> None:
    trained = shaken('farabet2013_single')
    trained.network.deepen(deep)
    trained.save(tmp_path / 'trained.pt')
    again = load_scene_checkpoint(tmp_path / 'trained.pt').network
    image = torch.randn(1, 3, 16, 24)
    with torch.no_grad():
        assert torch.equal(again(image), trained.network(image))


def test_other_files_are_no_scene_checkpoints(tmp_path: Path) -> None:
    path = tmp_path / 'bad.pt'
    shaken('modern').save(path)
    cut = path.read_bytes()[:5000]
    save_checkpoint(untrained('default'), path)
    features = path.read_bytes()
    torch.save(torch.zeros(3), path)
    for content in (b'', b'no checkpoint', cut, features, path.read_bytes()):
        path.write_bytes(content)
        assert not holds_scene_network(path)
        with pytest.raises(NetworkError, match=r'bad\.pt: no checkpoint of lagr train scene'):
            load_scene_checkpoint(path)
    with pytest.raises(NetworkError, match=r'none\.pt: no such checkpoint; run lagr train scene'):
        load_scene_checkpoint(tmp_path / 'none.pt')


@pytest.mark.parametrize(('data', 'names'), [
    ({}, ()), ({'sources': [{'data_set': 'worlds'}]}, ()),
    ({'sources': [{'data_set': 'worlds'}, {'data_set': 'ycor'}]}, ('ycor',)),
    ({'sources': [{'data_set': 'worlds'}], 'earlier_sources': [{'data_set': 'camvid'}]},
     ('camvid',)),
])
def test_licence_is_that_of_all_the_data_ever_seen(data: dict, names: tuple[str, ...]) -> None:
    trained = SceneTrained('modern', torch.nn.Identity(), CLASSES, COLOURS, None, data=data)
    licence = licence_of(trained)
    assert (licence == 'Apache-2.0') == (not names)
    assert licence.startswith('research only, not for commercial use; trained on ') == bool(names)
    for name in ('worlds', 'ycor', 'camvid'):
        assert (f'{name}: ' in licence) == (name in names)


def test_the_command_chooses_by_what_the_checkpoint_holds(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint, out = tmp_path / 'net.pt', tmp_path / 'net.onnx'
    arguments = ('export', '--network', str(checkpoint), '--out', str(out))
    shaken('farabet2013_single', 64).save(checkpoint)
    assert lagr(*arguments) == 0
    assert '3 classes at stride 4; ONNX Runtime agrees with torch on' in capsys.readouterr().out
    assert json.loads(out.with_suffix('.json').read_text())['task'] == 'scene'
    (tmp_path / 'empty').mkdir()
    for folder, told in (('empty', 'no pictures; give a folder'), ('none', 'No such file')):
        assert lagr(*arguments, '--pictures', str(tmp_path / folder)) == 1
        (line,) = capsys.readouterr().err.strip().splitlines()
        assert str(tmp_path / folder) in line and told in line
    save_checkpoint(untrained('default'), checkpoint)
    assert lagr(*arguments) == 0
    assert 'receptive field' in capsys.readouterr().out
    checkpoint.write_bytes(b'neither')
    assert lagr(*arguments) == 1
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert f'{checkpoint}: no checkpoint of lagr train' in line


def test_a_network_of_no_numbers_is_refused_and_the_file_before_it_stays(tmp_path: Path) -> None:
    path, broken = tmp_path / 'net.onnx', shaken('modern')
    export_scene(shaken('modern'), path, [])
    before = path.read_bytes(), path.with_suffix('.json').read_bytes()
    broken.network.head.bias.data[0] = float('nan')
    picture = np.full((48, 64, 3), 90, np.uint8)
    with pytest.raises(NetworkError, match='differs from torch by nan'):
        export_scene(broken, path, [picture])
    assert (path.read_bytes(), path.with_suffix('.json').read_bytes()) == before
    assert sorted(one.name for one in tmp_path.iterdir()) == ['net.json', 'net.onnx']
