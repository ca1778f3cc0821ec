# SPDX-License-Identifier: Apache-2.0
"""The ConvNet of 2013: its field, tables and sizes, and the joined layer against a slow twin."""

import pytest

torch = pytest.importorskip('torch')

from torch.nn import functional  # noqa: E402

from perception.training.farabet2013 import (  # noqa: E402
    FIELD,
    HIDDEN,
    STRIDE,
    Farabet2013,
    FilterBank,
    first_table,
    random_table,
)

torch.set_num_threads(1)


def pyramid(rows: int = 40, columns: int = 56) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    return [torch.randn(1, 3, rows >> k, columns >> k, generator=generator) for k in range(3)]


def test_field_and_stride_by_gradient() -> None:
    image = torch.randn(1, 3, 72, 80, requires_grad=True)
    maps = FilterBank()(image)
    assert maps.shape == (1, 256, 18, 20)
    seen = []
    for row, column in ((8, 9), (9, 11)):
        (gradient,) = torch.autograd.grad(maps[0, :, row, column].sum(), image, retain_graph=True)
        rows, columns = gradient[0].abs().sum(0).nonzero(as_tuple=True)
        seen.append((int(rows.min()), int(columns.min())))
        # max-pools may leave out a border pixel of the field, with 256 maps hardly all do
        assert rows.max() - rows.min() + 1 == columns.max() - columns.min() + 1 == FIELD == 46
        assert rows.min() == STRIDE * row - 21
        assert columns.min() == STRIDE * column - 21
    assert (seen[1][0] - seen[0][0], seen[1][1] - seen[0][1]) == (STRIDE, 2 * STRIDE) == (4, 8)


def test_tables_of_the_paper() -> None:
    assert first_table().sum(0).tolist() == [10, 6, 6]
    assert first_table().sum(1).tolist() == [1] * 10 + [2] * 6
    bank = FilterBank()
    for layer, maps, inputs, fan in ((bank.second, 64, 16, 8), (bank.third, 256, 64, 32)):
        table = layer.table[:, :, 0, 0]
        assert table.shape == (maps, inputs)
        assert (table.sum(1) == fan).all()
        assert (table.sum(0) > 0).all()
        assert torch.equal(table, random_table(maps, inputs, fan))
        assert len(table.unique(dim=0)) > maps * 0.9


def test_weights_of_the_bank_as_counted_from_the_paper() -> None:
    bank = FilterBank()
    counted = [int(layer.folded().count_nonzero())
               for layer in (bank.first, bank.second, bank.third)]
    assert counted == [10 * 49 + 6 * 2 * 49, 25_088, 401_408]


def test_absent_connections_get_no_gradient() -> None:
    layer = FilterBank().second
    layer(torch.randn(1, 16, 9, 11)).square().sum().backward()
    absent = layer.table.expand_as(layer.weight) == 0
    assert layer.weight.grad is not None
    assert layer.weight.grad[absent].abs().max() == 0
    assert (layer.weight.grad[~absent] != 0).all()


def test_pooling_first_is_the_same_as_tanh_first() -> None:
    bank, image = FilterBank(), pyramid()[0]
    x = functional.pad(image, (21, 21, 21, 21))
    for layer in (bank.first, bank.second):
        x = functional.max_pool2d(torch.tanh(functional.conv2d(
            x, layer.folded(), layer.bias)), 2)
    torch.testing.assert_close(bank(image), bank.third(x))


@pytest.mark.parametrize('deep', [False, True])
def test_joined_layer_equals_one_on_768_enlarged_features(deep: bool) -> None:
    torch.manual_seed(1)
    network, scales = Farabet2013(7), pyramid()
    network.deepen(deep)
    layer = network.hidden if deep else network.linear
    layer[0].bias.data.normal_()
    with torch.no_grad():
        features = network.features(*scales)
        side_by_side = torch.cat([functional.interpolate(
            one, size=features[0].shape[2:], mode='bilinear') for one in features], 1)
        assert side_by_side.shape[1] == 768
        weight = torch.cat([part.weight for part in layer], 1)
        twin = functional.conv2d(side_by_side, weight, layer[0].bias)
        if deep:
            assert weight.shape[0] == HIDDEN == 1024
            twin = network.output(torch.tanh(twin))
        torch.testing.assert_close(network(*scales), twin, atol=1e-4, rtol=1e-4)


def test_scales_share_the_bank() -> None:
    assert len([name for name, _ in Farabet2013(4).named_parameters() if 'bank' in name]) == 6


def test_the_deep_classifier_leaves_features_alone() -> None:
    network, scales = Farabet2013(4, scales=1), pyramid()[:1]
    network.deepen(True)
    network(*scales).square().sum().backward()
    trained = {id(one) for one in network.classifier()}
    for name, one in network.named_parameters():
        assert (one.grad is not None) == (id(one) in trained), name
    network.zero_grad()
    network.deepen(False)
    network(*scales).square().sum().backward()
    for name, one in network.named_parameters():
        assert (one.grad is not None) == (id(one) not in trained), name
