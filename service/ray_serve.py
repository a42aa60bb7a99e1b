"""Replicas on a Ray cluster: the same app in each, a new `user_config` swaps all of them, the queue decides how many.

`docker/ray/serve_config.yaml` is the deployment, docs/scaling.md says how it is run. Ray's proxy reads the requests, so
the limits of `service.http` on slow clients are those of the nginx before it; those on requests hold as everywhere.
"""

import asyncio
import math
from collections.abc import Mapping
from typing import Any

import ray
from fastapi import FastAPI
from ray import serve

from models.format.schema import UnavailableConfiguration
from service.api.admin import choose
from service.api.schemas import ConfigRequest
from service.app import create_app
from service.live.registry import NotReady, Registry
from service.observability import logs
from service.settings import Settings
from service.translation.scheduler import Scheduler

QUEUED_TOKENS = "queued_tokens"
# What a replica may have waiting: source tokens times beam size. About a tenth of a second of one core.
TOKENS_A_REPLICA = 300


def build() -> FastAPI:
    """The app, with a thread for each core that Ray gives the replica; what is live is kept by `user_config`."""
    settings = Settings()
    context: Any = ray.get_runtime_context()
    cores = int(context.get_assigned_resources().get("CPU", 1))
    logs.configure(as_json=settings.log_json)
    return create_app(settings.model_copy(update={"threads": max(cores, 1), "state_file": None}))


@serve.deployment
@serve.ingress(build)
class Replica:
    """One process of the service. Ray calls its methods; requests go to the app."""

    app: FastAPI  # of Ray's wrapper, once `build` has been called

    async def reconfigure(self, user_config: Mapping[str, Any]) -> None:
        """Swap to what the body of PUT /admin/models/NAME/config would say; requests in flight finish on the old one.

        It is for all models that can have it: names and depths of codes differ.

        Raises:
            ValidationError, UnavailableConfiguration: nothing has changed; Ray reports the deployment as unhealthy.
        """
        wish = ConfigRequest.model_validate(dict(user_config))
        registry: Registry = self.app.state.registry
        for name in _able(registry, wish):
            await asyncio.to_thread(
                registry.change, name, lambda files, now: now.activate(choose(files, wish)), wish.policy
            )

    def check_health(self) -> None:
        """Raise NotReady where /health/ready would be 503; Ray then replaces the replica."""
        if not self.app.state.registry.ready:
            raise NotReady

    def record_autoscaling_stats(self) -> dict[str, float]:
        """What `by_queued_tokens` decides upon."""
        scheduler: Scheduler = self.app.state.scheduler
        return {QUEUED_TOKENS: float(scheduler.load().waiting_tokens)}


def _able(registry: Registry, wish: ConfigRequest) -> list[str]:
    """Names of the models that can have what is wished; raises the reason of one if none can."""
    able, reasons = [], []
    for name, model in registry.models.items():
        try:
            choose(model.directory, wish)
            able.append(name)
        except UnavailableConfiguration as reason:
            reasons.append(reason)
    if reasons and not able:
        raise reasons[0]
    return able


def by_queued_tokens(context: Any) -> tuple[int, dict[str, Any]]:
    """How many replicas there should be, by ray.serve.config.AutoscalingContext; Ray applies bounds and delays.

    As many as keep the queue of each under TOKENS_A_REPLICA, and at least as many as the requests that run fill: an
    empty queue does not take away the replicas that keep it empty.
    """
    queued = sum(context.aggregated_metrics.get(QUEUED_TOKENS, {}).values())
    running = context.total_num_requests / context.config.target_ongoing_requests
    return math.ceil(max(queued / TOKENS_A_REPLICA, running)), {}


app = Replica.bind()  # type: ignore[attr-defined]  # a serve.Deployment
