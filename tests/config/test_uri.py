"""No secret of a URI gets into a config, nor into the message that refuses it."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from cli_ray.commands.main import main
from cli_ray.config import EvaluationConfig, JudgeConfig, RunConfig, SourceConfig
from cli_ray.config.base import Section
from cli_ray.config.load import ConfigError, arguments, validated

SECRET = "wJalrXUt"
STORES = [
    f"s3://AKIA:{SECRET}@bucket/data",
    f"s3://AKIA:{SECRET}/K7@bucket/data",
    f"s3://AKIA:1{SECRET}@bucket",
    f"hdfs://:{SECRET}@[::1]:8020/data",
    f"simplecache::s3://AKIA:{SECRET}@bucket/data",
    f"abfss://container@account.example/data?client_secret={SECRET}",
    f"s3://bucket/data?region=eu&X-Amz-Signature={SECRET}",
    f"https://account.example/data?sv=1&sig={SECRET}",
]
PUBLIC = [
    "",
    "data/a:b@c",
    "/data/a?b=key",
    "s3://bucket/data?region=eu-west-1&endpoint_override=localhost:9000",
    "s3://bucket/a:b@c/x.tar",
    "http://localhost:9000/a@b",
    "http://[::1]:9000/a@b",
    "gs://anonymous@bucket/part-?.tar",
    "hdfs://user@host:8020/data",
    "abfss://container@account.example/data?credential_kind=environment",
]
FIELDS: list[tuple[type[Section], str, dict[str, Any]]] = [
    (EvaluationConfig, "data_root", {"model": "m"}),
    (EvaluationConfig, "output", {"model": "m"}),
    (SourceConfig, "path", {}),
    (SourceConfig, "image_folder", {"path": "a"}),
    (RunConfig, "runs_dir", {"name": "a", "model": {"checkpoint": "tiny"}, "data": {"sources": [{"path": "a"}]}}),
]


@pytest.mark.parametrize("uri", STORES)
@pytest.mark.parametrize(("section", "field", "others"), FIELDS)
def test_stores_take_no_credentials(section: type[Section], field: str, others: dict[str, Any], uri: str) -> None:
    with pytest.raises(ConfigError, match=rf"^run\.toml: {field}: .*AWS_ACCESS_KEY_ID") as caught:
        validated(section, others | {field: uri}, "run.toml")
    assert SECRET not in str(caught.value)
    with pytest.raises(ValidationError) as raised:
        section(**others | {field: uri})
    assert SECRET not in str(raised.value)


@pytest.mark.parametrize("uri", PUBLIC)
def test_other_uris_stay_as_they_are(uri: str) -> None:
    assert EvaluationConfig(model="m", data_root=uri).data_root == uri


@pytest.mark.parametrize(
    "url",
    [
        f"https://user:{SECRET}@host/v1",
        f"https://{SECRET}@host/v1",
        f"user:{SECRET}@host/v1",
        f"https://host/v1?key={SECRET}",
        f"https://host/v1#{SECRET}",
    ],
)
def test_a_judge_takes_its_key_from_the_environment(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ConfigError, match=r"base_url: .*CLI_RAY_JUDGE_API_KEY") as caught:
        validated(JudgeConfig, {"base_url": url}, "here")
    assert SECRET not in str(caught.value)
    assert main(["judge", "somewhere", "--judge.model", "grader", "--judge.base-url", url]) == 1
    told = "".join(capsys.readouterr())
    assert told.startswith("error: --judge.base-url: holds a login or a query")
    assert SECRET not in told


def test_a_positional_argument_is_named_as_help_names_it(capsys: pytest.CaptureFixture[str]) -> None:
    for words, name in ((["judge", STORES[0], "--judge.model", "g"], "OUTPUT"), (["data", "check", STORES[0]], "PATH")):
        assert main(words) == 1
        told = "".join(capsys.readouterr())
        assert told.startswith(f"error: {name}: holds a password or key")
        assert SECRET not in told


def test_overrides_of_a_run_take_no_credentials(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "run.toml"
    path.write_text('name = "a"\n[model]\ncheckpoint = "tiny"\n[[data.sources]]\npath = "a.tar"\n')
    assert main(["train", str(path), "--data.sources.0.image-folder", STORES[1]]) == 1
    told = "".join(capsys.readouterr())
    assert told.startswith("error: --data.sources.0.image-folder: holds a password or key")
    assert SECRET not in told


def test_arguments_are_taken_apart_as_their_sections_say() -> None:
    words = ["--model", "m", "--benchmarks", "pope,mme", "--replica.gpus", "0.5", "--miniature", "--limit", "3"]
    taken = arguments(EvaluationConfig, words, "cli-ray eval")
    expected = {"benchmarks": ("pope", "mme"), "replica": {"gpus": 0.5}, "miniature": True, "limit": 3}
    assert taken == EvaluationConfig.model_validate({"model": "m"} | expected)


def test_all_faults_are_told_with_their_whole_names() -> None:
    with pytest.raises(ConfigError) as caught:
        arguments(EvaluationConfig, ["--model", "m", "--limit", "0", "--replica.batch-size", "0"], "cli-ray eval")
    assert str(caught.value).splitlines() == [
        "--limit: must be greater than or equal to 1",
        "--replica.batch-size: must be greater than or equal to 1",
    ]
