"""The section `data`: where samples come from, how they are read, and how they are put in order."""

from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import Field, model_validator

from cli_ray.config.base import Section, Uri
from cli_ray.registry import READERS

if TYPE_CHECKING:
    Format = str
else:
    # A type checker wants the names of a Literal written out.
    Format = Literal[("auto", *READERS)]


class SourceConfig(Section):
    """One set of shards or files."""

    path: Uri
    """A file, a folder, a glob or a pyarrow URI (`s3://...`, `gs://...`)."""
    format: Format = "auto"
    """`webdataset` (tar), `parquet`, `llava` (`conversations` JSON/JSONL), `messages` (ShareGPT or
    messages JSON/JSONL with `images`), `hf` (a datasets folder on disk); `auto` looks at the files."""
    name: str = ""
    """Name in the metrics and the quarantine; the last part of the path when empty."""
    weight: float = Field(default=1.0, gt=0)
    """How often the source's samples come per epoch: 1 each once, 2 twice, 0.5 a seeded half."""
    image_folder: Uri = ""
    """Folder that image paths in JSON are relative to; the file's own folder when empty."""
    image_roots: tuple[Uri, ...] = ()
    """Further folders that symbolic links below the image folder may lead into, such as another disk."""
    llava_preprocessing: bool = False
    """Read conversations as LLaVA's own training code does: the one `<image>` of a message is put first and the rest
    stripped, a first turn of the assistant is left out, and an image that no `<image>` stands for is left out."""
    prompt: str = "Describe this image."
    """Question put before a caption that has none (webdataset .txt)."""

    @property
    def label(self) -> str:
        """The name shown for this source."""
        return self.name or self.path.rstrip("/").rsplit("/", 1)[-1]


class DataConfig(Section):
    """The training stream."""

    sources: tuple[SourceConfig, ...]
    """The sources, mixed by their weights."""
    max_length: int | None = Field(default=None, ge=16)
    """Longest sample in tokens, image tokens included; longer ones are quarantined, never cut. At most as many as the
    language model has positions. When not given, that of the run's first start, then 2,048 for LLaVA-1.5 and 4,096 for
    LLaVA-OneVision."""
    max_tiles: int | None = Field(default=None, ge=1)
    """Tiles that an image of LLaVA-OneVision is laid on at most, without the thumbnail beside them; a larger one is
    scaled down to fewer tiles."""
    max_image_tokens: int | None = Field(default=None, ge=1)
    """Tokens that an image takes at most; a larger one is scaled down to fewer tiles. Counted for each image: those of
    a sample with several take one tile each. When not given, max_length unless shrink_images is false."""
    shrink_images: bool | None = None
    """Scale an image down to fewer tiles where its text leaves it less room in max_length, instead of quarantining the
    sample. Of no effect on LLaVA-1.5, whose images are all of one size. When not given, as the run was begun; new runs
    do, and those whose stored config lacks this field did not."""
    max_bad_share: float = Field(default=0.01, ge=0, le=1)
    """The run stops once more samples were quarantined than this share of all samples of an epoch (of each one begun),
    and does not start where more are known to be lost with shards that cannot be read."""
    max_image_pixels: int = Field(default=89_478_485, ge=1)
    """Images with more pixels are refused before they are decoded (decompression bombs)."""
    max_image_MiB: float = Field(default=64, gt=0)
    """Encoded images above this size are refused."""
    unit_samples: int = Field(default=32, ge=1)
    """Neighbouring samples that are read together."""
    window_samples: int = Field(default=256, ge=1)
    """Samples that are shuffled and grouped by length together; a multiple of unit_samples."""
    lanes: int = Field(default=0, ge=0)
    """Parallel lanes of the stream. The content of a global batch depends on it and not on the number
    of workers; a run keeps those of its first start. 0 takes the (greatest) number of workers then. A number of
    workers that does not divide the lanes trains the same, but some workers wait for others."""
    prefetch_windows: int = Field(default=2, ge=1)
    """Windows that are read and decoded ahead, per lane."""

    @property
    def shrinks(self) -> bool:
        """Whether images are scaled down to the room that their text leaves."""
        return self.shrink_images is not False

    @model_validator(mode="after")
    def _check(self) -> Self:
        if not self.sources:
            raise ValueError("sources is empty: add a [[data.sources]] table with a path")
        if self.window_samples % self.unit_samples:
            raise ValueError(
                f"window_samples = {self.window_samples} must be a multiple of unit_samples = {self.unit_samples}"
            )
        if self.max_tiles is not None and self.max_image_tokens is not None:
            raise ValueError(
                f"max_tiles = {self.max_tiles} and max_image_tokens = {self.max_image_tokens} are two measures of one "
                "budget: drop one"
            )
        labels = [source.label for source in self.sources]
        if len(set(labels)) != len(labels):
            raise ValueError(f"sources need distinct names, got {labels}; set name on those that share one")
        return self


def stored_data(values: dict[str, Any]) -> dict[str, Any]:
    """The section as a run stored it, with the meaning it had then.

    A stored section holds every field there was, so without `shrink_images` it is of a run that quarantined every
    sample that was too long.
    """
    return {"shrink_images": False} | values
