"""A LLaVA-OneVision processor for images and text alone."""

from typing import Any

from transformers import LlavaOnevisionProcessor


class CliLlavaOnevisionProcessor(LlavaOnevisionProcessor):
    """`LlavaOnevisionProcessor` without its video processor.

    The video processor of transformers needs torchvision, which has no build for some of the machines
    that we run on, and no video is read here. A processor's parts are the modality names in the
    signature of `__init__` (`ProcessorMixin.get_attributes`), so leaving one out is enough: saving and
    loading follow. Arguments are those of the base class.
    """

    def __init__(
        self,
        image_processor: Any = None,
        tokenizer: Any = None,
        num_image_tokens: int | None = None,
        vision_feature_select_strategy: str | None = None,
        chat_template: str | None = None,
        image_token: str = "<image>",
        video_token: str = "<video>",
        vision_aspect_ratio: str = "anyres_max_9",
    ) -> None:
        super().__init__(
            image_processor,
            tokenizer,
            num_image_tokens=num_image_tokens,
            vision_feature_select_strategy=vision_feature_select_strategy,
            chat_template=chat_template,
            image_token=image_token,
            video_token=video_token,
            vision_aspect_ratio=vision_aspect_ratio,
        )
