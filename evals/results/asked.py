"""What was asked of a benchmark: which records are its present ones, and where its documents lie."""

from collections.abc import Iterable
from typing import Self

from pydantic import BaseModel, ConfigDict

from cli_ray.config import EvaluationConfig
from cli_ray.evals.data.scan import Entry
from cli_ray.evals.items.location import Location
from cli_ray.storage.folder import Folder


class Asked(BaseModel):
    """Written to `asked/<benchmark>.json` once the items are scanned, so that scoring never mixes two sets."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    benchmark: str
    where: str
    """The folder, or the hub's dataset and revision."""
    data_root: str
    miniature: bool
    limit: int | None
    decoding: str
    keys: dict[str, str]
    """Of the records, by sample id, in the order of the split."""

    @classmethod
    def of(cls, config: EvaluationConfig, location: Location, decoding: str, entries: Iterable[Entry]) -> Self:
        """What an evaluation asks."""
        return cls(
            benchmark=location.benchmark,
            where=location.where,
            data_root=config.data_root,
            miniature=config.miniature,
            limit=config.limit,
            decoding=decoding,
            keys={entry.id: entry.key for entry in entries},
        )

    @classmethod
    def read(cls, folder: Folder, benchmark: str) -> Self | None:
        """What was asked last, or None."""
        text = folder.read(f"asked/{benchmark}.json")
        return None if text is None else cls.model_validate_json(text)

    def write(self, folder: Folder) -> None:
        """Keeps it."""
        folder.write(f"asked/{self.benchmark}.json", self.model_dump_json())
