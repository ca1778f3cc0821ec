# SPDX-License-Identifier: Apache-2.0
"""Networks and their export: the paper's sizes and tables, and torch = ONNX Runtime."""

from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from perception.errors import NetworkError
from perception.inference import load_network

torch = pytest.importorskip('torch')

from perception.training.export import (  # noqa: E402
    export_onnx,
    load_checkpoint,
    save_checkpoint,
    untrained,
)
from perception.training.networks import Lagr2008, first_table, second_table  # noqa: E402
from perception.training.sparse import SparseLagr  # noqa: E402

torch.set_num_threads(1)

ARCHITECTURES = ('default', 'lagr2008')


def shaken(architecture: str):
    """Network whose every number differs from its start, batch statistics included."""
    trained = untrained(architecture, seed=3)
    generator = torch.Generator().manual_seed(4)
    for tensor in (*trained.network.parameters(), *trained.network.buffers()):
        if tensor.is_floating_point() and tensor.ndim == 1:
            tensor.data += 0.3 * torch.rand(tensor.shape, generator=generator)
    if isinstance(trained.network, Lagr2008):
        trained.network.c1.gain.data[::3] *= -1.5  # pooling must not depend on the gain's sign
        trained.network.c2.gain.data[::2] *= -0.5
    return trained


def test_tables_of_the_paper() -> None:
    first, second = first_table(), second_table()
    assert first.sum(0).tolist() == [10, 5, 5]
    assert first.sum(1).tolist() == [1] * 20
    assert second.shape == (100, 20)
    assert second.sum().item() == 300
    assert (second.sum(1) == 3).all()
    assert torch.equal(second, second_table())
    assert (second.sum(0) > 0).all()


def test_number_of_live_parameters() -> None:
    live = 20 * 7 * 6 + 300 * 6 * 5 + 2 * (20 + 100)
    network = Lagr2008()
    counted = sum(int(layer.folded().count_nonzero()) + 2 * len(layer.gain)
                  for layer in (network.c1, network.c2))
    assert counted == live == 10080


def test_unit_is_tanh_of_gain_times_sum_plus_bias() -> None:
    network = shaken('lagr2008').network
    bands = torch.randn(1, 3, 12, 25, generator=torch.Generator().manual_seed(5))
    maps = []
    for j in range(20):  # one map at a time, as the paper writes it
        channel = 0 if j < 10 else 1 if j < 15 else 2
        layer = network.c1
        total = torch.nn.functional.conv2d(
            bands[:, channel:channel + 1], layer.weight[j:j + 1, channel:channel + 1])
        maps.append(torch.tanh(layer.gain[j] * total + layer.bias[j]))
    pooled = torch.nn.functional.max_pool2d(torch.cat(maps, 1), (1, 4))
    features = []
    for j, reads in enumerate(second_table()):
        inputs = reads.nonzero()[:, 0]
        total = torch.nn.functional.conv2d(
            pooled[:, inputs], network.c2.weight[j:j + 1, inputs])
        features.append(torch.tanh(network.c2.gain[j] * total + network.c2.bias[j]))
    torch.testing.assert_close(network(bands), torch.cat(features, 1), atol=1e-5, rtol=0)


def test_sparse_export_equals_the_network_and_computes_its_connections() -> None:
    network = shaken('lagr2008').network.eval()
    sparse = SparseLagr(network)
    counts = [int(layer.weight.count_nonzero()) for layer in sparse.first]
    assert counts == [10 * 7 * 6] * 2
    assert [layer.weight.numel() for layer in sparse.second] == [100 * 6 * 5] * 3
    assert all((pick.weight.sum((1, 2, 3)) == 1).all() for pick in sparse.picks)
    bands = torch.randn(2, 3, 20, 93, generator=torch.Generator().manual_seed(6))
    torch.testing.assert_close(sparse(bands), network(bands), atol=1e-5, rtol=0)


@pytest.mark.parametrize('architecture', ARCHITECTURES)
def test_one_window_gives_one_feature_vector(architecture: str) -> None:
    network = untrained(architecture).network.eval()
    receptive = network.receptive
    bands = torch.zeros(1, 3, receptive.rows, receptive.columns)
    assert network(bands).shape == (1, network.features, 1, 1)
    assert network(torch.zeros(1, 3, receptive.rows + receptive.row_stride,
                               receptive.columns + 4)).shape[2:] == (2, 2)


@pytest.mark.parametrize('architecture', ARCHITECTURES)
def test_receptive_field_by_gradient(architecture: str) -> None:
    network = untrained(architecture, seed=8).network.eval()
    receptive = network.receptive
    bands = torch.randn(1, 3, receptive.rows + 9, receptive.columns + 13, requires_grad=True)
    output = network(bands)
    output[0, :, 1, 2].sum().backward()
    assert bands.grad is not None
    rows, columns = bands.grad[0].abs().sum(0).nonzero(as_tuple=True)
    assert rows.min() >= receptive.row_stride
    assert rows.max() < receptive.row_stride + receptive.rows
    assert columns.min() >= 8
    assert columns.max() < 8 + receptive.columns


@pytest.mark.parametrize('architecture', ARCHITECTURES)
def test_checkpoint_to_onnx_round_trip(architecture: str, tmp_path: Path) -> None:
    trained = shaken(architecture)
    save_checkpoint(trained, tmp_path / 'net.pt')
    export_onnx(load_checkpoint(tmp_path / 'net.pt'), tmp_path / 'net.onnx')
    network = load_network(tmp_path / 'net.onnx')
    trained.network.eval()
    bands = torch.randn(1, 3, 30, 177, generator=torch.Generator().manual_seed(7))
    with torch.no_grad():
        features = trained.network(bands)
        logits = trained.classifier(features)[0].reshape(5, -1).T
    got = network.features([bands.numpy()])[0]
    np.testing.assert_allclose(got, features[0].numpy(), atol=1e-4)
    probabilities = network.classify(got.reshape(len(got), -1).T)
    np.testing.assert_allclose(probabilities, torch.softmax(logits, 1).numpy(), atol=1e-4)


def test_exported_twin_has_no_batch_norm_left(tmp_path: Path) -> None:
    onnx = pytest.importorskip('onnx')
    export_onnx(shaken('default'), tmp_path / 'net.onnx')
    kinds = {node.op_type for node in onnx.load(tmp_path / 'net.onnx').graph.node}
    assert 'Conv' in kinds
    assert 'BatchNormalization' not in kinds


@pytest.mark.parametrize('content', [b'', b'not a checkpoint', b'PK\x03\x04cut'])
def test_damaged_checkpoint_is_named(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / 'bad.pt'
    path.write_bytes(content)
    with pytest.raises(NetworkError, match=r'bad\.pt.*lagr train features'):
        load_checkpoint(path)
    with pytest.raises(NetworkError, match=r'none\.pt.*no such checkpoint'):
        load_checkpoint(tmp_path / 'none.pt')


def test_export_command(tmp_path: Path) -> None:
    typer = pytest.importorskip('typer')
    from perception.commands.export import export

    app = typer.Typer()
    app.command()(export)
    save_checkpoint(untrained('default'), tmp_path / 'net.pt')
    arguments = ['--network', str(tmp_path / 'net.pt'), '--out', str(tmp_path / 'a' / 'net.onnx')]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert load_network(tmp_path / 'a' / 'net.onnx').spec.trained is False
    assert CliRunner().invoke(app, [*arguments, '--engine', 'abacus']).exit_code == 2
