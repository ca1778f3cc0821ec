# SPDX-License-Identifier: Apache-2.0
"""Training of scene networks: order, views, schedule, averages, resuming, learning."""

import copy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from scene_trees import STILL, VIEW, camvid_tree, painted, scene_settings

torch = pytest.importorskip('torch')

from torch.optim.swa_utils import AveragedModel  # noqa: E402

from perception.errors import ConfigError, NetworkError  # noqa: E402
from perception.training.scene_augment import VOID  # noqa: E402
from perception.training.scene_checkpoint import untrained_scene  # noqa: E402
from perception.training.scene_schedule import warm_average, warm_cosine  # noqa: E402
from perception.training.scene_train import (  # noqa: E402
    SceneTrainer,
    Team,
    Views,
    at_stride,
    batch_keys,
)

torch.set_num_threads(1)

ALONE = Team(0, 1, torch.device('cpu'))
CLASSES = ('sky', 'building', 'pole', 'road')
COLOURS = ((0, 0, 0),) * 4
TWO = [{'epochs': 1, 'view': VIEW, 'jitter': STILL | {'rotation_deg': 3, 'light': 1}}] * 2
OLD = {'network': 'farabet2013_single', 'loss': 'natural', 'classifier_epochs': 2}


def trainer(**changes: object) -> SceneTrainer:
    settings = scene_settings(**changes)
    return SceneTrainer(settings, Views(settings, [painted(0), painted(1)], 4), ALONE)


def weights(one: SceneTrainer) -> dict[str, torch.Tensor]:
    return {f'{name}.{key}': value.clone()
            for name, network in (('now', one.network), ('average', one.average))
            for key, value in network.state_dict().items()}


@pytest.mark.parametrize('items', [7, 8, 5, 3])
def test_processes_share_each_batch_of_one(items: int) -> None:
    settings = scene_settings(batch=4)
    whole = batch_keys(items, settings, 3, ALONE)
    assert len(whole) == max(items // 4, 1)
    parts = [batch_keys(items, settings, 3, Team(rank, 2, ALONE.device)) for rank in range(2)]
    for batch, *shares in zip(whole, *parts, strict=True):
        assert len(shares[0]) == len(shares[1])
        joined = shares[0] + shares[1]
        assert joined == batch[:len(joined)]
        assert len(joined) >= len(batch) - 1
        assert len(set(batch)) == len(batch)
    assert {epoch for batch in whole for epoch, _ in batch} == {3}


def test_order_repeats_by_seed_and_changes_by_epoch() -> None:
    order = [[item for batch in batch_keys(9, scene_settings(batch=3, seed=seed), epoch, ALONE)
              for _, item in batch] for seed, epoch in ((0, 0), (0, 0), (0, 1), (1, 0))]
    assert order[0] == order[1]
    assert sorted(order[0]) == [*range(9)]
    assert order[0] != order[2] and order[0] != order[3]


def test_a_batch_that_cannot_be_shared_is_refused() -> None:
    for items, batch in ((9, 3), (1, 2)):
        with pytest.raises(ConfigError, match=rf'batch = {batch}.*2 processes with {items}'):
            batch_keys(items, scene_settings(batch=batch), 0, Team(0, 2, ALONE.device))


def test_the_same_key_gives_the_same_view() -> None:
    changes = {'stages': [{'epochs': 3, 'view': VIEW}]}
    first, second, other = (Views(scene_settings(seed=seed, **changes), [painted(), painted(1)], 4)
                            for seed in (5, 5, 6))
    (image,), label = first[2, 1]
    assert image.shape == (3, *VIEW) and label.shape == VIEW
    for views, key, same in ((second, (2, 1), True), (other, (2, 1), False),
                             (first, (1, 1), False), (first, (2, 0), False)):
        assert torch.equal(views[key][0][0], image) == same
    assert torch.equal(second[2, 1][1], label)


def test_rare_classes_are_those_of_few_pixels() -> None:
    image, label = painted()
    label[:2, :3] = 1
    assert Views(scene_settings(), [(image, label)], 5).rare == [1]


@pytest.mark.parametrize(('pixels', 'stride'), [(360, 16), (24, 16), (40, 16), (48, 2), (72, 8)])
def test_labels_come_from_their_own_cell(pixels: int, stride: int) -> None:
    cells = -(-pixels // stride)
    place = torch.arange(pixels, dtype=torch.int32)
    drawn = set()
    for _ in range(40):
        rows = at_stride(place[None, :, None].expand(1, pixels, 32), torch.empty(1, 4, cells, 4))
        columns = at_stride(place[None, None].expand(1, 24, pixels), torch.empty(1, 4, 3, cells))
        assert rows.shape == (1, cells, 4) and columns.shape == (1, 3, cells)
        for found in (rows[0, :, 0], columns[0, 0]):
            assert (found // stride).tolist() == [*range(cells)]
            drawn.add(int(found[0]))
    assert len(drawn) > stride / 2


def test_learning_rate_rises_then_falls_to_zero() -> None:
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=2.0)
    schedule, rates = warm_cosine(optimizer, 100), []
    for _ in range(101):
        rates.append(optimizer.param_groups[0]['lr'])
        optimizer.step()
        schedule.step()
    assert rates[:5] == pytest.approx([0.4, 0.8, 1.2, 1.6, 2.0])
    assert rates[5] == max(rates) == pytest.approx(2)
    assert rates[5 + 95 // 3] == pytest.approx(2 * (0.5 + 0.5 * np.cos(np.pi * 31 / 95)))
    assert rates[-1] == pytest.approx(0, abs=1e-12)
    assert (np.diff(rates[5:]) < 0).all()


def test_average_of_a_constant_is_that_constant_and_forgets_the_first_steps() -> None:
    network = torch.nn.Linear(1, 1, bias=False)
    average = AveragedModel(network, multi_avg_fn=warm_average(0.998))
    found = []
    for step in range(400):
        network.weight.data.fill_(1000.0 if step < 3 else 0.3)
        average.update_parameters(network)
        found.append(float(average.module.weight.detach()))
    assert found[0] == 1000
    assert (np.diff(found[3:]) <= 0).all()
    assert found[-1] == pytest.approx(0.3, abs=1e-3)  # at a fixed decay about 450 were left
    average = AveragedModel(network, multi_avg_fn=warm_average(0.998))
    for _ in range(50):
        average.update_parameters(network)
    assert torch.equal(average.module.weight, network.weight)


def test_average_by_hand_keeps_whole_numbers() -> None:
    average = warm_average(0.5)
    for count, expected in ((1, 4 + 10 * (1 - 2 / 11)), (100, 9)):
        means = [torch.tensor(4.0), torch.tensor([1.0, 1.0])]
        average(means, [torch.tensor(14.0), torch.ones(2)], torch.tensor(count))
        assert float(means[0]) == pytest.approx(expected)
        assert means[1].tolist() == [1, 1]
    batches = [torch.tensor(7)]
    average(batches, [torch.tensor(9)], torch.tensor(100))
    assert batches == [9]


@pytest.fixture(scope='module')
def learned() -> tuple[list[float], SceneTrainer]:
    """``modern`` shown the same two views again and again."""
    one = trainer(stages=[{'epochs': 24, 'view': VIEW, 'jitter': STILL}], learning_rate=1e-2,
                  average=0.8)
    return [one.epoch(number) for number in range(24)], one


def test_loss_falls_where_two_pictures_are_learned_by_heart(learned) -> None:
    losses, _ = learned
    assert np.isfinite(losses).all()
    assert np.mean(losses[-5:]) < 0.5 * np.mean(losses[:3])


def test_the_averaged_network_knows_what_the_network_knows(learned) -> None:
    """Its batch statistics are averaged, too, so that it is usable as it stands."""
    _, one = learned
    inputs, label = one._views[0, 0]
    with torch.no_grad():
        averaged = one.averaged.eval()(inputs[0][None])
        batch = torch.stack([inputs[0], one._views[0, 1][0][0]])
        trained = copy.deepcopy(one.network).train()(batch)[0][:1]
    truth = label[None, ::2, ::2]
    assert (averaged.argmax(1) == trained.argmax(1)).float().mean() > 0.85
    assert (averaged.argmax(1) == truth)[truth != VOID].float().mean() > 0.8


@pytest.mark.parametrize('changes', [{'stages': TWO}, OLD], ids=['modern', 'old'])
def test_a_resumed_run_equals_an_unbroken_one(changes: dict, tmp_path: Path) -> None:
    whole = trainer(**changes)
    for epoch in range(whole.settings.epochs):
        whole.epoch(epoch)
    for epoch in range(whole.settings.epochs):  # a new process for each epoch
        part = trainer(**changes)
        torch.rand(epoch)  # whatever else draws from torch's generator
        assert part.resume(tmp_path / 'state.pt') == epoch
        part.epoch(epoch)
        part.save(tmp_path / 'state.pt', epoch + 1)
    assert [path.name for path in tmp_path.iterdir()] == ['state.pt']
    found = weights(part)
    for name, value in weights(whole).items():
        assert torch.equal(found[name], value), name


def test_the_deep_classifier_learns_on_frozen_features_and_averages_anew() -> None:
    one = trainer(**OLD)
    one.epoch(0)
    before = weights(one)
    one.epoch(1)
    after = weights(one)
    bank = [name for name in before if 'bank' in name or 'linear' in name]
    assert len(bank) > 10
    for name in bank:
        assert torch.equal(after[name], before[name.replace('average.module', 'now')]), name
    name = 'hidden.0.weight'
    assert not torch.equal(after[f'now.{name}'], before[f'now.{name}'])
    assert torch.equal(after[f'now.{name}'], after[f'average.module.{name}'])
    assert one.averaged.deep


def test_a_resumed_network_has_the_classifier_of_its_last_epoch(tmp_path: Path) -> None:
    one = trainer(**OLD)
    for done, deep in ((1, False), (3, True)):
        one.save(tmp_path / 'state.pt', done)
        again = trainer(**OLD)
        again.resume(tmp_path / 'state.pt')
        assert again.averaged.deep == again.network.deep == deep


def test_pictures_without_labels_change_nothing_into_nan() -> None:
    image, label = painted()
    for loss in ('hard', 'balanced', 'natural'):
        settings = scene_settings(loss=loss, batch=1)
        one = SceneTrainer(settings, Views(settings, [(image, label)], 4), ALONE)
        label = np.full_like(label, VOID)
        one._views.pictures[0] = (image, label)
        assert one.epoch(0) == 0
        assert all(value.isfinite().all() for value in one.network.state_dict().values())
        label = painted()[1]


def test_start_takes_weights_of_the_same_network_and_classes_only() -> None:
    one = trainer(start='first.pt')
    given = untrained_scene('modern', CLASSES, COLOURS, seed=4)
    given.data = {'sources': [{'data_set': 'ycor'}]}
    one.begin_with(given, CLASSES)
    assert one.earlier_sources == [{'data_set': 'ycor'}]
    for network in (one.network, one.averaged):
        for mine, theirs in zip(network.parameters(), given.network.parameters(), strict=True):
            assert torch.equal(mine, theirs)
    with pytest.raises(NetworkError, match=r'first\.pt: holds network fast_scnn, not modern'):
        one.begin_with(untrained_scene('fast_scnn', CLASSES, COLOURS), CLASSES)
    with pytest.raises(NetworkError, match=r'first\.pt: classes sky.*the data has dog.*choose'):
        one.begin_with(given, ('dog', *CLASSES[1:]))


def test_a_state_of_something_else_is_one_clear_error(tmp_path: Path) -> None:
    path = tmp_path / 'state.pt'
    one = trainer()
    assert one.resume(path) == 0
    one.save(path, 1)
    whole = path.read_bytes()
    trainer(network='fast_scnn', stages=[{'epochs': 1, 'view': (64, 64)}]).save(path, 1)
    other = path.read_bytes()
    torch.save(torch.zeros(3), path)
    for content in (whole[:len(whole) // 2], other, path.read_bytes(), b'', b'no state'):
        path.write_bytes(content)
        with pytest.raises(NetworkError, match=r'state\.pt: not the state of such a run.*remove'):
            trainer().resume(path)


WORKER = """
import sys
from pathlib import Path

import torch

sys.path.insert(0, sys.argv[2])
from perception.training.scene_run import run_scene
from perception.training.scene_train import SceneTrainer, Team, Views
from rich.progress import Progress
from scene_trees import painted, scene_settings
from test_scene_train import OLD

out = Path(sys.argv[1])
save, epoch, team = torch.save, SceneTrainer.epoch, Team.join()

def watched(self, number, advance):
    loss = epoch(self, number, advance)
    save(self.network.state_dict(), out / f'modern{team.rank}.pt')
    return loss

SceneTrainer.epoch = watched
run_scene(scene_settings(out / 'camvid'), out / f'run{team.rank}', '', Progress(disable=True))
settings = scene_settings(**OLD)
one = SceneTrainer(settings, Views(settings, [painted(0), painted(1)], 4), team)
for number in range(settings.epochs):
    epoch(one, number)
save(one.network.state_dict(), out / f'old{team.rank}.pt')
"""


@pytest.mark.slow
def test_two_processes_train_one_network(tmp_path: Path) -> None:
    """Without batch norm they equal one process with the same batch; with it, each other."""
    camvid_tree(tmp_path / 'camvid')
    (tmp_path / 'worker.py').write_text(WORKER)
    done = subprocess.run(
        [sys.executable, '-m', 'torch.distributed.run', '--standalone', '--nproc-per-node', '2',
         str(tmp_path / 'worker.py'), str(tmp_path), str(Path(__file__).parent)],
        text=True, capture_output=True, check=False, timeout=240)
    assert done.returncode == 0, done.stderr[-3000:]
    old, modern = ([torch.load(tmp_path / f'{name}{rank}.pt', weights_only=True)
                    for rank in (0, 1)] for name in ('old', 'modern'))
    for name, value in old[0].items():
        assert torch.equal(value, old[1][name]), name
    for name, value in modern[0].items():
        # between steps batch statistics are each process's own
        assert 'running' in name or torch.equal(value, modern[1][name]), name
    single = trainer(**OLD)
    for number in range(3):
        single.epoch(number)
    for name, value in single.network.state_dict().items():
        torch.testing.assert_close(old[0][name], value, atol=2e-4, rtol=0)
    assert {path.name for path in (tmp_path / 'run0').iterdir()} == {
        'settings.json', 'log.jsonl', 'curves.png', 'state.pt', 'trained.pt'}
    assert not (tmp_path / 'run1').exists()
