"""The model card of an export: what it is, which run it comes from, and how it is loaded. Called by `export`."""

import json

import tomli_w

from cli_ray.config import ModelConfig, RunConfig
from cli_ray.train.checkpoint.files import Checkpoint
from cli_ray.train.run_folder import ENVIRONMENT, RunFolder

CARD = "README.md"


def model_card(
    folder: RunFolder, config: RunConfig, model: ModelConfig, checkpoint: Checkpoint, *, has_adapter: bool
) -> str:
    """Markdown with the head that the Hugging Face hub reads.

    Args:
        folder: of the run.
        config: of the run.
        model: its section of the model, with the commits of the first start.
        checkpoint: that was exported.
        has_adapter: whether LoRA adapters lie apart, in `adapter/`.
    """
    progress = checkpoint.progress
    base = [part for part in (model.checkpoint, model.vision_tower, model.language_model) if part]
    loss = checkpoint.validation_loss
    return f"""---
{_head(base)}
---

# {config.name}

{config.injection.traits.title}, trained from {" and ".join(f"`{part}`" for part in base)}.

| | |
| --- | --- |
| run | `{folder.uri}` |
| checkpoint | step {progress.step}, after {progress.samples} samples and {progress.tokens} supervised tokens |
| validation loss | {"not measured" if loss is None else f"{loss:.4f}"} |
| code | {_code(folder)} |

## Licence

Not known to the program that wrote this card: the licences of {" and ".join(f"`{part}`" for part in base)} and of the
training data say what may be done with these weights. Put it into `license` above before you publish them.

## Load

{_loading(has_adapter)}

## Config

```toml
{tomli_w.dumps(config.model_dump(mode="json", exclude_defaults=True, exclude_none=True)).strip()}
```
"""


def _head(base: list[str]) -> str:
    """YAML; JSON strings are YAML, too. The hub takes its own ids as base models alone."""
    ids = [part.partition("@")[0] for part in base if part.count("/") == 1 and not part.startswith(("/", "."))]
    lines = ["library_name: transformers", "pipeline_tag: image-text-to-text", "license: unknown"]
    lines += ["tags:", "- llava", "- cross-layer-injection"]
    return "\n".join(lines + (["base_model:", *(f"- {json.dumps(name)}" for name in ids)] if ids else []))


def _code(folder: RunFolder) -> str:
    """The newest start of the run that says what code it ran."""
    content = json.loads(folder.read(ENVIRONMENT) or "{}")
    start = (content.get("resumes") or [content])[-1]
    version, code = start.get("packages", {}).get("cli_ray", ""), start.get("code", {})
    named = [f"cli_ray {version}".strip()]
    if commit := code.get("commit"):
        named.append(f"commit `{commit}`" + (" with changes" if code.get("changed") else ""))
    if sha256 := code.get("sha256"):
        named.append(f"files of sha256 `{sha256[:16]}`")
    return ", ".join(named)


def _loading(has_adapter: bool) -> str:
    adapter = """

from peft import PeftModel

model = PeftModel.from_pretrained(model, f"{folder}/adapter")"""
    return f"""```python
import cli_ray  # registers the CLI models with the Auto classes
from transformers import AutoModelForImageTextToText, AutoProcessor

folder = "."  # this one
model = AutoModelForImageTextToText.from_pretrained(folder)
processor = AutoProcessor.from_pretrained(folder){adapter if has_adapter else ""}
```"""
