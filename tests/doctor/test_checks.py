"""Each check on machines that are made up."""

import os
import time
from pathlib import Path
from typing import Any

import pytest

import cli_ray
from cli_ray.config import ClusterConfig, RunConfig
from cli_ray.doctor.cluster import check_authentication, check_patience, spare_cpus
from cli_ray.doctor.examination import check_secrets
from cli_ray.doctor.finding import Finding
from cli_ray.doctor.hardware import check_accelerators, check_memory
from cli_ray.doctor.machine import build_locks, look, parse_driver_cuda, parse_gpus
from cli_ray.doctor.software import check_ops, check_versions, needed_ranges
from tests.doctor.machines import GIB, H100, SOUND, V100, machine


def config(**cluster: Any) -> RunConfig:
    return RunConfig.model_validate(
        {
            "name": "run",
            "model": {"checkpoint": "tiny"},
            "data": {"sources": [{"path": "shards"}]},
            "optim": {"llm": {"lr": 1e-3}},
            "cluster": cluster,
        }
    )


def faults(findings: list[Finding]) -> list[tuple[str, str]]:
    """Level and text of what is not well; each has a fix."""
    bad = [one for one in findings if one.level != "ok"]
    assert all(one.fix for one in bad)
    return [(one.level, one.what) for one in bad]


def test_a_node_need_not_have_installed_the_cli_ray_of_a_job(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cli_ray.doctor.machine.version_of", lambda package: "" if package == "cli_ray" else "1.0")
    machine = look()
    assert machine.versions["cli_ray"] == cli_ray.__version__
    (finding,) = check_versions({"a": machine}, {})
    assert finding.level == "ok"
    assert finding.what.endswith("; not held against the ranges that cli_ray needs, for it is not installed here")


def test_a_sound_cluster_has_no_fault() -> None:
    machines = {"a": SOUND, "b": SOUND}
    findings = [
        *check_versions(machines, {"ray": ">=1,<2"}),
        *check_ops(machines),
        *check_accelerators(machines, config(num_workers=16)),
        *check_memory(machines, {"a": 60.0 * GIB, "b": 60.0 * GIB}),
        check_secrets(machines),
    ]
    assert faults(findings) == []
    assert [one.check for one in findings] == ["versions", "ops", "GPUs", "memory", "secrets"]
    assert findings[2].what == "16 x NVIDIA H100 80GB HBM3, the config asks for 16"


def test_versions_that_are_missing_wrong_or_different_are_named() -> None:
    other = machine(versions=SOUND.versions | {"torch": "1.3.0", "peft": ""})
    told = faults(check_versions({"a": SOUND, "b": other}, {"ray": ">=2.60,<2.61"}))
    assert told == [
        ("error", "ray 1.2.3 on a, b, but cli_ray needs >=2.60,<2.61"),
        ("error", "torch differs between nodes: 1.2.3 on a, 1.3.0 on b"),
        ("error", "peft is not installed on b"),
    ]


def test_the_ranges_are_those_of_the_package() -> None:
    ranges = needed_ranges()
    assert set(ranges["ray"].split(",")) == {">=2.60", "<2.61"}
    assert {"deepspeed", "torch", "transformers"} <= ranges.keys()


def test_a_lock_that_a_build_left_behind_is_found(tmp_path: Path) -> None:
    locks = [tmp_path / "py311_cpu" / name / "lock" for name in ("old", "new")]
    for lock in locks:
        lock.parent.mkdir(parents=True)
        lock.touch()
    os.utime(locks[0], (time.time() - 7200,) * 2)
    told = faults(check_ops({"a": machine(locks=build_locks(tmp_path), tools=())}))
    assert told == [("error", f"a: {locks[0]} is 2.0 h old, builds wait for it for ever")]


def test_gpus_are_read_from_nvidia_smi() -> None:
    assert parse_gpus("NVIDIA H100 80GB HBM3, 570.86.15, 9.0\n" * 2) == (H100, H100)
    assert parse_gpus("") == parse_gpus("No devices were found\n") == ()
    head = "| NVIDIA-SMI 570.86.15    Driver Version: 570.86.15    CUDA Version: 12.8     |"
    assert parse_driver_cuda(head) == "12.8"


@pytest.mark.parametrize(
    ("changes", "fields", "level", "what"),
    [
        ({"torch_cuda": ""}, {}, "error", "a: has 8 GPUs, but torch 1.2.3 is a build for CPUs"),
        ({"nccl": False}, {}, "error", "a: torch 1.2.3 has no NCCL"),
        ({"driver_cuda": "11.4"}, {}, "error", "a: torch is built for CUDA 12.8, driver 570.86.15 runs up to 11.4"),
        ({"driver_cuda": "12.4"}, {}, "warning", "a: torch is built for CUDA 12.8, driver 570.86.15 runs up to 12.4"),
        ({"gpus": (V100,) * 8}, {}, "warning", "a: Tesla V100-SXM2-16GB has no bf16, which is emulated slowly"),
        ({"gpus": ()}, {}, "error", "the config asks for 1 GPUs (cluster.num_workers x cluster.gpus_per_worker), "
         "there are: none"),
        ({"gpus": (H100,)}, {"num_workers": (2, 4)}, "error", "the config asks for 2 GPUs (cluster.num_workers x "
         "cluster.gpus_per_worker), there are: 1 x NVIDIA H100 80GB HBM3"),
    ],
)  # fmt: skip
def test_faults_of_gpus_are_told(changes: dict[str, Any], fields: dict[str, Any], level: str, what: str) -> None:
    assert faults(check_accelerators({"a": machine(**changes)}, config(**fields))) == [(level, what)]


def test_unequal_gpus_are_told_and_training_on_cpu_needs_none() -> None:
    mixed = {"a": SOUND, "b": machine(gpus=(V100,))}
    assert faults(check_accelerators(mixed, config(num_workers=8)))[-1][1].endswith("workers wait for the slowest")
    assert faults(check_accelerators({"a": machine(gpus=())}, config(gpus_per_worker=0))) == []
    assert faults(check_accelerators({"a": machine(gpus=(V100,))}, None)) == []


def test_small_memory_and_few_files_are_told() -> None:
    small = machine(shm_bytes=64 << 20, open_files=1024)
    told = faults(check_memory({"a": small}, {"a": 0.5 * GIB}))
    assert told == [
        ("warning", "a: /dev/shm has 0.06 GiB, the object store 0.50 GiB: Ray puts it on disk, which is slow"),
        ("warning", "a: the object store has 0.50 GiB; the stream spills to disk when it is full"),
        ("warning", "a: a process may open 1,024 files, which is too few for many workers"),
    ]
    assert faults(check_memory({"a": machine(open_files=-1)}, {})) == []  # no limit, and no cluster yet


def test_secrets_are_named_and_not_shown() -> None:
    assert check_secrets({"a": SOUND, "b": SOUND}).what == "HF_TOKEN set on all nodes"
    assert check_secrets({"a": SOUND, "b": machine(secrets=())}).level == "warning"


def test_the_token_and_its_mode_are_looked_at(tmp_path: Path) -> None:
    absent = {"RAY_AUTH_TOKEN_PATH": str(tmp_path / "absent")}
    kept = tmp_path / "token"
    kept.write_text("hidden-token")
    assert check_authentication({"RAY_AUTH_MODE": "token", **absent}, nodes=1).level == "error"
    assert check_authentication({"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "hidden", **absent}, nodes=1).level == "ok"
    found = check_authentication({"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(kept)}, nodes=4)
    assert found == Finding("auth", "ok", "RAY_AUTH_MODE=token, a token is there")
    assert check_authentication({"RAY_AUTH_MODE": "disabled", **absent}, nodes=1).level == "ok"
    assert check_authentication({"RAY_AUTH_MODE": "disabled", **absent}, nodes=2).level == "warning"
    assert check_authentication(absent, nodes=1).level == "warning"


@pytest.mark.parametrize(
    ("environment", "level", "what"),
    [
        ({}, "ok", "this is no job"),
        ({"RAY_JOB_CONFIG_JSON_ENV_VAR": "{}"}, "warning", "kills after 3 s"),
        ({"RAY_JOB_STOP_WAIT_TIME_S": "10"}, "warning", "kills after 10 s"),
        ({"RAY_JOB_STOP_WAIT_TIME_S": "120"}, "ok", "waits 120 s"),
        ({"RAY_JOB_STOP_WAIT_TIME_S": "soon"}, "error", "no number"),
    ],
)
def test_a_job_must_have_time_for_a_checkpoint(environment: dict[str, str], level: str, what: str) -> None:
    found = check_patience(environment)
    assert found.level == level
    assert what in found.what


@pytest.mark.parametrize(("cpus", "level"), [(9, "warning"), (24, "ok")])
def test_the_stream_needs_cpus_of_its_own(cpus: float, level: str) -> None:
    assert spare_cpus(ClusterConfig(num_workers=8), cpus).level == level
