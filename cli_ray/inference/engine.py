"""A loaded model that answers batches of requests and hands on their text while it grows.

The commands, the library and each replica of the server have one. Everything that depends on the family of a model
lies below it, in `load` and `inputs`.
"""

import copy
import gc
import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import partial

import torch

from cli_ray.config.evaluation import ReplicaConfig
from cli_ray.inference.drawing import Draw
from cli_ray.inference.injected import Injected
from cli_ray.inference.inputs import ModelInputs, Prompt, encode, inputs_of
from cli_ray.inference.load import context_of, load
from cli_ray.inference.memory import FeatureMemory
from cli_ray.inference.prompts import Prompter
from cli_ray.inference.reply import Replies, Reply, Vocabulary
from cli_ray.inference.request import Answer, BadRequestError, Request
from cli_ray.inference.traces import heat_map, injected, ranges
from cli_ray.model.generation import CliForConditionalGeneration
from cli_ray.model.injection import InjectionTrace

__all__ = ["Answer", "BadRequestError", "Engine", "Request"]

FEATURE_BYTES = 2**30
"""Of the features that are kept for later questions: some 40 images of LLaVA-1.5 7B with injection."""

OnText = Callable[[int, str], None]
IsCancelled = Callable[[int], bool]


@dataclass(frozen=True, slots=True)
class _Row:
    """A request on its way through a batch."""

    index: int
    """Of the request in the call."""
    request: Request
    prompt: Prompt


def _nobody_listens(index: int, piece: str) -> None: ...


def _nobody_cancels(index: int) -> bool:
    return False


@dataclass(frozen=True, slots=True)
class _Call:
    """A call of `generate`, whose requests may take several batches."""

    on_text: OnText
    is_cancelled: IsCancelled
    found: dict[int, Answer | Exception] = field(default_factory=dict)
    """What came of each request."""
    begun: set[int] = field(default_factory=set)
    """Requests whose text has begun."""

    def reply(self, row: _Row, limit: int, vocabulary: Vocabulary) -> Reply:
        """A reply that tells of itself."""

        def tell(piece: str) -> None:
            self.begun.add(row.index)
            self.on_text(row.index, piece)

        return Reply(vocabulary, limit, row.request.sampling.stop, tell, partial(self.is_cancelled, row.index))


class Engine:
    """A model that answers.

    Args:
        model: folder or hub id.
        replica: devices, precision and attention.
        revision: commit of a hub model.

    Raises:
        UserError: the model cannot be loaded.
    """

    def __init__(self, model: str, replica: ReplicaConfig, revision: str = "") -> None:
        self._model, self._processor = load(model, replica, revision)
        self.context: int = context_of(self._model)
        """Tokens of a prompt and its reply together at most."""
        ends = self._model.generation_config.eos_token_id
        # A fast tokenizer must not be used by two threads at once: one for encoding, one for decoding.
        decoder = copy.deepcopy(self._processor.tokenizer)
        self._vocabulary = Vocabulary(decoder, frozenset(ends if isinstance(ends, list) else [ends]))
        self._prompter = Prompter(self._processor, self.context)
        self._encoding, self._generating = threading.Lock(), threading.Lock()
        self._features = FeatureMemory(FEATURE_BYTES)
        self._too_many: float = float("inf")
        """Padded tokens, replies included, of the smallest batch that did not fit into memory."""

    def check(self, request: Request) -> int:
        """Looks at a request; another thread may generate meanwhile.

        Returns:
            The tokens of its prompt, those of images included.

        Raises:
            BadRequestError: it cannot be asked: it is too long, an image is broken, or the chat template refuses it.
        """
        tokens = int(self._inputs([self._prompter(request)]).tokens["attention_mask"].sum())
        self._check_length(tokens)
        return tokens

    def generate(
        self,
        requests: Sequence[Request],
        on_text: OnText = _nobody_listens,
        is_cancelled: IsCancelled = _nobody_cancels,
    ) -> list[Answer | Exception]:
        """Answers requests as one batch; one that does not fit into memory is halved.

        Args:
            requests: any number of them, with and without images.
            on_text: gets the number of a request and the next piece of its text, once that is final: never half a
                character or a part of a stop text. The pieces of a request together are the text of its answer.
            is_cancelled: is asked after each token whether nobody waits for the reply to a request; it ends there.

        Returns:
            For each request its answer, or what went wrong with it alone: a BadRequestError as of `check`, or what
            the model raised for it. One whose text began before its batch failed is not tried again.

        Raises:
            torch.AcceleratorError: the device is lost, and no later batch would succeed.
        """
        call = _Call(on_text, is_cancelled)
        rows = []
        for index, request in enumerate(requests):
            try:
                rows.append(_Row(index, request, self._prompter(request)))
            except Exception as error:  # one request's fault, whatever it is, is its answer
                call.found[index] = error.with_traceback(None)
        with self._generating:
            self._halving(call, rows)
        return [call.found[index] for index in range(len(requests))]

    def _halving(self, call: _Call, rows: Sequence[_Row]) -> None:
        """Answers the rows, and halves them where that fails, down to single ones."""
        failure = self._tried(call, rows) if rows else None
        if failure is None:
            return
        self._features.clear()
        if torch.cuda.is_available():
            gc.collect()
            torch.cuda.empty_cache()
        left = [row for row in rows if row.index not in call.found]
        call.found.update({row.index: failure for row in left if len(rows) == 1 or row.index in call.begun})
        left = [row for row in left if row.index not in call.found]
        middle = (len(left) + 1) // 2
        for half in (left[:middle], left[middle:]):
            self._halving(call, half)

    def _tried(self, call: _Call, rows: Sequence[_Row]) -> Exception | None:
        """Answers the rows, or says why not; no traceback stays to hold tensors."""
        tokens = 0
        try:
            rows, inputs = self._fitting(call, rows)
            if not rows:
                return None
            tokens = inputs.tokens["input_ids"].numel() + sum(row.request.sampling.max_new_tokens for row in rows)
            if len(rows) > 1 and tokens >= self._too_many:
                return torch.OutOfMemoryError("a smaller batch did not fit into memory")
            self._generated(call, rows, inputs)
        except torch.AcceleratorError:
            raise
        except Exception as error:  # the batch is halved, and a single request is told
            if isinstance(error, torch.OutOfMemoryError):
                self._too_many = min(self._too_many, tokens)
            return error.with_traceback(None)
        return None

    def _fitting(self, call: _Call, rows: Sequence[_Row]) -> tuple[Sequence[_Row], ModelInputs]:
        """The rows whose prompts leave room for a reply, and their inputs."""
        inputs = self._inputs([row.prompt for row in rows])
        fitting = []
        for row, tokens in zip(rows, inputs.tokens["attention_mask"].sum(1).tolist(), strict=True):
            try:
                self._check_length(tokens)
                fitting.append(row)
            except BadRequestError as error:
                call.found[row.index] = error.with_traceback(None)
        if fitting and len(fitting) < len(rows):
            inputs = self._inputs([row.prompt for row in fitting])
        return fitting, inputs

    def _generated(self, call: _Call, rows: Sequence[_Row], inputs: ModelInputs) -> None:
        prompts: list[int] = inputs.tokens["attention_mask"].sum(1).tolist()
        samplings = [row.request.sampling for row in rows]
        # Each reply ends where its own prompt leaves no room, so that it does not depend on the batch.
        room = [
            min(sampling.max_new_tokens, self.context - tokens)
            for sampling, tokens in zip(samplings, prompts, strict=True)
        ]
        replies = [call.reply(row, limit, self._vocabulary) for row, limit in zip(rows, room, strict=True)]
        with torch.inference_mode(), self._traced(rows) as traces:
            features = self._features.of(self._model, [row.prompt for row in rows], inputs, self._inputs)
            self._model.generate(
                **encode(self._model, inputs, features),
                max_new_tokens=max(room),
                logits_processor=[Draw(samplings)],
                stopping_criteria=[Replies(replies)],
            )
        what = self._injected(rows, inputs, traces)
        for row, reply, tokens, was_injected in zip(rows, replies, prompts, what, strict=True):
            finish = reply.finish or "length"
            call.found[row.index] = Answer(reply.text, finish, tokens, len(reply.tokens), was_injected)

    def _inputs(self, prompts: Sequence[Prompt]) -> ModelInputs:
        with self._encoding:
            return inputs_of(self._processor, prompts)

    def _traced(self, rows: Sequence[_Row]) -> AbstractContextManager[list[InjectionTrace]]:
        wanted = isinstance(self._model, CliForConditionalGeneration) and any(row.request.gates for row in rows)
        return self._model.base_model.traced() if wanted else nullcontext([])

    def _injected(
        self, rows: Sequence[_Row], inputs: ModelInputs, traces: Sequence[InjectionTrace]
    ) -> Sequence[Injected | None]:
        """What was injected for each row that asked for it."""
        if not traces:
            return [None] * len(rows)
        (trace,) = traces  # of the prompts; no later pass has images
        injection = self._model.base_model.injection
        found: list[Injected | None] = []
        for row, images in zip(rows, ranges([len(images) for images in inputs.images]), strict=True):
            one = injected(trace, (injection.tapped, injection.injected), images) if row.request.gates else None
            if one:
                view = self._processor.view([(image.height, image.width) for image in row.prompt.images])
                one = one.model_copy(update={"heat": heat_map(trace, images.start, view)})
            found.append(one)
        return found

    def _check_length(self, tokens: int) -> None:
        if tokens >= self.context:
            raise BadRequestError(
                f"the prompt has {tokens:,} tokens, which leave no room for a reply in the model's context of "
                f"{self.context:,}: send less text or fewer images"
            )
