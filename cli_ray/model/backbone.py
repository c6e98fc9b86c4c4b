"""The inner CLI model of every family: the family's own passes, with features of the tower's layers injected between.

A mixin in front of a family's inner model; `generation` has that of the outer one. The tower is run by the family's own
`get_image_features`, and text with its images by the family's own `forward`, which hands the state of the injection to
the decoder layers. What else there is to say of a family is its `adapter`.

Shapes: B samples or packs of them, T positions, S positions with those in the cache before them, D width of the
language model, N tapped vision layers, R visual rows.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import DynamicCache
from transformers.modeling_outputs import BaseModelOutputWithPast

from cli_ray.config import InjectionConfig
from cli_ray.model.adapter import Adapter
from cli_ray.model.agf import Agf, FoldedGates
from cli_ray.model.amp import Amp
from cli_ray.model.context import contexts_of, turns_or_default
from cli_ray.model.features import CliImageFeatures, ImageFeatures
from cli_ray.model.injection import Injection, InjectionTrace, upgrade_layers
from cli_ray.model.memory import ContextMemory, memory_layers
from cli_ray.model.parameters import is_partitioned, whole
from cli_ray.model.rivals import fixed_gates, widen_projector
from cli_ray.model.rows import lay_out, lay_out_dummy
from cli_ray.model.segments import check_packed, packed_arguments

PASSED_ON = ("last_hidden_state", "past_key_values", "hidden_states", "attentions")
"""What of the plain model's output is that of the CLI model."""
FIXED_ARGUMENTS = ("vision_feature_layer", "vision_feature_select_strategy", "vision_aspect_ratio")


@dataclass
class CliModelOutput(BaseModelOutputWithPast):
    """The language model's output with what the images gave."""

    image_hidden_states: Tensor | None = None
    """Float[R, D], the projected base features."""
    gates: Tensor | None = None
    """Float32[M decoder layers, I images, N vision layers], detached."""


class CliModel(Adapter):
    """Mixin of the inner models, before the plain model's class.

    Video is refused: `pixel_values_videos` raises ValueError.
    """

    amp: Amp | None
    agf: Agf | None
    _traces: list[InjectionTrace] | None = None
    _no_split_modules: set[str]
    _skip_keys_device_placement: set[str]

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.install()
        self.post_init()

    def install(self) -> None:
        """Add the modules of `config.injection` to a freshly built or loaded plain model."""
        config = self.config
        self.injection: InjectionConfig = config.injection
        config.store(self.injection)
        self._check_projector()
        if self.injection.traits.at_projector:
            widen_projector(self.projector, self.external_projector_class, len(self.injection.tapped))
        self.amp, self.agf = self._new_modules()
        # Modules that stay on one device when a model is spread over several.
        uncut = {Amp.__name__, Agf.__name__, type(self.projector).__name__}
        if self.amp is not None:
            uncut.update(upgrade_layers(self.decoder, self.injection.injected, self.decoder_layers))
        self._no_split_modules = {*(self._no_split_modules or ()), *uncut}
        self._skip_keys_device_placement = {*self._skip_keys_device_placement, "projector"}

    def _check_projector(self) -> None:
        kind = "external" if self.injection.traits.at_projector else self.injection.amp.projector
        if self.external_projector_class is None and kind in ("external", "full"):
            field = "injection.kind" if kind == "external" else "injection.amp.projector"
            raise ValueError(
                f"{field} = {kind!r} needs a projector of two layers that takes each patch by itself, which a "
                f"{self.config.model_type.removeprefix('cli_')} does not have: take another"
            )

    def _new_modules(self) -> tuple[Amp | None, Agf | None]:
        injection, vision, text = self.injection, self.config.vision_config, self.config.text_config
        traits, taps = injection.traits, len(injection.tapped)
        sizes = (taps, vision.hidden_size, text.hidden_size, self.patches_per_token)
        amp = Amp(injection.amp, *sizes) if traits.injects else None
        learned = traits.gates == "learned"
        return amp, Agf(injection.agf, taps, len(injection.injected), text.hidden_size) if learned else None

    def draw(self, seed: int) -> None:
        """Give the new modules the initial weights of `seed`, the same on any device, in any dtype and ZeRO stage."""
        with torch.random.fork_rng(devices=[]):
            # Another stream than that of the weights around them, which the plain seed draws.
            torch.manual_seed(int(np.random.SeedSequence((seed, 1)).generate_state(1, np.uint64)[0]))
            for module, drawn in zip((self.amp, self.agf), self._new_modules(), strict=True):
                if module is not None and drawn is not None:
                    drawn.initialize()
                    with whole([*module.parameters()]):
                        module.load_state_dict(drawn.state_dict())
        if self.injection.traits.at_projector:
            external = self.projector.external
            with whole([external.weight]):
                external.initialize()
        self._copy_projector()

    def _copy_projector(self) -> None:
        """Start full projectors, where the model has them, as copies of the shared one."""
        if self.amp is not None and self.injection.amp.projector == "full":
            shared, projectors = self.projector, self.amp.projectors
            with whole([*shared.parameters(), *projectors.parameters()]):
                projectors.copy_from(shared)

    def tap_arguments(self) -> dict[str, Any]:
        """Arguments of the plain `get_image_features` that make one tower pass keep the tapped layers."""
        traits, base = self.injection.traits, getattr(self.config, "vision_feature_layer", None)
        if not traits.taps:
            return {}
        layers = [*([] if base is None else [base]), *self.injection.tapped]
        return {"vision_feature_layer" if traits.at_projector else "output_hidden_states": layers}

    def project_taps(self, outputs: Any, images: dict[str, Any]) -> Tensor | None:
        """AMP over the tapped layers of a tower pass: Float[N, R, D]; None where the injection has no AMP."""
        if self.amp is None:
            return None
        layers = [self.patches(outputs.hidden_states[layer]) for layer in self.injection.tapped]
        # By its name, which accelerate is told to leave where it is.
        v_hat_NRD: Tensor = self.amp(layers, projector=self.projection(), group=self.group)
        return self.arrange(v_hat_NRD, images)

    def injected_modules(self) -> list[nn.Module]:
        """The modules that a plain model does not have."""
        modules = [self.amp, self.agf, getattr(self.projector, "external", None)]
        return [module for module in modules if module is not None]

    @contextmanager
    def traced(self) -> Iterator[list[InjectionTrace]]:
        """While it is open, each pass that injects leaves a trace; what is computed stays the same."""
        self._traces = traces = list[InjectionTrace]()
        try:
            yield traces
        finally:
            self._traces = None

    def encode(
        self,
        pixel_values: Tensor,
        image_sizes: Tensor | None = None,
        batch_num_images: Tensor | None = None,
        image_grid_thw: Tensor | None = None,
        pixel_attention_mask: Tensor | None = None,
    ) -> ImageFeatures:
        """Run the vision tower once; project the base layer as the plain model does, and the tapped ones."""
        given = {
            "pixel_values": pixel_values,
            "image_sizes": image_sizes,
            "batch_num_images": batch_num_images,
            "image_grid_thw": image_grid_thw,
            "pixel_attention_mask": pixel_attention_mask,
        }
        images = {name: given[name] for name in self.image_arguments}
        outputs = super().get_image_features(**images, return_dict=True, **self.tap_arguments())
        return ImageFeatures(
            self.split(outputs.pooler_output),
            self.project_taps(outputs, images),
            deepstack=getattr(outputs, "deepstack_features", None),
        )

    def get_image_features(
        self,
        pixel_values: Tensor,
        image_sizes: Tensor | None = None,
        batch_num_images: Tensor | None = None,
        image_grid_thw: Tensor | None = None,
        pixel_attention_mask: Tensor | None = None,
        **kwargs: Any,
    ) -> CliImageFeatures:
        """Base features per image and the projected tapped layers, as `generate` hands them back to `forward`.

        Raises:
            ValueError: a setting of the vision features that differs from the config's.
        """
        self._check_fixed(kwargs)
        return self.encode(
            pixel_values, image_sizes, batch_num_images, image_grid_thw, pixel_attention_mask
        ).to_output()

    def forward(
        self,
        input_ids: Tensor | None = None,
        pixel_values: Tensor | None = None,
        attention_mask: Tensor | None = None,
        past_key_values: Any = None,
        inputs_embeds: Tensor | None = None,
        pixel_values_videos: Tensor | None = None,
        image_sizes: Tensor | None = None,
        batch_num_images: Tensor | None = None,
        image_grid_thw: Tensor | None = None,
        pixel_attention_mask: Tensor | None = None,
        mm_encoder_outputs: dict[str, Any] | None = None,
        turn_ids: Tensor | None = None,
        segment_ids: Tensor | None = None,
        keep_context: bool = True,
        return_dict: bool | None = None,
        **kwargs: Any,
    ) -> CliModelOutput | tuple[Any, ...]:
        """As the plain inner model; `turn_ids`, `segment_ids` and `keep_context` as in the outer model's `forward`.

        Raises:
            ValueError: not exactly one of input_ids and inputs_embeds, image tokens that do not match the
                images, a video, a setting of the vision features that differs from the config's, an image after
                a cache whose context was not kept, or packed rows with arguments or a kernel that they cannot have.
        """
        if (input_ids is None) == (inputs_embeds is None):
            raise ValueError("give exactly one of input_ids and inputs_embeds")
        encoded = mm_encoder_outputs or {}
        if pixel_values_videos is not None or encoded.get("video") is not None:
            raise ValueError("video input is not supported by CLI models: pass images only")
        self._check_fixed(kwargs)
        if segment_ids is not None:
            if not self.packs_rows:
                raise ValueError(f"{type(self).__name__} takes no packed rows (segment_ids): give each sample its row")
            check_packed(kwargs | {"attention_mask": attention_mask, "past_key_values": past_key_values}, turn_ids)
            # The kernel that the layers will ask for; transformers 5.23 tells it nowhere else.
            kwargs |= packed_arguments(segment_ids, self.decoder.config._attn_implementation)
            attention_mask = kwargs.pop("attention_mask", None)
        if pixel_values is not None:
            images: ImageFeatures | None = self.encode(
                pixel_values, image_sizes, batch_num_images, image_grid_thw, pixel_attention_mask
            )
        else:
            images = self._given_images(encoded, past_key_values)
        past_key_values = self._cache(past_key_values, kwargs.get("use_cache"))
        past = 0 if past_key_values is None else int(past_key_values.get_seq_length())
        kept = self._kept(past_key_values) if keep_context else None
        given = {"input_ids": input_ids, "inputs_embeds": inputs_embeds, "image_grid_thw": image_grid_thw}
        injection: Injection | ContextMemory | None = None
        if images is not None:
            placeholder_BT = self._placeholders(input_ids, inputs_embeds)
            batch, length = placeholder_BT.shape
            turn_BS = turns_or_default(turn_ids, attention_mask, batch, past + length, placeholder_BT.device)
            if not images.dummy:
                images.check_places(placeholder_BT)
            # Before the embeddings of a dummy, so that all ranks call their modules in one order: ZeRO-3 gathers by it.
            injection = self._injection(images, placeholder_BT, turn_BS, segment_ids, past, kept)
            given |= self._with_images(images, input_ids, inputs_embeds, kwargs.get("position_ids"))
        elif kept is not None and self.agf is not None:
            injection = ContextMemory(kept, FoldedGates(self.injection.agf, *self.agf(None, None)))
        outputs = super().forward(
            attention_mask=attention_mask,
            past_key_values=past_key_values,
            return_dict=True,
            **kwargs | {name: value for name, value in given.items() if value is not None},
            **({} if injection is None else {"injection": injection}),
        )
        output = self._output(outputs, images, injection)
        return output.to_tuple() if return_dict is False else output

    def _with_images(
        self,
        images: ImageFeatures,
        input_ids: Any,
        inputs_embeds: Tensor | None,
        position_ids: Tensor | None,
    ) -> dict[str, Any]:
        """Arguments of the plain `forward` that change where there are images."""
        if not images.dummy:
            return {"mm_encoder_outputs": {"image": images.to_plain(self.stacks_images)}}
        embeds = self.get_input_embeddings()(input_ids) if inputs_embeds is None else inputs_embeds
        if position_ids is None:
            # A family that makes positions of tokens would, given none, go on with those of the batch before.
            position_ids = torch.arange(embeds.shape[1], device=embeds.device).unsqueeze(0)
        return {"input_ids": None, "inputs_embeds": images.add_nothing(embeds), "position_ids": position_ids}

    def _output(
        self, outputs: Any, images: ImageFeatures | None, injection: Injection | ContextMemory | None
    ) -> CliModelOutput:
        output = CliModelOutput(**{name: outputs.get(name) for name in PASSED_ON})
        if images is not None and not images.dummy:
            output.image_hidden_states = torch.cat(tuple(images.base))
            output.gates = injection.applied_gates() if isinstance(injection, Injection) else None
            if self._traces is not None and isinstance(injection, Injection):
                self._traces.append(injection.trace())
        return output

    def _check_fixed(self, kwargs: dict[str, Any]) -> None:
        """Takes settings out of `kwargs` that the injection is built for; they may only repeat the config's."""
        for name in FIXED_ARGUMENTS:
            value = kwargs.pop(name, None)
            if value is not None and value != getattr(self.config, name):
                raise ValueError(
                    f"{name} = {value!r}, but the injection of this model is built for the config's "
                    f"{getattr(self.config, name)!r}: leave the argument out"
                )

    def _given_images(self, given: dict[str, Any], cache: Any) -> ImageFeatures | None:
        """What `generate` encoded before, a dummy where one is due, else None."""
        if given.get("image") is not None:
            images = ImageFeatures.from_output(given["image"])
            if self.amp is not None and images.features_NRD is None:
                raise ValueError(
                    "mm_encoder_outputs holds the base features of images alone: give what get_image_features of this "
                    "model returns, its injected_features with it"
                )
            return images
        # Ranks must agree on the parameters they touch (training) and gather (ZeRO-3), whatever their
        # batches hold: one black image goes through every part and counts nothing.
        begins = cache is None or cache.get_seq_length() == 0
        gathers = begins and is_partitioned(next(self.projector.parameters()))
        if not self.training and not gathers:
            return None
        return self.encode(**self.dummy_images()).as_dummy()

    def _placeholders(self, input_ids: Any, inputs_embeds: Tensor | None) -> Tensor:
        token: int = self.config.image_token_id
        if inputs_embeds is None:
            return torch.eq(input_ids, token)
        marker_D = self.get_input_embeddings()(torch.full((), token, device=inputs_embeds.device))
        return torch.eq(inputs_embeds, marker_D).all(-1)

    def _cache(self, cache: Any, use_cache: bool | None) -> Any:
        """The cache that the language model fills, made here where it would make one itself."""
        wanted = self.config.text_config.use_cache if use_cache is None else use_cache
        return DynamicCache(config=self.config.text_config) if cache is None and wanted and not self.training else cache

    def _kept(self, cache: Any) -> list[Any] | None:
        """Where this pass finds and keeps what the gates of later images read."""
        if cache is None or self.agf is None or self.injection.agf.context == "visual" or self.training:
            return None
        slots = len(self.injection.injected)
        return memory_layers(cache, self.config.text_config.num_hidden_layers, slots)

    def _injection(
        self,
        images: ImageFeatures,
        placeholder_BT: Tensor,
        turn_BS: Tensor,
        segment_BS: Tensor | None,
        past: int,
        kept: list[Any] | None,
    ) -> Injection | None:
        v_hat_NRD = images.features_NRD
        if v_hat_NRD is None:
            return None
        layout = (lay_out_dummy if images.dummy else lay_out)(placeholder_BT, images.lengths)
        norms: dict[int, tuple[Tensor, Tensor]] | None = None if self._traces is None else {}
        if self.agf is None:
            return Injection(v_hat_NRD, layout, fixed_gates(self.injection, v_hat_NRD), None, norms=norms)
        config = self.injection.agf
        gates = FoldedGates(config, *self.agf(v_hat_NRD, layout))
        if config.context == "visual":
            return Injection(v_hat_NRD, layout, gates, None, norms=norms)
        if past and kept is None and not images.dummy:
            raise ValueError(
                f"an image follows {past} cached positions, but what its gates read of them was not kept: fill the "
                "cache with keep_context = True (the default; a DynamicCache), or encode the whole chat again"
            )
        per_image = config.prompt_end == "next_reply"
        contexts = contexts_of(turn_BS, layout, past, per_image=per_image, segment_BS=segment_BS)
        memory = None if kept is None else ContextMemory(kept, gates)
        return Injection(v_hat_NRD, layout, gates, contexts, memory, norms=norms)
