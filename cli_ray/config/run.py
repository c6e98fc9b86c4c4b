"""The config of a training run: all its sections, the rules that hold between them, and its paths made absolute.

Read by every command that trains, and by the worker of each rank.
"""

import re
from pathlib import Path
from typing import Self

from pydantic import Field, model_validator

from cli_ray.config.base import Section, Uri
from cli_ray.config.data import DataConfig, SourceConfig
from cli_ray.config.evaluation import CheckpointEvaluationConfig
from cli_ray.config.injection import InjectionConfig
from cli_ray.config.model import FLASH, LoraConfig, ModelConfig, refuse_flash
from cli_ray.config.train import CheckpointConfig, ClusterConfig, LogConfig, OptimConfig, TrainConfig, ValidationConfig


class RunConfig(Section):
    """A training run."""

    name: str
    """Name of the run folder below runs_dir; the same name again resumes."""
    runs_dir: Uri = "runs"
    """Folder or pyarrow URI that holds run folders; shared by all nodes."""
    seed: int = Field(default=0, ge=0)
    """Seed of the order of the data, of new parameters and of dropout."""
    model: ModelConfig
    injection: InjectionConfig = InjectionConfig()
    lora: LoraConfig = LoraConfig()
    data: DataConfig
    optim: OptimConfig = OptimConfig()
    train: TrainConfig = TrainConfig()
    validation: ValidationConfig = ValidationConfig()
    checkpoint: CheckpointConfig = CheckpointConfig()
    evaluation: CheckpointEvaluationConfig = CheckpointEvaluationConfig()
    cluster: ClusterConfig = ClusterConfig()
    log: LogConfig = LogConfig()

    @property
    def folder(self) -> str:
        """The run folder, a path or URI."""
        return f"{self.runs_dir.rstrip('/')}/{self.name}"

    @property
    def packs(self) -> bool:
        """Whether a step is trained in packs."""
        return self.train.packing is not False

    @property
    def pack_tokens(self) -> int:
        """Tokens of a pack at most; without `train.pack_tokens` those of the longest micro-batch, which needs
        `data.max_length`."""
        return self.train.pack_tokens or self.train.micro_batch_size * (self.data.max_length or 0)

    @property
    def validation_data(self) -> DataConfig:
        """The data section of the held-out stream."""
        return self.data.model_copy(update={"sources": self.validation.sources})

    @property
    def lanes(self) -> int:
        """Lanes of the stream at the first start."""
        return self.data.lanes or self.cluster.max_workers

    @model_validator(mode="after")
    def _name_is_a_folder(self) -> Self:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", self.name):
            raise ValueError(
                f"name = {self.name!r}: use letters, digits, '.', '_' and '-', starting with one of the first two"
            )
        return self

    @model_validator(mode="after")
    def _batch_divides(self) -> Self:
        share = self.lanes * self.train.micro_batch_size
        if self.train.global_batch_size % share:
            raise ValueError(
                f"train.global_batch_size = {self.train.global_batch_size} must be a multiple of "
                f"data.lanes x train.micro_batch_size = {self.lanes} x {self.train.micro_batch_size} = {share}; lanes "
                "are the workers of a run's first start: with another cluster.num_workers it keeps them, so give "
                "data.lanes their number"
            )
        if self.lanes < self.cluster.max_workers:
            raise ValueError(
                f"data.lanes = {self.lanes} is below cluster.num_workers = {self.cluster.num_workers}: "
                "some workers would stand idle"
            )
        return self

    @model_validator(mode="after")
    def _longest_sample_fits_a_pack(self) -> Self:
        if self.pack_tokens < (self.data.max_length or 0):
            raise ValueError(
                f"train.pack_tokens = {self.train.pack_tokens} is below data.max_length = {self.data.max_length}: a "
                "sample is never cut, so raise the one or lower the other"
            )
        return self

    @model_validator(mode="after")
    def _something_is_trained(self) -> Self:
        if self.lora.rank and not self.optim.lora.lr:
            raise ValueError(f"lora.rank = {self.lora.rank} but optim.lora.lr = 0: set a rate, or lora.rank = 0")
        if self.optim.lora.lr and not self.lora.rank:
            raise ValueError(f"optim.lora.lr = {self.optim.lora.lr} but lora.rank = 0: set a rank, or drop the rate")
        if self.lora.rank and self.optim.llm.lr:
            raise ValueError("lora.rank and optim.llm.lr are both set: LoRA keeps the language model frozen, drop one")
        rates = {part: getattr(self.optim, part).lr for part in ("vision_tower", "projector", "llm", "lora")}
        if self.injection.traits.taps:
            rates |= {"amp": self.optim.amp.lr, "agf": self.optim.agf.lr}
        if not any(rates.values()):
            raise ValueError(f"nothing is trained: set one of {', '.join(f'optim.{part}.lr' for part in rates)}")
        return self

    @model_validator(mode="after")
    def _flash_attention_can_run(self) -> Self:
        refuse_flash("model.attention", self.model.attention, "train.precision", self.train.precision)
        if self.model.attention == FLASH and not self.cluster.gpus_per_worker:
            raise ValueError(f"model.attention = {FLASH!r} needs GPUs, but cluster.gpus_per_worker = 0: take 'sdpa'")
        return self

    @model_validator(mode="after")
    def _best_needs_validation(self) -> Self:
        if self.checkpoint.keep_best and not self.validation.sources:
            raise ValueError("checkpoint.keep_best needs validation.sources, or set it to 0")
        return self


def absolute(path: str) -> str:
    """The path from the root, `~` being the home folder; a URI, or nothing, stays as it is."""
    return path if not path or "://" in path else str(Path(path).expanduser().absolute())


def with_absolute_paths(config: RunConfig) -> RunConfig:
    """The config with its local paths made absolute, for workers and replicas have another working directory.

    A source keeps its label, and a hub id, which is no folder here, stays as it is.
    """

    def moved(source: SourceConfig) -> SourceConfig:
        roots = tuple(map(absolute, source.image_roots))
        folders = {"image_folder": absolute(source.image_folder), "image_roots": roots}
        return source.model_copy(update={"path": absolute(source.path), "name": source.label, **folders})

    model, evaluation = config.model, config.evaluation
    parts = {name: getattr(model, name) for name in ("checkpoint", "vision_tower", "language_model")}
    local = {name: absolute(path) for name, path in parts.items() if path and Path(path).is_dir()}
    return config.model_copy(
        update={
            "runs_dir": absolute(config.runs_dir),
            "model": model.model_copy(update=local),
            "data": config.data.model_copy(update={"sources": tuple(map(moved, config.data.sources))}),
            "validation": config.validation.model_copy(
                update={"sources": tuple(map(moved, config.validation.sources))}
            ),
            "evaluation": evaluation.model_copy(
                update={
                    "data_root": absolute(evaluation.data_root),
                    "benchmark_file": tuple(map(absolute, evaluation.benchmark_file)),
                }
            ),
        }
    )
