"""The ledger proves that no sample came twice and none is missing, and whatever is changed in it is found."""

import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pyarrow as pa
import pytest

from cli_ray.commands.main import main
from cli_ray.config import DataConfig
from cli_ray.data import ledger
from cli_ray.errors import UserError
from cli_ray.storage.folder import Folder
from cli_ray.train.ledger_check import verification
from tests.data.recorded import EVERY, alter, double, drop, put, record
from tests.data.shards import data_config, tar_members, write_tar

STEPS = 13
LAST = 10
"""A file whose steps lie in a finished epoch, see `test_undisturbed`."""


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two sources whose shards share a base name, within one and between both; broken images in each."""
    folder = tmp_path_factory.mktemp("shards")
    for name, count in (("a/x/0.tar", 37), ("a/y/0.tar", 41), ("b/0.tar", 30)):
        members = tar_members(count)
        members[10] = (members[10][0], b"no image")
        (folder / name).parent.mkdir(parents=True)
        write_tar(folder / name, members)
    return folder


@pytest.fixture(scope="module")
def data(shards: Path) -> DataConfig:
    """The sources as they are mixed: one wholly, of the other a part beside whole passes."""
    mixed = data_config(shards / "a/*/0.tar", shards / "b")
    whole, part = mixed.sources
    return mixed.model_copy(update={"sources": (whole, part.model_copy(update={"weight": 2.5}))})


@pytest.fixture(scope="module")
def whole_run(data: DataConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return record(tmp_path_factory.mktemp("runs"), data, STEPS)


@pytest.fixture
def run(whole_run: Path, tmp_path: Path) -> Path:
    """A copy that may be damaged."""
    return shutil.copytree(whole_run, tmp_path / "run")


@pytest.mark.parametrize("worlds", [(2,), (2, 3), (3, 1, 2)])
@pytest.mark.parametrize("steps", [1, 3, 7, 8, STEPS, 23])
def test_undisturbed(data: DataConfig, tmp_path: Path, worlds: tuple[int, ...], steps: int) -> None:
    """Several epochs, ends in the middle of one, and other numbers of ranks on the way."""
    found = verification(str(record(tmp_path, data, steps, worlds)), None)
    assert found.is_right, found
    assert [count.epoch for count in found.epochs] == list(range(-(-steps // 7)))
    assert found.epochs[0].steps == min(steps, 7)
    if steps >= 7:  # 37 + 41 + 2.5 * 30, of which a + a + 2 or 3 * b are broken
        assert found.epochs[0].expected == 153
        assert found.epochs[0].quarantined in (4, 5)


@pytest.mark.parametrize("steps", [3, 7, STEPS])
def test_a_run_in_the_order_of_earlier_versions(data: DataConfig, tmp_path: Path, steps: int) -> None:
    """Its last steps of an epoch have other sizes."""
    run = record(tmp_path, data, steps, cost=None)
    found = verification(str(run), None)
    assert found.is_right, found
    assert len(found.epochs) == -(-steps // 7)


@pytest.mark.parametrize("weight", [0.3, 1.0, 2.0, 3.7])
def test_one_source_by_weight(shards: Path, tmp_path: Path, weight: float) -> None:
    one = data_config(shards / "b")
    weighed = one.model_copy(update={"sources": (one.sources[0].model_copy(update={"weight": weight}),)})
    found = verification(str(record(tmp_path, weighed, 11)), None)
    assert found.is_right, found
    assert found.epochs[0].expected == round(30 * weight)


def in_file(step: int, change: Callable[..., pa.Table], *arguments: object) -> Callable[[Path], None]:
    return lambda run: alter(run, step, lambda rows: change(rows, *arguments))


def on_file(step: int, damage: Callable[[Path, int], None]) -> Callable[[Path], None]:
    return lambda run: damage(run, step)


def remove(run: Path, step: int) -> None:
    ledger_file(run, step).unlink()


def cut(run: Path, step: int) -> None:
    path = ledger_file(run, step)
    path.write_bytes(path.read_bytes()[:-100])


def flip(run: Path, step: int) -> None:
    """Other bytes in the middle, of the same length."""
    path = ledger_file(run, step)
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 0xFF
    path.write_bytes(content)


def ledger_file(run: Path, step: int) -> Path:
    return run / ledger.LEDGER / f"step-{step:08d}.parquet"


DAMAGES: dict[str, Callable[[Path], None]] = {
    f"{name} in the file of step {step}": damage
    for step in (EVERY, LAST, STEPS)
    for name, damage in {
        "a row dropped": in_file(step, drop, 3),
        "a row doubled": in_file(step, double, 3),
        "another source": in_file(step, put, 3, "source", "s9"),
        "another id": in_file(step, put, 3, "id", "none.tar#1"),
        "a number outside": in_file(step, put, 3, "id", "0.tar#41"),
        "no number": in_file(step, put, 3, "id", "0.tar"),
        "another epoch": in_file(step, put, 3, "epoch", 7),
        "another step": in_file(step, put, 0, "step", 99),
        "the file deleted": on_file(step, remove),
        "the file cut": on_file(step, cut),
        "the file altered": on_file(step, flip),
    }.items()
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_found(run: Path, damage: str, capsys: pytest.CaptureFixture[str]) -> None:
    DAMAGES[damage](run)
    with pytest.raises(SystemExit) as ended:
        main(["data", "verify", str(run)])
    assert ended.value.code == 1
    assert "none missing" not in capsys.readouterr().out


def test_a_dropped_sample_is_named(run: Path) -> None:
    rows = ledger.read(Folder(str(run)), EVERY).to_pylist()
    alter(run, EVERY, partial(drop, row=2))
    found = verification(str(run), None)
    [fault] = found.faults
    assert (fault.kind, fault.epoch, fault.source) == ("missing", 0, rows[2]["source"])
    assert rows[2]["id"].startswith(f"{fault.id}:")
    assert found.epochs[0].odd_steps == [1]
    assert (found.epochs[0].missing, found.epochs[0].twice, found.epochs[1].is_right) == (1, 0, True)


def test_a_doubled_sample_is_named_with_its_steps_and_ranks(run: Path) -> None:
    rows = ledger.read(Folder(str(run)), EVERY)
    last = rows.slice(len(rows) - 1, 1).to_pylist()[0]

    def again(rows: pa.Table) -> pa.Table:
        elsewhere = put(double(rows, len(rows) - 1), len(rows), "step", 2)
        return put(elsewhere, len(rows), "epoch_step", 1)

    alter(run, EVERY, again)
    [fault] = verification(str(run), None).faults
    assert (fault.kind, fault.source) == ("twice", last["source"])
    assert {(EVERY, last["rank"]), (2, last["rank"])} <= set(fault.taken)


def test_a_swapped_source_is_missing_and_unknown(run: Path) -> None:
    """The ids of the other source have their folders in them."""
    rows = ledger.read(Folder(str(run)), EVERY).to_pylist()
    row = next(i for i, one in enumerate(rows) if one["source"] == "s1")
    alter(run, EVERY, lambda table: put(table, row, "source", "s0"))
    found = verification(str(run), None)
    assert (found.epochs[0].missing, found.epochs[0].unknown) == (1, 1)
    assert {(fault.kind, fault.source) for fault in found.faults} == {("missing", "s1"), ("unknown", "s0")}


def test_the_number_of_faults_named_is_bounded(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    remove(run, EVERY)
    found = verification(str(run), 4)
    assert len(found.faults) == 4
    assert found.epochs[0].missing == 5 * 24
    assert found.epochs[0].odd_steps == [1, 2, 3, 4, 5]
    with pytest.raises(SystemExit):
        main(["data", "verify", str(run), "--all"])
    assert "missing: s1: 0.tar#" in capsys.readouterr().out


def test_files_after_the_checkpoint_are_removed_and_do_not_count(run: Path) -> None:
    shutil.copy(ledger_file(run, STEPS), ledger_file(run, STEPS + 5))
    assert verification(str(run), None).is_right
    ledger.truncate(Folder(str(run)), STEPS)
    assert ledger.steps(Folder(str(run))) == [5, 10, STEPS]
    ledger.truncate(Folder(str(run)), 9)
    assert ledger.steps(Folder(str(run))) == [5]


def test_what_is_not_there_is_told(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["data", "verify", str(run)])
    assert "no sample twice, none missing" in capsys.readouterr().out
    shutil.rmtree(run / ledger.LEDGER)
    with pytest.raises(UserError, match=r"runs with log\.ids = true"):
        verification(str(run), None)
    shutil.rmtree(run / "checkpoints")
    with pytest.raises(UserError, match="no complete checkpoint yet"):
        verification(str(run), None)
    with pytest.raises(UserError, match="is not a run folder"):
        verification(str(run / "absent"), None)


def test_samples_lost_with_a_shard_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A shard that cannot be read is one hole, which stands for what its neighbours hold."""
    for name in "abc":
        write_tar(tmp_path / f"{name}.tar", tar_members(30))
    (tmp_path / "b.tar").write_text("<html>not found</html>")
    data = data_config(tmp_path / "*.tar", max_bad_share=0.5)
    run = record(tmp_path / "runs", data, 6)
    found = verification(str(run), None)
    assert found.is_right, found
    for count in found.epochs:
        assert (count.expected, count.trained, count.quarantined, count.lost) == (90, 60, 0, 30)
    main(["data", "verify", str(run)])
    text = capsys.readouterr().out
    assert "epoch 0: 30 samples lost with shard b.tar (sample 0 of source s0; the reason is in quarantine/)" in text
    assert "none missing" not in text
    rows = ledger.read(Folder(str(run)), EVERY).to_pylist()
    lost = next(i for i, row in enumerate(rows) if row["quarantined"] == 30)
    alter(run, EVERY, partial(drop, row=lost))
    assert [(fault.kind, fault.id) for fault in verification(str(run), None).faults] == [("missing", "b.tar#0")]
