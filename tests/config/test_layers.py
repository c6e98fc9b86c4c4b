import pytest
from pydantic import ValidationError

from cli_ray.config.injection import Layers, decoder_choices, vision_choices


def test_count_keeps_the_anchor_and_spreads_evenly() -> None:
    clip = vision_choices(-2, 24)
    assert clip == range(1, 24)
    assert Layers(count=8).resolve(clip, "last", "vision_layers", 25) == (3, 6, 9, 12, 15, 18, 21, 23)
    llama = decoder_choices(32)
    assert Layers(at_most=8).resolve(clip, "last", "vision_layers", 25) == (3, 6, 9, 12, 15, 18, 21, 23)
    assert Layers(at_most=8).resolve(range(5), "first", "decoder_layers", 6) == (0, 1, 2, 3, 4)
    assert Layers(count=8).resolve(llama, "first", "decoder_layers", 32) == (0, 3, 7, 11, 15, 19, 23, 27)


def test_count_of_all_choices_takes_each_once() -> None:
    assert Layers(count=23).resolve(vision_choices(-2, 24), "last", "v", 25) == tuple(range(1, 24))


def test_stride_counts_from_the_anchor() -> None:
    assert Layers(stride=8).resolve(vision_choices(-1, 26), "last", "v", 27) == (2, 10, 18, 26)
    assert Layers(stride=8).resolve(decoder_choices(24), "first", "d", 24) == (0, 8, 16)


def test_a_bare_list_and_negative_indices() -> None:
    """-2 of 24 vision blocks is block 23, as in `hidden_states`; -2 of 32 decoder layers is layer 30."""
    layers = Layers.model_validate([-2, 2])
    assert layers.resolve(vision_choices(-2, 24), "last", "v", 25) == (2, 23)
    assert layers.resolve(decoder_choices(32), "first", "d", 32) == (2, 30)


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ([31], "decoder_layers: .31. must be distinct indices in 0..30"),
        ([3, 3], "distinct"),
        ([-1, 0], r"decoder_layers: \[-1, 0\], which are \[31, 0\], must be distinct indices in 0..30"),
        ({"count": 40}, "only 31"),
    ],
)
def test_layers_that_do_not_exist_are_named(layers: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Layers.model_validate(layers).resolve(decoder_choices(32), "first", "decoder_layers", 32)


def test_exactly_one_way_of_choosing() -> None:
    with pytest.raises(ValidationError, match="exactly one of"):
        Layers(count=2, stride=2)
