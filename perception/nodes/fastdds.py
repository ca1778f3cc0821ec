# SPDX-License-Identifier: Apache-2.0
"""
Give Fast DDS room for images before rclpy starts.

By default its shared-memory segment is 512 KiB: a 640x480 colour image does not fit, and every
best-effort one is lost without a word.
"""

import os
from pathlib import Path

from perception.share import share_folder

VARIABLE = 'FASTDDS_DEFAULT_PROFILES_FILE'
USERS_OWN = (VARIABLE, 'FASTRTPS_DEFAULT_PROFILES_FILE')


def profile_path() -> Path:
    """The profile that this package ships."""
    return share_folder() / 'config' / 'fastdds_shm.xml'


def apply_profile() -> str:
    """
    Point Fast DDS at the shipped profile, unless the user chose one; call before rclpy.init.

    Returns
    -------
    str
        The profile in use and whose it is, for the log and the diagnostics.
    """
    for name in USERS_OWN:
        if os.environ.get(name):
            return f'{os.environ[name]} (set by {name})'
    if Path('DEFAULT_FASTDDS_PROFILES.xml').is_file():
        return 'DEFAULT_FASTDDS_PROFILES.xml of the working folder'
    path = profile_path()
    os.environ[VARIABLE] = str(path)
    return str(path)


def loss_hint() -> str:
    """What to do where a publisher is matched but its images never come."""
    return (f'Fast DDS loses large best-effort messages by default: start the publisher with '
            f'{VARIABLE}={profile_path()}, or publish reliable')
