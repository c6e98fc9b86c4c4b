"""LLaVA-OneVision: SigLIP, a two-layer projector and Qwen2, an image cut into tiles.

The family `llava_onevision`, with and without injection; `families` hands it to whoever asks.

Shapes: I images, L tiles of all images, P patches of a tile, N tapped vision layers, D width of the
language model, R rows (of tiles before packing, of images after it), K = N D channels.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import (
    LlavaOnevisionConfig,
    LlavaOnevisionForConditionalGeneration,
    LlavaOnevisionModel,
    ProcessorMixin,
    Qwen2Config,
    SiglipVisionConfig,
)
from transformers.models.llava_onevision.image_processing_pil_llava_onevision import LlavaOnevisionImageProcessorPil
from transformers.models.llava_onevision.modeling_llava_onevision import (
    LlavaOnevisionMultiModalProjector,
    image_size_to_num_patches,
)

from cli_ray.costs.sizes import patches_of
from cli_ray.errors import UserError
from cli_ray.model.backbone import CliModel
from cli_ray.model.configuration import InjectionSection
from cli_ray.model.family import Family, OriginalFormat
from cli_ray.model.generation import CliForConditionalGeneration
from cli_ray.model.onevision_processor import CliLlavaOnevisionProcessor
from cli_ray.model.processor import RENDER_CONTENT
from cli_ray.model.rivals import ExternalProjector
from cli_ray.tiles import Budget, Tiles

GRID, TINY_GRID = 6, 3
"""An image is cut into at most 6 x 6 tiles, as by the published checkpoints; into 3 x 3 by the tiny model."""


class CliLlavaOnevisionConfig(InjectionSection, LlavaOnevisionConfig):
    """LLaVA-OneVision with Cross-Layer Injection."""

    model_type = "cli_llava_onevision"

    cli: dict[str, Any] | None = None


class ExternalLlavaOnevisionProjector(ExternalProjector, LlavaOnevisionMultiModalProjector):
    """LLaVA-OneVision's projector over joined layers."""


class CliLlavaOnevisionModel(CliModel, LlavaOnevisionModel):
    """Vision tower, projector, AMP, AGF and the language model without its head."""

    config: CliLlavaOnevisionConfig
    external_projector_class = ExternalLlavaOnevisionProjector
    image_arguments = ("pixel_values", "image_sizes", "batch_num_images")

    def patches(self, hidden: Tensor) -> Tensor:
        """CLS left out as for the base layer, where the tower has one."""
        return hidden[:, 1:] if self.config.vision_feature_select_strategy == "default" else hidden

    def arrange(self, v_hat_NRD: Tensor, images: dict[str, Any]) -> Tensor:
        """Tiles put together to images.

        Args:
            v_hat_NRD: tokens of all tiles.
            images: `image_sizes` Int[I, 2], (height, width) in pixels before resizing, or of a shrunk image its
                `Laid.size`; `batch_num_images` Int64, images of each sample (not of each row, where rows are packed),
                those of one with several being not tiled, None where all are.
        """
        sizes = images["image_sizes"]
        return self._pack(v_hat_NRD, sizes, self._tiles(sizes, images["batch_num_images"]))

    def _tiles(self, image_sizes: Any, batch_num_images: Tensor | None) -> list[int]:
        """Tiles of each image, the thumbnail included, as `get_image_features` counts them."""
        samples = [1] * len(image_sizes) if batch_num_images is None else [int(n) for n in batch_num_images]
        tiled = [count == 1 for count in samples for _ in range(count)]
        side, grid = self.config.vision_config.image_size, self.config.image_grid_pinpoints
        return [
            image_size_to_num_patches(size, grid, side) if is_tiled else 1
            for size, is_tiled in zip(image_sizes, tiled, strict=True)
        ]

    def _pack(self, v_hat_NRD: Tensor, image_sizes: Any, tiles: Sequence[int]) -> Tensor:
        """Put the tiles of each image together as the base features are, all layers in one call.

        Packing works channel by channel, so the layers are stacked as channels. The newline is zero: newline
        positions get nothing. Float[N, R, D].
        """
        layers, _, width = v_hat_NRD.shape
        channels_LPK = v_hat_NRD.transpose(0, 1).reshape(sum(tiles), -1, layers * width)
        newline = channels_LPK.new_zeros(layers * width)
        aspect = self.config.vision_aspect_ratio
        images = torch.split(channels_LPK, list(tiles))
        packed, _ = self.pack_image_features(images, image_sizes, image_newline=newline, vision_aspect_ratio=aspect)
        return torch.cat(packed).view(-1, layers, width).transpose(0, 1)

    def dummy_images(self) -> dict[str, Any]:
        """One black image in the smallest number of tiles."""
        side = self.config.vision_config.image_size
        sizes = torch.tensor([[side, side]])
        pixels = torch.zeros(self._tiles(sizes, None)[0], 3, side, side, device=self.device, dtype=self.dtype)
        return {"pixel_values": pixels, "image_sizes": sizes}


class CliLlavaOnevisionForConditionalGeneration(CliForConditionalGeneration, LlavaOnevisionForConditionalGeneration):
    """LLaVA-OneVision with Cross-Layer Injection; drop-in for `LlavaOnevisionForConditionalGeneration`."""

    config: CliLlavaOnevisionConfig
    config_class = CliLlavaOnevisionConfig
    inner_class = CliLlavaOnevisionModel


class LlavaOnevision(Family):
    """LLaVA-OneVision."""

    title = "LLaVA-OneVision"
    plain_class = LlavaOnevisionForConditionalGeneration
    model_class = CliLlavaOnevisionForConditionalGeneration
    processor_class = CliLlavaOnevisionProcessor
    text_config_class = Qwen2Config
    tower = "siglip"
    published_size = (384, 14)
    image_tokens = ("<image>", "<video>")
    chat_template = (
        RENDER_CONTENT + "{%- for message in messages -%}{{ '<|im_start|>' + message['role'] + '\n' }}"
        "{%- if message['role'] == 'assistant' -%}{%- generation -%}{{ render(message['content']) + '<|im_end|>' }}"
        "{%- endgeneration -%}{%- else -%}{{ render(message['content']) + '<|im_end|>' }}{%- endif -%}"
        "{{ '\n' }}{%- endfor -%}"
        "{%- if add_generation_prompt -%}{{ '<|im_start|>assistant\n' }}{%- endif -%}"
    )
    tiny_tokens = ("<s>", "</s>", "<pad>", "<image>", "<video>", "<|im_start|>", "<|im_end|>")
    eos_token = "<|im_end|>"
    original = OriginalFormat(
        architecture="LlavaQwenForCausalLM",
        model_types=("llava_qwen",),
        settings={
            "mm_vision_select_feature": "patch|None",
            "mm_patch_merge_type": "spatial_unpad",
            "image_aspect_ratio": r"anyres_max_\d+",
        },
    )

    def adapt_tower(self, vision: Any) -> None:
        """OneVision reads the last block but one; its published towers lack the last block and the head."""
        vision.num_hidden_layers -= 1
        vision.vision_use_head = False

    def joined_fields(self, token_id: Callable[[str], int], vision: Any) -> dict[str, Any]:
        """See `Family`."""
        return _fields(token_id, pinpoints(vision.image_size, GRID))

    def new_processor(self, tokenizer: Any, vision: Any, template: str) -> ProcessorMixin:
        """See `Family`."""
        return _processor(tokenizer, vision, template, pinpoints(vision.image_size, GRID), **_PIXELS)

    def fit_processor(self, processor: ProcessorMixin, config: Any, where: str) -> None:
        """See `Family`."""
        processor.num_image_tokens = patches_of(config.vision_config)
        processor.vision_aspect_ratio = config.vision_aspect_ratio
        cut = [list(size) for size in processor.image_processor.image_grid_pinpoints]
        if cut != [list(size) for size in config.image_grid_pinpoints]:
            raise UserError(
                f"{where}: image_grid_pinpoints in preprocessor_config.json names {len(cut)} resolutions that are not "
                f"those of config.json ({len(config.image_grid_pinpoints)}): give both files the same"
            )

    def typical_image(self, config: Any, budget: Budget) -> tuple[int, int]:
        """3 x 3 tiles and the thumbnail, a newline token behind each row of patches; fewer tiles for a budget."""
        tile = config.vision_config.image_size
        tiles = _tiles_of(config.vision_config.to_dict(), config.image_grid_pinpoints, config.vision_aspect_ratio)
        laid = tiles.lay((3 * tile, 3 * tile), budget)
        return tiles.count(laid.canvas) + 1, laid.tokens

    def image_counter(self, values: Mapping[str, Any], budget: Budget) -> Callable[[Sequence[tuple[int, int]]], int]:
        """See `Family`."""
        aspect_ratio = str(values.get("vision_aspect_ratio", "anyres_max_9"))
        tiles = _tiles_of(values["vision_config"], values["image_grid_pinpoints"], aspect_ratio)

        def count(sizes: Sequence[tuple[int, int]]) -> int:
            if len(sizes) == 1:
                width, height = sizes[0]
                return tiles.lay((height, width), budget).tokens
            return len(sizes) * (tiles.side**2 + 1)  # several images are not tiled; each ends with a newline token

        return count

    def tiny_vision(self, width: int, **sizes: Any) -> SiglipVisionConfig:
        """See `Family`."""
        return SiglipVisionConfig(vision_use_head=False, **sizes)

    def tiny_fields(self, token_id: Callable[[str], int], vision: Any) -> dict[str, Any]:
        """See `Family`."""
        return _fields(token_id, pinpoints(vision.image_size, TINY_GRID))

    def tiny_processor(self, tokenizer: Any, vision: Any) -> ProcessorMixin:
        """See `Family`."""
        return _processor(tokenizer, vision, self.chat_template, pinpoints(vision.image_size, TINY_GRID))

    def original_fields(self, values: Mapping[str, Any], token_id: Callable[[str], int], vision: Any) -> dict[str, Any]:
        """See `Family`."""
        return _fields(token_id, _original_grid(values, vision.image_size)) | {
            # The original tower lacks its last block, and reads the last one that is left whatever the config says.
            "vision_feature_layer": -1,
            "vision_feature_select_strategy": "full",
            "vision_aspect_ratio": values["image_aspect_ratio"],
        }

    def original_processor(
        self, values: Mapping[str, Any], tokenizer: Any, vision: Any, template: str
    ) -> ProcessorMixin:
        """See `Family`."""
        grid = _original_grid(values, vision.image_size)
        return _processor(tokenizer, vision, template, grid, values["image_aspect_ratio"], **_PIXELS)


_PIXELS: dict[str, Any] = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3}
"""SigLIP's normalisation."""


def _fields(token_id: Callable[[str], int], grid: list[list[int]]) -> dict[str, Any]:
    return {"video_token_index": token_id("<video>"), "image_grid_pinpoints": grid}


def _processor(
    tokenizer: Any,
    vision: Any,
    template: str,
    grid: list[list[int]],
    aspect_ratio: str = "anyres_max_9",
    **pixels: Any,
) -> CliLlavaOnevisionProcessor:
    side = vision.image_size
    size = {"height": side, "width": side}
    return CliLlavaOnevisionProcessor(
        LlavaOnevisionImageProcessorPil(size=size, image_grid_pinpoints=grid, **pixels),
        tokenizer,
        num_image_tokens=patches_of(vision),
        vision_feature_select_strategy="full",
        chat_template=template,
        vision_aspect_ratio=aspect_ratio,
    )


def _tiles_of(vision: Mapping[str, Any], grid: Sequence[Sequence[int]], aspect_ratio: str) -> Tiles:
    tile, patch = int(vision["image_size"]), int(vision["patch_size"])
    return Tiles.of(grid, tile, tile // patch, aspect_ratio)


def pinpoints(side: int, most: int) -> list[list[int]]:
    """The resolutions of 1 x 1 to `most` x `most` tiles of `side` pixels, (height, width) in pixels."""
    sizes = [side * count for count in range(1, most + 1)]
    return [[height, width] for height in sizes for width in sizes]


def _original_grid(values: Mapping[str, Any], side: int) -> list[list[int]]:
    """Resolutions that an image may be cut into, (height, width) in pixels; the original has (width, height), or the
    first and the last number of tiles as text, `(1x1),...,(6x6)`."""
    stored = values.get("image_grid_pinpoints") or []
    if isinstance(stored, str):
        pairs = [tuple(map(int, pair)) for pair in re.findall(r"\((\d+)x(\d+)\)", stored)]
        (first_column, first_row), (last_column, last_row) = (pairs[0], pairs[-1]) if pairs else ((1, 1), (0, 0))
        columns, rows = range(first_column, last_column + 1), range(first_row, last_row + 1)
        stored = [(column * side, row * side) for column in columns for row in rows]
    if not stored:
        raise UserError(f"image_grid_pinpoints = {values.get('image_grid_pinpoints')!r} in config.json names no sizes")
    return [[height, width] for width, height in stored]
