"""Activations: the tensors that a forward pass keeps for its backward pass, and those that are alive beside them.

Counted operator by operator, as autograd saves them: for each product the operand that the gradient of the other one
needs, for each norm its input in fp32, for each attention queries, keys, values and output. What is below a thousandth
of a layer, such as the statistics of norms, is left out. `memory` adds what a rank holds between passes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from cli_ray.config import InjectionConfig, RunConfig
from cli_ray.costs.gradients import Gradients, LayerGradients
from cli_ray.costs.sizes import attention_widths, blocks_read, logits_at_once, patches_of, tokens_of

FP32 = 4
"""Bytes."""


@dataclass(frozen=True, slots=True)
class Batch:
    """What one forward pass is given."""

    tokens: int
    """Positions of all rows, padding included."""
    tiles: int
    """Squares that go through the vision tower."""
    visual_tokens: int
    """Tokens of images."""
    supervised: int
    """Tokens that carry loss."""


@dataclass(frozen=True, slots=True)
class Activations:
    """Bytes on one rank."""

    tower: int
    """Saved by the vision tower and the projector of the base layer."""
    features: int
    """Saved by AMP: the tapped layers and what is injected, V̂."""
    gates: int
    """Saved by AGF: scores and summaries of image tokens, and the hidden states that gates read."""
    decoder: int
    """Saved by the decoder layers."""
    loss: int
    """Logits, saved and alive while the loss goes backward."""
    layer: int
    """Of the largest layer while it goes backward: what is computed again with checkpointing, and gradients."""

    @property
    def saved(self) -> int:
        """What waits for the backward pass."""
        return self.tower + self.features + self.gates + self.decoder

    @property
    def peak(self) -> int:
        """Most that is alive at once: loss and layers go backward one after the other."""
        return self.saved + max(self.loss, self.layer)


def activations(config: Any, injection: InjectionConfig, run: RunConfig, batch: Batch) -> Activations:
    """The activations of one forward and backward pass.

    Args:
        config: of the model.
        injection: resolved.
        run: says what is trained, in which precision, and what is checkpointed.
        batch: of one rank.
    """
    return _Saving(config, injection, run).of(batch)


class _Saving:
    """Bytes that each part saves a token."""

    def __init__(self, config: Any, injection: InjectionConfig, run: RunConfig) -> None:
        self.config, self.injection = config, injection
        self.vision, self.text = config.vision_config, config.text_config
        self.run, self.lora = run, run.lora
        self.size = 2 if run.train.precision == "bf16" else FP32
        self.again = run.train.activation_checkpointing
        self.flow = Gradients(config, injection, run.optim, run.lora.rank)
        self.taps = len(injection.tapped)

    def of(self, batch: Batch) -> Activations:
        rows = batch.tiles * patches_of(self.vision)
        block = batch.tiles * tokens_of(self.config) * self._block() if self.flow.tower else 0
        flows = list(self.flow.layers())
        layers = [batch.tokens * self._layer(flow.inner) for flow in flows]
        boundary = batch.tokens * self.size * self.text.hidden_size
        kept = [boundary * (flow.inner or flow.update) for flow in flows] if self.again else layers
        largest = max(block, *layers) if self.again else 0
        return Activations(
            tower=self._tower(batch, block) + rows * self._base_projector(),
            features=rows * self._amp() + batch.visual_tokens * self._features(flows),
            gates=batch.visual_tokens * self._visual_gates() + batch.tokens * self._context_gates(flows),
            decoder=sum(kept) + batch.tokens * self._head_norm(),
            loss=self._loss(batch.supervised),
            layer=largest + self._transient(batch),
        )

    def _tower(self, batch: Batch, block: int) -> int:
        """All blocks that are trained, and the pixels."""
        if not self.flow.tower:
            return 0
        boundary = batch.tiles * tokens_of(self.config) * self.size * self.vision.hidden_size
        pixels = batch.tiles * 3 * self.vision.image_size**2 * self.size
        return int(blocks_read(self.config) * (boundary if self.again else block) + pixels + boundary)

    def _block(self) -> int:
        """A token in a block of the vision tower: inputs and outputs of two norms, attention, and the MLP."""
        width, inner = self.vision.hidden_size, self.vision.intermediate_size
        # CLIP's quick GELU is two operators, which save its input twice over.
        mlp = (3 if getattr(self.vision, "hidden_act", "") == "quick_gelu" else 2) * inner
        return int(self.size * (8 * width + mlp))

    def _projector(self, flows: bool, trained: bool) -> int:
        """A patch through the two layers of a projector: the input of each and that of its activation."""
        width = self.text.hidden_size
        inputs = (self.vision.hidden_size + width) * trained
        return int(self.size * (inputs + width * (flows or trained)))

    def _base_projector(self) -> int:
        joined = self.taps * self.vision.hidden_size * self.size if self.flow.traits.at_projector else 0
        return joined + self._projector(self.flow.base_flows, self.flow.projector)

    def _amp(self) -> int:
        """A patch in all tapped layers."""
        if not self.flow.traits.injects:
            return 0
        vision, amp = self.vision.hidden_size, self.injection.amp
        saved = self._projector(self.flow.taps_flow, self.flow.own)
        if amp.projector == "low_rank" and self.flow.amp:
            saved += self.size * (amp.rank + (0 if self.flow.own else vision))
        if amp.norm:
            saved += 2 * self.size * vision
        return self.taps * saved

    def _features(self, flows: Sequence[LayerGradients]) -> int:
        """An image token: V̂ of all tapped layers, which every injected layer reads, and what each of these adds."""
        if not any(flow.update for flow in flows):
            return 0
        added = 0 if self.again else sum(flow.update for flow in flows)
        return int((self.taps + added) * self.size * self.text.hidden_size)

    def _visual_gates(self) -> int:
        """An image token in all tapped layers: two products in fp32, gathered by image, and one softmax."""
        if self.flow.traits.gates != "learned" or not (self.flow.agf or self.flow.features_flow):
            return 0
        agf = self.injection.agf
        sets = 1 if agf.shared else len(self.injection.injected)
        return self.taps * 5 * FP32 * sets * agf.num_heads

    def _context_gates(self, flows: Sequence[LayerGradients]) -> int:
        """A token in all injected layers: the hidden states that the gates read, and their scores."""
        gated = 0 if self.again else sum(flow.gates for flow in flows)
        return int(gated * (self.size * self.text.hidden_size + 4 * FP32 * self.injection.agf.num_heads))

    def _layer(self, inner: bool) -> int:
        """A token in a decoder layer."""
        if not inner:
            return 0
        text, trained = self.text, self.flow.llm
        width, mlp = text.hidden_size, text.intermediate_size
        queries, keys = attention_widths(text)
        joined = queries if self.run.packs and trained else 0  # packed samples are put together again
        norms = 2 * FP32 * width + (2 * self.size * width if trained else 0)
        inputs = (2 * width + mlp) * trained
        saved = norms + self.size * (2 * (queries + keys) + joined + inputs + 3 * mlp)
        return int(saved + (self._adapters(width, queries, mlp) if self.flow.lora else 0))

    def _adapters(self, width: int, queries: int, mlp: int) -> int:
        """A token: inputs of the seven adapters of a layer, which each drops out for itself."""
        inner = 7 * self.lora.rank * self.size
        if not self.lora.dropout:
            return inner + self.size * (2 * width + mlp)
        mask = 1 if self.run.cluster.gpus_per_worker else self.size  # the CPU's is of the type of what it multiplies
        return inner + (self.size + mask) * (5 * width + queries + mlp)

    def _head_norm(self) -> int:
        """A token in the last norm."""
        if not self.flow.top_flows:
            return 0
        return int(self.text.hidden_size * (FP32 + self.size * self.flow.llm))

    def _loss(self, supervised: int) -> int:
        """Logits of a chunk in the precision of the model, and three times in fp32."""
        chunk = min(supervised, logits_at_once(self.text.vocab_size))
        return int(chunk * self.text.vocab_size * (3 * FP32 + self.size))

    def _transient(self, batch: Batch) -> int:
        """Gradients of the widest tensors of a decoder layer while it goes backward.

        With checkpointing those of V̂, to which each injected layer adds, come when most inputs of layers are still
        there; without, a layer has given up more by then.
        """
        width = self.text.hidden_size
        layer = batch.tokens * (3 * self.text.intermediate_size + 2 * width)
        features = 2 * batch.visual_tokens * self.taps * width if self.again and self.flow.features_flow else 0
        return int(self.size * (layer + features))
