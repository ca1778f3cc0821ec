# SPDX-License-Identifier: Apache-2.0
"""The ROS nodes; the only place that imports rclpy."""

import os

# As in the command `lagr`, which `ros2 run` and launch files do not come by: threads of BLAS wait
# with a core to themselves, and take it from the second thread of the chain.
os.environ.setdefault('OPENBLAS_NUM_THREADS', '1')
