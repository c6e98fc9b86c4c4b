"""The config schema: frozen pydantic sections that import neither torch nor ray."""

from cli_ray.config.data import DataConfig, SourceConfig, stored_data
from cli_ray.config.evaluation import (
    CheckpointEvaluationConfig,
    EndpointConfig,
    EvaluationConfig,
    JudgeConfig,
    ModelEndpointConfig,
    ReplicaConfig,
    SuiteConfig,
)
from cli_ray.config.injection import AgfConfig, AmpConfig, InjectionConfig, Layers, stored_injection
from cli_ray.config.model import LoraConfig, ModelConfig
from cli_ray.config.run import RunConfig
from cli_ray.config.serving import LimitsConfig, ServeConfig
from cli_ray.config.sweep import Domain, SweepConfig
from cli_ray.config.train import (
    CheckpointConfig,
    ClusterConfig,
    LogConfig,
    OptimConfig,
    Part,
    PartConfig,
    TrainConfig,
    ValidationConfig,
    stored_train,
)

__all__ = [
    "AgfConfig",
    "AmpConfig",
    "CheckpointConfig",
    "CheckpointEvaluationConfig",
    "ClusterConfig",
    "DataConfig",
    "Domain",
    "EndpointConfig",
    "EvaluationConfig",
    "InjectionConfig",
    "JudgeConfig",
    "Layers",
    "LimitsConfig",
    "LogConfig",
    "LoraConfig",
    "ModelConfig",
    "ModelEndpointConfig",
    "OptimConfig",
    "Part",
    "PartConfig",
    "ReplicaConfig",
    "RunConfig",
    "ServeConfig",
    "SourceConfig",
    "SuiteConfig",
    "SweepConfig",
    "TrainConfig",
    "ValidationConfig",
    "stored_data",
    "stored_injection",
    "stored_train",
]
