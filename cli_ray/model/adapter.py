"""What a family of models says to get injection: where its parts are, and how the tower's patches become tokens.

The inner model of each family derives from `Adapter` by way of `backbone.CliModel`, which does all the rest. The
defaults are those of a LLaVA whose tower has no token of its own.

Shapes: N tapped vision layers, P patches and R tokens of all images, C width of the tower, D width of the language
model.
"""

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from cli_ray.model.agf import Agf
from cli_ray.model.amp import Amp
from cli_ray.model.injection import KNOWN
from cli_ray.model.rivals import ExternalWeights


class InitializesInjection(PreTrainedModel):
    """Initial weights of the new modules, for every class that transformers initialises through."""

    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, Amp | Agf | ExternalWeights):
            module.initialize()


class Adapter(InitializesInjection):
    """What differs between the inner models of families."""

    projector_path: ClassVar[str] = "multi_modal_projector"
    """Of the module that brings the tower's patches to the width of the language model."""
    decoder_path: ClassVar[str] = "language_model"
    """Of the language model without its head."""
    decoder_layers: ClassVar[Sequence[str]] = KNOWN
    """Classes of its layers."""
    image_arguments: ClassVar[tuple[str, ...]] = ("pixel_values",)
    """What of a batch the plain `get_image_features` takes."""
    stacks_images: ClassVar[bool] = False
    """Whether the plain `forward` wants the features of images in one tensor."""
    packs_rows: ClassVar[bool] = True
    """Whether positions of packed rows are known to start anew in each sample."""
    external_projector_class: ClassVar[Any] = None
    """The projector over joined layers; None where the family has none that takes them."""

    @property
    def projector(self) -> Any:
        """See `projector_path`."""
        return self.get_submodule(self.projector_path)

    @property
    def decoder(self) -> Any:
        """See `decoder_path`."""
        return self.get_submodule(self.decoder_path)

    @property
    def patches_per_token(self) -> int:
        """Patches that the projector makes one token of."""
        return 1

    def patches(self, hidden: Tensor) -> Tensor:
        """What of a tapped layer's output goes to the projector, after the norm that the tower has behind its last
        block."""
        return hidden

    def group(self, v_NPC: Tensor) -> Tensor:
        """The patches of each token side by side as channels, Float[N, tokens, patches of a token x C]."""
        return v_NPC

    def projection(self) -> Callable[[Tensor], Tensor]:
        """From Float[N, P, C] to Float[N, tokens, D], all layers at once; by the family's own modules."""
        own: Callable[[Tensor], Tensor] = self.projector
        return own

    def arrange(self, v_hat_NRD: Tensor, images: dict[str, Any]) -> Tensor:
        """The tokens of all images in the order of the text, Float[N, R, D]."""
        return v_hat_NRD

    def split(self, base: Any) -> Sequence[Tensor]:
        """The base features by images, as the plain `get_image_features` gives them; an image is what has gates of its
        own."""
        features: Sequence[Tensor] = list(base) if isinstance(base, Tensor) else base
        return features

    def dummy_images(self) -> dict[str, Any]:
        """Arguments of `encode` for one black image."""
        side = self.config.vision_config.image_size
        return {"pixel_values": torch.zeros(1, 3, side, side, device=self.device, dtype=self.dtype)}
