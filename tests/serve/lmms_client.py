"""lmms-eval 0.7.3's backend for OpenAI-compatible servers as a client, in a process of its own.

`python -m tests.serve.lmms_client URL MODEL KEY` reads questions from standard input and writes the replies, JSON both.
What it is given instead of two packages of lmms-eval's has no part in asking: one computes metrics, one time zones.
"""

import base64
import io
import json
import subprocess
import sys
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

from PIL import Image

from cli_ray.evals.generation.job import decoding
from cli_ray.evals.items.images import images_of
from cli_ray.evals.items.location import Location
from cli_ray.evals.items.sources import read
from cli_ray.evals.items.survey import scan
from tests.evals.generation.charts import REPLICA


def questions(location: Location, limit: int | None = None) -> dict[str, dict[str, Any]]:
    """The items of a benchmark by their ids, as JSON: text, images and how long a reply may be."""
    benchmark, found = location.benchmark, {}
    for part in location.parts:
        docs = dict(read(location, part))
        for entry in scan(location, part, decoding(benchmark.max_new_tokens, REPLICA), "model"):
            images = [base64.b64encode(image).decode() for image in images_of(location, docs[entry.row])]
            asked = {"text": benchmark.prompt(docs[entry.row]), "images": images, "tokens": benchmark.max_new_tokens}
            found[entry.id] = asked
    return dict([*found.items()][:limit])


def asked_by_lmms_eval(url: str, model: str, asked: Sequence[dict[str, Any]], key: str) -> list[str]:
    """The replies of a server, in the order of the questions."""
    command = [sys.executable, "-m", "tests.serve.lmms_client", url, model, key]
    done = subprocess.run(command, input=json.dumps(asked), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    replies: list[str] = json.loads(done.stdout.splitlines()[-1])
    return replies


def main(url: str, model: str, key: str) -> None:
    """Asks."""
    sys.modules |= {"evaluate": MagicMock(), "pytz": MagicMock()}
    from lmms_eval.models.chat.openai import OpenAICompatible

    asked = json.load(sys.stdin)
    client = OpenAICompatible(model_version=model, base_url=url, api_key=key, num_concurrent=8, timeout=120)
    client.task_dict = {"ours": {"test": dict(enumerate(asked))}}
    requests = [
        SimpleNamespace(
            args=("", _messages, {"max_new_tokens": one["tokens"], "temperature": 0}, index, "ours", "test")
        )
        for index, one in enumerate(asked)
    ]
    print(json.dumps([result.text for result in client.generate_until(requests)]))


def _messages(asked: dict[str, Any]) -> list[dict[str, Any]]:
    """A chat as tasks of lmms-eval write it."""
    opened = [Image.open(io.BytesIO(base64.b64decode(image))).convert("RGB") for image in asked["images"]]
    parts = [{"type": "image", "url": image} for image in opened]
    return [{"role": "user", "content": [*parts, {"type": "text", "text": asked["text"]}]}]


if __name__ == "__main__":
    main(*sys.argv[1:])
