"""A folder that cannot be used for a while."""

from pathlib import Path
from types import TracebackType


class Outage:
    """Inside its `with` a plain file stands in the folder's place; what was in it is back afterwards."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._aside = folder, folder.with_name(f"{folder.name}.away")

    def __enter__(self) -> None:
        self._folder.mkdir(exist_ok=True)
        self._folder.rename(self._aside)
        self._folder.touch()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._folder.is_file():
            self._folder.unlink()
        # The run may write to the folder at any moment, so that there may be a new one.
        self._folder.mkdir(exist_ok=True)
        for one in self._aside.iterdir():
            one.rename(self._folder / one.name)
        self._aside.rmdir()
