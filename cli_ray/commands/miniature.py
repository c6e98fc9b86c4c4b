"""The demo's two models on the bundled few items of every benchmark, and their paired comparison."""

from pathlib import Path

from cli_ray.config import EvaluationConfig, ReplicaConfig
from cli_ray.evals.results.compare import compare, markdown
from cli_ray.evals.run import evaluate


def compare_on_miniatures(output: Path, names: tuple[str, str], replicas: int) -> str:
    """Evaluates both models, unless an earlier call did, and returns the comparison as a table.

    Args:
        output: of the demo; models lie in `models/`, results go to `evals/`.
        names: of the models.
        replicas: of a model at a time.
    """
    replica = ReplicaConfig(count=replicas, gpus=0, dtype="fp32")
    folders = [str(output / "evals" / name) for name in names]
    for name, folder in zip(names, folders, strict=True):
        model = str((output / "models" / name).absolute())
        evaluate(EvaluationConfig(model=model, suite="paper18", miniature=True, output=folder, replica=replica))
    return f"A few made-up items of each benchmark, which say nothing of the models:\n\n{markdown(compare(*folders))}"
