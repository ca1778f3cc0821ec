# SPDX-License-Identifier: Apache-2.0
"""Draw stereo pairs of one world with class, depth and instance of every left pixel."""

from dataclasses import dataclass
from types import TracebackType
from typing import Any

import numpy as np

from perception.types import Camera, Float, Image, Mask
from perception.world.content import Content
from perception.world.scene import Group, Scene
from perception.world.terrain import SIZE_M

NEAR_M, FAR_M = 0.1, 900.0
CULL_MARGIN_M = 0.4  # covers the baseline: the right eye uses what the left one sees


@dataclass(frozen=True)
class Rendered:
    """
    One ideal stereo pair and the truth of the left picture.

    ``left``, ``right`` (H, W, 3) uint8 BGR; ``class_ids`` (H, W) uint8; ``depth`` (H, W) float32
    [m], NaN = sky; ``instance`` (H, W) int32, 0 = ground or sky.
    """

    left: Image
    right: Image
    class_ids: Image
    depth: Float
    instance: Any


class Renderer:
    """Context manager that draws one world; one may be open in a process at a time."""

    def __init__(self, content: Content, camera: Camera) -> None:
        """Upload the world and bake its light."""
        self.camera = camera
        textures = content.textures
        self.scene = Scene(content.terrain, content.look, textures.tile_m)
        self.scene.add_textures(textures.ground, textures.surfaces, textures.noise)
        for thing in content.things:
            for part in thing.parts:
                self.scene.add_group(thing.instances, part, thing.radius_m, thing.first_id)
        self.scene.bake()
        context, size = self.scene.context, (camera.width, camera.height)
        self._target = context.framebuffer(
            [context.texture(size, 4), context.texture(size, 2, dtype='f4')],
            context.depth_renderbuffer(size))
        self._visible_blocks = np.zeros(0, int)
        self._visible_counts: list[int] = []

    def __enter__(self) -> 'Renderer':
        """Return the renderer."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Free the graphics context."""
        self.scene.release()

    def stereo(self, world_from_left: Float, world_from_right: Float) -> Rendered:
        """Draw both eyes; poses (4, 4) are of the optical frames."""
        self._cull(world_from_left)
        left = self._draw(world_from_left)
        truth = np.empty((self.camera.height, self.camera.width, 2), np.float32)
        self._target.read_into(truth, components=2, attachment=1, dtype='f4', alignment=1)
        right = self._draw(world_from_right)
        depth = np.where(truth[..., 0] > 0, truth[..., 0], np.float32(np.nan))
        return Rendered(
            left=np.ascontiguousarray(left[..., :3]), right=np.ascontiguousarray(right[..., :3]),
            class_ids=np.ascontiguousarray(left[..., 3]), depth=depth,
            instance=truth[..., 1].astype(np.int32))

    def _cull(self, world_from_camera: Float) -> None:
        """Choose blocks, instances and detail levels once for both eyes, nearest first."""
        scene, eye = self.scene, world_from_camera[:3, 3]
        seen, _ = self._in_view(world_from_camera, scene.block_centre, scene.block_radius)
        blocks = np.flatnonzero(seen)
        distance = ((scene.block_centre[blocks] - eye) ** 2).sum(1)
        self._visible_blocks = blocks[np.argsort(distance)]
        self._visible_counts = [self._cull_group(g, world_from_camera) for g in scene.groups]

    def _cull_group(self, group: Group, world_from_camera: Float) -> int:
        rows, eye = group.rows, world_from_camera[:3, 3]
        seen, z = self._in_view(world_from_camera, rows[:, :3], group.radius_m * rows[:, 4])
        away = np.hypot(rows[:, 0] - eye[0], rows[:, 1] - eye[1])
        if group.radius_m < SIZE_M:
            seen &= (away >= group.part.near_m) & (away < group.part.far_m)
        chosen = np.flatnonzero(seen)
        chosen = chosen[np.argsort(z[chosen])]
        if len(chosen):
            group.buffer.write(np.ascontiguousarray(rows[chosen]).tobytes())
        return len(chosen)

    def _in_view(
        self, world_from_camera: Float, centre: Float, radius: Float
    ) -> tuple[Mask, Float]:
        """Spheres that touch the view cone, and their depth [m]."""
        camera = self.camera
        local = (centre - world_from_camera[:3, 3]) @ world_from_camera[:3, :3]
        z, r = local[:, 2], radius + CULL_MARGIN_M
        seen: Mask = z > -r
        for axis, half in ((0, camera.width / 2 / camera.fx), (1, camera.height / 2 / camera.fy)):
            seen &= np.abs(local[:, axis]) < z * half + r * np.hypot(1, half)
        return seen, z

    def _draw(self, world_from_camera: Float) -> Image:
        """Draw one eye; returns (H, W, 4) uint8, BGR and class id."""
        scene = self.scene
        self._target.use()
        self._target.clear(0, 0, 0, 0, depth=1.0)
        scene.context.enable(scene.context.DEPTH_TEST)
        self._set_view(world_from_camera)
        self._draw_objects()
        self._draw_ground()
        scene.context.depth_func = '<='
        scene.sky_array.render()
        scene.context.depth_func = '<'
        pixels = np.empty((self.camera.height, self.camera.width, 4), np.uint8)
        self._target.read_into(pixels, components=4, alignment=1)
        return pixels

    def _set_view(self, world_from_camera: Float) -> None:
        camera_from_world = np.linalg.inv(world_from_camera)
        clip_from_world = _projection(self.camera) @ camera_from_world
        view = clip_from_world.T.astype('f4').tobytes()
        eye = tuple(world_from_camera[:3, 3].tolist())
        for program in self.scene.programs:
            program['uCam'] = eye
            if 'uView' in program:
                program['uView'].write(view)
                program['uZ'] = tuple(camera_from_world[2].tolist())
        self.scene.sky_program['uInverse'].write(
            np.linalg.inv(clip_from_world).T.astype('f4').tobytes())

    def _draw_objects(self) -> None:
        program = self.scene.object_program
        for group, count in zip(self.scene.groups, self._visible_counts, strict=True):
            if count:
                program['uCard'] = float(group.part.card)
                group.array.render(instances=count)

    def _draw_ground(self) -> None:
        scene = self.scene
        scene.terrain_program['uFar'] = 0.0
        for block in self._visible_blocks:
            scene.terrain_array.render(
                vertices=int(scene.block_count[block]), first=int(scene.block_start[block]))
        scene.terrain_program['uFar'] = 1.0
        scene.hills_array.render()


def _projection(camera: Camera) -> Float:
    """Clip from optical frame, straight from the intrinsics: row 0 of the picture is the top."""
    w, h = camera.width, camera.height
    clip = np.zeros((4, 4))
    clip[0, 0], clip[0, 2] = 2 * camera.fx / w, 2 * (camera.cx + 0.5) / w - 1
    clip[1, 1], clip[1, 2] = 2 * camera.fy / h, 2 * (camera.cy + 0.5) / h - 1
    clip[2, 2] = (FAR_M + NEAR_M) / (FAR_M - NEAR_M)
    clip[2, 3] = -2 * FAR_M * NEAR_M / (FAR_M - NEAR_M)
    clip[3, 2] = 1
    return clip
