# SPDX-License-Identifier: Apache-2.0
"""Scene networks: shapes, sizes, what they take."""

import numpy as np
import pytest

torch = pytest.importorskip('torch')

from perception.training.fast_scnn import FastScnn, part_means  # noqa: E402
from perception.training.scene_networks import (  # noqa: E402
    MEAN,
    STD,
    Modern,
    Standardise,
    make_scene_network,
    scene_inputs,
    scene_stride,
)

torch.set_num_threads(1)


def parameters(network: torch.nn.Module) -> int:
    return sum(one.numel() for one in network.parameters())


@pytest.mark.parametrize('size', [(40, 72), (56, 24)])
@pytest.mark.parametrize('name', ['modern', 'farabet2013', 'farabet2013_single', 'fast_scnn'])
def test_logits_stand_at_the_stride(name: str, size: tuple[int, int]) -> None:
    network = make_scene_network(name, 5).eval()
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    with torch.no_grad():
        logits = network(*(one[None] for one in scene_inputs(name, image)))
    stride = scene_stride(name)
    assert logits.shape == (1, 5, size[0] // stride, size[1] // stride)
    assert logits.isfinite().all()


def test_modern_gives_coarse_logits_too_while_it_trains() -> None:
    logits, coarse = Modern(5).train()(torch.zeros(2, 3, 40, 72))
    assert logits.shape == (2, 5, 20, 36)
    assert coarse.shape == (2, 5, 3, 5)


def test_modern_is_light() -> None:
    assert 500_000 < parameters(Modern(11)) <= 2_000_000


def test_modern_sees_far() -> None:
    """A pole at one end of the picture can tell of what is at the other."""
    torch.manual_seed(0)
    image = torch.randn(1, 3, 96, 160, requires_grad=True)
    Modern(3).eval()(image)[0, :, 24, 40].sum().backward()
    assert image.grad is not None
    reached = image.grad[0].abs().sum(0) > 0
    assert reached[:, [0, -1]].any(0).all()
    assert reached[[0, -1]].any(1).all()


def test_fast_scnn_has_the_published_number_of_parameters() -> None:
    assert 1_110_000 <= parameters(FastScnn(19)) <= 1_140_000


def test_part_means_by_hand_and_as_a_slow_twin_says() -> None:
    x = torch.arange(12.0).reshape(1, 1, 2, 6)
    torch.testing.assert_close(part_means(x, 2), torch.tensor([[[[1.0, 4.0], [7.0, 10.0]]]]))
    torch.testing.assert_close(part_means(x, 1)[0, 0, 0, 0], x.mean())
    x = torch.randn(2, 3, 7, 11, generator=torch.Generator().manual_seed(1))
    found = part_means(x, 3)
    for row in range(3):
        for column in range(3):
            rows = [k for k in range(7) if k * 3 // 7 == row]
            columns = [k for k in range(11) if k * 3 // 11 == column]
            twin = x[:, :, rows][:, :, :, columns].mean((2, 3))
            torch.testing.assert_close(found[:, :, row, column], twin)


def test_inputs_are_bgr_planes() -> None:
    image = np.zeros((8, 16, 3), np.uint8)
    image[2, 5] = (1, 2, 3)
    (planes,) = scene_inputs('modern', image)
    assert planes.dtype == torch.uint8 and planes.shape == (3, 8, 16)
    assert planes[:, 2, 5].tolist() == [1, 2, 3]
    assert [tuple(one.shape) for one in scene_inputs('farabet2013', image)] == [
        (3, 8, 16), (3, 4, 8), (3, 2, 4)]


def test_standardise_by_hand() -> None:
    image = torch.tensor([MEAN, [m + 2 * s for m, s in zip(MEAN, STD)]]).reshape(2, 3, 1, 1)
    expected = torch.tensor([0.0, 2.0])[:, None, None, None].expand(2, 3, 1, 1)
    torch.testing.assert_close(Standardise()(image), expected)
