from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from peft import PeftModel
from transformers import AutoModelForImageTextToText, AutoProcessor

from cli_ray.data.collate import collate, normalize
from cli_ray.data.encoder import Encoder
from cli_ray.data.sample import Encoded
from cli_ray.train.checkpoint.export import export
from tests.model.originals import original
from tests.train.ranks import on_ranks
from tests.train.scenario import Case, config_of, samples, train_and_save


def loss_of(model: torch.nn.Module, folder: Path, case: Case) -> float:
    """Loss of the first batch of the scenario, by an exported model and its exported processor."""
    processor = AutoProcessor.from_pretrained(folder)
    encoder = Encoder(processor, config_of(case).data)
    batch = collate(
        [row for sample in samples(0) if isinstance(row := encoder(sample), Encoded)],
        encoder.pad_token_id,
        encoder.tiled,
    )
    images = processor.image_processor
    pixels = normalize(batch.inputs["pixel_values"], images.image_mean, images.image_std, torch.float32)
    with torch.no_grad():
        logits = model(**batch.inputs | {"pixel_values": pixels}, turn_ids=batch.turn_ids).logits
    return F.cross_entropy(logits[:, :-1].flatten(0, 1), batch.labels[:, 1:].flatten()).item()


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(Case(zero_stage=0), id="zero 0"),
        pytest.param(Case(zero_stage=3), id="zero 3", marks=pytest.mark.slow),
        pytest.param(Case(zero_stage=2, lora=True), id="zero 2, lora merged", marks=pytest.mark.slow),
        pytest.param(Case(family="llava_onevision"), id="zero 2, onevision"),
    ],
)
def test_an_exported_model_is_the_trained_one(case: Case, tmp_path: Path) -> None:
    trained = on_ranks(2, train_and_save, case, str(tmp_path / "run"))[0]
    export(str(tmp_path / "run"), tmp_path / "model", None, best=False, keep_lora=False)
    model = AutoModelForImageTextToText.from_pretrained(tmp_path / "model")
    assert loss_of(model, tmp_path / "model", case) == pytest.approx(trained, rel=1e-5)
    processor = AutoProcessor.from_pretrained(tmp_path / "model")
    assert getattr(processor, "max_image_tokens", None) == (512 if case.family == "llava_onevision" else None)
    own = tmp_path / "mine"
    own.touch()
    assert {path.stat().st_mode for path in (tmp_path / "model").rglob("*") if path.is_file()} == {own.stat().st_mode}
    if case.lora:
        export(str(tmp_path / "run"), tmp_path / "apart", None, best=False, keep_lora=True)
        base = AutoModelForImageTextToText.from_pretrained(tmp_path / "apart")
        assert loss_of(base, tmp_path / "apart", case) != pytest.approx(trained, rel=1e-3)
        adapted = PeftModel.from_pretrained(base, tmp_path / "apart" / "adapter")
        assert loss_of(adapted, tmp_path / "apart", case) == pytest.approx(trained, rel=1e-5)


@pytest.mark.slow
def test_a_run_on_an_original_checkpoint_is_exported_in_the_format_of_hugging_face(tmp_path: Path) -> None:
    folder, _ = original(tmp_path, "llava", tower_inside=False, binary=True)
    case = Case(zero_stage=3, checkpoint=str(folder))
    trained = on_ranks(2, train_and_save, case, str(tmp_path / "run"))[0]
    export(str(tmp_path / "run"), tmp_path / "model", None, best=False, keep_lora=False)
    model = AutoModelForImageTextToText.from_pretrained(tmp_path / "model")
    assert model.config.model_type == "cli_llava"
    assert loss_of(model, tmp_path / "model", case) == pytest.approx(trained, rel=1e-5)
