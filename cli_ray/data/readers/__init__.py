"""The formats, one file each."""

from cli_ray.data.readers.json_records import JsonRecords
from cli_ray.data.readers.reader import Reader, Record, Span
from cli_ray.data.readers.tables import HuggingFace, Parquet
from cli_ray.data.readers.webdataset import Webdataset

READERS: dict[str, Reader] = {
    "webdataset": Webdataset(),
    "parquet": Parquet(),
    "llava": JsonRecords(),
    "messages": JsonRecords(),
    "hf": HuggingFace(),
}
"""By `SourceConfig.format`. The two JSON formats differ in what people call their fields, and both are read alike."""

__all__ = ["READERS", "Reader", "Record", "Span"]
