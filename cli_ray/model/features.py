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

    injected_features: list[list[Tensor]] | None = None
    """Per tapped vision layer, per image Float[rows, D]."""
    deepstack_features: list[list[Tensor]] | None = None
    """What the plain model adds to its first decoder layers, where it is one that does: per such layer, per image
    Float[rows, D]."""

    def take(self, images: Sequence[int]) -> "CliImageFeatures":
        """Those of some images in an order of their own, which may name an image more than once."""

        def taken(layers: list[list[Tensor]] | None) -> list[list[Tensor]] | None:
            return None if layers is None else [[layer[i] for i in images] for layer in layers]

        return CliImageFeatures(
            pooler_output=[self.pooler_output[i] for i in images],
            injected_features=taken(self.injected_features),
            deepstack_features=taken(self.deepstack_features),
        )


@dataclass(frozen=True)
class ImageFeatures:
    """The images of a batch: base features per image and the packed features of the tapped layers."""

    base: Sequence[Tensor]
    """Per image Float[rows, D]."""
    features_NRD: Tensor | None
    deepstack: Sequence[Sequence[Tensor]] | None = None
    """As `deepstack_features` of the plain model."""
    dummy: bool = False
    """Of a black image that is there for its parameters alone and counts nothing."""

    @property
    def lengths(self) -> list[int]:
        """Rows of each image."""
        return [len(image) for image in self.base]

    def as_dummy(self) -> "ImageFeatures":
        """The same times zero."""
        features, deepstack = self.features_NRD, self.deepstack or ()
        return ImageFeatures(
            [image * 0 for image in self.base],
            None if features is None else features * 0,
            [[image * 0 for image in layer] for layer in deepstack],
            dummy=True,
        )

    def to_output(self) -> CliImageFeatures:
        """As `generate` expands them for beams and hands them back."""
        layers = None
        if self.features_NRD is not None:
            layers = [list(v_hat_RD.split(self.lengths)) for v_hat_RD in self.features_NRD]
        return CliImageFeatures(
            pooler_output=list(self.base), injected_features=layers, deepstack_features=self._deepstack()
        )

    def to_plain(self, stacked: bool) -> CliImageFeatures:
        """As the plain model's `forward` takes them, the base features in one tensor where it wants them `stacked`."""
        base = torch.stack(tuple(self.base)) if stacked else list(self.base)
        return CliImageFeatures(pooler_output=base, deepstack_features=self._deepstack())

    @classmethod
    def from_output(cls, output: Any) -> "ImageFeatures":
        """From what `to_output` gave."""
        layers = output.injected_features
        features = None if layers is None else torch.stack([torch.cat(images) for images in layers])
        return cls(output.pooler_output, features, output.deepstack_features)

    def add_nothing(self, h_BTD: Tensor) -> Tensor:
        """The embeddings of a text with the sum of all features of a dummy, which is zero."""
        total = torch.cat(tuple(self.base)).to(h_BTD).sum()
        for layer in self.deepstack or ():
            total = total + torch.cat(tuple(layer)).to(h_BTD).sum()
        return h_BTD + total

    def check_places(self, placeholder_BT: Tensor) -> None:
        """Whether the text has a place for each feature.

        Raises:
            ValueError: there are not as many image tokens as features.
        """
        count, rows = int(placeholder_BT.sum()), sum(self.lengths)
        if count != rows:
            raise ValueError(
                f"{count} image tokens in the text but {rows} image features from {len(self.base)} images: "
                "the text was expanded for other images, or cut inside one"
            )

    def _deepstack(self) -> list[list[Tensor]] | None:
        return None if self.deepstack is None else [list(layer) for layer in self.deepstack]
