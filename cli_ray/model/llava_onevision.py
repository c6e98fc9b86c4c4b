"""LLaVA-OneVision with Cross-Layer Injection.

Shapes: I images, L tiles of all images, P patches of a tile, N tapped vision layers, D width of the
language model, R rows (of tiles before packing, of images after it), K = N D channels.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers import LlavaOnevisionForConditionalGeneration, LlavaOnevisionModel
from transformers.models.llava_onevision.modeling_llava_onevision import image_size_to_num_patches

from cli_ray.model.backbone import CliModel, Encoded
from cli_ray.model.configuration import CliLlavaOnevisionConfig
from cli_ray.model.generation import CliForConditionalGeneration


class CliLlavaOnevisionModel(CliModel, LlavaOnevisionModel):
    """Vision tower, projector, AMP, AGF and the language model without its head."""

    config: CliLlavaOnevisionConfig

    def __init__(self, config: CliLlavaOnevisionConfig) -> None:
        super().__init__(config)
        self.install()
        self.post_init()

    def encode(
        self, pixel_values: Tensor, image_sizes: Tensor | None = None, batch_num_images: Tensor | None = None
    ) -> Encoded:
        """Tiles of all images through the tower in one pass.

        Args:
            pixel_values: Float[I, tiles, 3, side, side], padded to the image of most tiles, or Float[L, 3, side, side].
            image_sizes: Int[I, 2], (height, width) in pixels before resizing.
            batch_num_images: Int[B], images of each sample; those of one with several are not tiled. None
                tiles all.
        """
        outputs = LlavaOnevisionModel.get_image_features(
            self,
            pixel_values,
            image_sizes,
            batch_num_images=batch_num_images,
            return_dict=True,
            **self.tap_arguments(),
        )
        v_hat_NRD = self.project_taps(outputs)
        if v_hat_NRD is None:
            return Encoded(outputs.pooler_output, None)
        tiles = self._tiles(image_sizes, batch_num_images)
        return Encoded(outputs.pooler_output, self._pack(v_hat_NRD, image_sizes, tiles))

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

    def __init__(self, config: CliLlavaOnevisionConfig) -> None:
        super(LlavaOnevisionForConditionalGeneration, self).__init__(config)
        self.model = CliLlavaOnevisionModel(config)
        self.lm_head = nn.Linear(config.text_config.hidden_size, config.text_config.vocab_size, bias=False)
        self.post_init()
