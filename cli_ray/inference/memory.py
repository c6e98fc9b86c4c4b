"""Features of images that were asked about before, so that a second question takes no second pass of the tower.

Kept by the engine, on the device of the model, up to a number of bytes; the ones not used for longest go first.
"""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from itertools import chain
from typing import Any

from cli_ray.inference.inputs import ModelInputs, Prompt, features_of
from cli_ray.inference.traces import ranges
from cli_ray.model.features import CliImageFeatures


class FeatureMemory:
    """Features by the hash of the encoded images that they were made of.

    Args:
        max_bytes: of all tensors together.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._kept: OrderedDict[str, CliImageFeatures] = OrderedDict()
        self._bytes = 0

    def of(
        self,
        model: Any,
        prompts: Sequence[Prompt],
        inputs: ModelInputs,
        inputs_of: Callable[[Sequence[Prompt]], ModelInputs],
    ) -> dict[str, CliImageFeatures] | None:
        """What `encode` takes as features of a batch; the tower sees those images alone whose features are not kept.

        Args:
            model: whose tower it is.
            prompts: of the batch.
            inputs: made of them.
            inputs_of: makes such inputs.

        Returns:
            None without images, and where the model makes features of them itself.
        """
        if not any(inputs.images):
            return None
        shown = {prompt.image_hash: prompt for prompt in prompts if prompt.images}
        have = {image_hash: kept for image_hash in shown if (kept := self._get(image_hash))}
        lacking = {image_hash: prompt for image_hash, prompt in shown.items() if image_hash not in have}
        if lacking:
            seen = list(lacking.values()) if have else prompts
            inputs = inputs_of(seen) if have else inputs
            places = {prompt.image_hash: images for prompt, images in zip(seen, inputs.images, strict=True) if images}
            features = features_of(model, inputs, list(chain(*places.values())))["image"]
            for image_hash, images in zip(places, ranges([*map(len, places.values())]), strict=True):
                have[image_hash] = _own(features, images)
                self._put(image_hash, have[image_hash])
        return {"image": _joined([have[prompt.image_hash] for prompt in prompts if prompt.images])}

    def clear(self) -> None:
        """Forgets all, for memory that a batch needs."""
        self._kept.clear()
        self._bytes = 0

    def _get(self, image_hash: str) -> CliImageFeatures | None:
        if image_hash in self._kept:
            self._kept.move_to_end(image_hash)
        return self._kept.get(image_hash)

    def _put(self, image_hash: str, features: CliImageFeatures) -> None:
        """Keeps features, unless they alone are too large."""
        size = _size(features)
        if size > self._max_bytes:
            return
        self._kept[image_hash] = features
        self._bytes += size
        while self._bytes > self._max_bytes:
            _, oldest = self._kept.popitem(last=False)
            self._bytes -= _size(oldest)


def _own(features: CliImageFeatures, images: Sequence[int]) -> CliImageFeatures:
    """A copy of the features of some images, which keeps no others alive."""
    some = features.take(images)
    layers = some.injected_features
    return CliImageFeatures(
        pooler_output=[image.clone() for image in some.pooler_output],
        injected_features=None if layers is None else [[image.clone() for image in layer] for layer in layers],
    )


def _joined(parts: Sequence[CliImageFeatures]) -> CliImageFeatures:
    """The features of the images of several prompts, in their order."""
    layers = [part.injected_features for part in parts if part.injected_features is not None]
    return CliImageFeatures(
        pooler_output=[image for part in parts for image in part.pooler_output],
        injected_features=[list(chain(*layer)) for layer in zip(*layers, strict=True)] if layers else None,
    )


def _size(features: CliImageFeatures) -> int:
    """Bytes."""
    layers = features.injected_features or []
    tensors = [*features.pooler_output, *chain(*layers)]
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)
