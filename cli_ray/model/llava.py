"""LLaVA-1.5 with Cross-Layer Injection."""

from typing import Any

import torch
from torch import Tensor, nn
from transformers import LlavaForConditionalGeneration, LlavaModel

from cli_ray.model.backbone import CliModel, Encoded
from cli_ray.model.configuration import CliLlavaConfig
from cli_ray.model.generation import CliForConditionalGeneration


class CliLlavaModel(CliModel, LlavaModel):
    """Vision tower, projector, AMP, AGF and the language model without its head."""

    config: CliLlavaConfig

    def __init__(self, config: CliLlavaConfig) -> None:
        super().__init__(config)
        self.install()
        self.post_init()

    def encode(
        self, pixel_values: Tensor, image_sizes: Tensor | None = None, batch_num_images: Tensor | None = None
    ) -> Encoded:
        """`pixel_values` Float[I, 3, height, width]. Images are of one size, so the other two are not read."""
        outputs = LlavaModel.get_image_features(self, pixel_values, return_dict=True, **self.tap_arguments())
        return Encoded(outputs.pooler_output, self.project_taps(outputs))

    def dummy_images(self) -> dict[str, Any]:
        """One black image."""
        side = self.config.vision_config.image_size
        return {"pixel_values": torch.zeros(1, 3, side, side, device=self.device, dtype=self.dtype)}


class CliLlavaForConditionalGeneration(CliForConditionalGeneration, LlavaForConditionalGeneration):
    """LLaVA-1.5 with Cross-Layer Injection; drop-in for `LlavaForConditionalGeneration`."""

    config: CliLlavaConfig
    config_class = CliLlavaConfig
    inner_class = CliLlavaModel

    def __init__(self, config: CliLlavaConfig) -> None:
        super(LlavaForConditionalGeneration, self).__init__(config)
        self.model = CliLlavaModel(config)
        self.lm_head = nn.Linear(config.text_config.hidden_size, config.text_config.vocab_size, bias=False)
        self.post_init()
