"""FLOPs of training: forward passes, and of the backward passes what autograd computes for what is trained.

A product of two operands costs as much again for each operand whose gradient is needed: three times where all is
trained, once in a frozen vision tower, twice in a frozen layer that gradients pass through. Products are counted as in
`cost`: a multiply-add as 2, attention between all pairs of positions. Padding, dummy images and what activation
checkpointing computes again are left out, so that these are the model FLOPs of MFU (PaLM, arXiv 2204.02311,
appendix B).

The engine asks for the FLOPs of each logged step, with its real lengths.
"""

from dataclasses import astuple, dataclass
from typing import Any, Self, get_args

from cli_ray.config import InjectionConfig, OptimConfig, Part
from cli_ray.config.injection import vision_choices
from cli_ray.model.family import patches_of


@dataclass(frozen=True)
class Work:
    """What forward passes are given, summed over their samples; and, in FLOPs each, what one of it costs."""

    passes: int = 0
    """Forward passes."""
    tiles: int = 0
    """Squares that go through the vision tower."""
    visual_tokens: int = 0
    """Tokens of images in the text."""
    tokens: int = 0
    """All tokens but padding."""
    pairs: int = 0
    """Squares of the numbers of tokens of the samples: pairs of positions in attention."""
    supervised: int = 0
    """Tokens that carry loss."""
    contexts: int = 0
    """Samples with images, whose gates read a context."""
    context_tokens: int = 0
    """Tokens of these samples."""

    def __add__(self, other: Self) -> Self:
        return type(self)(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))

    def times(self, price: Self) -> int:
        """FLOPs of this work at a price."""
        return sum(a * b for a, b in zip(astuple(self), astuple(price), strict=True))


def price(config: Any, injection: InjectionConfig, optim: OptimConfig, lora_rank: int) -> Work:
    """FLOPs, forward and backward, of one unit of each kind of work.

    Args:
        config: of the model.
        injection: resolved.
        optim: whose rates of 0 freeze parts.
        lora_rank: 0 without adapters.
    """
    return _Pricing(config, injection, optim, lora_rank).price()


def product(inner: int, outer: int, *gradients: bool) -> int:
    """FLOPs of one row of a product, and of those backward products that are needed.

    Args:
        inner: dimension that is summed over.
        outer: columns.
        *gradients: whether each operand needs its gradient.
    """
    return 2 * inner * outer * (1 + sum(gradients))


class _Pricing:
    """Follows the gradients through a model with its parts trained or frozen."""

    def __init__(self, config: Any, injection: InjectionConfig, optim: OptimConfig, lora_rank: int) -> None:
        self.config, self.injection, self.rank = config, injection, lora_rank
        self.vision, self.text = config.vision_config, config.text_config
        self.taps, self.traits = len(injection.tapped), injection.traits
        trained: set[Part] = {part for part in get_args(Part) if getattr(optim, part).lr}
        self.tower, self.projector, self.llm = (part in trained for part in ("vision_tower", "projector", "llm"))
        self.amp, self.agf = "amp" in trained and self.traits.taps, "agf" in trained and self.traits.gates == "learned"
        self.lora = "lora" in trained and lora_rank > 0
        norm, kind = injection.amp.norm and self.amp, injection.amp.projector
        self.taps_flow = self.traits.injects and (self.tower or norm)
        """Whether gradients reach what AMP projects."""
        own = self.amp if kind == "full" else self.projector
        low_rank = kind == "low_rank" and self.amp
        self.features_flow = self.traits.injects and (self.taps_flow or own or low_rank)
        """Whether what is injected needs its gradient."""
        self.base_flows = self.tower or self.projector or (self.traits.at_projector and self.amp)
        """Whether the image tokens need theirs."""

    def price(self) -> Work:
        token, pair, context_token, context, inject, flows = self._decoder()
        per_pass, pooling = self._gates()
        read_image = self.injection.agf.context == "visual"
        return Work(
            passes=per_pass,
            tiles=self._tower() + patches_of(self.vision) * (self._base_projector() + self._amp()),
            visual_tokens=pooling + inject + (context_token if read_image else 0),
            tokens=token,
            pairs=pair,
            supervised=product(self.text.hidden_size, self.text.vocab_size, flows, self.llm),
            contexts=context,
            context_tokens=0 if read_image else context_token,
        )

    def _tower(self) -> int:
        """A tile. Blocks behind the layer that is read run, and get no gradient."""
        vision, width = self.vision, self.vision.hidden_size
        patches = patches_of(vision)
        tokens = patches + 1 if self.config.vision_feature_select_strategy == "default" else patches
        embedding = patches * product(3 * vision.patch_size**2, width, self.tower)
        read = vision_choices(self.config.vision_feature_layer, vision.num_hidden_layers)[-1]
        blocks = 0
        for block in range(vision.num_hidden_layers):
            flows = self.tower and block < read
            mlp = 2 * product(width, vision.intermediate_size, flows, flows)
            attention = 2 * tokens * product(1, width, flows, flows)
            blocks += tokens * (4 * product(width, width, flows, flows) + mlp + attention)
        return int(embedding + blocks)

    def _base_projector(self) -> int:
        """A patch."""
        vision, width = self.vision.hidden_size, self.text.hidden_size
        joined = product(self.taps * vision, width, self.tower, self.amp) if self.traits.at_projector else 0
        first = product(vision, width, self.tower, self.projector)
        return joined + first + product(width, width, self.base_flows, self.projector)

    def _amp(self) -> int:
        """A patch in all tapped layers."""
        if not self.traits.injects:
            return 0
        vision, width, amp = self.vision.hidden_size, self.text.hidden_size, self.injection.amp
        own = self.amp if amp.projector == "full" else self.projector
        flops = product(vision, width, self.taps_flow, own) + product(width, width, self.taps_flow or own, own)
        if amp.projector == "low_rank":
            flops += product(vision, amp.rank, self.taps_flow, self.amp)
            flops += product(amp.rank, width, self.taps_flow or self.amp, self.amp)
        return self.taps * flops

    def _gates(self) -> tuple[int, int]:
        """Folding the parameters of all gates, a pass; pooling an image token in all tapped layers."""
        if self.traits.gates != "learned":
            return 0, 0
        agf, width = self.injection.agf, self.text.hidden_size
        sets = 1 if agf.shared else len(self.injection.injected)
        folding = 2 * sets * self.taps * product(agf.hidden_size, width, self.agf, self.agf)
        return folding, self.taps * product(width, 2 * sets * agf.num_heads, self.features_flow, self.agf)

    def _decoder(self) -> tuple[int, int, int, int, int, bool]:
        """All layers: a token, a pair, a token of a context, a context, an image token that is injected into.

        The last is whether gradients pass from the logits to the top layer.
        """
        token = pair = context_token = context = inject = 0
        flows = self.llm or self.base_flows
        for layer in range(self.text.num_hidden_layers):
            of_token, of_pair = self._layer(flows)
            token, pair = token + of_token, pair + of_pair
            flows = flows or self.llm or self.lora
            if layer not in self.injection.injected:
                continue
            gates_flow = False
            if self.traits.gates == "learned":
                of_token, of_context = self._context(flows)
                context_token, context = context_token + of_token, context + of_context
                gates_flow = self.agf or self.features_flow or flows
            inject += product(self.taps, self.text.hidden_size, gates_flow, self.features_flow)
            flows = flows or gates_flow or self.features_flow
        return token, pair, context_token, context, inject, flows

    def _layer(self, flows: bool) -> tuple[int, int]:
        """A token and a pair in a decoder layer whose input needs its gradient or not."""
        text, width = self.text, self.text.hidden_size
        head = getattr(text, "head_dim", None) or width // text.num_attention_heads
        queries, keys = text.num_attention_heads * head, text.num_key_value_heads * head
        inner = flows or self.llm or self.lora
        token = sum(self._linear(width, columns, flows) for columns in (queries, keys, keys))
        token += self._linear(queries, width, inner)
        token += 2 * self._linear(width, text.intermediate_size, inner)
        token += self._linear(text.intermediate_size, width, inner)
        return token, 2 * product(1, queries, inner, inner)

    def _linear(self, inner: int, outer: int, flows: bool) -> int:
        """A token through a projection of the decoder and its adapter."""
        adapter = product(inner, self.rank, flows, self.lora) + product(self.rank, outer, self.lora, self.lora)
        return product(inner, outer, flows, self.llm) + adapter

    def _context(self, flows: bool) -> tuple[int, int]:
        """A token that the gates of a decoder layer read, and one sample of such tokens."""
        heads, width = self.injection.agf.num_heads, self.text.hidden_size
        pooled = self.agf or flows
        token = product(width, heads, flows, self.agf) + product(1, heads * width, pooled, flows)
        return token, product(heads * width, self.taps, pooled, self.agf)
