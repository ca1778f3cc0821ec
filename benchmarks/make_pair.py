# SPDX-License-Identifier: Apache-2.0
"""Render the stereo pair that ``lagr bench`` times: ``python benchmarks/make_pair.py``."""

from dataclasses import replace

import cv2

from perception.bench import CAMERA, LEFT, RIGHT
from perception.world.drive import build_world, render_drive
from perception.world.rover import plan_motion
from perception.world.spec import WorldSpec

SPEC = WorldSpec(seed=7, season='clear')
SECONDS, SAMPLE = 2.0, 100
QUALITY = [cv2.IMWRITE_JPEG_QUALITY, 92]


def main() -> None:
    """Write both pictures."""
    world = build_world(SPEC)
    world = replace(world, rig=replace(world.rig, camera=CAMERA))
    motion = plan_motion(SPEC, world.content.terrain, world.obstacles, SECONDS)
    frame = next(render_drive(world, motion, [SAMPLE])).frame
    LEFT.parent.mkdir(exist_ok=True)
    for path, image in ((LEFT, frame.image), (RIGHT, frame.right)):
        if not cv2.imwrite(str(path), image, QUALITY):
            raise OSError(f'{path}: cannot be written')


if __name__ == '__main__':
    main()
