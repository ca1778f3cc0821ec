# SPDX-License-Identifier: Apache-2.0
"""Pictures and masks from image files: whole or an error, palettes as indices."""

import io
from pathlib import Path

import cv2
import numpy as np
from PIL import Image as Pillow

from perception.errors import DataSetError
from perception.types import Image

SUFFIXES = {'.png', '.jpg', '.jpeg', '.webp', '.bmp', '.tif', '.tiff', '.ppm', '.pgm', '.pnm',
            '.jp2', '.avif'}
REMEDY = 'restore the file from the data set'
_PNG, _JPEG, _JPEG_END = b'\x89PNG\r\n\x1a\n', b'\xff\xd8', b'\xff\xd9'
_TAIL = 1024  # bytes at the end of a JPEG in which its end mark stands


def image_files(folder: Path) -> list[Path]:
    """Image files of a folder, by name; hidden ones are skipped."""
    return sorted(path for path in folder.iterdir()
                  if path.is_file() and not path.name.startswith('.')
                  and (path.suffix.lower() in SUFFIXES or cv2.haveImageReader(str(path))))


def read_picture(path: Path) -> Image:
    """
    Read a picture.

    Returns
    -------
    (H, W, 3) uint8
        BGR; more than 8 bits are scaled down, grey becomes three equal channels.

    Raises
    ------
    DataSetError
        The file is missing, cut off, or no image.
    """
    data = _bytes(path)
    if data.startswith(_PNG):
        return np.ascontiguousarray(_png(path, data, colour=True)[..., ::-1])
    return _decode(path, data, cv2.IMREAD_COLOR)


def read_indices(path: Path) -> Image:
    """
    Read a mask whose value, or palette index, is a label.

    Returns
    -------
    (H, W) uint8 or uint16

    Raises
    ------
    DataSetError
        The file is missing, cut off, no image, or a picture with colours.
    """
    data = _bytes(path)
    if data.startswith(_PNG):
        mask = _png(path, data, colour=False)
    else:
        mask = _decode(path, data, cv2.IMREAD_UNCHANGED)
    if mask.ndim == 2:
        return mask
    if mask.shape[2] in (3, 4) and np.ptp(mask[..., :3], axis=2).any():
        raise DataSetError(
            f'{path}: a mask in colours where label values are expected; use the mask of label '
            'values of this data set')
    return np.ascontiguousarray(mask[..., 0])


def read_colours(path: Path) -> Image:
    """
    Read a mask whose colour is a label.

    Returns
    -------
    (H, W, 3) uint8
        RGB.

    Raises
    ------
    DataSetError
        The file is missing, cut off, or no image.
    """
    return np.ascontiguousarray(read_picture(path)[..., ::-1])


def _bytes(path: Path) -> bytes:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataSetError(f'{path}: {error.strerror or error}; {REMEDY}') from None
    if not data:
        raise DataSetError(f'{path}: empty file; {REMEDY}')
    return data


def _png(path: Path, data: bytes, colour: bool) -> Image:
    """Pixels of a PNG: RGB, or as stored, where OpenCV would turn a palette into colours."""
    try:
        with Pillow.open(io.BytesIO(data)) as picture:
            if not colour or picture.mode.startswith('I'):
                stored = np.asarray(picture)
            else:
                return np.asarray(picture.convert('RGB'))
    except (OSError, SyntaxError, ValueError) as error:
        raise DataSetError(f'{path}: damaged PNG ({error}); {REMEDY}') from None
    if colour:
        return np.repeat((stored >> 8).astype(np.uint8)[..., None], 3, axis=2)
    return stored.astype(np.uint8) if stored.dtype == bool else stored


def _decode(path: Path, data: bytes, flags: int) -> Image:
    """Pixels of any other format by OpenCV."""
    if data.startswith(_JPEG) and _JPEG_END not in data[-_TAIL:]:
        _refuse_cut_jpeg(path, data)
    # OpenCV 4.6 and later versions have it in different places
    set_log_level = getattr(cv2, 'setLogLevel', None) or cv2.utils.logging.setLogLevel
    level = set_log_level(0)  # the error is ours to tell, in one line
    pixels: Image | None = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    set_log_level(level)
    if pixels is None:
        raise DataSetError(f'{path}: damaged, or no image; {REMEDY}')
    return pixels


def _refuse_cut_jpeg(path: Path, data: bytes) -> None:
    """OpenCV fills what is missing of a cut JPEG with grey, so ask Pillow."""
    try:
        with Pillow.open(io.BytesIO(data)) as picture:
            picture.load()
    except OSError as error:
        raise DataSetError(f'{path}: damaged JPEG ({error}); {REMEDY}') from None
