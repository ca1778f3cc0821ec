# SPDX-License-Identifier: Apache-2.0
"""Labelled data sets: published layouts read exactly, faults named before hours are spent."""

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image as Pillow

from perception.bag_writer import BagWriter
from perception.errors import DataSetError
from perception.scene_config import COMMON_COSTS
from perception.training.scene_classes import (
    FOLDER,
    class_map_names,
    common_names,
    load_class_map,
    load_taxonomy,
    taxonomy_with,
)
from perception.training.scene_sets import VOID, SceneSet, check, open_scene_set
from perception.world.spec import CLASS_NAMES

SHAPE = (6, 9)  # rows, columns
RNG = np.random.default_rng(5)
PICTURE = RNG.integers(0, 256, (*SHAPE, 3), np.uint8)


def put(path: Path, pixels: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    lossless = [cv2.IMWRITE_WEBP_QUALITY, 101] if path.suffix == '.webp' else []
    assert cv2.imwrite(str(path), pixels, lossless)
    return path


def put_palette(path: Path, indices: np.ndarray) -> Path:
    """PNG whose palette gives each index a colour that is no grey."""
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = Pillow.fromarray(indices)
    picture.putpalette([value for k in range(256) for value in (k, 255 - k, 7)])
    picture.save(path)
    return path


def mask_of(values: list[int]) -> np.ndarray:
    """Mask of ``SHAPE`` with these values in turn."""
    return np.resize(np.array(values, np.uint8), SHAPE)


def coloured(name: str, classes: np.ndarray) -> np.ndarray:
    """BGR mask of classes of a data set; 255 becomes black."""
    colours = np.zeros((256, 3), np.uint8)
    for k, one in enumerate(load_class_map(name).classes):
        colours[k] = one.colour[::-1]
    return colours[classes]


def camvid(root: Path, count: int = 2, suffix: str = '.png', split: str = 'test') -> Path:
    for k in range(count):
        put(root / split / f'0001TP_{k:06}{suffix}', PICTURE)
        put(root / f'{split}annot' / f'0001TP_{k:06}.png', mask_of([*range(12)]))
    return root


def ycor(root: Path) -> Path:
    for k in (2, 5, 7):
        put(root / 'images' / f'{k:04}.jpg', PICTURE)
        put_palette(root / 'labels' / f'{k:04}.png', mask_of([*range(9)]))
    (root / 'val.txt').write_text('0005\n0002\n')
    return root


def faulty(root: Path, **changes: np.ndarray) -> SceneSet:
    """CamVid test split, the second picture or mask replaced by other pixels."""
    camvid(root)
    for folder, pixels in changes.items():
        put(root / folder / '0001TP_000001.png', pixels)
    return open_scene_set(root, 'test')


@pytest.mark.parametrize('name', class_map_names())
def test_class_maps_are_whole(name: str) -> None:
    chosen = load_class_map(name)
    assert chosen.name == name
    taxonomy = load_taxonomy(name)
    assert all(common < 8 or common == VOID for common in taxonomy.common)
    assert len(taxonomy.classes) == len(taxonomy.colours) == len(taxonomy.common)
    table = chosen.value_table()
    assert sorted(set(table.tolist()) - {254, 255}) == list(range(len(chosen.classes)))


def test_world_classes_are_those_of_the_renderer() -> None:
    chosen = load_class_map('worlds')
    assert tuple(one.name for one in chosen.classes) == CLASS_NAMES
    assert [one.values for one in chosen.classes] == [(k,) for k in range(len(CLASS_NAMES))]


def test_common_taxonomy_maps_to_itself() -> None:
    assert load_taxonomy('common8').common == tuple(range(8))
    assert taxonomy_with(load_taxonomy('ycor').classes) == load_taxonomy('ycor')
    assert taxonomy_with(('sky', 'cheese')) is None


def test_a_class_map_with_one_value_twice_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (FOLDER / 'camvid.yaml').read_text().replace('values: [3]', 'values: [4]')
    (tmp_path / 'twice.yaml').write_text(text)
    monkeypatch.setattr('perception.training.scene_classes.FOLDER', tmp_path)
    with pytest.raises(DataSetError, match=r'twice\.yaml: .*a value stands for two classes'):
        load_class_map('twice')


def test_documented_tables_equal_the_class_maps(repository: Path) -> None:
    spec = importlib.util.spec_from_file_location('docs_scene_classes',
                                                  repository / 'docs' / 'scene_classes.py')
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    text = (repository / 'docs' / 'scene_classes.md').read_text()
    assert text == module.scene_classes_md(), 'run: python docs/scene_classes.py'


@pytest.mark.parametrize('suffix', ['.png', '.jpg', '.webp', '.BMP', '.tif'])
def test_camvid_reads_any_picture_format(tmp_path: Path, suffix: str) -> None:
    scene_set = open_scene_set(camvid(tmp_path, suffix=suffix), 'test')
    assert (scene_set.name, len(scene_set)) == ('camvid', 2)
    picture, classes = scene_set.read(1)
    assert picture.shape == (*SHAPE, 3) and picture.dtype == np.uint8
    if suffix != '.jpg':
        np.testing.assert_array_equal(picture, PICTURE)
    expected = mask_of([*range(12)])
    np.testing.assert_array_equal(classes, np.where(expected == 11, VOID, expected))


def test_masks_may_be_lossless_webp_or_palettes(tmp_path: Path) -> None:
    camvid(tmp_path)
    expected = open_scene_set(tmp_path, 'test').read(0)[1]
    (tmp_path / 'testannot' / '0001TP_000000.png').unlink()
    put(tmp_path / 'testannot' / '0001TP_000000.webp', mask_of([*range(12)]))
    put_palette(tmp_path / 'testannot' / '0001TP_000001.png', mask_of([*range(12)]))
    for item in range(2):
        np.testing.assert_array_equal(open_scene_set(tmp_path, 'test').read(item)[1], expected)


def test_pictures_with_16_bits_palette_or_alpha_become_bgr(tmp_path: Path) -> None:
    camvid(tmp_path, 3)
    put(tmp_path / 'test' / '0001TP_000000.png', PICTURE[..., 0].astype(np.uint16) << 8)
    put(tmp_path / 'test' / '0001TP_000001.png', np.dstack([PICTURE, PICTURE[..., 0]]))
    put_palette(tmp_path / 'test' / '0001TP_000002.png', PICTURE[..., 1])
    scene_set = open_scene_set(tmp_path, 'test')
    np.testing.assert_array_equal(scene_set.read(0)[0], np.dstack([PICTURE[..., 0]] * 3))
    np.testing.assert_array_equal(scene_set.read(1)[0], PICTURE)
    blue_green_red = np.dstack([np.full(SHAPE, 7), 255 - PICTURE[..., 1], PICTURE[..., 1]])
    np.testing.assert_array_equal(scene_set.read(2)[0], blue_green_red)


def test_splits_can_be_joined(tmp_path: Path) -> None:
    camvid(camvid(tmp_path, 3, split='train'), 2, split='val')
    joined = open_scene_set(tmp_path, 'train+val')
    assert len(joined) == 5 and joined.split == 'train+val'
    assert joined.pairs[3][0].parent.name == 'val'


def test_common_taxonomy_by_hand(tmp_path: Path) -> None:
    common = open_scene_set(camvid(tmp_path), 'test').common()
    assert common.taxonomy.name == 'common8' and len(common) == 2
    names = ['sky', 'obstacle', 'obstacle', 'smooth_ground', 'smooth_ground', 'high_vegetation',
             *['obstacle'] * 5]
    expected = [common.taxonomy.classes.index(name) for name in names]
    np.testing.assert_array_equal(common.read(0)[1], mask_of([*expected, VOID]))
    np.testing.assert_array_equal(common.common().read(0)[1], common.read(0)[1])


def test_ycor_reads_palette_indices_and_its_split_file(tmp_path: Path) -> None:
    scene_set = open_scene_set(ycor(tmp_path), 'val')
    assert [pair[0].stem for pair in scene_set.pairs] == ['0002', '0005']
    expected = mask_of([VOID, *range(8)])
    np.testing.assert_array_equal(scene_set.read(0)[1], expected)
    assert len(open_scene_set(tmp_path, 'held_out')) == 3  # no such file: the folder


def test_ycor_refuses_another_class_table(tmp_path: Path) -> None:
    ycor(tmp_path)
    (tmp_path / 'classes.txt').write_text('# index name\n0 background\n1 smooth_trail 1 2 3\n')
    assert len(open_scene_set(tmp_path, 'val')) == 2
    (tmp_path / 'classes.txt').write_text('1 sky 1 2 3\n')
    with pytest.raises(DataSetError, match=r"classes\.txt: class 1 is 'sky'.*'smooth_trail'"):
        open_scene_set(tmp_path, 'val')


def test_ycor_split_file_may_not_list_what_is_missing(tmp_path: Path) -> None:
    (ycor(tmp_path) / 'val.txt').write_text('0005\n0009\n')
    with pytest.raises(DataSetError, match=r'val\.txt: 0009: no such picture'):
        open_scene_set(tmp_path, 'val')


def rugd(root: Path, video: str = 'trail-5') -> Path:
    classes = mask_of([*range(24), VOID])
    put(root / 'RUGD_frames-with-annotations' / video / f'{video}_00001.png', PICTURE)
    put(root / 'RUGD_annotations' / video / f'{video}_00001.png', coloured('rugd', classes))
    return root


def test_rugd_reads_colours_and_the_published_split(tmp_path: Path) -> None:
    rugd(rugd(tmp_path), 'park-8')
    (tmp_path / 'RUGD_annotations' / 'RUGD_annotation-colormap.txt').write_text('0 void 0 0 0\n')
    scene_set = open_scene_set(tmp_path, 'val')
    assert (scene_set.name, len(scene_set)) == ('rugd', 2)
    np.testing.assert_array_equal(scene_set.read(0)[1], mask_of([*range(24), VOID]))
    assert len(open_scene_set(tmp_path, 'trail-5')) == 1
    bridge = load_taxonomy('rugd').classes.index('bridge')
    classes = scene_set.common().read(1)[1]
    assert (classes[mask_of([*range(24), VOID]) == bridge] == VOID).all()
    with pytest.raises(DataSetError, match=r"split 'test': no folder .*creek"):
        open_scene_set(tmp_path, 'test')


def test_an_unknown_colour_is_counted(tmp_path: Path) -> None:
    mask = coloured('rugd', np.zeros(SHAPE, np.uint8))
    mask[1:3, 2:5] = (3, 2, 1)  # BGR
    put(rugd(tmp_path) / 'RUGD_annotations' / 'trail-5' / 'trail-5_00001.png', mask)
    with pytest.raises(DataSetError, match=r'00001\.png: colour \(1, 2, 3\) \(6 pixels\) is no'):
        check(open_scene_set(tmp_path, 'trail-5'))


def rellis(root: Path, colours: bool) -> Path:
    ids = mask_of([0, 1, *(v for one in load_class_map('rellis3d').classes for v in one.values)])
    folder, lines = 'label_color' if colours else 'label_id', []
    for k, sequence in enumerate(('00000', '00003')):
        name = f'frame{k:06}-1581624663_149'
        put(root / sequence / 'pylon_camera_node' / f'{name}.jpg', PICTURE)
        classes = load_class_map('rellis3d').value_table()[ids]
        put(root / sequence / f'pylon_camera_node_{folder}' / f'{name}.png',
            coloured('rellis3d', classes) if colours else ids)
        lines.append(f'{sequence}/pylon_camera_node/{name}.jpg '
                     f'{sequence}/pylon_camera_node_label_id/{name}.png\n')
    (root / 'val.lst').write_text(lines[1])
    (root / 'pt_val.lst').write_text('')
    return root


@pytest.mark.parametrize('colours', [False, True])
def test_rellis_reads_ids_or_colours(tmp_path: Path, colours: bool) -> None:
    rellis(tmp_path / 'Rellis-3D', colours)
    for root in (tmp_path, tmp_path / 'Rellis-3D'):
        scene_set = open_scene_set(root, 'val')
        assert (scene_set.name, scene_set.coloured, len(scene_set)) == ('rellis3d', colours, 1)
        classes = scene_set.read(0)[1].ravel()[:22].tolist()
        expected = [VOID, VOID, 0, 0, 0, 1, 2, 3, 3, *range(4, 17)]
        assert classes == expected
    with pytest.raises(DataSetError, match=r"'test': no test\.lst .*choose one of val$"):
        open_scene_set(tmp_path, 'test')


def test_rellis_names_a_listed_frame_without_mask(tmp_path: Path) -> None:
    rellis(tmp_path, colours=False)
    (path,) = tmp_path.glob('00003/*_id/*.png')
    path.unlink()
    with pytest.raises(DataSetError, match=rf'{path.name}: no such mask, though val\.lst'):
        open_scene_set(tmp_path, 'val')


CITY_IDS = [7, 8, 11, 12, 13, 17, *range(19, 29), 31, 32, 33]  # helpers/labels.py, train ids 0-18


def test_cityscapes_reads_label_ids(tmp_path: Path) -> None:
    for town in ('aachen', 'zurich'):
        stem = f'{town}_000000_000019'
        put(tmp_path / 'leftImg8bit' / 'val' / town / f'{stem}_leftImg8bit.png', PICTURE)
        put(tmp_path / 'gtFine' / 'val' / town / f'{stem}_gtFine_labelIds.png',
            mask_of([*CITY_IDS, 0, 29, 255]))
        put(tmp_path / 'gtFine' / 'val' / town / f'{stem}_gtFine_instanceIds.png', PICTURE)
    scene_set = open_scene_set(tmp_path, 'val')
    assert (scene_set.name, len(scene_set)) == ('cityscapes', 2)
    assert scene_set.read(1)[1].ravel()[:22].tolist() == [*range(19), VOID, VOID, VOID]
    with pytest.raises(DataSetError, match=r"'train': no folder .*choose one of val$"):
        open_scene_set(tmp_path, 'train')


def test_kitti_reads_cityscapes_ids(tmp_path: Path) -> None:
    put(tmp_path / 'training' / 'image_2' / '000000_10.png', PICTURE)
    put(tmp_path / 'training' / 'semantic' / '000000_10.png', mask_of(CITY_IDS))
    scene_set = open_scene_set(tmp_path, 'training')
    assert scene_set.name == 'kitti'
    assert scene_set.read(0)[1].ravel()[:19].tolist() == list(range(19))
    with pytest.raises(DataSetError, match='choose one of training'):
        open_scene_set(tmp_path, 'val')


def write_world(path: Path, classes: str | None = None) -> Path:
    """Bag as ``lagr world`` writes it: three pictures, truth at the first and the last."""
    names = json.dumps({'classes': {name: k for k, name in enumerate(CLASS_NAMES)}})
    with BagWriter(path) as bag:
        bag.string('/truth/classes', classes or names, latched=True)
        for k in range(3):
            stamp = 1_000_000_000 + k * 250_000_000
            bag.image('/stereo/left/image_rect', stamp, 'left', PICTURE + np.uint8(k), 'bgr8')
            if k != 1:
                mask = mask_of([*range(k, 12)])
                bag.compressed('/truth/left/class', stamp, 'left', mask, 'png')
                depth = np.full(SHAPE, 1000 * k, np.uint16)
                bag.compressed('/truth/left/depth', stamp, 'left', depth, 'png')
    return path


def test_worlds_read_the_frames_with_truth(tmp_path: Path) -> None:
    write_world(tmp_path / 'train' / 'clear_1')
    write_world(tmp_path / 'train' / 'autumn_2')
    write_world(tmp_path / 'val' / 'clear_3')
    scene_set = open_scene_set(tmp_path, 'train')
    assert (scene_set.name, len(scene_set)) == ('worlds', 4)
    assert scene_set.pairs[0][0].parent.name == 'autumn_2'
    picture, classes = scene_set.read(3)
    np.testing.assert_array_equal(picture, PICTURE + np.uint8(2))
    np.testing.assert_array_equal(classes, mask_of([*range(2, 12)]))
    depth = scene_set.depth(3)
    assert depth is not None and np.allclose(depth, 2.0)
    assert np.isnan(np.asarray(scene_set.depth(2))).all()
    for root, split in ((tmp_path / 'val', 'any'), (tmp_path / 'val' / 'clear_3', 'any')):
        assert len(open_scene_set(root, split)) == 2


def test_worlds_with_other_classes_are_refused(tmp_path: Path) -> None:
    write_world(tmp_path / 'old', '{"classes": {"sky": 3}}')
    with pytest.raises(DataSetError, match=r'old: /truth/classes has other classes.*lagr world'):
        open_scene_set(tmp_path, 'all')


def test_a_value_outside_the_class_map_is_counted(tmp_path: Path) -> None:
    mask = np.zeros(SHAPE, np.uint8)
    mask[2, 1:6], mask[4, 4:6] = 12, 99
    scene_set = faulty(tmp_path, testannot=mask)
    with pytest.raises(DataSetError,
                       match=r'0001\.png: value 12 \(5 pixels, 2 pixels more are wrong\) is no '
                             r'class of camvid; restore'):
        check(scene_set)
    with pytest.raises(DataSetError, match='value 12'):
        check(scene_set.common())


def test_wide_or_coloured_masks_are_refused(tmp_path: Path) -> None:
    wide = faulty(tmp_path / 'wide', testannot=np.full(SHAPE, 300, np.uint16))
    with pytest.raises(DataSetError, match=r'value 300 \(54 pixels above 255\)'):
        check(wide)
    with pytest.raises(DataSetError, match='a mask in colours where label values'):
        check(faulty(tmp_path / 'colours', testannot=PICTURE))


def test_sizes_that_differ_are_named(tmp_path: Path) -> None:
    scene_set = faulty(tmp_path, test=PICTURE[:, :-2])
    with pytest.raises(DataSetError, match=r'000001\.png: mask of 9x6 for a picture of 7x6'):
        check(scene_set)


def cut_jpeg(path: Path) -> None:
    path.unlink()
    large = np.kron(PICTURE, np.ones((16, 16, 1), np.uint8))
    data = cv2.imencode('.jpg', large)[1].tobytes()
    path.with_suffix('.jpg').write_bytes(data[:len(data) // 2])


def cut_png(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:90])


def cut_webp(path: Path) -> None:
    path.unlink()
    put(path.with_suffix('.webp'), PICTURE)
    cut = path.with_suffix('.webp').read_bytes()[:60]
    path.with_suffix('.webp').write_bytes(cut)


DAMAGE: dict[str, Callable[[Path], object]] = {
    'damaged JPEG': cut_jpeg,
    'damaged PNG': cut_png,
    'damaged, or no image; restore': cut_webp,
    'damaged, or no image': lambda path: path.write_bytes(b'not a picture'),
    'empty file': lambda path: path.write_bytes(b''),
}


@pytest.mark.parametrize('what', DAMAGE)
def test_damage_in_the_middle_is_named(
    tmp_path: Path, what: str, capfd: pytest.CaptureFixture[str]
) -> None:
    camvid(tmp_path, 3)
    DAMAGE[what](tmp_path / 'test' / '0001TP_000001.png')
    seen: list[int] = []
    with pytest.raises(DataSetError, match=rf'0001TP_000001\.\w+: {what}.*the file from'):
        check(open_scene_set(tmp_path, 'test'), seen.append)
    assert seen == [1]
    assert capfd.readouterr().err == ''  # decoders stay silent: the one line is ours


def test_a_file_that_vanished_is_named(tmp_path: Path) -> None:
    scene_set = open_scene_set(camvid(tmp_path), 'test')
    scene_set.pairs[1][1].unlink()
    with pytest.raises(DataSetError, match=r'testannot/0001TP_000001\.png: No such file'):
        check(scene_set)


def test_a_jpeg_with_bytes_after_its_end_is_whole(tmp_path: Path) -> None:
    scene_set = open_scene_set(camvid(tmp_path, suffix='.jpg'), 'test')
    path = scene_set.pairs[0][0]
    path.write_bytes(path.read_bytes() + bytes(3000))
    check(scene_set)


@pytest.mark.parametrize(('folder', 'message'), [
    ('testannot', r'test/0001TP_000001\.png: picture without a mask \(1 of 2 are\); restore'),
    ('test', r'testannot/0001TP_000001\.png: mask without a picture \(1 of 2 are\); restore'),
])
def test_lonely_files_are_named(tmp_path: Path, folder: str, message: str) -> None:
    (camvid(tmp_path) / folder / '0001TP_000001.png').unlink()
    with pytest.raises(DataSetError, match=message):
        open_scene_set(tmp_path, 'test')


def test_two_pictures_of_one_stem_are_refused(tmp_path: Path) -> None:
    put(camvid(tmp_path) / 'test' / '0001TP_000001.jpg', PICTURE)
    with pytest.raises(DataSetError, match='has the same stem'):
        open_scene_set(tmp_path, 'test')


def test_hidden_and_other_files_are_no_pictures(tmp_path: Path) -> None:
    camvid(tmp_path)
    for name in ('._0001TP_000000.png', 'Thumbs.db', 'notes.txt'):
        (tmp_path / 'test' / name).write_bytes(b'x')
    assert len(open_scene_set(tmp_path, 'test')) == 2


def test_splits_and_layouts_that_do_not_exist_are_named(tmp_path: Path) -> None:
    camvid(tmp_path / 'camvid')
    (tmp_path / 'camvid' / 'empty').mkdir()
    (tmp_path / 'camvid' / 'emptyannot').mkdir()
    for split, message in (('tset', "'tset': no folder tset; choose one of empty, test"),
                           ('empty', "split 'empty' has no pictures"),
                           ('', "split ''"), ('test+', "split ''")):
        with pytest.raises(DataSetError, match=message):
            open_scene_set(tmp_path / 'camvid', split)
    (tmp_path / 'other').mkdir()
    with pytest.raises(DataSetError, match='other: not the folder layout of any known data set'):
        open_scene_set(tmp_path / 'other', 'test')
    with pytest.raises(DataSetError, match='nowhere: no such folder'):
        open_scene_set(tmp_path / 'nowhere', 'test')
    with pytest.raises(DataSetError, match='layout of ycor: images/ID'):
        open_scene_set(tmp_path / 'camvid', 'test', 'ycor')
    with pytest.raises(DataSetError, match=r"data set 'kitty': choose one of .*kitti"):
        open_scene_set(tmp_path / 'camvid', 'test', 'kitty')


@pytest.mark.data
@pytest.mark.parametrize(('name', 'split', 'count', 'shape', 'shares'), [
    ('camvid', 'train', 367, (360, 480), {'road': 0.32, 'sky': 0.17}),
    ('camvid', 'val', 101, (360, 480), {'road': 0.30, 'sky': 0.09}),
    ('ycor', 'val', 90, (544, 1024), {'obstacle': 0.01, 'sky': 0.15}),
])
def test_real_data_sets(
    data_dir: Path, name: str, split: str, count: int, shape: tuple[int, int],
    shares: dict[str, float],
) -> None:
    scene_set = open_scene_set(data_dir / name, split)
    assert (scene_set.name, len(scene_set)) == (name, count)
    total = np.zeros(256, np.int64)
    for item in range(0, count, 12):
        picture, classes = scene_set.read(item)
        assert picture.shape == (*shape, 3) and classes.shape == shape
        total += np.bincount(classes.ravel(), minlength=256)
    classes = scene_set.taxonomy.classes
    assert total[len(classes):255].sum() == 0
    found = total[:len(classes)] / total[:len(classes)].sum()
    for one, share in shares.items():
        assert found[classes.index(one)] == pytest.approx(share, abs=0.08)


def test_costs_are_named_after_the_common_classes():
    assert tuple(COMMON_COSTS) == load_taxonomy('common8').classes
    assert common_names(('smooth_trail', 'made_up')) == ()
    names = common_names(load_taxonomy('camvid').classes)
    assert names[:4] == ('sky', 'obstacle', 'obstacle', 'smooth_ground')
