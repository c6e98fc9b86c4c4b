"""A loaded model as programs use it: `cli_ray.load("runs/first").ask("photo.jpg", "What is it?")`."""

import queue
import threading
from collections.abc import Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Literal

import torch

from cli_ray.config.evaluation import ReplicaConfig
from cli_ray.data.sample import Message
from cli_ray.inference.conversation import Conversation, question_of
from cli_ray.inference.engine import Engine
from cli_ray.inference.pictures import Picture, all_encoded
from cli_ray.inference.request import Request
from cli_ray.inference.sampling import Sampling


def replica_here(gpus: float | None = None, dtype: Literal["bf16", "fp32"] | None = None) -> ReplicaConfig:
    """Where a model runs on this machine.

    Args:
        gpus: over which its layers are spread; 0 runs on CPU; None takes one where torch finds any.
        dtype: of weights and activations; None takes bf16 on GPUs and fp32 on CPU.
    """
    if gpus is None:
        gpus = 1 if torch.cuda.is_available() else 0
    return ReplicaConfig(gpus=gpus, dtype=dtype or ("bf16" if gpus else "fp32"))


class LoadedModel:
    """A model that answers questions about images.

    Args:
        engine: of the model.
        allow_urls: whether images may be named by web addresses.
    """

    def __init__(self, engine: Engine, allow_urls: bool = False) -> None:
        self.engine = engine
        self._allow_urls = allow_urls

    def ask(
        self,
        images: Picture | Sequence[Picture],
        question: str,
        *,
        system: str = "",
        sampling: Sampling | None = None,
    ) -> str:
        """The reply to a question.

        Args:
            images: one or several, or none (`()`): paths, encoded bytes, images of Pillow, data URLs, and web addresses
                where the model was loaded with `allow_urls`.
            question: may say by `<image>` marks where in it each image stands; else they come first.
            system: what the model is told before.
            sampling: how the reply is made; greedily with up to 512 tokens if not given.

        Raises:
            BadRequestError: it cannot be asked.
        """
        (answer,) = self.engine.generate([self._request(images, question, system, sampling)])
        if isinstance(answer, Exception):
            raise answer
        return answer.text

    def stream(
        self,
        images: Picture | Sequence[Picture],
        question: str,
        *,
        system: str = "",
        sampling: Sampling | None = None,
    ) -> Generator[str, None, None]:
        """As `ask`, piece by piece. The reply ends when nobody takes the next piece any more."""
        request = self._request(images, question, system, sampling)
        pieces: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        left = threading.Event()
        with ThreadPoolExecutor(1) as pool:
            future = pool.submit(
                self.engine.generate, [request], lambda index, piece: pieces.put(piece), lambda index: left.is_set()
            )
            future.add_done_callback(lambda done: pieces.put(None))
            try:
                while (piece := pieces.get()) is not None:
                    yield piece
            finally:
                left.set()
        (answer,) = future.result()
        if isinstance(answer, Exception):
            raise answer

    def chat(self, *, system: str = "", sampling: Sampling | None = None) -> Conversation:
        """A conversation in turns.

        Args:
            system: what the model is told before all turns.
            sampling: how each reply is made.
        """
        return Conversation(self.engine, system, sampling, allow_urls=self._allow_urls)

    def _request(
        self, images: Picture | Sequence[Picture], question: str, system: str, sampling: Sampling | None
    ) -> Request:
        content = all_encoded(images, allow_urls=self._allow_urls)
        messages = [Message("system", system)] if system else []
        return Request((*messages, question_of(question, len(content))), content, sampling or Sampling())
