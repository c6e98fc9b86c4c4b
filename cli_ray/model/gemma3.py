"""Gemma 3: SigLIP, patches averaged to 256 tokens of an image, and a decoder that sees images in both directions.

Its adapter; `registry` names the outer class.

Shapes: N tapped vision layers, P patches of all images, C width of the tower.
"""

from collections.abc import Callable
from typing import Any

from torch import Tensor
from transformers import Gemma3Config, Gemma3ForConditionalGeneration, Gemma3Model

from cli_ray.model.backbone import CliModel
from cli_ray.model.configuration import InjectionSection
from cli_ray.model.generation import CliForConditionalGeneration


class CliGemma3Config(InjectionSection, Gemma3Config):
    """Gemma 3 with Cross-Layer Injection."""

    model_type = "cli_gemma3"

    cli: dict[str, Any] | None = None


class CliGemma3Model(CliModel, Gemma3Model):
    """Tower, AMP, AGF and the language model without its head."""

    config: CliGemma3Config
    decoder_layers = ("Gemma3DecoderLayer",)
    stacks_images = True
    packs_rows = False

    def patches(self, hidden: Tensor) -> Tensor:
        """See `Adapter`."""
        normed: Tensor = self.vision_tower.post_layernorm(hidden)
        return normed

    def group(self, v_NPC: Tensor) -> Tensor:
        """The mean of each token's patches."""
        side = self.projector.patches_per_image
        image_XCHW = v_NPC.reshape(-1, side, side, v_NPC.shape[-1]).permute(0, 3, 1, 2)
        mean_XTC: Tensor = self.projector.avg_pool(image_XCHW).flatten(2).transpose(1, 2)
        return mean_XTC.reshape(len(v_NPC), -1, mean_XTC.shape[-1])

    def projection(self) -> Callable[[Tensor], Tensor]:
        """The projector, which takes images."""
        patches = self.projector.patches_per_image**2
        return lambda v_NPC: (
            self.projector(v_NPC.unflatten(1, (-1, patches)).flatten(0, 1)).unflatten(0, (len(v_NPC), -1)).flatten(1, 2)
        )


class CliGemma3ForConditionalGeneration(CliForConditionalGeneration, Gemma3ForConditionalGeneration):
    """Gemma 3 with Cross-Layer Injection; drop-in for `Gemma3ForConditionalGeneration`."""

    config: CliGemma3Config
    config_class = CliGemma3Config
    inner_class = CliGemma3Model
    plain_class = Gemma3ForConditionalGeneration
