"""An output folder of ours on the bundled items, with replies as they are given: what partners are compared with."""

import json
from collections.abc import Mapping
from pathlib import Path

from cli_ray.config import EvaluationConfig
from cli_ray.evals import miniature
from cli_ray.evals.benchmark import Profile, Prompts, Reply
from cli_ray.evals.items.sources import locate, read
from cli_ray.evals.items.survey import scan
from cli_ray.evals.records import ReplyRecord
from cli_ray.evals.results.aggregate import row
from cli_ray.evals.results.samples import AskedItem, samples_table
from cli_ray.evals.results.scorer import ItemSet
from cli_ray.evals.results.table import results
from cli_ray.evals.score import score_one
from cli_ray.evals.suite import benchmark

DECODING = "greedy"


def write_ours(
    folder: Path,
    evaluated: Mapping[str, Mapping[int, str]],
    *,
    data_root: str = "",
    prompts: Prompts = "lmms-eval",
    profile: Profile = "lmms-eval/0.7.3",
) -> str:
    """An output folder of `cli-ray eval`.

    Args:
        folder: of the output.
        evaluated: replies by benchmark and row in the split; other rows were not asked.
        data_root: of the documents; the bundled ones without.
        prompts: the kit whose words were asked.
        profile: that replies are read under.
    """
    rows = []
    for name, replies in evaluated.items():
        one = benchmark(name, prompts)
        location = locate(one, data_root, not data_root)
        entries = {entry.row: entry for part in location.parts for entry in scan(location, part, DECODING, "ours")}
        docs = [(number, doc) for part in location.parts for number, doc in read(location, part) if number in replies]
        asked = [entries[number] for number, _ in docs]
        config = EvaluationConfig(model="ours", output=str(folder), data_root=data_root, miniature=not data_root)
        (folder / "asked").mkdir(parents=True, exist_ok=True)
        items = ItemSet.of(config, location, DECODING, asked)
        (folder / "asked" / f"{name}.json").write_text(items.model_dump_json())
        scored = []
        with samples_table(str(folder / "samples" / f"{name}.parquet"), profile) as add:
            for entry, (number, doc) in zip(asked, docs, strict=True):
                record = ReplyRecord(
                    key=entry.key,
                    benchmark=name,
                    sample_id=entry.id,
                    decoding=DECODING,
                    model="ours",
                    reply=replies[number],
                    finish="stop",
                    prompt_hash=entry.prompt_hash,
                    image_hash=entry.image_hash,
                )
                scored.append(score_one(one, doc, entry.id, Reply(record.reply), None, profile, entry.image_hash))
                add(record, scored[-1], AskedItem())
        rows.append(row(one, scored, len(docs), profile, where=location.where))
    (folder / "results.json").write_text(json.dumps(results(rows, "ours", "hash of ours")))
    return str(folder)


def right(name: str) -> dict[int, str]:
    """A right reply to each bundled item of a benchmark, by row; some reply where the answer is hidden."""
    one = benchmark(name)
    docs = enumerate(miniature.docs(name))
    return {row: one.gold(doc).split(" | ")[0] or "a reply" for row, doc in docs if one.keep is None or one.keep(doc)}
