"""What a config names and a class stands for: families of models, gates, readers of data, trackers.

To add one, write its class and name it here; CONTRIBUTING.md shows how.

The config schema and `import cli_ray` read the names alone, so a class is imported when it is first asked for.
"""

from importlib import import_module
from typing import Any

FAMILIES = {
    "llava": "cli_ray.model.llava.Llava",
    "llava_onevision": "cli_ray.model.llava_onevision.LlavaOnevision",
}
"""`model.family`, which is the `model_type` of plain checkpoints of the family, to its `Family` class."""
ADAPTERS = {
    "qwen2_5_vl": "cli_ray.model.qwen_vl.CliQwen2_5_VLForConditionalGeneration",
    "qwen3_vl": "cli_ray.model.qwen_vl.CliQwen3VLForConditionalGeneration",
    "smolvlm": "cli_ray.model.smolvlm.CliSmolVLMForConditionalGeneration",
    "idefics3": "cli_ray.model.smolvlm.CliIdefics3ForConditionalGeneration",
    "internvl": "cli_ray.model.internvl.CliInternVLForConditionalGeneration",
    "gemma3": "cli_ray.model.gemma3.CliGemma3ForConditionalGeneration",
}
"""The `model_type` of plain models that `cli_ray.model.attach` takes beside those of the families, to the model with
injection. They are built, saved and loaded; what reads their images for training and evaluation is not there yet."""
GATES = {
    "tanh": "cli_ray.model.gates.Tanh",
    "sigmoid": "cli_ray.model.gates.Sigmoid",
    "softmax": "cli_ray.model.gates.Softmax",
}
"""`injection.agf.gate` to its `Gate` class."""
READERS = {
    "webdataset": "cli_ray.data.readers.webdataset.Webdataset",
    "parquet": "cli_ray.data.readers.tables.Parquet",
    "llava": "cli_ray.data.readers.json_records.JsonRecords",
    "messages": "cli_ray.data.readers.json_records.JsonRecords",
    "hf": "cli_ray.data.readers.tables.HuggingFace",
}
"""`data.sources.format` to its `Reader` class. The two JSON formats differ in what people call their fields, and both
are read alike."""
SINKS = {
    "wandb": "cli_ray.train.callbacks.services.Wandb",
    "tensorboard": "cli_ray.train.callbacks.services.TensorBoard",
    "mlflow": "cli_ray.train.callbacks.services.MLflow",
}
"""`log.sinks`, each the name of a module to import, to its `Service` class."""


def load(path: str) -> Any:
    """The class of a dotted path."""
    module, _, name = path.rpartition(".")
    return getattr(import_module(module), name)
