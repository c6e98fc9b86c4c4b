"""A family of models and a gate are added by their classes and a line each: shown on a copy of the package."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

FAMILY = '''"""A toy family: LLaVA-1.5 under another name, with a chat template of its own."""

from transformers import AutoConfig, AutoModelForImageTextToText, LlavaConfig, LlavaForConditionalGeneration

from cli_ray.model.llava import CliLlavaConfig, CliLlavaForConditionalGeneration, CliLlavaModel, Llava
from cli_ray.model.processor import RENDER_CONTENT


class ToyConfig(LlavaConfig):
    model_type = "toy"


class ToyForConditionalGeneration(LlavaForConditionalGeneration):
    config_class = ToyConfig


class CliToyConfig(CliLlavaConfig):
    model_type = "cli_toy"


class CliToyModel(CliLlavaModel):
    config: CliToyConfig


class CliToyForConditionalGeneration(CliLlavaForConditionalGeneration):
    config: CliToyConfig
    config_class = CliToyConfig
    inner_class = CliToyModel


class Toy(Llava):
    title = "Toy"
    plain_class = ToyForConditionalGeneration
    model_class = CliToyForConditionalGeneration
    chat_template = (
        RENDER_CONTENT + "{%- for message in messages -%}{%- if message['role'] == 'assistant' -%}"
        "{%- generation -%}{{ render(message['content']) + '</s>' }}{%- endgeneration -%}"
        "{%- else -%}{{ 'TOY ' + render(message['content']) + ' ' }}{%- endif -%}{%- endfor -%}"
    )
    original = None


AutoConfig.register("toy", ToyConfig)
AutoModelForImageTextToText.register(ToyConfig, ToyForConditionalGeneration)
'''
FAMILY_LINE = '    "toy": "cli_ray.model.toy.Toy",\n'

GATE = '''

class Relu(Gate):
    """From 0 upwards."""

    def __call__(self, logits_IN: Tensor) -> Tensor:
        """See `Gate`."""
        return logits_IN.relu()
'''
GATE_LINE = '    "relu": "cli_ray.model.gates.Relu",\n'

USE = """
import sys
from pathlib import Path

import torch
from PIL import Image
from transformers import AutoConfig, AutoModelForImageTextToText, AutoProcessor

import cli_ray
from cli_ray.config import InjectionConfig, LoraConfig, ModelConfig
from cli_ray.config.evaluation import ReplicaConfig
from cli_ray.evals.generation.lengths import image_tokens
from cli_ray.evals.generation.load import load
from cli_ray.model.build import build_model, load_processor, resolve_injection
from cli_ray.model.cost import typical_sample
from cli_ray.model.tiny import build_tiny, tiny_processor

folder = Path(sys.argv[1])
assert Path(cli_ray.__file__).is_relative_to(folder), cli_ray.__file__
tiny = ModelConfig(family="toy", checkpoint="tiny")
gate = {"gate": "relu", "num_heads": 2, "hidden_size": 8}
asked = InjectionConfig.model_validate({"vision_layers": [1, 3], "decoder_layers": [0, 2], "agf": gate})
processor, model = load_processor(tiny), build_model(tiny, asked, LoraConfig(), dtype=torch.float32, seed=0)

chat = [{"role": "user", "content": "<image> what?"}]
text = processor.apply_chat_template(chat, add_generation_prompt=True)
assert text.startswith("TOY "), text
inputs = processor(images=[Image.new("RGB", (50, 30), "red")], text=[text + "red</s>"], return_tensors="pt")
visual = int((inputs["input_ids"] == model.config.image_token_id).sum())
assert image_tokens(model.config.to_dict())([(50, 30)]) == visual == typical_sample(model.config).visual_tokens

torch.nn.init.constant_(model.model.agf.bias, 0.1)
labels = inputs["input_ids"].clone()
labels[:, :-5] = -100
optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.01)
before = model.train()(**inputs, labels=labels).loss
before.backward()
optimizer.step()
model.eval()
after = model(**inputs, labels=labels)
assert after.loss < before
assert (after.gates >= 0).all() and after.gates.any()

trained, plain = folder / "trained", folder / "plain"
model.save_pretrained(trained)
processor.save_pretrained(trained)
assert AutoConfig.from_pretrained(trained).model_type == "cli_toy"
again, report = AutoModelForImageTextToText.from_pretrained(trained, output_loading_info=True)
assert not report["missing_keys"] and not report["unexpected_keys"], report
assert type(again).__name__ == "CliToyForConditionalGeneration"
assert type(AutoProcessor.from_pretrained(trained)) is type(processor)
assert torch.equal(again(**inputs).logits, model(**inputs).logits)
expected = model.generate(**inputs, max_new_tokens=4, min_new_tokens=4, do_sample=False)
evaluated, _ = load(str(trained), ReplicaConfig(gpus=0, dtype="fp32"))
assert torch.equal(evaluated.generate(**inputs, max_new_tokens=4, min_new_tokens=4), expected)

build_tiny("toy").save_pretrained(plain)
tiny_processor("toy").save_pretrained(plain)
checkpoint = ModelConfig(family="toy", checkpoint=str(plain))
config, injection = resolve_injection(checkpoint, asked)
assert config.model_type == "cli_toy" and injection == asked
assert type(build_model(checkpoint, asked, LoraConfig(), dtype=torch.float32, seed=0)) is type(model)
"""


def insert_line(path: Path, line: str, after: str) -> None:
    """Puts `line` into a file behind the only line that contains `after`."""
    head, tail = path.read_text().split(after)
    end = tail.index("\n") + 1
    path.write_text(head + after + tail[:end] + line + tail[end:])


def run_in(tree: Path, *words: str) -> str:
    """What Python prints, with the package that lies in `tree`."""
    command = [sys.executable, *words]
    run = subprocess.run(command, cwd=tree, capture_output=True, text=True, timeout=300, check=False)
    assert run.returncode == 0, run.stderr
    return run.stdout


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of the package."""
    for room in ("cli_ray", "evals"):
        shutil.copytree(ROOT / room, tmp_path / room, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def test_a_family_and_a_gate_are_a_class_and_a_line(tree: Path) -> None:
    (tree / "cli_ray/model/toy.py").write_text(FAMILY)
    insert_line(tree / "cli_ray/registry.py", FAMILY_LINE, '"llava_onevision":')
    with (tree / "cli_ray/model/gates.py").open("a") as file:
        file.write(GATE)
    insert_line(tree / "cli_ray/registry.py", GATE_LINE, '"softmax":')
    (tree / "use.py").write_text(USE)
    run_in(tree, "use.py", str(tree))
    shown = run_in(tree, "-c", "from cli_ray.commands.main import main; main()", "data", "check", "--help")
    assert "{auto,llava,llava_onevision,toy}" in shown
