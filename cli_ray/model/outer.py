"""What the outer CLI models share: the language-model head, the loss and generation.

Shapes: B samples, T positions, V vocabulary.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import GenerationMixin
from transformers.modeling_outputs import CausalLMOutputWithPast

from cli_ray.model.inner import InitializesInjection

IGNORED = -100


@dataclass
class CliOutput(CausalLMOutputWithPast):
    """The plain model's output and the gates."""

    image_hidden_states: Tensor | None = None
    """Float[R, D], the projected base features of all images."""
    gates: Tensor | None = None
    """Float32[M decoder layers, I images, N vision layers], detached; None without images."""


class CliForConditionalGeneration(InitializesInjection, GenerationMixin):
    """Mixin of the outer models, before the plain model's class."""

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
        mm_encoder_outputs: dict[str, Any] | None = None,
        context_mask: Tensor | None = None,
        return_dict: bool | None = None,
        **kwargs: Any,
    ) -> CliOutput | tuple[Any, ...]:
        """As the plain model's.

        Args:
            context_mask: Bool[B, T], positions of the prompt, which the gates may read. By default those before
                the first label that is not -100, without padding; all without labels.
            logits_to_keep: as in transformers; a Bool[B, T] keeps the logits of those positions only, Float[K, V],
                and the loss then counts those positions.
        """
        if context_mask is None and labels is not None:
            context_mask = prompt_of(labels, attention_mask)
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
            context_mask=context_mask,
            **kwargs,
        )
        logits = self.lm_head(_keep(outputs.last_hidden_state, logits_to_keep))
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
        )
        return output.to_tuple() if return_dict is False else output

    def generate(self, inputs: Tensor | None = None, generation_config: Any = None, **kwargs: Any) -> Any:
        """As in transformers; the gates read the prompt.

        Raises:
            ValueError: `prefill_chunk_size` is set.
        """
        settings = self.generation_config if generation_config is None else generation_config
        if kwargs.get("prefill_chunk_size") or settings.prefill_chunk_size:
            raise ValueError(
                "prefill_chunk_size is set, but the gates read the whole prompt at once: generate without it"
            )
        prompt = next((kwargs[key] for key in ("inputs_embeds", "input_ids") if kwargs.get(key) is not None), inputs)
        if prompt is not None and kwargs.get("context_mask") is None:
            mask = kwargs.get("attention_mask")
            ones = torch.ones(prompt.shape[:2], dtype=torch.bool, device=prompt.device)
            kwargs["context_mask"] = ones if mask is None else mask.bool()
        return super().generate(inputs, generation_config=generation_config, **kwargs)

    def _get_candidate_generator(self, *args: Any, model_kwargs: dict[str, Any], **kwargs: Any) -> Any:
        # A draft model without gates knows no context.
        if not isinstance(kwargs.get("assistant_model"), CliForConditionalGeneration):
            model_kwargs = {name: value for name, value in model_kwargs.items() if name != "context_mask"}
        return super()._get_candidate_generator(*args, model_kwargs=model_kwargs, **kwargs)

    def prepare_inputs_for_generation(
        self, input_ids: Tensor, inputs_embeds: Tensor | None = None, **kwargs: Any
    ) -> dict[str, Any]:
        """As in transformers; the context stays the prompt when generated tokens follow it."""
        inputs: dict[str, Any] = super().prepare_inputs_for_generation(input_ids, inputs_embeds=inputs_embeds, **kwargs)
        if (context := inputs.get("context_mask")) is not None:
            embeds = inputs.get("inputs_embeds")
            length = (inputs["input_ids"] if embeds is None else embeds).shape[1]
            inputs["context_mask"] = F.pad(context, (0, max(0, length - context.shape[1])))[:, -length:]
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


def prompt_of(labels_BT: Tensor, attention_mask: Tensor | None) -> Tensor:
    """Bool[B, T]: positions before the first supervised one, padding left out."""
    before_BT = (labels_BT != IGNORED).cumsum(1) == 0
    if attention_mask is None or attention_mask.ndim != 2:
        return before_BT
    return before_BT & attention_mask.bool()


def _is_mask(logits_to_keep: int | Tensor) -> bool:
    return isinstance(logits_to_keep, Tensor) and logits_to_keep.dtype == torch.bool


def _keep(h_BTD: Tensor, logits_to_keep: int | Tensor) -> Tensor:
    if isinstance(logits_to_keep, int):
        return h_BTD[:, -logits_to_keep:]
    return h_BTD[logits_to_keep] if _is_mask(logits_to_keep) else h_BTD[:, logits_to_keep]
