import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from cli_ray.config import (
    CheckpointConfig,
    ClusterConfig,
    DataConfig,
    InjectionConfig,
    Layers,
    ModelConfig,
    RunConfig,
    SourceConfig,
    TrainConfig,
)
from cli_ray.config.evaluation import CheckpointEvaluationConfig
from cli_ray.config.train import ProfileConfig
from cli_ray.data.index import build_index
from cli_ray.data.synthetic import synthesize, write_tar
from cli_ray.errors import UserError
from cli_ray.train.run_folder import RunFolder, as_begun, load_config

CONFIG = RunConfig(name="a", model=ModelConfig(checkpoint="tiny"), data=DataConfig(sources=(SourceConfig(path="x"),)))


@pytest.mark.parametrize("uri", ["{}", "file://{}"])
def test_files_are_written_read_listed_and_appended(tmp_path: Path, uri: str) -> None:
    folder = RunFolder(uri.format(tmp_path / "run"))
    assert folder.read("metrics.jsonl") is None
    folder.append("metrics.jsonl", ["1", "2"])
    folder.append("metrics.jsonl", ["3"])
    folder.write("checkpoints/step-1/progress.json", "{}")
    assert folder.read("metrics.jsonl") == "1\n2\n3\n"
    assert folder.names("checkpoints") == ["step-1"]
    assert folder.names("absent") == []
    folder.delete("checkpoints/step-1")
    assert not folder.exists("checkpoints/step-1")
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == ["checkpoints", "metrics.jsonl"]


def test_two_writers_of_a_file_do_not_meet(tmp_path: Path) -> None:
    folder = RunFolder(str(tmp_path))
    texts = {letter * 100_000 for letter in "ab"}

    def write(text: str) -> None:
        for _ in range(50):
            folder.write("results.json", text)
            assert folder.read("results.json") in texts

    with ThreadPoolExecutor() as pool:
        list(pool.map(write, texts))
    assert [path.name for path in tmp_path.iterdir()] == ["results.json"]


def test_a_write_that_fails_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "name").mkdir()
    with pytest.raises(IsADirectoryError):
        RunFolder(str(tmp_path)).write("name", "text")
    assert [path.name for path in tmp_path.iterdir()] == ["name"]


def test_a_file_that_goes_while_it_is_read_is_absent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = RunFolder(str(tmp_path))
    monkeypatch.setattr(folder, "exists", lambda name: True)
    assert folder.read("checkpoints/step-1/progress.json") is None
    assert RunFolder("mock://run").read("progress.json") is None


def test_a_run_keeps_the_rule_of_gates_that_it_began_with(tmp_path: Path) -> None:
    folder = RunFolder(str(tmp_path / "a"))
    folder.claim(CONFIG)
    stored = json.loads(folder.read("config.json") or "")
    assert stored["injection"]["agf"].pop("prompt_end") == "next_reply"
    folder.write("config.json", json.dumps(stored))
    assert load_config(folder).injection.agf.prompt_end == "first_reply"
    with pytest.raises(UserError, match=r"injection\.agf\.prompt_end: first_reply there, next_reply now"):
        folder.claim(CONFIG)


def test_a_run_packs_as_it_was_begun_unless_its_config_says_otherwise(tmp_path: Path) -> None:
    def claimed(packing: bool | None) -> RunConfig:
        folder.claim(CONFIG.model_copy(update={"train": TrainConfig(packing=packing)}))
        return load_config(folder)

    folder = RunFolder(str(tmp_path / "a"))
    assert claimed(None).packs
    stored = json.loads(folder.read("config.json") or "")
    stored["train"].pop("packing")
    folder.write("config.json", json.dumps(stored))
    assert not claimed(None).packs
    assert not folder.exists("events.jsonl")
    assert claimed(True).packs
    assert folder.events()[0]["changed"] == ["train.packing: False there, True now"]
    assert claimed(None).packs


@pytest.mark.parametrize(("family", "usual"), [("llava", 2048), ("llava_onevision", 4096)])
def test_a_run_keeps_the_length_that_it_began_with(tmp_path: Path, family: str, usual: int) -> None:
    """Its config holds a number even where the first start named none."""
    folder = RunFolder(str(tmp_path / "a"))
    unnamed = CONFIG.model_copy(update={"model": ModelConfig(checkpoint="tiny", family=family)})
    folder.claim(unnamed)
    assert load_config(folder).data.max_length == usual
    stored = json.loads(folder.read("config.json") or "")
    stored["data"]["max_length"] = 1024
    folder.write("config.json", json.dumps(stored))
    assert folder.claim(unnamed) is True
    assert as_begun(unnamed, load_config(folder)).data.max_length == 1024


def test_a_run_that_began_before_images_were_shrunk_goes_on_without(tmp_path: Path) -> None:
    folder = RunFolder(str(tmp_path / "a"))
    folder.claim(CONFIG)
    stored = json.loads(folder.read("config.json") or "")
    for name in ("shrink_images", "max_tiles", "max_image_tokens"):
        del stored["data"][name]
    folder.write("config.json", json.dumps(stored))
    then = load_config(folder).data
    assert (then.shrink_images, then.max_tiles, then.max_image_tokens) == (False, None, None)
    assert folder.claim(CONFIG) is True
    assert not as_begun(CONFIG, load_config(folder)).data.shrinks
    shrinking = CONFIG.model_copy(update={"data": CONFIG.data.model_copy(update={"shrink_images": True})})
    with pytest.raises(UserError, match=r"data\.shrink_images: False there, True now"):
        folder.claim(shrinking)


def test_a_run_goes_on_with_the_layers_that_it_was_trained_with(tmp_path: Path) -> None:
    folder = RunFolder(str(tmp_path / "a"))
    layers = InjectionConfig(vision_layers=Layers(layers=(2, 3)), decoder_layers=Layers(layers=(0,)))
    folder.check_layers(layers)
    folder.event("begin", injection=layers.model_dump(mode="json"))
    folder.append("events.jsonl", ['{"event": "beg'])
    folder.check_layers(layers)
    with pytest.raises(UserError, match=r"injection\.vision_layers = \[2, 3\].*means \[1, 2\]"):
        folder.check_layers(layers.model_copy(update={"vision_layers": Layers(layers=(1, 2))}))


def test_a_folder_belongs_to_one_config(tmp_path: Path) -> None:
    folder = RunFolder(str(tmp_path / "a"))
    assert folder.claim(CONFIG) is False
    assert folder.claim(CONFIG.model_copy(update={"runs_dir": "elsewhere"})) is True
    other = CONFIG.model_copy(update={"seed": 7, "data": CONFIG.data.model_copy(update={"max_length": 99})})
    with pytest.raises(UserError, match=r"data\.max_length: 2048 there, 99 now\n  seed: 0 there, 7 now"):
        folder.claim(other)
    assert load_config(folder) == CONFIG.model_copy(
        update={"data": CONFIG.data.model_copy(update={"max_length": 2048})}
    )


def test_a_run_goes_on_in_another_place(tmp_path: Path) -> None:
    folder = RunFolder(str(tmp_path / "a"))
    first = CONFIG.model_copy(update={"cluster": ClusterConfig(num_workers=4)})
    folder.claim(first)
    fewer = first.model_copy(
        update={"cluster": ClusterConfig(num_workers=(1, 3), max_failures=9), "checkpoint": CheckpointConfig(every=7)}
    )
    fewer = fewer.model_copy(update={"train": TrainConfig(profile=ProfileConfig(steps=(10, 12)))})
    assert folder.claim(fewer) is True
    [event] = [json.loads(line) for line in (folder.read("events.jsonl") or "").splitlines()]
    assert event["changed"] == [
        "checkpoint.every: 500 there, 7 now",
        "cluster.max_failures: 3 there, 9 now",
        "cluster.num_workers: 4 there, [1, 3] now",
        "train.profile.steps: None there, [10, 12] now",
    ]
    there = load_config(folder)
    assert (there.cluster, there.checkpoint, there.lanes) == (fewer.cluster, fewer.checkpoint, 4)
    assert folder.claim(fewer) is True
    assert len((folder.read("events.jsonl") or "").splitlines()) == 1
    evaluated = fewer.model_copy(update={"evaluation": CheckpointEvaluationConfig(every=2, benchmarks=("pope",))})
    assert folder.claim(evaluated) is True
    assert load_config(folder).evaluation == evaluated.evaluation

    more = first.model_copy(update={"cluster": ClusterConfig(num_workers=8)})
    with pytest.raises(UserError, match=r"has 4 lanes, .* set cluster\.num_workers to at most 4"):
        folder.claim(more)
    lanes = first.model_copy(update={"data": first.data.model_copy(update={"lanes": 8})})
    with pytest.raises(UserError, match=r"data\.lanes: 4 there, 8 now"):
        folder.claim(lanes)


def test_a_folder_without_config_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"has no config\.json"):
        load_config(RunFolder(str(tmp_path)))


def test_a_run_that_failed_or_went_on_has_not_ended(tmp_path: Path) -> None:
    folder = RunFolder(str(tmp_path))
    assert folder.ending() is None
    folder.event("end", step=30)
    folder.event("config", changed=["log.every: 1 there, 2 now"])
    assert folder.ending() == {"step": 30}
    folder.append("events.jsonl", ['{"event": "conf'])
    assert folder.ending() == {"step": 30}, "nothing but a config comes behind an end, so that is what was cut"
    times = [event["time"] for event in folder.events()]
    assert times == sorted(times)
    folder.event("resume")
    assert folder.ending() is None
    folder.event("end", step=30, error="it broke")
    assert folder.ending() is None
    folder.append("events.jsonl", ['{"event": "end", "st'])
    assert folder.ending() is None


CONSTANT = {"warmup_share": 0.0, "min_lr_share": 1.0}


def run_of_index(folder: Path, optim: dict[str, float], samples: int = 0) -> tuple[RunFolder, RunConfig]:
    """A run of 8 samples a step, and 2 epochs or 30 steps; with as many samples it has an index."""
    train = TrainConfig(global_batch_size=8, micro_batch_size=8, epochs=2, max_steps=30)
    config = CONFIG.model_copy(update={"train": train, "optim": CONFIG.optim.model_copy(update=optim)})
    run = RunFolder(str(folder / "a"))
    run.claim(config)
    if samples:
        write_tar(synthesize(samples, seed=0, split="train"), folder / "data", shard_size=samples)
        source = SourceConfig(path=str(folder / "data"))
        run.write("index.json", build_index(config.data.model_copy(update={"sources": (source,)})).to_json())
    return run, config


def lengthened(config: RunConfig, **length: float) -> RunConfig:
    return config.model_copy(update={"train": config.train.model_copy(update=length)})


def test_a_run_of_constant_rates_goes_on_longer_and_says_so(tmp_path: Path) -> None:
    run, config = run_of_index(tmp_path, CONSTANT, samples=40)  # 10 steps
    run.event("end", step=10)
    assert run.outcome(config) == {"step": 10}
    longer = lengthened(config, epochs=3.0)
    assert run.outcome(longer) is None
    assert run.claim(longer) is True
    assert run.events()[-1]["changed"] == ["train.epochs: 2.0 there, 3.0 now"]
    assert (run.events()[-1]["event"], load_config(run).train.epochs) == ("longer", 3)
    assert run.ending() is None, "the run is to go on, whatever its next start is given"
    with pytest.raises(UserError, match=r"cannot become a run of another length: train\.epochs: 3.0 there, 2"):
        run.claim(config)


@pytest.mark.parametrize(
    ("optim", "length", "allowed"),
    [
        ({"warmup_share": 0.0, "min_lr_share": 0.5}, {"epochs": 3}, False),  # the cosine would be another one
        ({"warmup_share": 0.25, "min_lr_share": 1.0}, {"epochs": 3}, False),  # 4 steps of warm-up instead of 3
        ({"warmup_share": 0.25, "min_lr_share": 1.0}, {"epochs": 2.4}, True),  # 3 of 12 steps as well
        ({"warmup_share": 0.03, "min_lr_share": 0.0}, {"max_steps": 40}, True),  # the epochs end it before
        ({"warmup_share": 0.0, "min_lr_share": 1.0}, {"max_steps": 5}, False),  # shorter
    ],
)
def test_a_run_may_be_longer_where_its_steps_keep_their_rates(
    tmp_path: Path, optim: dict[str, float], length: dict[str, float], allowed: bool
) -> None:
    run, config = run_of_index(tmp_path, optim, samples=40)
    if allowed:
        assert run.check_config(lengthened(config, **length))
        return
    with pytest.raises(UserError, match=r"(?s)under another name.*cli-ray export .*--model\.checkpoint models/a$"):
        run.check_config(lengthened(config, **length))


def test_a_run_that_has_not_read_its_data_may_get_any_length(tmp_path: Path) -> None:
    run, config = run_of_index(tmp_path, {})
    assert run.claim(lengthened(config, max_steps=5)) is True
    assert load_config(run).train.max_steps == 5


def test_another_length_beside_another_field_is_another_config(tmp_path: Path) -> None:
    run, config = run_of_index(tmp_path, CONSTANT)
    with pytest.raises(
        UserError, match=r"fields differ:\n  seed: 0 there, 7 now\n  train\.max_steps: 30 there, 40 now"
    ):
        run.claim(lengthened(config, max_steps=40).model_copy(update={"seed": 7}))
