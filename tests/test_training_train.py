# SPDX-License-Identifier: Apache-2.0
"""Training: losses and scores by hand, order and resuming, layer-wise auto-encoders."""

import itertools
import json
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip('torch')

from perception.commands.train import features, validated  # noqa: E402
from perception.errors import ConfigError, NetworkError, PerceptionError  # noqa: E402
from perception.pyramid import build_pyramid  # noqa: E402
from perception.training.autoencoder import train_layer, warm_cosine  # noqa: E402
from perception.training.dataset import LabeledPyramid, LabeledWorlds, Sample  # noqa: E402
from perception.training.export import save_checkpoint, untrained  # noqa: E402
from perception.training.networks import Lagr2008  # noqa: E402
from perception.training.plots import draw_curves  # noqa: E402
from perception.training.run import _begin  # noqa: E402
from perception.training.train import (  # noqa: E402
    Run,
    TrainSettings,
    WeightedLoss,
    batch_keys,
    collate,
    first_weights,
    train,
)
from perception.training.validate import (  # noqa: E402
    Judged,
    calibrate,
    decided_windows,
    error_summary,
)
from perception.training.worlds import WorldFrames  # noqa: E402
from perception.types import SUPER_GROUND, UNLABELED, Camera, GroundPlane  # noqa: E402

torch.set_num_threads(1)  # tiny tensors: threads would only wait for each other

CAMERA = Camera(128, 96, 90.0, 95.0, 66.0, 40.0)


def tiny_worlds() -> LabeledWorlds:
    """Two pictures whose bright half is obstacle."""
    plane = GroundPlane.from_normal(np.array([0, -1.0, 0]), 4.0, CAMERA, 20.0)
    pyramid = build_pyramid(plane)
    rng = np.random.default_rng(0)
    image = rng.integers(60, 90, (2, 96, 128, 3), dtype=np.uint8)
    image[:, :, 64:, 2] += 120
    frames = WorldFrames(
        CAMERA, 20.0, image, np.ones((2, 96, 128), np.uint8), np.zeros((2, 96, 128), np.uint8),
        np.full((2, 96, 128), 5, np.float16), np.array([[plane.p0, plane.p1, plane.p3]] * 2),
        np.array([np.eye(4)] * 2), np.zeros((2, 2)))
    right = pyramid.windows.uv[:, 0] > 64
    label = np.where(right, 4, SUPER_GROUND).astype(np.uint8)
    one = LabeledPyramid(build_pyramid(plane), label, np.zeros_like(label))
    return LabeledWorlds([frames], [(0, 0), (0, 1)], [[one], [one]])


def settings(**changes: object) -> TrainSettings:
    return TrainSettings.model_validate(
        {'epochs': 2, 'batch': 1, 'workers': 0, 'autoencoder_steps': 4, 'seed': 3} | changes)


def test_every_frame_once_an_epoch() -> None:
    keys = batch_keys(7, 3, epoch=2, seed=0)
    assert [len(batch) for batch in keys] == [3, 3, 1]
    assert sorted(itertools.chain(*keys)) == [(2, k) for k in range(7)]
    assert keys == batch_keys(7, 3, epoch=2, seed=0)
    assert keys != [[(2, item) for _, item in batch] for batch in batch_keys(7, 3, 3, 0)]


def test_collate_pads_with_nothing_to_learn() -> None:
    def sample(columns: int) -> Sample:
        grid = np.ones((2, columns), np.uint8)
        return Sample(np.ones((3, 6, 4 * columns), np.float32), grid, grid)

    bands, label, bins = collate([sample(5), sample(3)])
    assert bands.shape == (2, 3, 6, 20)
    assert bands[1, :, :, 12:].abs().max() == 0
    assert (label[1, :, 3:] == UNLABELED).all()
    assert (bins[0] == 1).all()


def test_weighted_loss_by_hand() -> None:
    weights = np.zeros((256, 256), np.float32)
    weights[0, 1], weights[4, 2] = 3.0, 1.0
    logits = torch.zeros(1, 5, 1, 3)
    logits[0, 0, 0, 0] = np.log(6.0)  # q = (0.6, 0.1, 0.1, 0.1, 0.1)
    label = torch.tensor([[[0, 4, 255, 0]]], dtype=torch.uint8)
    bins = torch.tensor([[[1, 2, 1, 1]]], dtype=torch.uint8)
    first = -(0.9 * np.log(0.6) + 0.1 * np.log(0.1))
    expected = (3 * first + np.log(5)) / 4
    assert float(WeightedLoss(weights)(logits, label, bins)) == pytest.approx(expected, rel=1e-5)


def test_schedule_rises_then_falls_to_zero() -> None:
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=2.0)
    schedule = warm_cosine(optimizer, 100)
    rates = []
    for _ in range(100):
        rates.append(optimizer.param_groups[0]['lr'])
        optimizer.step()
        schedule.step()
    assert rates[0] == pytest.approx(0.2)
    assert 1.9 < max(rates) <= 2.0
    assert optimizer.param_groups[0]['lr'] == pytest.approx(0, abs=1e-12)


def test_balanced_error_by_hand() -> None:
    probabilities = np.array([[1, 0, 0, 0, 0], [0, 0.4, 0.3, 0.2, 0.1], [0.3, 0.3, 0.4, 0, 0],
                              [0, 0, 0, 0, 1], [0, 0, 0, 0, 1], [0, 0, 0, 0, 1]])
    label = np.array([0, 0, 2, 1, 255, 0], np.uint8)  # 1 and 255 and the last bin never count
    judged = decided_windows(probabilities, label, np.array([0, 0, 0, 0, 0, 3], np.uint8))
    np.testing.assert_allclose(judged.log_odds[1:], np.log([0.6 / 0.4, 0.4 / 0.6]))
    scores = error_summary(judged, fewest=1)
    assert scores['window_error'] == [0.75, None, None]
    assert scores['ground_error'][0] == 0.5
    assert scores['windows'][0] == [2, 1]
    assert error_summary(judged, fewest=2)['window_error'] == [None, None, None]


def test_calibration_finds_the_shift_that_evens_the_classes() -> None:
    rng = np.random.default_rng(0)
    obstacle = rng.random(4000) < 0.8
    log_odds = np.where(obstacle, 1.0, -1.0) + rng.normal(0, 0.8, 4000) - 0.7
    judged = Judged(log_odds.astype(np.float32), obstacle, np.zeros(4000, np.uint8))
    classifier = torch.nn.Conv2d(2, 5, 1)
    before = classifier.bias.detach().clone()
    shift = calibrate(classifier, judged)
    assert 0.5 <= shift <= 0.9
    moved = (classifier.bias.detach() - before).tolist()
    assert moved == pytest.approx([0, 0, shift, shift, shift], abs=1e-6)


def test_autoencoder_learns_one_layer_and_leaves_the_other() -> None:
    torch.manual_seed(0)
    network = Lagr2008()
    second = network.c2.weight.detach().clone()
    smooth = torch.nn.functional.avg_pool2d(torch.randn(1, 3, 20, 44), 5, 1, 2) * 3
    errors: list[float] = []
    pair = train_layer(network, 0, itertools.repeat(smooth), 40,
                       lambda step, loss: errors.append(loss))
    assert errors[-1] < 0.5 * errors[0]
    assert torch.equal(network.c2.weight, second)
    assert pair(smooth).shape == smooth.shape
    first = network.c1.weight.detach().clone()
    errors.clear()
    train_layer(network, 1, itertools.repeat(smooth), 40, lambda step, loss: errors.append(loss))
    assert errors[-1] < 0.8 * errors[0]
    assert torch.equal(network.c1.weight, first)


@pytest.mark.parametrize('network', ['default', 'lagr2008'])
def test_resumed_run_equals_an_uninterrupted_one(network: str, tmp_path: Path) -> None:
    worlds, kwargs = tiny_worlds(), {'network': network, 'epochs': 2}

    class StopError(Exception):
        pass

    def interrupt(text: str) -> None:
        if text.startswith('epoch 2 step 2'):
            raise StopError

    folders = [tmp_path / 'whole', tmp_path / 'parts']
    for folder in folders:
        folder.mkdir()
    whole = train(Run(settings(**kwargs), folders[0]), worlds, worlds)
    with pytest.raises(StopError):
        train(Run(settings(**kwargs), folders[1]), worlds, worlds, interrupt)
    parts = train(Run(settings(**kwargs), folders[1]), worlds, worlds)
    for a, b in zip(whole.network.parameters(), parts.network.parameters(), strict=True):
        torch.testing.assert_close(a, b)
    torch.testing.assert_close(whole.classifier.weight, parts.classifier.weight)
    assert [line['epoch'] for line in Run(settings(), folders[1]).history()
            if 'epoch' in line] == [0, 1]
    assert whole.trained


def test_w0_training_leaves_lagr_features_alone(tmp_path: Path) -> None:
    short, long = (
        train(Run(settings(network='lagr2008', epochs=epochs), tmp_path / str(epochs)),
              tiny_worlds(), tiny_worlds()) for epochs in _folders(tmp_path, 1, 3))
    for a, b in zip(short.network.parameters(), long.network.parameters(), strict=True):
        torch.testing.assert_close(a, b, atol=0, rtol=0)
    assert not torch.equal(short.classifier.weight, long.classifier.weight)
    history = Run(settings(), tmp_path / '1').history()
    assert {line['layer'] for line in history if 'layer' in line} == {1, 2}


def test_start_takes_the_weights_of_a_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / 'net.pt'
    before = untrained('lagr2008', seed=9)
    save_checkpoint(before, path)
    with pytest.raises(NetworkError, match=r'net\.pt: holds network lagr2008, not default'):
        first_weights(settings(network='default', start=str(path)))
    run = Run(settings(network='lagr2008', start=str(path), epochs=1), tmp_path)
    trained = train(run, tiny_worlds(), tiny_worlds())
    torch.testing.assert_close(trained.network.c1.weight, before.network.c1.weight)
    assert all('layer' not in line for line in run.history())


def _folders(parent: Path, *names: int) -> tuple[int, ...]:
    for name in names:
        (parent / str(name)).mkdir()
    return names


def test_folder_of_another_run_is_refused(tmp_path: Path) -> None:
    _begin(Run(settings(epochs=2), tmp_path))
    _begin(Run(settings(epochs=2), tmp_path))
    with pytest.raises(PerceptionError, match=r'settings\.json.*another --out'):
        _begin(Run(settings(epochs=3), tmp_path))


def test_wrong_setting_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r'epoch .*known settings.*epochs'):
        validated(TrainSettings, {'epoch': 3}, '--set')
    file = tmp_path / 'mine.yaml'
    file.write_text('epochs: many\n')
    with pytest.raises(ConfigError, match=r'mine\.yaml: epochs = .many.'):
        features(tmp_path / 'out', config=file)
    with pytest.raises(ConfigError, match=r'none\.yaml: cannot be read'):
        features(tmp_path / 'out', config=tmp_path / 'none.yaml')
    with pytest.raises(ConfigError, match='write setting=value'):
        features(tmp_path / 'out', set_=['epochs'])


def test_curves_are_drawn(tmp_path: Path) -> None:
    lines = [{'layer': 1, 'step': 0, 'error': 0.5},
             {'epoch': 0, 'loss': 1.0, 'window_error': [0.1, None, 0.3]},
             {'epoch': 1, 'loss': 0.8, 'window_error': [0.1, 0.2, 0.3]}]
    draw_curves(json.loads(json.dumps(lines)), 'test', tmp_path / 'curves.png')
    assert (tmp_path / 'curves.png').read_bytes()[:4] == b'\x89PNG'
