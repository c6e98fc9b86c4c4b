"""The model of a run: its newest checkpoint, exported once into the folder of the run.

Called by the commands that use a model, and by `cli_ray.load`.
"""

from pathlib import Path

from cli_ray.console import progress_bar
from cli_ray.errors import UserError


def exported_model(model: str) -> str:
    """The folder or hub id to load for what people name as a model.

    Args:
        model: folder of a model, or hub id, which stay what they are; or folder of a run, whose newest checkpoint is
            exported to `models/step-<step>` in it unless it has been.

    Raises:
        UserError: the run has no checkpoint, or it cannot be exported.
    """
    folder = Path(model)
    if not is_run(folder):
        return str(folder.absolute()) if folder.is_dir() else model
    from cli_ray.train.checkpoint.files import complete_checkpoints
    from cli_ray.train.run_folder import RunFolder

    complete = complete_checkpoints(RunFolder(model))
    if not complete:
        raise UserError(f"{model} has no complete checkpoint yet")
    step = complete[-1].progress.step
    target = folder.absolute() / "models" / f"step-{step:08d}"
    if not target.exists():
        shown_export(model, target, step)
    return str(target)


def is_run(folder: Path) -> bool:
    """Whether a folder is that of a run, which may not have saved anything yet."""
    return (folder / "checkpoints").is_dir() or (folder / "events.jsonl").is_file()


def shown_export(run: str, output: Path, step: int | None, *, best: bool = False, keep_lora: bool = False) -> str:
    """`export`, with its stages on a terminal."""
    from cli_ray.train.checkpoint.export import STAGES, export

    with progress_bar() as bar:
        task = bar.add_task("export", total=len(STAGES))

        def on_stage(stage: str) -> None:
            bar.update(task, completed=STAGES.index(stage), description=stage)

        name = export(run, output, step, best=best, keep_lora=keep_lora, on_stage=on_stage)
        bar.update(task, completed=len(STAGES), description="exported")
    return name
