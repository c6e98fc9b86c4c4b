"""What the outer CLI models share: the language-model head, the loss and generation.

The mixin of each family's outer model; `backbone` has that of the inner one.

Shapes: B samples, T positions, S positions with those in the cache before them, V vocabulary.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import GenerationMixin, PreTrainedModel
from transformers.modeling_outputs import CausalLMOutputWithPast

from cli_ray.model.adapter import InitializesInjection
from cli_ray.model.context import IGNORED, PADDING, turns_of_labels
from cli_ray.model.features import CliImageFeatures
from cli_ray.model.loss import Head
from cli_ray.model.rows import lay_out

LATER = 2**31
"""Turn of tokens that are generated: after those of all images."""


@dataclass
class CliOutput(CausalLMOutputWithPast):
    """The plain model's output and the gates."""

    image_hidden_states: Tensor | None = None
    """Float[R, D], the projected base features of all images."""
    gates: Tensor | None = None
    """Float32[M decoder layers, I images, N vision layers], detached; None without images."""
    nll: Tensor | None = None
    """Float32[K], negative log-likelihoods of the `targets`, in place of logits."""


class CliForConditionalGeneration(InitializesInjection, GenerationMixin):
    """Mixin of the outer models, before the plain model's class."""

    inner_class: type[PreTrainedModel]

    def __init__(self, config: Any) -> None:
        # Past the plain model's, which would build an inner model of its own.
        PreTrainedModel.__init__(self, config)
        self.model = self.inner_class(config)
        self.lm_head = Head(config.text_config.hidden_size, config.text_config.vocab_size, bias=False)
        self.post_init()

    def forward(
        self,
        input_ids: Tensor | None = None,
        pixel_values: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        past_key_values: Any = None,
        inputs_embeds: Tensor | None = None,
        labels: Tensor | None = None,
        logits_to_keep: int | Tensor = 0,
        image_sizes: Tensor | None = None,
        batch_num_images: Tensor | None = None,
        image_grid_thw: Tensor | None = None,
        pixel_attention_mask: Tensor | None = None,
        mm_token_type_ids: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        mm_encoder_outputs: dict[str, Any] | None = None,
        turn_ids: Tensor | None = None,
        segment_ids: Tensor | None = None,
        targets: Tensor | None = None,
        keep_context: bool = True,
        return_dict: bool | None = None,
        **kwargs: Any,
    ) -> CliOutput | tuple[Any, ...]:
        """As the plain model's; each family gives of the arguments of images what its processor makes.

        Args:
            turn_ids: Int64[B, S], how many replies have begun at each position (or any number that grows where one
                begins), -1 at padding; what `apply_chat_template` gives. The gates of an image read the positions
                up to its own turn: all before the first reply that follows it. By default replies are what
                the labels supervise; without labels no reply is known, so the gates read all positions.
            segment_ids: Int64[B, T], where a row holds several samples end to end, the number of the sample that each
                position belongs to: ascending from 0 along the row, -1 at padding, which is at its end. Positions
                start anew in each sample and nothing of one reaches another. turn_ids, which are needed then, count
                anew in each; batch_num_images has an entry for each sample; no mask, positions or cache are taken.
            targets: Int64[K], the token that follows each position that a mask in `logits_to_keep` keeps. The output
                then has `nll` and no logits, of which only a part is in memory at a time.
            keep_context: keep in the cache what the gates of images in later turns read. It costs a small product a
                token in each decoder layer that injects; without it, no image can follow on that cache.
            logits_to_keep: as in transformers; a Bool[B, T] keeps the logits of those positions only, Float[K, V],
                and the loss then counts those positions.
        """
        if turn_ids is None and segment_ids is None and labels is not None:
            turn_ids = turns_of_labels(labels)
        own = {
            "image_grid_thw": image_grid_thw,
            "pixel_attention_mask": pixel_attention_mask,
            "mm_token_type_ids": mm_token_type_ids,
            "token_type_ids": token_type_ids,
        }
        outputs = self.model(
            input_ids=input_ids,
            pixel_values=pixel_values,
            attention_mask=attention_mask,
            position_ids=position_ids,
            past_key_values=past_key_values,
            inputs_embeds=inputs_embeds,
            image_sizes=image_sizes,
            batch_num_images=batch_num_images,
            mm_encoder_outputs=mm_encoder_outputs,
            turn_ids=turn_ids,
            segment_ids=segment_ids,
            keep_context=keep_context,
            **{name: value for name, value in own.items() if value is not None},
            **kwargs,
        )
        kept = _keep(outputs.last_hidden_state, logits_to_keep)
        nll = None if targets is None else self.lm_head(kept, targets)
        logits = self.lm_head(kept) if targets is None else None
        loss = None
        if labels is not None:
            if _is_mask(logits_to_keep):
                kwargs.setdefault("shift_labels", F.pad(labels, (0, 1), value=IGNORED)[:, 1:][logits_to_keep])
            vocab_size = self.config.text_config.vocab_size
            loss = self.loss_function(logits=logits, labels=labels, vocab_size=vocab_size, **kwargs)
        output = CliOutput(
            loss=loss,
            logits=logits,
            past_key_values=outputs.past_key_values,
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
            image_hidden_states=outputs.image_hidden_states,
            gates=outputs.gates,
            nll=nll,
        )
        return output.to_tuple() if return_dict is False else output

    def set_output_embeddings(self, new_embeddings: Any) -> None:
        """As in transformers, which makes a plain linear layer when the vocabulary is resized."""
        super().set_output_embeddings(new_embeddings)
        self.lm_head.__class__ = Head

    def generate(self, inputs: Tensor | None = None, generation_config: Any = None, **kwargs: Any) -> Any:
        """As in transformers, with `turn_ids` and `keep_context` as in `forward`.

        Without turn_ids no reply is known in what is given, so the gates read all of it: right for a first question.
        The context is kept where the cache goes on, that is where it is given or returned.

        Raises:
            ValueError: `prefill_chunk_size` is set.
        """
        settings = self.generation_config if generation_config is None else generation_config
        if kwargs.get("prefill_chunk_size") or settings.prefill_chunk_size:
            raise ValueError(
                "prefill_chunk_size is set, but the gates read the whole prompt at once: generate without it"
            )
        prompt = next((kwargs[key] for key in ("inputs_embeds", "input_ids") if kwargs.get(key) is not None), inputs)
        if prompt is not None:
            kwargs["turn_ids"] = _turns_of_prompt(kwargs.get("turn_ids"), kwargs.get("attention_mask"), prompt)
        returned = kwargs.get("return_dict_in_generate", settings.return_dict_in_generate)
        kwargs.setdefault("keep_context", bool(returned) or kwargs.get("past_key_values") is not None)
        return super().generate(inputs, generation_config=generation_config, **kwargs)

    def _get_candidate_generator(self, *args: Any, model_kwargs: dict[str, Any], **kwargs: Any) -> Any:
        # A draft model without gates knows no turns.
        if not isinstance(kwargs.get("assistant_model"), CliForConditionalGeneration):
            unknown = ("turn_ids", "keep_context")
            model_kwargs = {name: value for name, value in model_kwargs.items() if name not in unknown}
        return super()._get_candidate_generator(*args, model_kwargs=model_kwargs, **kwargs)

    def _expand_multimodal_outputs(
        self, input_ids: Tensor, mm_encoder_output: dict[str, Any], expand_size: int = 1, inputs_embeds: Any = None
    ) -> dict[str, Any]:
        """As in transformers, which knows no features but its own: it repeats numbers, and we take the images."""
        images = mm_encoder_output.get("image")
        if images is None:
            return mm_encoder_output
        numbers = [torch.full((len(image),), i) for i, image in enumerate(images.pooler_output)]
        expanded = super()._expand_multimodal_outputs(
            input_ids, {"image": CliImageFeatures(pooler_output=numbers)}, expand_size, inputs_embeds
        )
        order = [int(number[0]) for number in expanded["image"].pooler_output]
        return mm_encoder_output | {"image": images.take(order)}

    def prepare_inputs_for_generation(
        self,
        input_ids: Tensor,
        next_sequence_length: int | None = None,
        past_key_values: Any = None,
        is_first_iteration: bool | None = False,
        **kwargs: Any,
    ) -> dict[str, Any]:
        """As in transformers; generated tokens are of a later turn, and images that the cache holds are left out."""
        images = (kwargs.get("mm_encoder_outputs") or {}).get("image")
        is_whole = is_first_iteration and next_sequence_length is not None
        if images is not None and is_whole and (past := _length(past_key_values)):
            new = _after(past, images, input_ids == self.config.image_token_id)
            kwargs["mm_encoder_outputs"] = kwargs["mm_encoder_outputs"] | {"image": new}
        inputs: dict[str, Any] = super().prepare_inputs_for_generation(
            input_ids,
            next_sequence_length=next_sequence_length,
            past_key_values=past_key_values,
            is_first_iteration=is_first_iteration,
            **kwargs,
        )
        turn_BS = inputs.pop("turn_ids", None)
        has_images = inputs.get("mm_encoder_outputs") is not None or inputs.get("pixel_values") is not None
        if turn_BS is not None and has_images:
            embeds = inputs.get("inputs_embeds")
            length = _length(past_key_values) + (inputs["input_ids"] if embeds is None else embeds).shape[1]
            inputs["turn_ids"] = F.pad(turn_BS, (0, max(0, length - turn_BS.shape[1])), value=LATER)
        return inputs

    def _set_gradient_checkpointing(self, enable: bool = True, *args: Any, **kwargs: Any) -> None:
        super()._set_gradient_checkpointing(enable, *args, **kwargs)
        function = kwargs.get("gradient_checkpointing_func", args[0] if args else None)
        if enable and getattr(function, "keywords", {}).get("use_reentrant", True):
            super()._set_gradient_checkpointing(False)
            raise ValueError(
                "reentrant activation checkpointing cannot share the projected features between decoder layers: "
                "pass use_reentrant=False"
            )


def _turns_of_prompt(turn_ids: Tensor | None, attention_mask: Tensor | None, prompt: Tensor) -> Tensor:
    """Int64[B, S]: the given turns or a single one; with the padding, which masks for static caches hide."""
    # The mask covers the cache too, which the prompt does not.
    shape_BS = (prompt[..., 0] if prompt.ndim == 3 else prompt) if attention_mask is None else attention_mask
    turn_BS = torch.zeros_like(shape_BS, dtype=torch.long) if turn_ids is None else turn_ids
    if attention_mask is None or attention_mask.shape != turn_BS.shape:
        return turn_BS
    return turn_BS.masked_fill(attention_mask == 0, PADDING)


def _length(cache: Any) -> int:
    return 0 if cache is None else int(cache.get_seq_length())


def _after(past: int, images: CliImageFeatures, placeholder_BS: Tensor) -> CliImageFeatures | None:
    """The images behind the `past` positions that are cached, when all of the conversation were given again."""
    lengths = [len(image) for image in images.pooler_output]
    if int(placeholder_BS.sum()) != sum(lengths):
        return images
    columns = lay_out(placeholder_BS, lengths).column_I.tolist()
    new = [i for i, column in enumerate(columns) if column >= past]
    return images.take(new) if new else None


def _is_mask(logits_to_keep: int | Tensor) -> bool:
    return isinstance(logits_to_keep, Tensor) and logits_to_keep.dtype == torch.bool


def _keep(h_BTD: Tensor, logits_to_keep: int | Tensor) -> Tensor:
    if isinstance(logits_to_keep, int):
        return h_BTD[:, -logits_to_keep:]
    return h_BTD[logits_to_keep] if _is_mask(logits_to_keep) else h_BTD[:, logits_to_keep]
