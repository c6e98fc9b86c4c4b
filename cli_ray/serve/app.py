"""The Ray Serve application: an ingress that meets the internet, and replicas of the model behind it.

`cli-ray serve` runs it, and `serve deploy jobs/serve.yaml` builds it on a cluster. The two are deployments of
their own, so that what strangers send is parsed and decoded in a process that holds no model.
"""

import asyncio
from collections.abc import AsyncGenerator, Sequence

from ray import serve
from ray.exceptions import RayError, RayTaskError
from ray.serve.exceptions import RayServeException
from ray.serve.handle import DeploymentHandle
from ray.serve.metrics import Counter, Gauge, Histogram
from starlette.applications import Starlette

from cli_ray.config.serving import ServeConfig
from cli_ray.errors import UserError
from cli_ray.inference.request import Answer, Request
from cli_ray.serve.api import Api
from cli_ray.serve.batcher import Batcher, EngineLostError, Said
from cli_ray.serve.key import VARIABLE, key_digest
from cli_ray.serve.refusal import RefusalError, lost

NAME = "cli_ray"
"""Of the application, unless a file for `serve deploy` names it otherwise."""
HEALTH_S = 2.0
"""Between two looks at a replica; one that is dead gets no request for longer."""
SHUTDOWN_S = 30.0
"""Seconds that a replica which is to go has for the replies that it makes."""
WAITING = 16
"""Requests that wait in a replica at least, beside those of a batch."""
SECONDS = [0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 60, 120, 300, 600]
SIZES = [1, 2, 4, 8, 16, 32, 64, 128]


class Replica:
    """A model that answers in batches.

    Raises:
        UserError: at construction, when the model cannot be loaded.
    """

    def __init__(self, config: ServeConfig) -> None:
        from cli_ray.inference.engine import Engine

        sizes = Histogram("cli_ray_serve_batch_size", "Requests of a batch.", boundaries=SIZES)
        engine = Engine(config.model, config.replica)
        self._batcher = Batcher(engine, config.replica, config.wait_ms / 1000, sizes.observe)

    async def reply(self, request: Request, streams: bool) -> AsyncGenerator[Said]:
        """See `Batcher.reply`."""
        async for item in self._batcher.reply(request, streams):
            yield item

    def check_health(self) -> None:
        """Called by Ray Serve, which replaces a replica that raises."""
        if self._batcher.fault is not None:
            raise self._batcher.fault


@serve.ingress()
class Ingress:
    """The HTTP interface.

    Args:
        config: of the server.
        digest: of the key, see `key`.
        replicas: of the model.
    """

    def __init__(self, config: ServeConfig, digest: bytes, replicas: DeploymentHandle) -> None:
        self._api = Api(RemoteModel(replicas, config.replica.attempts), config, digest, Meters())

    def __serve_build_asgi_app__(self) -> Starlette:
        return self._api.application()


class RemoteModel:
    """The replicas as the API sees them. See `api.Model`.

    Args:
        replicas: their handle.
        attempts: tries of a reply whose replica is lost before anything of it was sent.
    """

    def __init__(self, replicas: DeploymentHandle, attempts: int) -> None:
        self._replicas, self._attempts = replicas.options(stream=True), attempts

    async def reply(self, request: Request, streams: bool) -> AsyncGenerator[Said]:
        """See `api.Model`."""
        for _ in range(self._attempts):
            was_sent = False
            stream = self._replicas.reply.remote(request, streams)
            try:
                async for item in stream:
                    was_sent = True
                    yield item
                return
            except RayTaskError as error:
                if not isinstance(error.cause, EngineLostError):
                    raise RefusalError(500, "the model failed on this request", code="model_failed") from error
            except (RayError, RayServeException):  # the process, the node or the whole deployment is gone
                pass
            finally:
                stream.cancel()
            if was_sent:
                break
        raise lost()

    async def replicas(self) -> int:
        """See `api.Model`."""
        return await asyncio.to_thread(running)


def running() -> int:
    """Replicas of the model that are ready."""
    application = serve.status().applications.get(serve.get_replica_context().app_name)
    return application.deployments["Replica"].replica_states.get("RUNNING", 0) if application else 0


class Meters:
    """Ray's metrics of the ingress; Ray gives them to Prometheus. See `api.Watcher`."""

    def __init__(self) -> None:
        self._requests = Counter("cli_ray_serve_requests", "Chats by status.", tag_keys=("status",))
        self._seconds = Histogram("cli_ray_serve_seconds", "From request to the end of the reply.", boundaries=SECONDS)
        self._queue = Gauge("cli_ray_serve_queue", "Replies being asked for as the last request came.")
        self._prompt = Counter("cli_ray_serve_prompt_tokens", "Tokens of prompts, those of images included.")
        self._reply = Counter("cli_ray_serve_reply_tokens", "Tokens generated.")

    def begin(self, taken: int) -> None:
        """See `api.Watcher`."""
        self._queue.set(taken)

    def end(self, status: int, seconds: float) -> None:
        """See `api.Watcher`."""
        self._requests.inc(tags={"status": str(status)})
        self._seconds.observe(seconds)

    def tokens(self, answers: Sequence[Answer]) -> None:
        """See `api.Watcher`."""
        if answers:
            self._prompt.inc(answers[0].prompt_tokens)
            # A reply may be empty, and Ray's counters refuse to grow by nothing.
            if reply_tokens := sum(answer.reply_tokens for answer in answers):
                self._reply.inc(reply_tokens)


def application(config: ServeConfig, digest: bytes) -> serve.Application:
    """The application, to be run.

    Args:
        config: of the server.
        digest: of the key that requests must bring; empty if none.
    """
    replica, batch = config.replica, config.replica.batch_size
    replicas = serve.deployment(
        Replica,
        ray_actor_options={"num_cpus": replica.cpus, "num_gpus": replica.gpus},
        # One batch is generated while the next one fills. Ray's router looks for room in a full replica only twice a
        # second, so that small batches need more waiting in it.
        max_ongoing_requests=2 * max(batch, WAITING),
        autoscaling_config={
            "min_replicas": config.min_replicas,
            "max_replicas": config.max_replicas,
            "target_ongoing_requests": batch,
        },
        max_constructor_retry_count=1,
        health_check_period_s=HEALTH_S,
        graceful_shutdown_timeout_s=SHUTDOWN_S,
    )
    ingress = serve.deployment(
        Ingress,
        ray_actor_options={"num_cpus": 0},
        # The limit is `limits.queue`; requests beyond it must come in to be refused.
        max_ongoing_requests=8 * config.limits.queue + 64,
        graceful_shutdown_timeout_s=SHUTDOWN_S,
    )
    return ingress.bind(config, digest, replicas.bind(config))


def build(config: ServeConfig) -> serve.Application:
    """For `serve deploy` and `serve run`, which give the `args` of their file.

    Raises:
        UserError: there is no key in the environment.
    """
    if not (digest := key_digest()):
        raise UserError(f"put the key that requests must bring into the environment variable {VARIABLE} of the cluster")
    return application(config, digest)
