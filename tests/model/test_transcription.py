"""Injection with open gates against a naive transcription of the paper's equations, in float64.

The transcription knows nothing of the adapters. `V_k` comes from the family's own code: a tower that ends with block k.
What the low-rank path reads is what that code gives where the projector's layers are taken out. The gates are two
queries and an attention for each decoder layer, written out; all is added by hooks on the plain decoder.

Shapes: N vision layers, I images, R rows of an image, D width of the language model.
"""

from collections.abc import Callable
from types import MethodType
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import PreTrainedModel

from cli_ray.model import attach
from cli_ray.model.agf import EPS
from cli_ray.model.tiny import build_tiny, tiny_processor
from cli_ray.registry import FAMILIES
from tests.model import batches, stock
from tests.model.batches import injection, logits
from tests.perf.transcription import DirectAgf

IMAGES = ("pixel_values", "image_sizes", "batch_num_images", "image_grid_thw")
BLOCKS = {
    "llava": "vision_tower.encoder.layers",
    "llava_onevision": "vision_tower.encoder.layers",
    "qwen2_5_vl": "visual.blocks",
    "qwen3_vl": "visual.blocks",
    "smolvlm": "vision_model.encoder.layers",
    "idefics3": "vision_model.encoder.layers",
    "internvl": "vision_tower.encoder.layer",
    "gemma3": "vision_tower.encoder.layers",
}


def plain(kind: str) -> PreTrainedModel:
    return (build_tiny(kind) if kind in FAMILIES else stock.build(kind)).double()


def batch(kind: str, seed: int) -> dict[str, Tensor]:
    counts = ((1, 2), (2, 0, 1), (1, 1))[seed % 3]
    made = batches.batch(tiny_processor(kind), counts) if kind in FAMILIES else stock.batch(kind, counts, seed=seed)
    return made | {"pixel_values": made["pixel_values"].double()}


def without_projector(kind: str, inner: Any) -> None:
    """The family's way from patches to tokens with nothing in it that computes; in place."""
    width = inner.config.vision_config.hidden_size
    match kind:
        case "qwen2_5_vl" | "qwen3_vl":
            inner.visual.merger.forward = MethodType(lambda self, x: x.reshape(-1, 4 * width), inner.visual.merger)
        case "smolvlm" | "idefics3":
            inner.connector.modality_projection = nn.Identity()
        case "gemma3":
            projector = inner.multi_modal_projector
            projector.mm_soft_emb_norm = nn.Identity()
            projector.mm_input_projection_weight = nn.Parameter(torch.eye(width, dtype=torch.float64))
        case _:
            inner.multi_modal_projector = nn.Identity()
    if kind == "llava_onevision":
        inner.image_newline = nn.Parameter(torch.zeros(width, dtype=torch.float64))


@torch.no_grad()
def features(kind: str, inputs: dict[str, Tensor], block: int, *, projected: bool) -> Tensor:
    """Of all images after that many blocks, Float[rows of all images, D or channels]."""
    inner: Any = plain(kind).model
    layers = inner.get_submodule(BLOCKS[kind])
    given: dict[str, Any] = {name: inputs[name] for name in IMAGES if name in inputs}
    if kind.startswith("llava"):
        given["vision_feature_layer"] = block
    else:
        del layers[block:]
    if not projected:
        without_projector(kind, inner)
    if kind == "llava_onevision":
        inner.image_newline.zero_()
    return torch.cat(list(inner.get_image_features(**given, return_dict=True).pooler_output))


def normed(x: Tensor) -> Tensor:
    return F.rms_norm(x, x.shape[-1:], eps=EPS)


def transcription(
    stock_model: PreTrainedModel,
    inputs: dict[str, Tensor],
    v_hat_NRD: Tensor,
    lengths: list[int],
    gates: dict[int, Callable[..., Tensor]],
) -> Tensor:
    """The logits of a plain model whose decoder layers get `Σ_k g[k] V̂_k`, image by image and layer by layer."""
    places = (inputs["input_ids"] == stock_model.config.image_token_id).nonzero()

    def inject(layer: int) -> Callable[..., Tensor]:
        def hook(module: nn.Module, given: Any, h_BTD: Tensor) -> Tensor:
            added, first = h_BTD.clone(), 0
            for length in lengths:
                rows = slice(first, first + length)
                sample, columns = int(places[first, 0]), places[rows, 1]
                image_NRD = v_hat_NRD[:, rows]
                seen = image_NRD[:, image_NRD[0].any(-1)]
                context = h_BTD[sample][inputs["attention_mask"][sample].bool()]
                gate_N = gates[layer](normed(seen)[None], normed(context)[None])[0]
                for k, v_hat_RD in enumerate(image_NRD):
                    added[sample, columns] += gate_N[k] * v_hat_RD
                first += length
            return added

        return hook

    inner: Any = stock_model.model
    decoder = inner.text_model if hasattr(inner, "text_model") else inner.language_model
    for layer in gates:
        decoder.layers[layer].register_forward_hook(inject(layer))
    return logits(stock_model, inputs)


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(1, 6))])
@pytest.mark.parametrize("kind", list(BLOCKS))
def test_open_gates_equal_a_naive_transcription(kind: str, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    taps = sorted((1 + torch.randperm(5, generator=generator)[: 2 + seed % 2]).tolist())
    layers = sorted(torch.randperm(4, generator=generator)[:2].tolist())
    gate = ("tanh", "sigmoid", "softmax")[seed % 3]
    config = injection(vision_layers=taps, decoder_layers=layers, agf={"gate": gate})
    model = attach(plain(kind), config)
    inner: Any = model.model
    torch.manual_seed(seed)
    direct = [DirectAgf(config.agf, len(taps), inner.agf.value.shape[-1]).double() for _ in layers]
    with torch.no_grad():
        inner.amp.up.normal_()
        for name, parameter in inner.agf.named_parameters():
            parameter.copy_(torch.stack([module.folded()[name] for module in direct]))
    inputs = batch(kind, seed)
    with torch.no_grad():
        found = model(**inputs)
        encoded = inner.get_image_features(**{name: inputs[name] for name in IMAGES if name in inputs})
    low_rank = [
        features(kind, inputs, tap, projected=False) @ down @ up
        for tap, down, up in zip(taps, inner.amp.down, inner.amp.up, strict=True)
    ]
    scale = config.amp.alpha / config.amp.rank
    v_hat = [features(kind, inputs, tap, projected=True) + scale * low for tap, low in zip(taps, low_rank, strict=True)]
    lengths = [len(image) for image in encoded.pooler_output]
    expected = transcription(
        plain(kind), inputs, torch.stack(v_hat).detach(), lengths, dict(zip(layers, direct, strict=True))
    )
    real = inputs["attention_mask"].bool()
    assert (found.logits - logits(plain(kind), inputs))[real].abs().max() > 1e-3
    assert torch.allclose(found.logits[real], expected[real], rtol=0, atol=1e-9)
