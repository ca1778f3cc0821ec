# SPDX-License-Identifier: Apache-2.0
"""
lagr_perception: camera images in, traversability to the horizon and cost maps out.

Modules in the order of the data: camera, stereo, ground_plane, horizon, pyramid, contrast,
inference, supervisor, polar_map, costmap; pipeline joins them.
"""
