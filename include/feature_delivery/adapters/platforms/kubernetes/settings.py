"""What one ``KubernetesPlatform`` is made with."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from feature_delivery.domain.cluster import ClusterConfig

PORT = 8080
"""Where every shop listens inside its pod; the Service in front of it answers on 80."""


@dataclass(frozen=True, slots=True)
class Settings:
    """Settings of one platform.

    Attributes:
        instance: Id of this installation; objects of another one are never touched.
        config: What the project file says of the cluster.
        repository: Where init containers clone from; needs no password in it, ``config.git_secret`` names one.
        request_timeout: For each single request to the API server.
        look_every: How often a blocking wait looks again; tasks of a delivery defer instead.
        install_timeout: For each migration or command without a limit of its own.
        start_allowance: What a rollout may take beyond the shop's own health time-out: images, clone, install.
        build_timeout: For the project's own build of an image.
        destroy_timeout: How long a namespace may take to go before its finalizers are reported.
    """

    instance: str
    config: ClusterConfig
    repository: str = ""
    request_timeout: timedelta = timedelta(seconds=30)
    look_every: timedelta = timedelta(seconds=1)
    install_timeout: timedelta = timedelta(minutes=15)
    start_allowance: timedelta = timedelta(minutes=10)
    destroy_timeout: timedelta = timedelta(minutes=5)
    build_timeout: timedelta = timedelta(minutes=60)
