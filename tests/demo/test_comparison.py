"""The demo without its trainings: what it writes, what it would run, how it evaluates and tells."""

from pathlib import Path

import pytest
import torch
from transformers import LlavaForConditionalGeneration

from cli_ray.config import ModelConfig
from cli_ray.data.synthetic import Turn, chance_level, synthesize
from cli_ray.demo.arguments import DemoArguments
from cli_ray.demo.comparison import (
    INJECTIONS,
    Score,
    exact_match,
    prepare,
    questions,
    run_config,
    run_demo,
    table,
    train_loss,
)
from cli_ray.errors import UserError
from cli_ray.model.build import load_processor
from cli_ray.train.run_folder import RunFolder


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> DemoArguments:
    """A demo whose folder is prepared."""
    folder = tmp_path_factory.mktemp("demo")
    settings = DemoArguments(output=folder, train_samples=70, held_out_samples=14, steps=5)
    prepare(settings, synthesize(70, 0, "train"), synthesize(14, 0, "held_out"))
    return settings


def test_runs_differ_in_the_injection_alone(settings: DemoArguments) -> None:
    plain, cli = (run_config(settings, name).model_dump() for name in ("plain", "cli"))
    assert {key for key in plain if plain[key] != cli[key]} == {"name", "injection"}
    assert all(Path(source["path"]).is_dir() for source in plain["data"]["sources"] + plain["validation"]["sources"])


def test_prepares_once_and_refuses_other_settings(settings: DemoArguments) -> None:
    files = {path: path.stat().st_mtime_ns for path in settings.output.rglob("*")}
    prepare(settings, [], [])
    assert files == {path: path.stat().st_mtime_ns for path in settings.output.rglob("*")}
    with pytest.raises(UserError, match="--output"):
        prepare(settings.model_copy(update={"seed": 1}), [], [])


def test_questions_are_a_few_tokens(settings: DemoArguments) -> None:
    processor = load_processor(ModelConfig(checkpoint=str(settings.output / "untrained")))
    texts = {turn.question for _, turn in questions(synthesize(3, 0, "train"))}
    lengths = [len(processor.tokenizer(question, add_special_tokens=False).input_ids) for question in texts]
    assert max(lengths) < 10


def test_an_untrained_model_is_wrong(settings: DemoArguments) -> None:
    held_out = questions(synthesize(14, 0, "held_out"))
    assert exact_match(settings.output / "untrained", held_out) == [False] * 28


def test_exact_match_compares_whole_replies(settings: DemoArguments, monkeypatch: pytest.MonkeyPatch) -> None:
    processor = load_processor(ModelConfig(checkpoint=str(settings.output / "untrained")))
    (sample,) = synthesize(1, 0, "train")
    pairs = [(sample, Turn("whole", question, "red")) for question in ("a?", "which of them?")]
    pairs += [(sample, Turn("whole", "a?", answer)) for answer in ("re", "redder", "blue")]

    def reply_red(self: object, input_ids: object, **_: object) -> object:
        assert isinstance(input_ids, torch.Tensor)
        reply = torch.tensor(processor.tokenizer(" red</s>", add_special_tokens=False).input_ids)
        return torch.cat([input_ids, reply.expand(len(input_ids), -1)], dim=1)

    monkeypatch.setattr(LlavaForConditionalGeneration, "generate", reply_red)
    assert exact_match(settings.output / "untrained", pairs) == [True, True, False, False, False]


def test_a_finished_demo_only_prints(settings: DemoArguments) -> None:
    samples = synthesize(14, 0, "held_out")
    score = Score(train_loss=0.5, held_out_loss=0.25, correct=[turn.scope == "whole" for _, turn in questions(samples)])
    for name in INJECTIONS:
        (settings.output / f"{name}.json").write_text(score.model_dump_json())
    (settings.output / "miniatures.md").write_text("the comparison on 18 benchmarks")
    expected = table(samples, chance_level(synthesize(70, 0, "train")), dict.fromkeys(INJECTIONS, score))
    assert run_demo(settings) == f"{expected}\n\nthe comparison on 18 benchmarks"
    cells = [[cell.strip() for cell in line.split("|")] for line in expected.splitlines()]
    rows = {row[1]: row[-3:-1] for row in cells}
    assert rows["train loss"] == ["0.500", "0.500"]
    assert rows["exact match: scene, whole"] == ["100.0%", "100.0%"]
    assert rows["exact match: scene, detail"] == ["0.0%", "0.0%"]
    assert rows["exact match: all"] == ["50.0%", "50.0%"]


def test_train_loss_is_that_of_the_last_tenth(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text("".join(f'{{"loss": {loss}}}\n' for loss in [*range(18), 100, 200]))
    assert train_loss(RunFolder(str(tmp_path))) == 150
