"""The config of an evaluation: which model on which benchmarks, on what of the cluster, judged by whom.

Read by `cli-ray eval`, `judge` and `pipeline`, and as the section `evaluation` of a run.
"""

from typing import Annotated, Literal, Self

import tyro
from pydantic import Field, field_validator, model_validator

from cli_ray.config.base import EndpointUrl, Section, Uri
from cli_ray.config.model import FLASH, refuse_flash

OPENAI = "openai:"
"""Before the name of a model that is behind an endpoint."""


class EndpointConfig(Section):
    """An OpenAI-compatible endpoint, and how it is asked."""

    base_url: EndpointUrl = "https://api.openai.com/v1"
    """Endpoint; `/chat/completions` is put behind it."""
    concurrency: int = Field(default=16, ge=1)
    """Questions in flight at once."""
    attempts: int = Field(default=5, ge=1)
    """Tries of a question, with growing pauses; then its sample is an `error`, one for a judge `unjudged`."""
    timeout_s: float = Field(default=120.0, gt=0)
    """Seconds that one try may take."""


class ModelEndpointConfig(EndpointConfig):
    """Where `--model openai:NAME` is. Any OpenAI-compatible endpoint; its key is read from the environment variable
    CLI_RAY_MODEL_API_KEY alone."""

    max_reply_tokens: int = Field(default=0, ge=0)
    """Tokens of a reply where a benchmark allows more, for endpoints that refuse so many; 0 asks for what it allows."""
    reasoning_tokens: int = Field(default=0, ge=0)
    """Tokens that a reply may take beyond its benchmark's own, for models that reason before they answer."""
    max_total_tokens: int = Field(default=0, ge=0)
    """Tokens of prompts and replies after which a call asks no more; the same command goes on. 0 for no such end."""
    price_prompt: float = Field(default=0.0, ge=0)
    """Of a million tokens of prompts, in any currency; with prices the table says what the replies cost."""
    price_cached: float | None = Field(default=None, ge=0)
    """Of a million tokens of prompts that the endpoint had cached; that of other prompts when not given."""
    price_reply: float = Field(default=0.0, ge=0)
    """Of a million tokens of replies, reasoning included."""


class JudgeConfig(EndpointConfig):
    """The language model that grades replies which rules cannot. Any OpenAI-compatible endpoint; its key is read
    from the environment variable CLI_RAY_JUDGE_API_KEY alone."""

    model: str = ""
    """Name of the judge; without one, judged benchmarks stay `unjudged`."""


class ReplicaConfig(Section):
    """What a model replica takes and how it batches."""

    count: int = Field(default=0, ge=0)
    """Replicas wanted; 0 takes as many as the cluster holds, and more as it grows."""
    gpus: float = Field(default=1.0, ge=0)
    """GPUs of a replica: a fraction, one, or several over which the layers are spread; 0 runs on CPU."""
    cpus: float = Field(default=1.0, gt=0)
    """Logical CPUs of a replica."""
    dtype: Literal["bf16", "fp32"] = "bf16"
    """Weights and activations."""
    attention: Literal["eager", "sdpa", "flash_attention_2"] = "sdpa"
    """Attention kernels; `flash_attention_2` needs the package flash-attn on all nodes, GPUs and bf16."""
    batch_size: int = Field(default=16, ge=1)
    """Samples generated together at most."""
    batch_tokens: int = Field(default=65536, ge=1)
    """Prompt and reply tokens of a batch at most, image tokens included; a single longer sample still runs."""
    attempts: int = Field(default=3, ge=1)
    """Tries of a sample, dead replicas included; then it is recorded as `error`."""

    @model_validator(mode="after")
    def _flash_attention_can_run(self) -> Self:
        refuse_flash("replica.attention", self.attention, "replica.dtype", self.dtype)
        if self.attention == FLASH and not self.gpus:
            raise ValueError(f"replica.attention = {FLASH!r} needs GPUs, but replica.gpus = 0: take 'sdpa'")
        return self


class SuiteConfig(Section):
    """What is evaluated, and how."""

    suite: str = "paper18"
    """`paper18`, `llava15`, `vlmevalkit` (those that have its prompts) or `all`."""
    benchmarks: tuple[str, ...] = ()
    """These instead of a suite, by name."""
    benchmark_file: Annotated[tuple[Uri, ...], tyro.conf.UseAppendAction] = ()
    """TOML or Python files that define benchmarks, which are taken instead of a suite too."""
    limit: int | None = Field(default=None, ge=1)
    """The first items of each benchmark only."""
    allow_partial: bool = False
    """Evaluate what is there of a benchmark that lacks items; its row says that it is not the official set."""
    data_root: Uri = ""
    """Folder or pyarrow URI with one folder a benchmark, of Parquet or JSONL files in the official columns; the
    Hugging Face hub when empty."""
    miniature: bool = False
    """The bundled few items of each benchmark instead of the real ones; they prove the path, not the model."""
    prompts: Literal["lmms-eval", "vlmevalkit"] = "lmms-eval"
    """The kit whose words are asked. Scores of one kit's prompts do not compare with those of the other's."""
    profile: Literal["lmms-eval/0.7.3", "vlmevalkit", "strict"] | None = None
    """How replies are read: as the kit of the prompts does, which is the default (VLMEvalKit: as it does without a
    judge), or by our strict rules, without the known faults of either."""
    replica: ReplicaConfig = ReplicaConfig()

    @property
    def reading(self) -> Literal["lmms-eval/0.7.3", "vlmevalkit", "strict"]:
        """The profile that is used."""
        return self.profile or ("vlmevalkit" if self.prompts == "vlmevalkit" else "lmms-eval/0.7.3")

    @model_validator(mode="after")
    def _profile_reads_the_prompts(self) -> Self:
        if self.reading != "strict" and not self.reading.startswith(self.prompts):
            raise ValueError(
                f"profile = {self.profile!r} reads replies to other prompts than prompts = {self.prompts!r}: leave it "
                "out, or take 'strict'"
            )
        return self

    @field_validator("benchmarks", "benchmark_file")
    @classmethod
    def _commas_separate(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(name for joined in names for name in joined.split(",") if name)


class EvaluationConfig(SuiteConfig):
    """Evaluates a model on a suite of benchmarks. The same command again resumes."""

    model: str
    """Exported folder, run folder (its newest checkpoint is exported first), folder or hub id of any image-text-to-text
    model of transformers, or `openai:NAME`, a model behind an endpoint."""
    endpoint: ModelEndpointConfig = ModelEndpointConfig()
    output: Uri = ""
    """Folder or pyarrow URI for records and results; `evals/` of a run folder, or `results/<model>`, when empty."""
    retry_errors: bool = False
    """Try samples again that an earlier call recorded as `error`."""
    gates: bool = False
    """Record for each new reply the gates, the injected share of the hidden states and, of some samples, where in the
    picture it is, in `gates/` of the output."""
    judge: JudgeConfig = JudgeConfig()

    @property
    def served_name(self) -> str:
        """What the endpoint calls the model; empty for one that replicas load."""
        return self.model.removeprefix(OPENAI) if self.model.startswith(OPENAI) else ""

    @model_validator(mode="after")
    def _fits_the_kind_of_model(self) -> Self:
        if not self.model.startswith(OPENAI):
            if self.endpoint != ModelEndpointConfig():
                raise ValueError(f"endpoint is of models behind one: name such a model as model = '{OPENAI}NAME'")
            return self
        if not self.served_name:
            raise ValueError(f"model = {OPENAI!r} names no model: write it behind the colon, such as {OPENAI}gpt-4o")
        if self.gates:
            raise ValueError(f"gates is set, but nobody sees into {self.model}: leave it out")
        if self.replica != ReplicaConfig():
            raise ValueError(f"replica is of models that replicas load, and {self.model} is behind an endpoint")
        return self


class CheckpointEvaluationConfig(SuiteConfig):
    """Evaluates checkpoints while training goes on, on what the cluster has left."""

    every: int = Field(default=0, ge=0)
    """Every n-th checkpoint; 0 evaluates none."""
