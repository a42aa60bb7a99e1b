"""Replicas on a Ray cluster: the same app in each; a new `user_config` swaps all of them, the queue scales them.

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
from service.api.admin_schemas import ConfigRequest
from service.app import create_app
from service.live.configurations import ConfigurationChoice, choose
from service.live.model import NotReady
from service.live.registry import Registry
from service.observability import logs
from service.settings import Settings
from service.translation.scheduler import Scheduler

QUEUED_TOKENS = "queued_tokens"
# Source tokens times beam size that may wait in a replica: about a tenth of a second of one core.
TOKENS_A_REPLICA = 300


def build() -> FastAPI:
    """Build the app with a thread for each core of the replica; `user_config` stands for the desired state."""
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
        """Swap as PUT /admin/models/NAME/config does with this body; requests in flight finish on the old one.

        All models that can serve the configuration are swapped: names and depths of codes differ.

        Raises:
            UnavailableConfiguration: no model can serve it. Nothing has changed; Ray reports the deployment as
                unhealthy, as for the pydantic.ValidationError of a bad `user_config`.
        """
        body = ConfigRequest.model_validate(dict(user_config))
        registry: Registry = self.app.state.registry
        for name in _able(registry, body.choice):
            await asyncio.to_thread(
                registry.change, name, lambda files, now: now.activate(choose(files, body.choice)), body.policy
            )

    def check_health(self) -> None:
        """Raise NotReady where /health/ready would be 503; Ray then replaces the replica."""
        if not self.app.state.registry.ready:
            raise NotReady

    def record_autoscaling_stats(self) -> dict[str, float]:
        """Return what `by_queued_tokens` decides upon."""
        scheduler: Scheduler = self.app.state.scheduler
        return {QUEUED_TOKENS: float(scheduler.load().waiting_tokens)}


def _able(registry: Registry, asked: ConfigurationChoice) -> list[str]:
    """Name the models that can serve the configuration. Raises UnavailableConfiguration if none can."""
    able, reasons = [], []
    for name, model in registry.models.items():
        try:
            choose(model.directory, asked)
            able.append(name)
        except UnavailableConfiguration as reason:
            reasons.append(reason)
    if reasons and not able:
        raise reasons[0]
    return able


def by_queued_tokens(context: Any) -> tuple[int, dict[str, Any]]:
    """Return how many replicas there should be, as a policy of Ray's autoscaler, which applies bounds and delays.

    The count keeps the queue of each replica under TOKENS_A_REPLICA, and is at least what the running requests fill: an
    empty queue does not take away the replicas that keep it empty.

    Args:
        context: a ray.serve.config.AutoscalingContext.
    """
    queued = sum(context.aggregated_metrics.get(QUEUED_TOKENS, {}).values())
    running = context.total_num_requests / context.config.target_ongoing_requests
    return math.ceil(max(queued / TOKENS_A_REPLICA, running)), {}


app = Replica.bind()  # type: ignore[attr-defined]  # a serve.Deployment
