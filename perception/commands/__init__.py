# SPDX-License-Identifier: Apache-2.0
"""The command line ``lagr``: one thin file for each subcommand, joined in ``main``."""
