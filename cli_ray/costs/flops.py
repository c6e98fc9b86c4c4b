"""FLOPs of training: forward passes, and of the backward passes what autograd computes for what is trained.

A product of two operands costs as much again for each operand whose gradient is needed: three times where all is
trained, once in a frozen vision tower, twice in a frozen layer that gradients pass through. Products are counted as in
`cost`: a multiply-add as 2, attention between all pairs of positions. Padding, dummy images and what activation
checkpointing computes again are left out, so that these are the model FLOPs of MFU (PaLM, arXiv 2204.02311,
appendix B).

The engine asks for the FLOPs of each logged step, with its real lengths.
"""

from dataclasses import astuple, dataclass
from typing import Any, Self

from cli_ray.config import InjectionConfig, OptimConfig
from cli_ray.costs.gradients import Gradients
from cli_ray.costs.sizes import attention_widths, blocks_read, patches_of, tokens_of


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
    """The products of each unit of work, forward and backward."""

    def __init__(self, config: Any, injection: InjectionConfig, optim: OptimConfig, lora_rank: int) -> None:
        self.config, self.injection, self.rank = config, injection, lora_rank
        self.vision, self.text = config.vision_config, config.text_config
        self.taps, self.traits = len(injection.tapped), injection.traits
        self.flow = Gradients(config, injection, optim, lora_rank)

    def price(self) -> Work:
        token, pair, context_token, context, inject = self._decoder()
        per_pass, pooling = self._gates()
        read_image = self.injection.agf.context == "visual"
        return Work(
            passes=per_pass,
            tiles=self._tower() + patches_of(self.vision) * (self._base_projector() + self._amp()),
            visual_tokens=pooling + inject + (context_token if read_image else 0),
            tokens=token,
            pairs=pair,
            supervised=product(self.text.hidden_size, self.text.vocab_size, self.flow.top_flows, self.flow.llm),
            contexts=context,
            context_tokens=0 if read_image else context_token,
        )

    def _tower(self) -> int:
        """A tile. Blocks behind the layer that is read run, and get no gradient."""
        vision, width = self.vision, self.vision.hidden_size
        tokens = tokens_of(self.config)
        embedding = patches_of(vision) * product(3 * vision.patch_size**2, width, self.flow.tower)
        blocks = 0
        for block in range(vision.num_hidden_layers):
            flows = self.flow.tower and block < blocks_read(self.config)
            mlp = 2 * product(width, vision.intermediate_size, flows, flows)
            attention = 2 * tokens * product(1, width, flows, flows)
            blocks += tokens * (4 * product(width, width, flows, flows) + mlp + attention)
        return int(embedding + blocks)

    def _base_projector(self) -> int:
        """A patch."""
        vision, width = self.vision.hidden_size, self.text.hidden_size
        joined = product(self.taps * vision, width, self.flow.tower, self.flow.amp) if self.traits.at_projector else 0
        first = product(vision, width, self.flow.tower, self.flow.projector)
        return joined + first + product(width, width, self.flow.base_flows, self.flow.projector)

    def _amp(self) -> int:
        """A patch in all tapped layers."""
        if not self.traits.injects:
            return 0
        vision, width, amp = self.vision.hidden_size, self.text.hidden_size, self.injection.amp
        taps, own = self.flow.taps_flow, self.flow.own
        flops = product(vision, width, taps, own) + product(width, width, taps or own, own)
        if amp.projector == "low_rank":
            flops += product(vision, amp.rank, taps, self.flow.amp)
            flops += product(amp.rank, width, taps or self.flow.amp, self.flow.amp)
        return self.taps * flops

    def _gates(self) -> tuple[int, int]:
        """Folding the parameters of all gates, a pass; pooling an image token in all tapped layers."""
        if self.traits.gates != "learned":
            return 0, 0
        agf, width = self.injection.agf, self.text.hidden_size
        sets = 1 if agf.shared else len(self.injection.injected)
        folding = 2 * sets * self.taps * product(agf.hidden_size, width, self.flow.agf, self.flow.agf)
        return folding, self.taps * product(width, 2 * sets * agf.num_heads, self.flow.features_flow, self.flow.agf)

    def _decoder(self) -> tuple[int, int, int, int, int]:
        """All layers: a token, a pair, a token of a context, a context, an image token that is injected into."""
        token = pair = context_token = context = inject = 0
        for layer, flow in enumerate(self.flow.layers()):
            of_token, of_pair = self._layer(flow.input)
            token, pair = token + of_token, pair + of_pair
            if layer not in self.injection.injected:
                continue
            if self.traits.gates == "learned":
                of_token, of_context = self._context(flow.inner)
                context_token, context = context_token + of_token, context + of_context
            inject += product(self.taps, self.text.hidden_size, flow.gates, self.flow.features_flow)
        return token, pair, context_token, context, inject

    def _layer(self, flows: bool) -> tuple[int, int]:
        """A token and a pair in a decoder layer whose input needs its gradient or not."""
        text, width = self.text, self.text.hidden_size
        queries, keys = attention_widths(text)
        inner = flows or self.flow.llm or self.flow.lora
        token = sum(self._linear(width, columns, flows) for columns in (queries, keys, keys))
        token += self._linear(queries, width, inner)
        token += 2 * self._linear(width, text.intermediate_size, inner)
        token += self._linear(text.intermediate_size, width, inner)
        return token, 2 * product(1, queries, inner, inner)

    def _linear(self, inner: int, outer: int, flows: bool) -> int:
        """A token through a projection of the decoder and its adapter."""
        adapted = self.flow.lora
        adapted = self.flow.lora
        adapter = product(inner, self.rank, flows, adapted) + product(self.rank, outer, adapted, adapted)
        return product(inner, outer, flows, self.flow.llm) + adapter

    def _context(self, flows: bool) -> tuple[int, int]:
        """A token that the gates of a decoder layer read, and one sample of such tokens."""
        heads, width = self.injection.agf.num_heads, self.text.hidden_size
        pooled = self.flow.agf or flows
        token = product(width, heads, flows, self.flow.agf) + product(1, heads * width, pooled, flows)
        return token, product(heads * width, self.taps, pooled, self.flow.agf)
