"""`cli-ray plan`: the page, the JSON, refusals, and that neither torch nor Ray is loaded for it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from cli_ray.commands.configs import RECIPES
from cli_ray.commands.main import main
from cli_ray.commands.plan import main as plan

LORA = str(RECIPES / "configs" / "llava15_7b_lora.toml")
TINY = str(RECIPES / "configs" / "tiny.toml")


def test_it_loads_neither_torch_nor_transformers_nor_ray() -> None:
    code = (
        "import sys; from cli_ray.commands.main import main; code = main(['plan', *sys.argv[1:]]);"
        "print(code, {'torch', 'transformers', 'ray'} & sys.modules.keys())"
    )
    command = [sys.executable, "-c", code, LORA, "--nodes", "1"]
    assert subprocess.check_output(command, text=True).splitlines()[-1] == "0 set()"


def test_the_page_begins_with_the_verdict(capsys: pytest.CaptureFixture[str]) -> None:
    plan([LORA, "--samples", "665000", "--price", "2.5", "--nodes", "1"])
    first, second, *rest = capsys.readouterr().out.splitlines()
    assert first.startswith("fits: 24.2 of 80 GB a worker (H100-80GB) at ZeRO 2, 8 workers, packs of 8,192 tokens")
    assert second.endswith("injection cli, 8 vision layers into 8 decoder layers")
    text = "\n".join(rest)
    assert "5,195 steps" in text
    assert "at 2.5 a GPU-hour" in text
    assert "placement: 8 workers on 1 of 1 node" in text


def test_json_has_the_numbers(capsys: pytest.CaptureFixture[str]) -> None:
    plan([LORA, "--json", "--samples", "665000"])
    values = json.loads(capsys.readouterr().out)
    assert values["fits"] is True
    assert values["parameters"]["lora"] == {"all": 319815680, "trained": 319815680}
    assert values["zero_stages"]["2"]["peak"] == values["memory"]
    assert values["steps"] == 5195


def test_what_does_not_fit_ends_with_1_and_proposes_what_does(capsys: pytest.CaptureFixture[str]) -> None:
    code = main(["plan", LORA, "--gpu", "RTX-4090", "--train.pack-tokens", "16384"])
    out, err = capsys.readouterr()
    assert code == 1
    assert out.startswith("does not fit: ")
    assert "[train]\npack_tokens = 4096\n" in out
    assert "--train.pack-tokens 4096" in out
    assert err.startswith("error: does not fit: ")
    assert main(["plan", LORA, "--gpu", "RTX-4090", "--train.pack-tokens", "4096"]) == 0


def test_a_run_on_cpu_is_held_against_memory_of_the_machine(capsys: pytest.CaptureFixture[str]) -> None:
    plan([TINY])
    assert "(CPU, its share of this machine's memory)" in capsys.readouterr().out
    assert main(["plan", TINY, "--gpu-memory", "0.01"]) == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nowhere.toml"], "nowhere.toml: no such file"),
        ([LORA, "--gpu", "V100"], "is not known, only A100-40GB"),
        ([LORA, "--nodes", "0"], "--nodes: must be greater than or equal to 1"),
        ([LORA, "--nodes", "1", "--gpus-per-node", "4"], "asks for 8 GPUs, the cluster has 4"),
        ([LORA, "--price", "free"], "--price = 'free' is no price"),
        ([LORA, "--price", "-1"], "--price = '-1' is no price"),
        ([LORA, "--address", "127.0.0.1:1"], "--address 127.0.0.1:1 does not answer"),
        ([LORA, "--injection.vision-layers.count", "40"], "count = 40 but only 23 layers (1..23) can be chosen"),
    ],
)
def test_bad_inputs_are_explained(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", *words]) == 1
    assert message in capsys.readouterr().err


def test_prices_come_from_a_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = tmp_path / "prices.toml"
    table.write_text("H100-80GB = 2.5\n")
    plan([LORA, "--samples", "665000", "--price", str(table)])
    assert "at 2.5 a GPU-hour" in capsys.readouterr().out
    assert main(["plan", LORA, "--gpu", "L40S", "--price", str(table)]) == 1
    assert "has no price of L40S" in capsys.readouterr().err


def test_an_unknown_gpu_can_be_described(capsys: pytest.CaptureFixture[str]) -> None:
    plan([LORA, "--gpu", "GB300", "--gpu-memory", "288", "--peak", "2500"])
    assert "of 288 GB a worker (GB300)" in capsys.readouterr().out
