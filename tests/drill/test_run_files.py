import json
from pathlib import Path

from cli_ray.drill.job import RunFiles


def test_a_run_folder_is_read_while_it_is_written(tmp_path: Path) -> None:
    files = RunFiles(tmp_path / "run")
    assert (files.step, files.losses, files.starts, files.bytes) == (0, [], [], 0)
    files.folder.mkdir()
    lines: list[dict[str, object]] = [
        {"step": 1, "loss": 2.0},
        {"step": 1, "eval/pope": 50.0},
        {"step": 2, "loss": None},
    ]
    text = "".join(f"{json.dumps(line)}\n" for line in lines)
    (files.folder / "metrics.jsonl").write_text(text + '{"step": 3, "lo')
    events: list[dict[str, object]] = [
        {"event": "begin", "checkpoint": None},
        {"event": "begin", "checkpoint": "checkpoints/step-00000025"},
    ]
    (files.folder / "events.jsonl").write_text("".join(f"{json.dumps(event)}\n" for event in events))
    assert (files.step, files.losses, files.starts) == (2, [(1, 2.0), (2, None)], [0, 25])
