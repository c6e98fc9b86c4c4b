"""The model side of a replica: from a batch of benchmark items to records. Knows nothing of Ray.

`Replica` prepares one batch while it generates another; a batch that fails is halved down to the item that does it.
"""

import copy
import gc
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from PIL import Image

from cli_ray.data.images import decode_all
from cli_ray.data.sample import BadDataError, Message
from cli_ray.evals.generation.beginnings import can_share, share
from cli_ray.evals.generation.job import Batch, DeviceLostError, Job, one_line, record_of
from cli_ray.evals.generation.messages import with_marks
from cli_ray.evals.items.images import LIMITS, images_of
from cli_ray.evals.items.pictures import is_shown
from cli_ray.evals.items.sources import read
from cli_ray.evals.records import ReplyRecord
from cli_ray.inference.injected import Injected
from cli_ray.inference.inputs import ModelInputs, Prompt, encode, inputs_of
from cli_ray.inference.load import chat_of, context_of, load
from cli_ray.inference.traces import heat_map, injected, ranges
from cli_ray.model.injection import InjectionTrace

if TYPE_CHECKING:
    from cli_ray.evals.items.survey import Entry


@dataclass(frozen=True, slots=True)
class PreparedItem:
    """An item that is ready for the processor."""

    entry: "Entry"
    prompt: Prompt


@dataclass(frozen=True, slots=True)
class PreparedBatch:
    """A batch read, decoded and tokenised."""

    batch: Batch
    items: list[PreparedItem]
    inputs: ModelInputs | None
    """Of all items; None if the processor refused them."""
    failed: list[ReplyRecord]
    """Of items that cannot be put to the model."""


class Predictor:
    """A model that answers batches. One thread may prepare a batch while another one generates.

    Raises:
        UserError: at construction, when the model cannot be loaded.
    """

    def __init__(self, job: Job) -> None:
        self._job = job
        self._model, self._processor = load(job.model, job.replica, job.revision)
        # A fast tokenizer must not be used by two threads at once: one for encoding, one for decoding.
        self._encoding = threading.Lock()
        self._decoder = copy.deepcopy(self._processor.tokenizer)
        self._context = context_of(self._model)
        ends = self._model.generation_config.eos_token_id
        self._ends = frozenset(ends if isinstance(ends, list) else [ends])
        self._chat = chat_of(self._processor)
        # A beginning that several items share leaves one trace.
        self._shares_beginnings = can_share(self._model) and not job.gates
        self._too_many: float = float("inf")
        """Padded tokens, replies included, of the smallest batch that did not fit into memory."""

    def predict(self, batch: Batch) -> Iterator[list[ReplyRecord]]:
        """One record for each entry of a batch, in lists as they are finished; see `prepare` and `generate`."""
        yield from self.generate(self.prepare(batch))

    def prepare(self, batch: Batch) -> PreparedBatch:
        """Reads, decodes and tokenises a batch, without the device.

        Raises:
            UserError: the file cannot be read.
        """
        rows = frozenset(entry.row for entry in batch.entries)
        docs = dict(read(self._job.locations[batch.benchmark], batch.part, rows=rows))
        items: list[PreparedItem] = []
        failed: list[ReplyRecord] = []
        decoded: dict[str, list[Image.Image]] = {}
        for entry in batch.entries:
            try:
                items.append(self._item(batch, entry, docs, decoded))
            except Exception as error:  # one item's fault, whatever it is, stands in its record
                failed.append(record_of(batch, entry, self._job, error=one_line(error)))
        try:
            inputs = self._tokenised(items) if items else None
        except Exception:  # comes again when the batch is halved down to the item that does it, and is recorded then
            inputs = None
        return PreparedBatch(batch, items, inputs, failed)

    def generate(self, prepared: PreparedBatch) -> Iterator[list[ReplyRecord]]:
        """Records of a prepared batch. A batch that fails is halved, down to single items.

        Raises:
            DeviceLostError: no later batch would succeed.
        """
        if prepared.failed:
            yield prepared.failed
        if prepared.items:
            yield from self._halving(prepared.batch, prepared.items, prepared.inputs)

    def _halving(
        self, batch: Batch, items: Sequence[PreparedItem], inputs: ModelInputs | None
    ) -> Iterator[list[ReplyRecord]]:
        failure = ""
        last = max(self._job.replica.attempts, batch.attempts + 1) if len(items) == 1 else batch.attempts + 1
        for attempt in range(batch.attempts + 1, last + 1):
            outcome = self._tried(batch, items, inputs, attempt)
            if not isinstance(outcome, str):
                yield outcome
                return
            failure = outcome
            _free()
        if len(items) == 1:
            yield [record_of(batch, items[0].entry, self._job, error=failure, attempts=last)]
            return
        middle = (len(items) + 1) // 2
        for half in (items[:middle], items[middle:]):
            yield from self._halving(batch, half, None)

    def _tried(
        self, batch: Batch, items: Sequence[PreparedItem], inputs: ModelInputs | None, attempt: int
    ) -> list[ReplyRecord] | str:
        """The records, or why there are none; no traceback stays to hold tensors."""
        tokens = 0
        try:
            inputs = self._tokenised(items) if inputs is None else inputs
            tokens = inputs.tokens["input_ids"].numel() + len(items) * batch.max_new_tokens
            if len(items) > 1 and tokens >= self._too_many:
                return "a smaller batch did not fit into memory"
            return self._generated(batch, items, inputs, attempt)
        except torch.AcceleratorError as error:
            raise DeviceLostError(one_line(error)) from error
        except torch.OutOfMemoryError as error:
            self._too_many = min(self._too_many, tokens)
            return one_line(error)
        except Exception as error:  # the batch is halved, and a single item's record says it
            return one_line(error)

    def _generated(
        self, batch: Batch, items: Sequence[PreparedItem], inputs: ModelInputs, attempt: int
    ) -> list[ReplyRecord]:
        start = time.perf_counter()
        prompts = inputs.tokens["attention_mask"].sum(1).tolist()
        # Each reply ends where its own prompt leaves no room, so that it does not depend on the batch.
        room = [min(batch.max_new_tokens, self._context - prompt) for prompt in prompts]
        if min(room) < 1:
            raise ValueError(f"a prompt of {max(prompts):,} tokens fills the model's context of {self._context:,}")
        with torch.inference_mode(), self._traced() as traces:
            given = share(self._model, inputs) if self._shares_beginnings else None
            given = given or encode(self._model, inputs)
            output_BT = self._model.generate(**given, max_new_tokens=max(room))
        rows = output_BT[:, given["input_ids"].shape[1] :].tolist()
        replies = [self._until_end(row[:most]) for row, most in zip(rows, room, strict=True)]
        texts = self._decoder.batch_decode([reply for reply, _ in replies], skip_special_tokens=True)
        seconds = (time.perf_counter() - start) / len(items)
        found = self._injected(batch, items, inputs, traces)
        return [
            record_of(
                batch,
                item.entry,
                self._job,
                reply=text.strip(),
                finish="stop" if ended else "length",
                attempts=attempt,
                prompt_tokens=prompt_tokens,
                reply_tokens=len(reply),
                seconds=seconds,
                injected=was_injected,
            )
            for item, text, (reply, ended), prompt_tokens, was_injected in zip(
                items, texts, replies, prompts, found, strict=True
            )
        ]

    def _traced(self) -> AbstractContextManager[list[InjectionTrace]]:
        return self._model.base_model.traced() if self._job.gates else nullcontext([])

    def _injected(
        self, batch: Batch, items: Sequence[PreparedItem], inputs: ModelInputs, traces: Sequence[InjectionTrace]
    ) -> Sequence[Injected | None]:
        """What was injected for each item."""
        if not traces:
            return [None] * len(items)
        (trace,) = traces  # of the prompts; no later pass has images
        injection = self._model.base_model.injection
        layers, count = (injection.tapped, injection.injected), self._job.locations[batch.benchmark].rows
        found = []
        for item, images in zip(items, ranges([len(images) for images in inputs.images]), strict=True):
            one = injected(trace, layers, images)
            if one and is_shown(item.entry.id, count):
                view = self._processor.view([(image.height, image.width) for image in item.prompt.images])
                one = one.model_copy(update={"heat": heat_map(trace, images.start, view)})
            found.append(one)
        return found

    def _until_end(self, tokens: list[int]) -> tuple[list[int], bool]:
        """The tokens of a reply before its end token, and whether there is one."""
        end = next((at for at, token in enumerate(tokens) if token in self._ends), None)
        return tokens[:end], end is not None

    def _item(
        self,
        batch: Batch,
        entry: "Entry",
        docs: Mapping[int, Mapping[str, Any]],
        decoded: dict[str, list[Image.Image]],
    ) -> PreparedItem:
        if entry.error:
            raise BadDataError("broken record", entry.error)
        if entry.row not in docs:
            raise BadDataError("broken record", f"row {entry.row} is no longer in {batch.part.path}")
        location, doc = self._job.locations[batch.benchmark], docs[entry.row]
        if entry.image_hash not in decoded:
            encoded = images_of(location, doc)
            decoded[entry.image_hash] = decode_all(encoded, LIMITS)
        images = decoded[entry.image_hash]
        question = Message("user", with_marks(location.benchmark.prompt(doc), len(images)))
        return PreparedItem(entry, Prompt(self._chat([question], True), images, entry.image_hash))

    def _tokenised(self, items: Sequence[PreparedItem]) -> ModelInputs:
        with self._encoding:
            return inputs_of(self._processor, [item.prompt for item in items])


def _free() -> None:
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
