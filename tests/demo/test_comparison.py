"""The demo without its trainings: what it writes, what it would run, and what it says of results."""

import json
from pathlib import Path

import pytest
from PIL import Image

from cli_ray.config import ModelConfig
from cli_ray.data.synthetic import synthesize
from cli_ray.demo.arguments import DemoArguments
from cli_ray.demo.comparison import INJECTIONS, losses, prepare, results_of, run_config, run_demo
from cli_ray.demo.held_out import BENCHMARK, questions, replies
from cli_ray.errors import UserError
from cli_ray.evals.items.sources import images_of, locate, read
from cli_ray.evals.suite import benchmark
from cli_ray.model.build import load_processor
from cli_ray.train.run_folder import RunFolder
from tests.evals.results.outputs import sample, write_output

HELD_OUT = synthesize(14, 0, "held_out")


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> DemoArguments:
    """A demo whose folder is prepared."""
    folder = tmp_path_factory.mktemp("demo")
    settings = DemoArguments(output=folder, train_samples=70, held_out_samples=14, steps=5)
    prepare(settings, synthesize(70, 0, "train"), HELD_OUT)
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


def test_held_out_questions_are_items_of_a_benchmark_in_their_order(settings: DemoArguments) -> None:
    asked = benchmark(BENCHMARK)
    location = locate(asked, str(settings.output / "data" / "benchmarks"), miniature=False)
    docs = [doc for part in location.parts for _, doc in read(location, part)]
    assert [(doc["question"], doc["answer"]) for doc in docs] == [
        (turn.question, turn.answer) for _, turn in questions(HELD_OUT)
    ]
    assert [images_of(location, doc) for doc in docs] == [[sample.image] for sample, _ in questions(HELD_OUT)]


def test_a_finished_demo_only_prints(settings: DemoArguments) -> None:
    for name, right_scope in zip(INJECTIONS, ("whole", "detail"), strict=True):
        scores = [float(turn.scope == right_scope) for _, turn in questions(HELD_OUT)]
        # Ids as text would put 10 before 2.
        items = [sample(number, score, id=str(number)) for number, score in enumerate(scores)]
        results_of(settings, name).mkdir(parents=True)
        write_output(results_of(settings, name), name, {BENCHMARK: (benchmark(BENCHMARK), items)})
        run = settings.output / name
        run.mkdir()
        (run / "metrics.jsonl").write_text('{"step": 5, "loss": 0.5, "validation_loss": 0.25}\n')
    cells = [[cell.strip() for cell in line.split("|")] for line in run_demo(settings).splitlines()]
    rows = {row[1]: row[-3:-1] for row in cells if len(row) > 1}
    assert rows["train loss"] == ["0.500", "0.500"]
    assert rows["held out loss"] == ["0.250", "0.250"]
    assert rows["right answers: scene, whole"] == ["100.0%", "0.0%"]
    assert rows["right answers: scene, detail"] == ["0.0%", "100.0%"]
    assert rows["right answers: all"] == ["50.0%", "50.0%"]
    assert "CLI answers +0.0 points more right than plain LLaVA [" in cells[-1][0]
    assert Image.open(settings.output / "answers.png").width > 1000
    assert [reply.text for reply in replies(results_of(settings, "plain"))][:2] == [
        f"plain says {float(turn.scope == 'whole')}" for _, turn in questions(HELD_OUT)[:2]
    ]


def test_train_loss_is_that_of_the_last_tenth(tmp_path: Path) -> None:
    rows = [{"loss": loss, "validation_loss": 0.5} for loss in [*range(18), 100, 200]]
    lines = [*rows, {"step": 20, "evaluated": True}]
    (tmp_path / "metrics.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    assert losses(RunFolder(str(tmp_path))) == (150, 0.5)
