# SPDX-License-Identifier: Apache-2.0
"""Drive on the cost map: planner, candidate arcs, a rover, and trials in synthetic worlds."""
