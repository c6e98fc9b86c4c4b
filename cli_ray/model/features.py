"""What the images of a batch give to the model: features for the text and features for the decoder.

The base features take the places of the image tokens; those of the tapped layers are injected. `backbone` makes and
merges them; `generate` hands them from pass to pass.

Shapes: B samples, T positions, D width of the language model, N tapped vision layers, R visual rows.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers.modeling_outputs import BaseModelOutputWithPooling


@dataclass
class CliImageFeatures(BaseModelOutputWithPooling):
    """`pooler_output`: per image Float[rows, D], the base features; the layout that `generate` expands for beams."""

    deepstack_features: list[list[Tensor]] | None = None
    """Per tapped vision layer, per image Float[rows, D]."""

    def take(self, images: Sequence[int]) -> "CliImageFeatures":
        """Those of some images in an order of their own, which may name an image more than once."""
        layers = self.deepstack_features
        return CliImageFeatures(
            pooler_output=[self.pooler_output[i] for i in images],
            deepstack_features=None if layers is None else [[layer[i] for i in images] for layer in layers],
        )


@dataclass(frozen=True)
class ImageFeatures:
    """The images of a batch: base features per image and the packed features of the tapped layers."""

    base: Sequence[Tensor]
    """Per image Float[rows, D]."""
    features_NRD: Tensor | None
    dummy: bool = False
    """Of a black image that is there for its parameters alone and counts nothing."""

    @property
    def lengths(self) -> list[int]:
        """Rows of each image."""
        return [len(image) for image in self.base]

    def as_dummy(self) -> "ImageFeatures":
        """The same times zero."""
        features = self.features_NRD
        return ImageFeatures([image * 0 for image in self.base], None if features is None else features * 0, dummy=True)

    def to_output(self) -> CliImageFeatures:
        """As `generate` expands them for beams and hands them back."""
        layers = None
        if self.features_NRD is not None:
            layers = [list(v_hat_RD.split(self.lengths)) for v_hat_RD in self.features_NRD]
        return CliImageFeatures(pooler_output=list(self.base), deepstack_features=layers)

    @classmethod
    def from_output(cls, output: Any) -> "ImageFeatures":
        """From what `to_output` gave."""
        layers = output.deepstack_features
        features = None if layers is None else torch.stack([torch.cat(images) for images in layers])
        return cls(output.pooler_output, features)

    def merge_into(self, h_BTD: Tensor, placeholder_BT: Tensor) -> Tensor:
        """The embeddings of a text with the base features at its image tokens.

        Raises:
            ValueError: there are not as many image tokens as features.
        """
        base_RD = torch.cat(tuple(self.base)).to(h_BTD)
        if self.dummy:
            return h_BTD + base_RD.sum()
        count = int(placeholder_BT.sum())
        if count != len(base_RD):
            raise ValueError(
                f"{count} image tokens in the text but {len(base_RD)} image features from {len(self.base)} images: "
                "the text was expanded for other images, or cut inside one"
            )
        return h_BTD.masked_scatter(placeholder_BT.unsqueeze(-1), base_RD)
