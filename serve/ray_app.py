"""The app of `almtok serve` as a Ray Serve application: replicas behind one address.

    serve run almtok.serve.ray_app:build checkpoint=runs/mine replicas=2

Every replica is a process with its own model, scheduler, queue and metrics, and batches the
requests that Ray sends to it. `ray.yaml` beside this file is the same as a file for `serve deploy`.
"""

from __future__ import annotations

import dataclasses
import os
from typing import Any

from .settings import KEY_VARIABLE, settings_from

try:
    from ray import serve
except ImportError as error:
    raise ImportError("almtok.serve.ray_app needs Ray: pip install 'ray[serve]'") from error

RESOURCES = ("replicas", "cpus", "gpus")


def build(arguments: dict[str, Any]) -> serve.Application:
    """Make the application of Ray Serve.

    Args:
        arguments: `replicas` (1), `cpus` (1) and `gpus` (0) of each replica, and fields of
            :class:`ServerSettings` but `host` and `port`, which Ray decides. The key may come from
            the environment of the replicas, as that of `almtok serve` does.

    Raises:
        ValueError: for an unknown argument or a value out of range.
    """
    own = {name: value for name, value in arguments.items() if name not in RESOURCES}
    settings = settings_from(own)
    replicas, cpus, gpus = (_number(arguments, name) for name in RESOURCES)

    def app() -> Any:  # called by every replica
        from .app import create_app, load_pipeline

        keyed = settings
        if keyed.api_key is None and (key := os.environ.get(KEY_VARIABLE)):
            keyed = dataclasses.replace(keyed, api_key=key)
        return create_app(keyed, load_pipeline(keyed))

    deployment = serve.deployment(
        name="almtok",
        num_replicas=int(replicas),
        ray_actor_options={"num_cpus": cpus, "num_gpus": gpus},
        # The app has a queue of its own, and answers 429 when it is full.
        max_ongoing_requests=settings.max_batch + settings.max_queue,
        graceful_shutdown_timeout_s=settings.grace_seconds,
    )
    return deployment(serve.ingress(app)(Replica)).bind()


class Replica:
    """One process with the model; all its routes are those of the app."""


def _number(arguments: dict[str, Any], name: str) -> float:
    value = arguments.get(name, 0 if name == "gpus" else 1)
    try:
        return float(value)
    except (TypeError, ValueError):
        raise ValueError(f"{name} must be a number, got {value!r}") from None
