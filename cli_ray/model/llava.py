"""LLaVA-1.5: CLIP, a two-layer projector and Llama, one square image each.

The family `llava`, with and without injection; `families` hands it to whoever asks.
"""

from collections.abc import Callable, Mapping, Sequence
from math import isqrt
from typing import Any, ClassVar

from torch import Tensor
from transformers import (
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaModel,
    LlavaProcessor,
    ProcessorMixin,
)
from transformers.models.llava.image_processing_pil_llava import LlavaImageProcessorPil
from transformers.models.llava.modeling_llava import LlavaMultiModalProjector

from cli_ray.config import DataConfig, ModelConfig
from cli_ray.costs.sizes import patches_of
from cli_ray.errors import UserError
from cli_ray.model.backbone import CliModel
from cli_ray.model.configuration import InjectionSection
from cli_ray.model.family import Family, OriginalFormat
from cli_ray.model.generation import CliForConditionalGeneration
from cli_ray.model.processor import RENDER_CONTENT, FamilyProcessor
from cli_ray.model.rivals import ExternalProjector
from cli_ray.tiles import Budget, Size, View

_CLS_TOWERS = ("clip_vision_model", "clip")
"""Towers that put a token of their own before the patches."""


class CliLlavaConfig(InjectionSection, LlavaConfig):
    """LLaVA-1.5 with Cross-Layer Injection."""

    model_type = "cli_llava"

    cli: dict[str, Any] | None = None


class CliLlavaProcessor(FamilyProcessor, LlavaProcessor):
    """`LlavaProcessor` whose chats tell where their replies begin. Each image takes the same number of tokens."""

    def limit_images(self, data: DataConfig) -> None:
        """See `FamilyProcessor`."""
        if data.max_tiles is not None:
            raise UserError(
                f"data.max_tiles = {data.max_tiles}, but LLaVA-1.5 takes an image as one square and cuts no tiles: "
                "leave it out"
            )
        if data.max_image_tokens is not None and data.max_image_tokens < self._image_tokens():
            raise UserError(
                f"data.max_image_tokens = {data.max_image_tokens}, but LLaVA-1.5 takes {self._image_tokens()} tokens "
                "for every image: leave it out"
            )

    def view(self, sizes: Sequence[Size]) -> View:
        """See `FamilyProcessor`; one square, to which the picture is padded, cut or squeezed."""
        side = isqrt(self._image_tokens())
        first = self.num_additional_image_tokens if self.vision_feature_select_strategy == "full" else 0
        images, (height, width) = self.image_processor, sizes[0]
        if not images.do_pad and not images.do_center_crop:
            return View(first, (side, side), side)
        square = (max if images.do_pad else min)(height, width)
        beside, above = (1 - square / width) / 2, (1 - square / height) / 2
        return View(first, (side, side), side, (beside, above, 1 - beside, 1 - above))

    def _image_tokens(self) -> int:
        images = self.image_processor
        size = images.crop_size if images.do_center_crop else images.size
        tokens: int = (max(dict(size).values()) // self.patch_size) ** 2
        return tokens


class ExternalLlavaProjector(ExternalProjector, LlavaMultiModalProjector):
    """LLaVA-1.5's projector over joined layers."""


class CliLlavaModel(CliModel, LlavaModel):
    """Vision tower, projector, AMP, AGF and the language model without its head."""

    config: CliLlavaConfig
    external_projector_class = ExternalLlavaProjector

    def patches(self, hidden: Tensor) -> Tensor:
        """CLS left out as for the base layer."""
        return hidden[:, 1:] if self.config.vision_feature_select_strategy == "default" else hidden


class CliLlavaForConditionalGeneration(CliForConditionalGeneration, LlavaForConditionalGeneration):
    """LLaVA-1.5 with Cross-Layer Injection; drop-in for `LlavaForConditionalGeneration`."""

    config: CliLlavaConfig
    config_class = CliLlavaConfig
    inner_class = CliLlavaModel


class Llava(Family):
    """LLaVA-1.5."""

    title = "LLaVA-1.5"
    plain_class = LlavaForConditionalGeneration
    model_class = CliLlavaForConditionalGeneration
    processor_class = CliLlavaProcessor
    text_config_class = LlamaConfig
    tower = "clip"
    published_size = (336, 14)
    chat_template = (
        RENDER_CONTENT + "{%- for message in messages -%}{%- if message['role'] == 'assistant' -%}"
        "{{ 'ASSISTANT:' }}{%- generation -%}{{ ' ' + render(message['content']) + '</s>' }}{%- endgeneration -%}"
        "{%- elif message['role'] == 'user' -%}{{ 'USER: ' + render(message['content']) + ' ' }}"
        "{%- else -%}{{ render(message['content']) + ' ' }}{%- endif -%}{%- endfor -%}"
        "{%- if add_generation_prompt -%}{{ 'ASSISTANT:' }}{%- endif -%}"
    )
    tiny_tokens = ("<s>", "</s>", "<pad>", "<image>")
    bos_token, eos_token = "<s>", "</s>"
    original: ClassVar[OriginalFormat | None] = OriginalFormat(
        architecture="LlavaLlamaForCausalLM",
        model_types=("llava", "llava_llama"),
        settings={"mm_vision_select_feature": "patch|cls_patch|None"},
    )

    def joined_fields(self, token_id: Callable[[str], int], vision: Any) -> dict[str, Any]:
        """See `Family`."""
        return {"image_seq_length": patches_of(vision)}

    def new_processor(self, tokenizer: Any, vision: Any, template: str) -> ProcessorMixin:
        """See `Family`."""
        side = vision.image_size
        return CliLlavaProcessor(
            LlavaImageProcessorPil(size={"shortest_edge": side}, crop_size={"height": side, "width": side}),
            tokenizer,
            patch_size=vision.patch_size,
            vision_feature_select_strategy="default",
            chat_template=template,
            num_additional_image_tokens=1,
        )

    def set_up_processor(self, processor: ProcessorMixin, model: ModelConfig) -> None:
        """See `Family`."""
        processor.image_processor.do_pad = model.pad_to_square

    def complete_processor(self, processor: ProcessorMixin, name: str, revision: str | None) -> None:
        """Checkpoints older than the setting were trained and published with padding to a square."""
        stored, _ = type(processor.image_processor).get_image_processor_dict(name, revision=revision)
        if "do_pad" not in stored:
            processor.image_processor.do_pad = True

    def fit_processor(self, processor: ProcessorMixin, config: Any, where: str) -> None:
        """See `Family`."""
        processor.patch_size = config.vision_config.patch_size
        processor.num_additional_image_tokens = int(config.vision_config.model_type in _CLS_TOWERS)

    def typical_image(self, config: Any, budget: Budget) -> tuple[int, int]:
        """One square."""
        return 1, patches_of(config.vision_config)

    def image_counter(self, values: Mapping[str, Any], budget: Budget) -> Callable[[Sequence[tuple[int, int]]], int]:
        """As many tokens as patches, whatever the size of an image."""
        vision = values["vision_config"]
        patches = (int(vision["image_size"]) // int(vision["patch_size"])) ** 2
        return lambda sizes: patches * len(sizes)

    def tiny_vision(self, width: int, **sizes: Any) -> CLIPVisionConfig:
        """See `Family`."""
        return CLIPVisionConfig(projection_dim=width, **sizes)

    def original_fields(self, values: Mapping[str, Any], token_id: Callable[[str], int], vision: Any) -> dict[str, Any]:
        """See `Family`."""
        whole_image = values.get("mm_vision_select_feature") == "cls_patch"
        return {
            "vision_feature_layer": values.get("mm_vision_select_layer", -2),
            "vision_feature_select_strategy": "full" if whole_image else "default",
            "image_seq_length": patches_of(vision) + whole_image,
        }

    def refusal_of_original(self, values: Mapping[str, Any]) -> str:
        """LLaVA-NeXT has the same architecture in its config."""
        if not str(values.get("image_aspect_ratio", "")).startswith("anyres"):
            return ""
        return (
            f"a LLaVA-NeXT (image_aspect_ratio = {values['image_aspect_ratio']!r} on a Llama), which is not "
            "read; the nearest are liuhaotian/llava-v1.5-7b and, with tiles, llava-hf/llava-onevision-qwen2-7b-si-hf"
        )
