"""Environments as real processes on this machine: the embedded default.

Code of a branch runs as the user that runs Airflow. It gets a scrubbed environment, but nothing here is a sandbox.
"""

from feature_delivery.adapters.platforms.local.local_platform import LocalPlatform
from feature_delivery.adapters.platforms.local.settings import Settings

__all__ = ["LocalPlatform", "Settings"]
