"""How the tiny models of `foreign_models` are made: one function a family, from its own config and processor classes.

Each gives the model and, for the processor, its class, the image processor and further fields.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

WIDTH, LAYERS, HEADS = 32, 2, 2
CONTEXT = 4096


def _text(tokenizer: "PreTrainedTokenizerFast", **fields: Any) -> dict[str, Any]:
    """Sizes of a language model."""
    return {
        "vocab_size": len(tokenizer) + 64,  # some processors add tokens
        "hidden_size": WIDTH,
        "intermediate_size": 2 * WIDTH,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "num_key_value_heads": 1,
        "max_position_embeddings": CONTEXT,
        "initializer_range": WIDTH**-0.5,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "pad_token_id": 0,
    } | fields


def _vision(**fields: Any) -> dict[str, Any]:
    """Sizes of a vision tower."""
    return {
        "hidden_size": WIDTH,
        "intermediate_size": 2 * WIDTH,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "initializer_range": WIDTH**-0.5,
    } | fields


def _rope(*sections: int) -> dict[str, Any]:
    return {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": list(sections)}


def qwen2_5_vl(tokenizer: "PreTrainedTokenizerFast") -> Any:
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration, Qwen2_5_VLProcessor
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

    vision = {
        "depth": 2, "hidden_size": WIDTH, "intermediate_size": 64, "num_heads": HEADS, "patch_size": 14,
        "window_size": 56, "out_hidden_size": WIDTH, "fullatt_block_indexes": [1], "initializer_range": WIDTH**-0.5,
    }  # fmt: skip
    config = Qwen2_5_VLConfig(
        text_config=_text(tokenizer, rope_parameters=_rope(2, 3, 3)), vision_config=vision, **_qwen_ids(tokenizer)
    )
    images = Qwen2VLImageProcessorPil(size={"shortest_edge": 28 * 28, "longest_edge": 16 * 28 * 28})
    return Qwen2_5_VLForConditionalGeneration(config), (Qwen2_5_VLProcessor, images, {})


def qwen3_vl(tokenizer: "PreTrainedTokenizerFast") -> Any:
    from transformers import Qwen3VLConfig, Qwen3VLForConditionalGeneration, Qwen3VLProcessor
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

    vision = {
        "depth": 2, "hidden_size": WIDTH, "intermediate_size": 64, "num_heads": HEADS, "patch_size": 16,
        "out_hidden_size": WIDTH, "deepstack_visual_indexes": [0], "num_position_embeddings": 64,
        "initializer_range": WIDTH**-0.5,
    }  # fmt: skip
    text = _text(tokenizer, head_dim=16, rope_parameters=_rope(2, 3, 3))
    config = Qwen3VLConfig(text_config=text, vision_config=vision, **_qwen_ids(tokenizer))
    images = Qwen2VLImageProcessorPil(patch_size=16, size={"shortest_edge": 32 * 32, "longest_edge": 16 * 32 * 32})
    return Qwen3VLForConditionalGeneration(config), (Qwen3VLProcessor, images, {})


def _qwen_ids(tokenizer: "PreTrainedTokenizerFast") -> dict[str, int]:
    names = {"image_token_id": "<|image_pad|>", "video_token_id": "<|video_pad|>",
             "vision_start_token_id": "<|vision_start|>", "vision_end_token_id": "<|vision_end|>"}  # fmt: skip
    return {name: tokenizer.convert_tokens_to_ids(token) for name, token in names.items()}


def idefics3(tokenizer: "PreTrainedTokenizerFast") -> Any:
    from transformers import Idefics3Config, Idefics3ForConditionalGeneration, Idefics3Processor, LlamaConfig
    from transformers.models.idefics3.image_processing_pil_idefics3 import Idefics3ImageProcessorPil

    config = Idefics3Config(
        text_config=LlamaConfig(**_text(tokenizer)),
        vision_config=_vision(image_size=32, patch_size=8),
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
        scale_factor=2,
        tie_word_embeddings=False,
        pad_token_id=0,
    )
    images = Idefics3ImageProcessorPil(size={"longest_edge": 64}, max_image_size={"longest_edge": 32})
    return Idefics3ForConditionalGeneration(config), (Idefics3Processor, images, {"image_seq_len": 4})


def smolvlm(tokenizer: "PreTrainedTokenizerFast") -> Any:
    from transformers import LlamaConfig, SmolVLMConfig, SmolVLMForConditionalGeneration, SmolVLMProcessor
    from transformers.models.smolvlm.image_processing_pil_smolvlm import SmolVLMImageProcessorPil

    config = SmolVLMConfig(
        text_config=LlamaConfig(**_text(tokenizer)),
        vision_config=_vision(image_size=32, patch_size=8),
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
        scale_factor=2,
        tie_word_embeddings=False,
        pad_token_id=0,
    )
    images = SmolVLMImageProcessorPil(size={"longest_edge": 64}, max_image_size={"longest_edge": 32})
    return SmolVLMForConditionalGeneration(config), (
        SmolVLMProcessor,
        images,
        {"video_processor": None, "image_seq_len": 4},
    )


def idefics2(tokenizer: "PreTrainedTokenizerFast") -> Any:
    from transformers import Idefics2Config, Idefics2ForConditionalGeneration, Idefics2Processor, MistralConfig
    from transformers.models.idefics2.image_processing_pil_idefics2 import Idefics2ImageProcessorPil

    perceiver = {
        "hidden_size": WIDTH, "resampler_n_latents": 4, "resampler_depth": 1, "resampler_n_heads": HEADS,
        "resampler_head_dim": 16, "num_key_value_heads": 1,
    }  # fmt: skip
    config = Idefics2Config(
        text_config=MistralConfig(**_text(tokenizer)),
        vision_config=_vision(image_size=64, patch_size=8),
        perceiver_config=perceiver,
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
    )
    images = Idefics2ImageProcessorPil(size={"longest_edge": 64, "shortest_edge": 32}, do_image_splitting=False)
    return Idefics2ForConditionalGeneration(config), (Idefics2Processor, images, {"image_seq_len": 4})


def internvl(tokenizer: "PreTrainedTokenizerFast") -> Any:
    from transformers import InternVLConfig, InternVLForConditionalGeneration, InternVLProcessor, Qwen2Config
    from transformers.models.got_ocr2.image_processing_pil_got_ocr2 import GotOcr2ImageProcessorPil

    config = InternVLConfig(
        text_config=Qwen2Config(**_text(tokenizer)),
        vision_config=_vision(image_size=(32, 32), patch_size=(8, 8)),
        image_token_id=tokenizer.convert_tokens_to_ids("<IMG_CONTEXT>"),
        image_seq_length=4,
        tie_word_embeddings=False,
    )
    images = GotOcr2ImageProcessorPil(crop_to_patches=True, max_patches=4, size={"height": 32, "width": 32})
    return InternVLForConditionalGeneration(config), (InternVLProcessor, images, {"image_seq_length": 4})


def gemma3(tokenizer: "PreTrainedTokenizerFast") -> Any:
    from transformers import Gemma3Config, Gemma3ForConditionalGeneration, Gemma3Processor
    from transformers.models.gemma3.image_processing_pil_gemma3 import Gemma3ImageProcessorPil

    names = {"boi_token_index": "<start_of_image>", "eoi_token_index": "<end_of_image>",
             "image_token_index": "<image_soft_token>"}  # fmt: skip
    config = Gemma3Config(
        text_config=_text(tokenizer, head_dim=16, query_pre_attn_scalar=16, sliding_window=24,
                          layer_types=["sliding_attention", "full_attention"]),
        vision_config=_vision(image_size=32, patch_size=8, model_type="siglip_vision_model"),
        mm_tokens_per_image=4,
        **{name: tokenizer.convert_tokens_to_ids(token) for name, token in names.items()},
    )  # fmt: skip
    images = Gemma3ImageProcessorPil(size={"height": 32, "width": 32}, image_seq_length=4)
    return Gemma3ForConditionalGeneration(config), (Gemma3Processor, images, {"image_seq_length": 4})


def paligemma(tokenizer: "PreTrainedTokenizerFast") -> Any:
    from transformers import GemmaConfig, PaliGemmaConfig, PaliGemmaForConditionalGeneration, PaliGemmaProcessor
    from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

    text = _text(tokenizer, head_dim=16, vocab_size=len(tokenizer) + 1200)  # the processor adds 1,152 tokens
    config = PaliGemmaConfig(
        text_config=GemmaConfig(**text),
        vision_config=_vision(image_size=32, patch_size=8, projection_dim=WIDTH, model_type="siglip_vision_model"),
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        projection_dim=WIDTH,
        hidden_size=WIDTH,
    )
    images = SiglipImageProcessorPil(size={"height": 32, "width": 32}, image_seq_length=16)
    images.image_seq_length = 16
    return PaliGemmaForConditionalGeneration(config), (PaliGemmaProcessor, images, {})


def llava_next(tokenizer: "PreTrainedTokenizerFast") -> Any:
    from transformers import (
        CLIPVisionConfig,
        LlamaConfig,
        LlavaNextConfig,
        LlavaNextForConditionalGeneration,
        LlavaNextProcessor,
    )
    from transformers.models.llava_next.image_processing_pil_llava_next import LlavaNextImageProcessorPil

    pinpoints = [[32, 64], [64, 32], [64, 64]]
    config = LlavaNextConfig(
        text_config=LlamaConfig(**_text(tokenizer)),
        vision_config=CLIPVisionConfig(**_vision(image_size=32, patch_size=8)),
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        image_grid_pinpoints=pinpoints,
        image_seq_length=16,
    )
    images = LlavaNextImageProcessorPil(
        size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}, image_grid_pinpoints=pinpoints
    )
    fields = {"patch_size": 8, "vision_feature_select_strategy": "default", "num_additional_image_tokens": 1}
    return LlavaNextForConditionalGeneration(config), (LlavaNextProcessor, images, fields)


def glm4v(tokenizer: "PreTrainedTokenizerFast") -> Any:
    from transformers import Glm4vConfig, Glm4vForConditionalGeneration, Glm4vProcessor
    from transformers.models.glm4v.image_processing_pil_glm4v import Glm4vImageProcessorPil

    vision = {
        "depth": 2, "hidden_size": WIDTH, "intermediate_size": 64, "num_heads": HEADS, "patch_size": 14,
        "out_hidden_size": WIDTH, "image_size": 112, "initializer_range": WIDTH**-0.5,
    }  # fmt: skip
    names = {"image_token_id": "<|image|>", "video_token_id": "<|video|>",
             "image_start_token_id": "<|begin_of_image|>", "image_end_token_id": "<|end_of_image|>",
             "video_start_token_id": "<|begin_of_video|>", "video_end_token_id": "<|end_of_video|>"}  # fmt: skip
    rope = {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [2, 3, 3], "partial_rotary_factor": 1.0}
    config = Glm4vConfig(
        text_config=_text(tokenizer, rope_parameters=rope),
        vision_config=vision,
        **{name: tokenizer.convert_tokens_to_ids(token) for name, token in names.items()},
    )
    images = Glm4vImageProcessorPil(size={"shortest_edge": 28 * 28 * 2, "longest_edge": 16 * 28 * 28 * 2})
    return Glm4vForConditionalGeneration(config), (Glm4vProcessor, images, {})


def aya_vision(tokenizer: "PreTrainedTokenizerFast") -> Any:
    from transformers import (
        AyaVisionConfig,
        AyaVisionForConditionalGeneration,
        AyaVisionProcessor,
        Cohere2Config,
        SiglipVisionConfig,
    )
    from transformers.models.got_ocr2.image_processing_pil_got_ocr2 import GotOcr2ImageProcessorPil

    config = AyaVisionConfig(
        text_config=Cohere2Config(**_text(tokenizer, head_dim=16, sliding_window=24)),
        vision_config=SiglipVisionConfig(**_vision(image_size=32, patch_size=8)),
        image_token_index=tokenizer.convert_tokens_to_ids("<|IMG_PATCH|>"),
        downsample_factor=2,
        adapter_layer_norm_eps=1e-6,
    )
    images = GotOcr2ImageProcessorPil(crop_to_patches=True, max_patches=4, size={"height": 32, "width": 32})
    fields = {"patch_size": 8, "img_size": 32, "downsample_factor": 2, "image_token": "<image>"}
    return AyaVisionForConditionalGeneration(config), (AyaVisionProcessor, images, fields)


def mllama(tokenizer: "PreTrainedTokenizerFast") -> Any:
    from transformers import MllamaConfig, MllamaForConditionalGeneration, MllamaProcessor
    from transformers.models.mllama.image_processing_pil_mllama import MllamaImageProcessorPil

    image = tokenizer.convert_tokens_to_ids("<|image|>")
    vision = {
        "hidden_size": WIDTH, "intermediate_size": 64, "num_hidden_layers": 2, "num_global_layers": 1,
        "attention_heads": HEADS, "image_size": 32, "patch_size": 8, "max_num_tiles": 4,
        "intermediate_layers_indices": [0], "vision_output_dim": 2 * WIDTH, "initializer_range": WIDTH**-0.5,
    }  # fmt: skip
    config = MllamaConfig(
        text_config=_text(tokenizer, cross_attention_layers=[1], num_hidden_layers=3),
        vision_config=vision,
        image_token_index=image,
    )
    images = MllamaImageProcessorPil(size={"height": 32, "width": 32}, max_image_tiles=4)
    return MllamaForConditionalGeneration(config), (MllamaProcessor, images, {})
