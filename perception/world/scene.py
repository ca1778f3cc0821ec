# SPDX-License-Identifier: Apache-2.0
"""One world on the graphics card: textures, meshes, instances, baked light."""

import ctypes
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perception.errors import WorldError
from perception.types import Float, Image
from perception.world import shaders
from perception.world.layout import Instances
from perception.world.meshes import LAYERS, Part
from perception.world.seasons import Look
from perception.world.terrain import SIZE_M, Terrain

PACKAGES = 'apt install libegl1 libegl-mesa0 libgl1 libgl1-mesa-dri; pip install moderngl'
EGL: Any = {'backend': 'egl', 'libgl': 'libGL.so.1', 'libegl': 'libEGL.so.1'}
SHADOW_TEXELS = 4096
BAKE_TEXELS = 4096
SHADOW_DEPTH_M = 120.0
BLOCK = 17  # posts on a side of a terrain block, the unit of culling
UNIT = {'sGround': 0, 'sSurface': 1, 'sSplat': 2, 'sNoise': 3, 'sShadow': 4, 'sBake': 5}

Index = NDArray[np.integer[Any]]


@dataclass
class Group:
    """Instances of one part: ``rows`` (N, 12) float32 as the vertex shader reads them."""

    rows: Float
    radius_m: float
    part: Part
    buffer: Any
    array: Any
    shadow_array: Any


def open_context() -> Any:
    """
    Open an off-screen OpenGL 3.3 context.

    Raises
    ------
    WorldError
        No moderngl, no EGL or no driver; the text names the packages.
    """
    try:
        import moderngl
        for library in ('libEGL.so.1', 'libGL.so.1'):
            ctypes.CDLL(library)
    except (ImportError, OSError) as error:
        raise WorldError(f'cannot render the world: {error}; {PACKAGES}') from None
    try:
        return moderngl.create_context(standalone=True, require=330, **EGL)
    except Exception as error:  # noqa: BLE001 - glcontext raises nothing narrower
        text = ' '.join(str(error).split())
        raise WorldError(f'cannot render the world: EGL gives no context ({text}); '
                         f'{PACKAGES}') from None


class Scene:
    """Everything that stays the same from frame to frame; ``release`` frees it."""

    def __init__(self, terrain: Terrain, look: Look, tile_m: float) -> None:
        """Open the context, compile the programs and upload the terrain."""
        self.terrain, self.look = terrain, look
        self.context = open_context()
        self.groups: list[Group] = []
        make = self.context.program
        self.terrain_program = make(shaders.TERRAIN_VERTEX, shaders.TERRAIN_FRAGMENT)
        self.object_program = make(shaders.OBJECT_VERTEX, shaders.OBJECT_FRAGMENT)
        self.sky_program = make(shaders.SKY_VERTEX, shaders.SKY_FRAGMENT)
        self._object_shadow = make(shaders.OBJECT_VERTEX, shaders.OBJECT_SHADOW_FRAGMENT)
        self._textures: dict[str, Any] = {}
        self._add_terrain()
        triangle = self.context.buffer(np.array([-1, -1, 3, -1, -1, 3], 'f4').tobytes())
        self.sky_array = self.context.vertex_array(self.sky_program, [(triangle, '2f', 'in_pos')])
        self._light = {
            'uSun': look.sun_direction, 'uSunColour': look.sun, 'uAmbient': look.ambient,
            'uHaze': look.haze, 'uZenith': look.zenith, 'uFog': look.fog_per_m,
            'uCloud': look.cloud, 'uSize': SIZE_M, 'uTile': tile_m, **UNIT,
        }

    @property
    def programs(self) -> tuple[Any, ...]:
        """Programs that draw a picture."""
        return self.terrain_program, self.object_program, self.sky_program

    def add_textures(self, ground: list[Image], surfaces: dict[str, Image], noise: Image) -> None:
        """Upload the ground layers, the layers of objects and the (n, n) uint8 noise."""
        solid = [np.dstack([g, np.full(g.shape[:2], 255, np.uint8)]) for g in ground]
        self._textures['sGround'] = self._texture_stack(solid)
        self._textures['sSurface'] = self._texture_stack([surfaces[name] for name in LAYERS])
        splat = self.terrain.splat
        self._textures['sSplat'] = self.context.texture(splat.shape[:2], 4, splat.tobytes())
        self._textures['sSplat'].repeat_x = self._textures['sSplat'].repeat_y = False
        self._textures['sNoise'] = self._mipmapped(
            self.context.texture(noise.shape, 1, noise.tobytes()))

    def add_group(self, things: Instances, part: Part, radius_m: float, first_id: int) -> None:
        """Upload the copies of one part; instance ids count from ``first_id``."""
        count, context = len(things), self.context
        variant = things.variant if part.paired else np.zeros(count)
        rows = np.c_[things.position, things.yaw, things.scale, things.stretch, things.tint,
                     np.full(count, part.class_id), first_id + np.arange(count), variant]
        rows = rows.astype(np.float32)
        mesh, buffer = context.buffer(part.mesh.tobytes()), context.buffer(rows.tobytes())
        array = context.vertex_array(self.object_program, [
            (mesh, '3f 3f 2f 1f', 'in_pos', 'in_nrm', 'in_uv', 'in_layer'),
            (buffer, '3f 3f 3f 3f/i', 'i_pos', 'i_shape', 'i_tint', 'i_meta')])
        shadow = context.vertex_array(self._object_shadow, [
            (mesh, '3f 3x4 2f 1f', 'in_pos', 'in_uv', 'in_layer'),
            (buffer, '3f 3f 3x4 3f/i', 'i_pos', 'i_shape', 'i_meta')])
        self.groups.append(Group(rows, radius_m, part, buffer, array, shadow))

    def bake(self) -> None:
        """Cast the sun's shadows once, bake them into the ground, set the constants."""
        shadow_from_world = self._shadow_matrix()
        matrix = shadow_from_world.T.astype('f4').tobytes()
        self._draw_shadow_map(matrix)
        self._draw_ground_light(matrix)
        for program in self.programs:
            self._set_constants(program, matrix)
        for name, texture in self._textures.items():
            texture.use(UNIT[name])

    def release(self) -> None:
        """Free the context and everything in it."""
        self.context.release()

    def _set_constants(self, program: Any, shadow_matrix: bytes) -> None:
        for name, value in self._light.items():
            if name in program:
                program[name] = value if np.isscalar(value) else tuple(np.asarray(value).tolist())
        if 'uShadow' in program:
            program['uShadow'].write(shadow_matrix)

    def _mipmapped(self, texture: Any) -> Any:
        texture.build_mipmaps()
        texture.filter = (self.context.LINEAR_MIPMAP_LINEAR, self.context.LINEAR)
        return texture

    def _texture_stack(self, images: list[Image]) -> Any:
        data = np.ascontiguousarray(np.stack(images))
        size = (data.shape[2], data.shape[1], data.shape[0])
        texture = self._mipmapped(self.context.texture_array(size, 4, data.tobytes()))
        texture.repeat_x = texture.repeat_y = True
        return texture

    def _add_terrain(self) -> None:
        heights = self.terrain.heights
        posts = np.linspace(-SIZE_M / 2, SIZE_M / 2, len(heights))
        vertices = _height_mesh(posts, heights)
        index, blocks = _blocks(len(heights))
        self._terrain_vertices = self.context.buffer(vertices.tobytes())
        self._terrain_index = self.context.buffer(np.concatenate(index).astype('i4').tobytes())
        self.terrain_array = self.context.vertex_array(
            self.terrain_program, [(self._terrain_vertices, '3f 3f', 'in_pos', 'in_nrm')],
            self._terrain_index)
        corners = [vertices[i][:, :3] for i in index]
        self.block_centre = np.array([(c.min(0) + c.max(0)) / 2 for c in corners])
        self.block_radius = np.array([
            np.linalg.norm(c - m, axis=1).max()
            for c, m in zip(corners, self.block_centre, strict=True)])
        self.block_start, self.block_count = blocks
        self._add_hills()

    def _add_hills(self) -> None:
        """Coarse ground beyond the edge that rises to far hills."""
        posts, heights = far_hills(self.terrain)
        k = len(posts)
        i, j = np.meshgrid(np.arange(k - 1), np.arange(k - 1), indexing='ij')
        middle = np.abs(posts[:-1] + (posts[1] - posts[0]) / 2)
        corner = (i * k + j)[np.maximum(middle[:, None], middle[None]) > SIZE_M / 2 - 10]
        vertices = self.context.buffer(_height_mesh(posts, heights).tobytes())
        index = self.context.buffer(_two_triangles(corner, k).ravel().astype('i4').tobytes())
        self.hills_array = self.context.vertex_array(
            self.terrain_program, [(vertices, '3f 3f', 'in_pos', 'in_nrm')], index)

    def _shadow_matrix(self) -> Float:
        sun = self.look.sun_direction
        right = np.cross([0, 0, 1], sun)
        right /= np.linalg.norm(right)
        turn = np.eye(4)
        turn[:3, :3] = [right, np.cross(sun, right), sun]
        reach = SIZE_M / 2 * 1.42
        return np.diag([1 / reach, 1 / reach, -1 / SHADOW_DEPTH_M, 1]) @ turn

    def _draw_shadow_map(self, matrix: bytes) -> None:
        context = self.context
        depth = context.depth_texture((SHADOW_TEXELS, SHADOW_TEXELS))
        depth.compare_func, depth.filter = '<=', (context.LINEAR, context.LINEAR)
        depth.repeat_x = depth.repeat_y = False
        target = context.framebuffer(depth_attachment=depth)
        target.use()
        target.clear(depth=1.0)
        context.enable(context.DEPTH_TEST)
        ground = context.program(shaders.TERRAIN_SHADOW_VERTEX, shaders.TERRAIN_SHADOW_FRAGMENT)
        ground['uView'].write(matrix)
        context.vertex_array(
            ground, [(self._terrain_vertices, '3f 3x4', 'in_pos')], self._terrain_index).render()
        self._textures['sSurface'].use(UNIT['sSurface'])
        self._object_shadow['sSurface'] = UNIT['sSurface']
        self._object_shadow['uView'].write(matrix)
        for group in self.groups:
            self._object_shadow['uCard'] = float(group.part.card)
            group.shadow_array.render(instances=len(group.rows))
        self._textures['sShadow'] = depth

    def _draw_ground_light(self, shadow_matrix: bytes) -> None:
        context = self.context
        size = (BAKE_TEXELS, BAKE_TEXELS)
        light = context.texture(size, 2)
        target = context.framebuffer([light], context.depth_renderbuffer(size))
        target.use()
        target.clear(depth=1.0)
        program = context.program(shaders.TERRAIN_VERTEX, shaders.BAKE_FRAGMENT)
        from_above = np.diag([2 / SIZE_M, 2 / SIZE_M, -1 / SHADOW_DEPTH_M, 1])
        program['uView'].write(from_above.astype('f4').tobytes())
        self._set_constants(program, shadow_matrix)
        for name in ('sNoise', 'sShadow'):
            self._textures[name].use(UNIT[name])
        context.vertex_array(program, [(self._terrain_vertices, '3f 3f', 'in_pos', 'in_nrm')],
                             self._terrain_index).render()
        light.build_mipmaps()
        light.filter = (context.LINEAR_MIPMAP_NEAREST, context.LINEAR)
        light.repeat_x = light.repeat_y = False
        self._textures['sBake'] = light


def far_hills(terrain: Terrain) -> tuple[Float, Float]:
    """Posts (k,) [m] of a square grid around the world and its heights (k, k) float32 [m]."""
    posts = np.linspace(-440.0, 440.0, 81)
    x, y = np.meshgrid(posts, posts)
    edge = SIZE_M / 2 - 0.1
    level = terrain.height(np.clip(x, -edge, edge), np.clip(y, -edge, edge))
    reach = np.maximum(np.abs(x), np.abs(y))
    share = np.clip((reach - edge) / 130, 0, 1)
    wave = np.sin(x / 61 + 1.3) * np.sin(y / 83 + 0.4) + 0.5 * np.sin((x + y) / 37)
    hills = level * (1 - share) + share * (6 + 9 * wave) - np.where(reach < edge, 1.5, 0)
    return posts, hills.astype(np.float32)


def _height_mesh(posts: Float, heights: Float) -> Float:
    """Vertices (n * n, 6) float32: position and normal of a square height grid."""
    x, y = np.meshgrid(posts, posts)
    slope_y, slope_x = np.gradient(heights, posts[1] - posts[0])
    normal = np.dstack([-slope_x, -slope_y, np.ones_like(slope_x)])
    normal /= np.linalg.norm(normal, axis=2, keepdims=True)
    return np.concatenate([np.dstack([x, y, heights]), normal], 2).reshape(-1, 6).astype('f4')


def _two_triangles(corner: Index, n: int) -> Index:
    a = corner.ravel()
    return np.stack([a, a + 1, a + n + 1, a, a + n + 1, a + n], 1)


def _blocks(n: int) -> tuple[list[Index], tuple[Index, Index]]:
    """Triangle indices of each block, and the start and count of each in the whole buffer."""
    index = []
    for top in range(0, n - 1, BLOCK):
        for left in range(0, n - 1, BLOCK):
            rows = np.arange(top, min(top + BLOCK, n - 1))
            columns = np.arange(left, min(left + BLOCK, n - 1))
            index.append(_two_triangles(rows[:, None] * n + columns, n).ravel())
    count = np.array([len(i) for i in index])
    return index, (np.r_[0, np.cumsum(count)[:-1]], count)
