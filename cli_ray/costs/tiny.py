"""The sizes of the `tiny` checkpoint, which `model.tiny` builds and `cli-ray plan` counts."""

from dataclasses import dataclass


@dataclass(frozen=True)
class TinySize:
    """Sizes of a tiny model. The two widths differ so that mixing them up is an error."""

    image_size: int = 32
    """Side of the square image (LLaVA-1.5) or tile (OneVision), pixels; a multiple of patch_size."""
    patch_size: int = 8
    """Side of a vision patch, pixels."""
    vision_layers: int = 6
    """Blocks of the vision tower."""
    vision_width: int = 48
    """Hidden size of the vision tower, a multiple of heads."""
    decoder_layers: int = 6
    """Layers of the language model."""
    decoder_width: int = 64
    """Hidden size of the language model, a multiple of heads."""
    heads: int = 4
    """Attention heads of both; the language model has half as many key/value heads."""

    @property
    def patches(self) -> int:
        """Patches of one image or tile."""
        return (self.image_size // self.patch_size) ** 2


TINY = TinySize()
