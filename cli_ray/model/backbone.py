"""What the inner CLI models share: vision features in, injected language model out.

Shapes: B samples, T positions, S positions with those in the cache before them, D width of the language model,
N tapped vision layers, R packed rows.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import DynamicCache, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutputWithPast, BaseModelOutputWithPooling

from cli_ray.config import InjectionConfig
from cli_ray.model.agf import Agf, FoldedGates
from cli_ray.model.amp import Amp
from cli_ray.model.context import contexts_of, turns_or_default
from cli_ray.model.injection import UPGRADES, Injection, upgrade_layers
from cli_ray.model.memory import ContextMemory, memory_layers
from cli_ray.model.parameters import is_partitioned, whole
from cli_ray.model.rivals import EXTERNAL_PROJECTORS, ExternalWeights, fixed_gates, widen_projector
from cli_ray.model.rows import lay_out, lay_out_dummy

UNCUT = {kind.__name__ for kind in (*UPGRADES.values(), *EXTERNAL_PROJECTORS, Amp, Agf)}
"""Modules that stay on one device when a model is spread over several."""
FIXED_ARGUMENTS = ("vision_feature_layer", "vision_feature_select_strategy", "vision_aspect_ratio")


@dataclass
class CliModelOutput(BaseModelOutputWithPast):
    """The language model's output with what the images gave."""

    image_hidden_states: Tensor | None = None
    """Float[R, D], the projected base features."""
    gates: Tensor | None = None
    """Float32[M decoder layers, I images, N vision layers], detached."""


@dataclass
class CliImageFeatures(BaseModelOutputWithPooling):
    """`pooler_output`: per image Float[rows, D], the base features; the layout that `generate` expands for beams."""

    deepstack_features: list[list[Tensor]] | None = None
    """Per tapped vision layer, per image Float[rows, D]."""


@dataclass(frozen=True)
class Encoded:
    """The images of a batch: base features per image and the packed features of the tapped layers."""

    base: Sequence[Tensor]
    features_NRD: Tensor | None
    dummy: bool = False


class InitializesInjection(PreTrainedModel):
    """Initial weights of the new modules, for every class that transformers initialises through."""

    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, Amp | Agf | ExternalWeights):
            module.initialize()


class CliModel(InitializesInjection):
    """Mixin of the inner models, before the plain model's class.

    Video is refused: `pixel_values_videos` raises ValueError.
    """

    amp: Amp | None
    agf: Agf | None
    _no_split_modules: set[str]
    _skip_keys_device_placement: set[str]

    def install(self) -> None:
        """Add the modules of `config.injection` to a freshly built or loaded plain model."""
        config = self.config
        self.injection: InjectionConfig = config.injection
        config.store(self.injection)
        if self.injection.kind == "external":
            widen_projector(self.multi_modal_projector, len(self.tapped))
        self.amp, self.agf = self._new_modules()
        if self.amp is not None:
            upgrade_layers(self.language_model, self.injection.decoder_layers.layers)
        self._no_split_modules = {*self._no_split_modules, *UNCUT}
        self._skip_keys_device_placement = {*self._skip_keys_device_placement, "projector"}

    def _new_modules(self) -> tuple[Amp | None, Agf | None]:
        injection, vision, text = self.injection, self.config.vision_config, self.config.text_config
        taps, targets = len(self.tapped), len(injection.decoder_layers.layers)
        injects = injection.kind not in ("none", "external")
        amp = Amp(injection.amp, taps, vision.hidden_size, text.hidden_size) if injects else None
        agf = Agf(injection.agf, taps, targets, text.hidden_size) if injection.kind == "cli" else None
        return amp, agf

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
        if self.injection.kind == "external":
            external = self.multi_modal_projector.external
            with whole([external.weight]):
                external.initialize()
        self._copy_projector()

    def _copy_projector(self) -> None:
        """Start full projectors, where the model has them, as copies of the shared one."""
        if self.amp is not None and self.injection.amp.projector == "full":
            shared, projectors = self.multi_modal_projector, self.amp.projectors
            with whole([*shared.parameters(), *projectors.parameters()]):
                projectors.copy_from(shared)

    @property
    def tapped(self) -> tuple[int, ...]:
        """The tapped vision layers, ascending."""
        return self.injection.vision_layers.layers

    def tap_arguments(self) -> dict[str, Any]:
        """Arguments of the plain `get_image_features` that make one tower pass keep the tapped layers."""
        base = self.config.vision_feature_layer
        match self.injection.kind:
            case "none":
                return {}
            case "external":
                return {"vision_feature_layer": [base, *self.tapped]}
        return {"output_hidden_states": [base, *self.tapped]}

    def project_taps(self, outputs: Any) -> Tensor | None:
        """AMP over the tapped layers of a tower pass, CLS left out as for the base layer: Float[N, R, D].

        None where the injection has no AMP.
        """
        if self.amp is None:
            return None
        first = 1 if self.config.vision_feature_select_strategy == "default" else 0
        layers = [outputs.hidden_states[layer][:, first:] for layer in self.tapped]
        # By its name, which accelerate is told to leave where it is.
        v_hat_NRD: Tensor = self.amp(layers, projector=self.multi_modal_projector)
        return v_hat_NRD

    def injected_modules(self) -> list[nn.Module]:
        """The modules that a plain model does not have."""
        modules = [self.amp, self.agf, getattr(self.multi_modal_projector, "external", None)]
        return [module for module in modules if module is not None]

    def encode(
        self, pixel_values: Tensor, image_sizes: Tensor | None = None, batch_num_images: Tensor | None = None
    ) -> Encoded:
        """Run the vision tower once; project the base layer as the plain model does, and the tapped ones."""
        raise NotImplementedError

    def dummy_images(self) -> dict[str, Any]:
        """Arguments of `encode` for one black image."""
        raise NotImplementedError

    def get_image_features(
        self,
        pixel_values: Tensor,
        image_sizes: Tensor | None = None,
        batch_num_images: Tensor | None = None,
        **kwargs: Any,
    ) -> CliImageFeatures:
        """Base features per image and the projected tapped layers, as `generate` hands them back to `forward`.

        Raises:
            ValueError: a setting of the vision features that differs from the config's.
        """
        self._check_fixed(kwargs)
        encoded = self.encode(pixel_values, image_sizes, batch_num_images)
        layers = None
        if encoded.features_NRD is not None:
            lengths = [len(image) for image in encoded.base]
            layers = [list(v_hat_RD.split(lengths)) for v_hat_RD in encoded.features_NRD]
        return CliImageFeatures(pooler_output=list(encoded.base), deepstack_features=layers)

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
        mm_encoder_outputs: dict[str, Any] | None = None,
        turn_ids: Tensor | None = None,
        keep_context: bool = True,
        return_dict: bool | None = None,
        **kwargs: Any,
    ) -> CliModelOutput | tuple[Any, ...]:
        """As the plain inner model; `turn_ids` and `keep_context` as in the outer model's `forward`.

        Raises:
            ValueError: not exactly one of input_ids and inputs_embeds, image tokens that do not match the
                images, a video, a setting of the vision features that differs from the config's, or an image after
                a cache whose context was not kept.
        """
        if (input_ids is None) == (inputs_embeds is None):
            raise ValueError("give exactly one of input_ids and inputs_embeds")
        given = mm_encoder_outputs or {}
        if pixel_values_videos is not None or given.get("video") is not None:
            raise ValueError("video input is not supported by CLI models: pass images only")
        self._check_fixed(kwargs)
        if pixel_values is not None:
            encoded: Encoded | None = self.encode(pixel_values, image_sizes, batch_num_images)
        else:
            encoded = self._encoded(given, past_key_values)
        past_key_values = self._cache(past_key_values, kwargs.get("use_cache"))
        kept = self._kept(past_key_values) if keep_context else None
        h_BTD = self.get_input_embeddings()(input_ids) if inputs_embeds is None else inputs_embeds
        injection: Injection | ContextMemory | None = None
        if encoded is not None:
            placeholder_BT = self._placeholders(input_ids, inputs_embeds).to(h_BTD.device)
            h_BTD = _merge(h_BTD, placeholder_BT, encoded)
            past = 0 if past_key_values is None else int(past_key_values.get_seq_length())
            turn_BS = turns_or_default(turn_ids, attention_mask, len(h_BTD), past + h_BTD.shape[1], h_BTD.device)
            injection = self._injection(encoded, placeholder_BT, turn_BS, past, kept)
        elif kept is not None and self.agf is not None:
            injection = ContextMemory(kept, FoldedGates(self.injection.agf, *self.agf(None, None)))
        outputs = self.language_model(
            attention_mask=attention_mask,
            past_key_values=past_key_values,
            inputs_embeds=h_BTD,
            **({} if injection is None else {"injection": injection}),
            **kwargs,
        )
        output = CliModelOutput(**outputs)
        if encoded is not None and not encoded.dummy:
            output.image_hidden_states = torch.cat(tuple(encoded.base))
            output.gates = injection.applied_gates() if isinstance(injection, Injection) else None
        return output.to_tuple() if return_dict is False else output

    def _check_fixed(self, kwargs: dict[str, Any]) -> None:
        """Takes settings out of `kwargs` that the injection is built for; they may only repeat the config's."""
        for name in FIXED_ARGUMENTS:
            value = kwargs.pop(name, None)
            if value is not None and value != getattr(self.config, name):
                raise ValueError(
                    f"{name} = {value!r}, but the injection of this model is built for the config's "
                    f"{getattr(self.config, name)!r}: leave the argument out"
                )

    def _encoded(self, given: dict[str, Any], cache: Any) -> Encoded | None:
        """What `generate` encoded before, a dummy where one is due, else None."""
        if given.get("image") is not None:
            return _from_outputs(given["image"])
        # Ranks must agree on the parameters they touch (training) and gather (ZeRO-3), whatever their
        # batches hold: one black image goes through every part and counts nothing.
        gathers = is_partitioned(self.multi_modal_projector.linear_1.weight) and (
            cache is None or cache.get_seq_length() == 0
        )
        if not self.training and not gathers:
            return None
        encoded = self.encode(**self.dummy_images())
        features = encoded.features_NRD
        return Encoded([image * 0 for image in encoded.base], None if features is None else features * 0, dummy=True)

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
        decoder = self.injection.decoder_layers.layers
        return memory_layers(cache, self.config.text_config.num_hidden_layers, len(decoder))

    def _injection(
        self, encoded: Encoded, placeholder_BT: Tensor, turn_BS: Tensor, past: int, kept: list[Any] | None
    ) -> Injection | None:
        v_hat_NRD = encoded.features_NRD
        if v_hat_NRD is None:
            return None
        lengths = [len(image) for image in encoded.base]
        layout = (lay_out_dummy if encoded.dummy else lay_out)(placeholder_BT, lengths)
        if self.agf is None:
            return Injection(v_hat_NRD, layout, fixed_gates(self.injection, v_hat_NRD), None)
        config = self.injection.agf
        gates = FoldedGates(config, *self.agf(v_hat_NRD, layout))
        if config.context == "visual":
            return Injection(v_hat_NRD, layout, gates, None)
        if past and kept is None and not encoded.dummy:
            raise ValueError(
                f"an image follows {past} cached positions, but what its gates read of them was not kept: fill the "
                "cache with keep_context = True (the default; a DynamicCache), or encode the whole chat again"
            )
        contexts = contexts_of(turn_BS, layout, past, per_image=config.prompt_end == "next_reply")
        return Injection(v_hat_NRD, layout, gates, contexts, None if kept is None else ContextMemory(kept, gates))


def _merge(h_BTD: Tensor, placeholder_BT: Tensor, encoded: Encoded) -> Tensor:
    base_RD = torch.cat(tuple(encoded.base)).to(h_BTD)
    if encoded.dummy:
        return h_BTD + base_RD.sum()
    count = int(placeholder_BT.sum())
    if count != len(base_RD):
        raise ValueError(
            f"{count} image tokens in the text but {len(base_RD)} image features from {len(encoded.base)} images: "
            "the text was expanded for other images, or cut inside one"
        )
    return h_BTD.masked_scatter(placeholder_BT.unsqueeze(-1), base_RD)


def _from_outputs(outputs: Any) -> Encoded:
    layers = outputs.deepstack_features
    features = None if layers is None else torch.stack([torch.cat(images) for images in layers])
    return Encoded(outputs.pooler_output, features)
