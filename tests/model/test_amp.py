"""AMP: all layers at once against a loop, and the packing of tiles."""

import pytest
import torch
from transformers import ProcessorMixin

from cli_ray.config import AmpConfig
from cli_ray.model.amp import Amp
from cli_ray.model.tiny import build_tiny
from tests.model.batches import batch, cli_model

N, C, D = 3, 48, 64


def amp(**settings: object) -> Amp:
    torch.manual_seed(0)
    module = Amp(AmpConfig.model_validate({"rank": 4, "alpha": 6} | settings), N, C, D)
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter)
    return module


@pytest.fixture(scope="module")
def projector() -> torch.nn.Module:
    module: torch.nn.Module = build_tiny("llava").model.multi_modal_projector
    return module


def test_batched_equals_a_loop(projector: torch.nn.Module) -> None:
    module = amp(norm=True)
    layers = list(torch.randn(N, 2, 5, C))
    for k, found in enumerate(module(layers, projector)):
        rows = torch.nn.functional.rms_norm(layers[k].flatten(0, 1), (C,), eps=1e-6) * module.norm[k]
        assert torch.allclose(found, projector(rows) + 6 / 4 * rows @ module.down[k] @ module.up[k], atol=1e-4)


def test_full_projectors_are_per_layer_and_start_as_copies(projector: torch.nn.Module) -> None:
    module = amp(projector="full")
    layers = list(torch.randn(N, 2, 5, C))
    module.projectors.copy_from(projector)
    shared = projector(torch.stack(layers).flatten(1, 2))
    assert torch.allclose(module(layers, projector), shared, atol=1e-6)
    with torch.no_grad():
        module.projectors.weight_1[1] += 1
    changed = (module(layers, projector) - shared).abs().amax((1, 2)) > 1e-3
    assert changed.tolist() == [False, True, False]


@pytest.mark.parametrize("kind", ["low_rank", "shared"])
def test_the_shared_projector_is_called_once(projector: torch.nn.Module, kind: str) -> None:
    calls = []
    handle = projector.register_forward_hook(lambda *_: calls.append(1))
    amp(projector=kind)(list(torch.randn(N, 5, C)), projector)
    handle.remove()
    assert len(calls) == 1


def test_packing_all_layers_at_once_equals_one_by_one() -> None:
    from cli_ray.model.tiny import tiny_processor

    inner = cli_model("llava_onevision").model
    inputs = batch(tiny_processor("llava_onevision"), [1, 2])
    sizes = inputs["image_sizes"]
    tiles = inner._tiles(sizes, inputs["batch_num_images"])
    v_hat_NRD = torch.randn(N, sum(tiles) * 16, D)
    packed = inner._pack(v_hat_NRD, sizes, tiles)
    for k, features in enumerate(v_hat_NRD):
        images = features.view(-1, 16, D).split(tiles)
        alone, _ = inner.pack_image_features(images, sizes, image_newline=torch.zeros(D))
        assert torch.equal(packed[k], torch.cat(list(alone)))


def test_tapped_layers_line_up_with_the_base_features(family: str, processor: ProcessorMixin) -> None:
    """The deepest tapped layer is the base layer, so with closed low-rank paths its features are the base's."""
    deepest = 5 if family == "llava" else 6
    inner = cli_model(family, opened=False, vision_layers=[1, deepest]).model
    inputs = batch(processor, [2, 1])
    with torch.no_grad():
        encoded = inner.encode(*(inputs.get(name) for name in ("pixel_values", "image_sizes", "batch_num_images")))
    base, deep = torch.cat(tuple(encoded.base)), encoded.features_NRD[-1]
    newline = (deep == 0).all(-1)
    assert newline.any() == (family == "llava_onevision")
    assert torch.allclose(deep[~newline], base[~newline], atol=1e-6)
    if family == "llava_onevision":
        assert torch.equal(base[newline], inner.image_newline.expand(int(newline.sum()), -1))
