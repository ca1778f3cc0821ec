# SPDX-License-Identifier: Apache-2.0
"""Which files of a data set in its published folder layout make up a split."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from perception.errors import DataSetError
from perception.training.scene_classes import load_class_map
from perception.training.scene_files import image_files
from perception.training.scene_worlds import bags_in, frames_of

Pairs = tuple[tuple[Path, Path], ...]


@dataclass(frozen=True)
class Listing:
    """Pictures and masks of a split; ``coloured`` where a colour stands for a class."""

    pairs: Pairs
    coloured: bool = False


@dataclass(frozen=True)
class Layout:
    """How a data set lies on disk: what tells it apart, and the files of a split."""

    fits: Callable[[Path], bool]
    splits: Callable[[Path, str], Listing]


def find_layout(folder: Path, name: str | None) -> str:
    """
    Name of the data set that lies in a folder.

    Raises
    ------
    DataSetError
        No folder, a layout nobody knows, or not the layout of the data set that was named.
    """
    if not folder.is_dir():
        raise DataSetError(f'{folder}: no such folder; give the root folder of the data set')
    if name is None:
        found = next((key for key, layout in LAYOUTS.items() if layout.fits(folder)), None)
        if found is None:
            raise DataSetError(
                f'{folder}: not the folder layout of any known data set ({", ".join(LAYOUTS)}); '
                'give the root folder of one')
        return found
    if name not in LAYOUTS:
        raise DataSetError(f'data set {name!r}: choose one of {", ".join(LAYOUTS)}')
    if not LAYOUTS[name].fits(folder):
        raise DataSetError(
            f'{folder}: not the folder layout of {name}: {load_class_map(name).layout}')
    return name


def list_split(name: str, folder: Path, split: str) -> Listing:
    """
    Files of one split of a data set.

    Raises
    ------
    DataSetError
        No such split, nothing in it, or pictures without masks and the reverse.
    """
    listing = LAYOUTS[name].splits(folder, split)
    if not listing.pairs:
        raise DataSetError(
            f'{folder}: split {split!r} has no pictures; choose another, or restore its files')
    return listing


def by_stem(folder: Path) -> dict[str, Path]:
    """
    Image files of a folder by their stem.

    Raises
    ------
    DataSetError
        Two files share a stem.
    """
    files: dict[str, Path] = {}
    for path in image_files(folder):
        if path.stem in files:
            raise DataSetError(
                f'{path}: {files[path.stem].name} has the same stem, so its mask is not certain; '
                'remove one of them')
        files[path.stem] = path
    return files


def match(pictures: dict[str, Path], masks: dict[str, Path]) -> Pairs:
    """
    Pair pictures and masks by their key; none may be left over.

    Raises
    ------
    DataSetError
        Names the first picture without a mask, or mask without a picture.
    """
    for have, lack, what, missing in ((pictures, masks, 'picture', 'mask'),
                                      (masks, pictures, 'mask', 'picture')):
        alone = sorted(have.keys() - lack.keys())
        if alone:
            raise DataSetError(
                f'{have[alone[0]]}: {what} without a {missing} ({len(alone)} of {len(have)} are); '
                f'restore the {missing} or remove the {what}')
    return tuple((pictures[key], masks[key]) for key in sorted(pictures))


def _fits_camvid(folder: Path) -> bool:
    return bool(_camvid_splits(folder))


def _camvid_splits(folder: Path) -> list[str]:
    """Splits that have both folders."""
    return sorted(path.name.removesuffix('annot') for path in folder.glob('?*annot')
                  if path.is_dir() and path.with_name(path.name.removesuffix('annot')).is_dir())


def _camvid(folder: Path, split: str) -> Listing:
    pictures, masks = folder / split, folder / f'{split}annot'
    for part in (pictures, masks):
        if not part.is_dir() or not split:
            raise no_split(folder, split, f'no folder {part.name}', _camvid_splits(folder))
    return Listing(match(by_stem(pictures), by_stem(masks)))


def _fits_ycor(folder: Path) -> bool:
    return (folder / 'images').is_dir() and (folder / 'labels').is_dir()


def _ycor(folder: Path, split: str) -> Listing:
    """All pairs, or those that ``SPLIT.txt`` lists by ID (or by path) where it exists."""
    pictures, masks = by_stem(folder / 'images'), by_stem(folder / 'labels')
    _same_classes(folder / 'classes.txt', 'ycor')
    listed = folder / f'{split}.txt'
    if not listed.is_file():
        return Listing(match(pictures, masks))
    names = [Path(word).name for word in first_words(listed)]
    stems = [name if name in pictures else Path(name).stem for name in names]
    for stem in stems:
        if stem not in pictures:
            raise DataSetError(
                f'{listed}: {stem}: no such picture in {folder / "images"}; restore it, or remove '
                'the line')
    wanted = set(stems)
    return Listing(match({stem: pictures[stem] for stem in stems},
                         {stem: path for stem, path in masks.items() if stem in wanted}))


def _same_classes(path: Path, name: str) -> None:
    """Refuse a folder whose own ``index name ...`` table says other classes."""
    if not path.is_file():
        return
    known = {value: one.name for one in load_class_map(name).classes for value in one.values}
    for line in path.read_text().splitlines():
        index, _, rest = line.partition(' ')
        if index.isdecimal() and rest and int(index) in known:
            given = rest.split()[0]
            if given != known[int(index)]:
                raise DataSetError(
                    f'{path}: class {index} is {given!r}, in {name} it is {known[int(index)]!r}; '
                    'name the data set it is, or correct the file')


def first_words(path: Path) -> list[str]:
    """First word of each line that has any."""
    return [line.split()[0] for line in path.read_text().splitlines() if line.strip()]


def no_split(folder: Path, split: str, why: str, splits: list[str]) -> DataSetError:
    """Error for a split that is not there."""
    return DataSetError(f'{folder}: split {split!r}: {why}; choose one of '
                        f'{", ".join(splits) or "none, the folder has no split"}')


RUGD_PICTURES, RUGD_MASKS = 'RUGD_frames-with-annotations', 'RUGD_annotations'


def _fits_rugd(folder: Path) -> bool:
    return (folder / RUGD_PICTURES).is_dir() and (folder / RUGD_MASKS).is_dir()


def _rugd(folder: Path, split: str) -> Listing:
    """Videos of a published split, or one video by its name."""
    splits = load_class_map('rugd').splits
    pairs: Pairs = ()
    for video in splits.get(split, (split,)):
        pictures, masks = folder / RUGD_PICTURES / video, folder / RUGD_MASKS / video
        for part in (pictures, masks):
            if not part.is_dir() or not video:
                raise no_split(folder, split, f'no folder {part}', [*splits, 'one video'])
        pairs += match(by_stem(pictures), by_stem(masks))
    return Listing(pairs, coloured=True)


RELLIS_PICTURES, RELLIS_IDS = 'pylon_camera_node', 'pylon_camera_node_label_id'
RELLIS_COLOURS = 'pylon_camera_node_label_color'


def _rellis_root(folder: Path) -> Path:
    """The archives unpack into a folder of this name."""
    inner = folder / 'Rellis-3D'
    return inner if inner.is_dir() else folder


def _fits_rellis(folder: Path) -> bool:
    return any(_rellis_root(folder).glob(f'?????/{RELLIS_PICTURES}'))


def _rellis(folder: Path, split: str) -> Listing:
    """Frames that ``SPLIT.lst`` lists; masks of ids, or of colours where those are missing."""
    root = _rellis_root(folder)
    listed = root / f'{split}.lst'
    if not listed.is_file():
        known = sorted(path.stem for path in root.glob('*.lst') if not path.stem.startswith('pt_'))
        raise no_split(folder, split, f'no {listed.name} (Image Split File)', known)
    coloured = not any(root.glob(f'?????/{RELLIS_IDS}'))
    pairs = []
    for line in first_words(listed):
        picture = root / line
        mask = (picture.parent.with_name(RELLIS_COLOURS if coloured else RELLIS_IDS)
                / f'{picture.stem}.png')
        for path, what in ((picture, 'picture'), (mask, 'mask')):
            if not path.is_file():
                raise DataSetError(f'{path}: no such {what}, though {listed.name} lists it; '
                                   'unpack the archive again')
        pairs.append((picture, mask))
    return Listing(tuple(pairs), coloured)


def _fits_cityscapes(folder: Path) -> bool:
    return (folder / 'leftImg8bit').is_dir() and (folder / 'gtFine').is_dir()


def _cityscapes(folder: Path, split: str) -> Listing:
    """All towns of a split."""
    pictures, masks = folder / 'leftImg8bit' / split, folder / 'gtFine' / split
    for part in (pictures, masks):
        if not part.is_dir() or not split:
            known = sorted(path.name for path in (folder / 'gtFine').iterdir() if path.is_dir())
            raise no_split(folder, split, f'no folder {part}', known)
    return Listing(match(_by_name(pictures, '_leftImg8bit.png'),
                         _by_name(masks, '_gtFine_labelIds.png')))


def _by_name(folder: Path, ending: str) -> dict[str, Path]:
    """Files ``TOWN/NAME + ending`` by ``TOWN/NAME``."""
    return {f'{path.parent.name}/{path.name.removesuffix(ending)}': path
            for path in folder.glob(f'*/*{ending}')}


def _fits_kitti(folder: Path) -> bool:
    return all((folder / 'training' / name).is_dir() for name in ('image_2', 'semantic'))


def _kitti(folder: Path, split: str) -> Listing:
    """The 200 labelled pictures; the benchmark has no other split with masks."""
    if split != 'training':
        raise no_split(folder, split, 'KITTI publishes masks of one split', ['training'])
    root = folder / 'training'
    return Listing(match(by_stem(root / 'image_2'), by_stem(root / 'semantic')))


def _fits_worlds(folder: Path) -> bool:
    return bool(bags_in(folder)) or any(
        bags_in(inner) for inner in folder.iterdir() if inner.is_dir())


def _worlds(folder: Path, split: str) -> Listing:
    """Bags of the folder ``SPLIT``; all bags of the folder where there is none."""
    inner = folder / split
    bags = bags_in(inner if split and inner.is_dir() else folder)
    if not bags:
        known = sorted(path.name for path in folder.iterdir() if path.is_dir() and bags_in(path))
        raise no_split(folder, split, 'no such folder with bags', known)
    return Listing(tuple((frame, frame) for bag in bags for frame in frames_of(bag)))


LAYOUTS: dict[str, Layout] = {
    'cityscapes': Layout(_fits_cityscapes, _cityscapes),
    'kitti': Layout(_fits_kitti, _kitti),
    'rugd': Layout(_fits_rugd, _rugd),
    'rellis3d': Layout(_fits_rellis, _rellis),
    'ycor': Layout(_fits_ycor, _ycor),
    'camvid': Layout(_fits_camvid, _camvid),
    'worlds': Layout(_fits_worlds, _worlds),
}
