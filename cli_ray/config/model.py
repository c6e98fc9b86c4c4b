"""The sections of a run about the network: checkpoint or parts, attention and LoRA."""

from typing import TYPE_CHECKING, Literal, Self

from pydantic import Field, model_validator

from cli_ray.config.base import Section
from cli_ray.registry import FAMILIES

if TYPE_CHECKING:
    FamilyName = str
else:
    # A type checker wants the names of a Literal written out.
    FamilyName = Literal[tuple(FAMILIES)]

FLASH = "flash_attention_2"


def refuse_flash(field: str, attention: str, precision_field: str, precision: str) -> None:
    """Raises ValueError for FlashAttention in a precision that it does not have."""
    if attention == FLASH and precision == "fp32":
        raise ValueError(f"{field} = {FLASH!r} knows bf16 alone, but {precision_field} = 'fp32': take 'sdpa' or 'bf16'")


class LoraConfig(Section):
    """LoRA on the language model, through peft. Its learning rate is `optim.lora.lr`."""

    rank: int = Field(default=0, ge=0)
    """Rank of the adapters; 0 trains without them."""
    alpha: float = Field(default=256.0, gt=0)
    """Scale of the adapters: their output is multiplied by alpha / rank."""
    dropout: float = Field(default=0.05, ge=0, lt=1)
    """Dropout before the adapters."""


class ModelConfig(Section):
    """A LLaVA checkpoint, or a vision tower and a language model to join by a fresh projector."""

    family: FamilyName = "llava"
    """`llava` is LLaVA-1.5 (CLIP, Llama), `llava_onevision` SigLIP and Qwen2 with anyres tiles."""
    checkpoint: str = ""
    """Hub id or folder of a LLaVA or CLI checkpoint, in Hugging Face's or in LLaVA's original format; `tiny` builds a
    small random model."""
    vision_tower: str = ""
    """Hub id or folder of the vision tower, when there is no checkpoint; beside one in LLaVA's original format, the
    tower instead of its `mm_vision_tower`."""
    language_model: str = ""
    """Hub id or folder of the language model, when there is no checkpoint."""
    revision: str = "main"
    """Revision of the checkpoint (or of both parts) on the hub; `id@revision` gives one of them its own."""
    pad_to_square: bool = True
    """LLaVA-1.5 only: pad images to a square with the mean colour, as the published numbers do,
    instead of cropping the centre."""
    attention: Literal["sdpa", "eager", "flash_attention_2"] = "sdpa"
    """Attention kernels of the language model and the vision tower; `flash_attention_2` needs the package flash-attn on
    all nodes, GPUs and bf16."""

    @model_validator(mode="after")
    def _checkpoint_or_parts(self) -> Self:
        parts = bool(self.vision_tower), bool(self.language_model)
        of_original = self.checkpoint not in ("", "tiny") and parts == (True, False)
        if not of_original and (bool(self.checkpoint), *parts) not in ((True, False, False), (False, True, True)):
            raise ValueError("give either checkpoint, or both vision_tower and language_model")
        return self
