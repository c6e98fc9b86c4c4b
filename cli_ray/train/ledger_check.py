"""Whether a run trained on every sample as often as it should, by its ledger.

Called by `cli-ray data verify`, and by `cli-ray drill` after each run.
"""

from functools import partial

from cli_ray.data import ledger
from cli_ray.data.cost import SampleCost
from cli_ray.data.index import Index, order_of
from cli_ray.data.places import Places
from cli_ray.data.steps import steps_of
from cli_ray.data.verify import Verification, Verifier
from cli_ray.errors import UserError
from cli_ray.train.checkpoint.files import complete_checkpoints
from cli_ray.train.run_folder import RunFolder, load_config


def verification(run: str, limit: int | None) -> Verification:
    """Compares the ledger of a run with the order of its data, up to the newest checkpoint.

    Args:
        run: the run folder, a path or a pyarrow URI.
        limit: samples of each kind and epoch that are listed; None lists all.

    Raises:
        UserError: there is no run folder, no checkpoint yet, or no ledger.
    """
    folder = RunFolder(run)
    config = load_config(folder)
    complete = complete_checkpoints(folder)
    if not complete:
        raise UserError(f"{folder.uri} has no complete checkpoint yet; the record of its samples comes with the first")
    newest = complete[-1]
    files = ledger.steps(folder)
    if not files:
        raise UserError(
            f"{folder.uri} has no record of its samples, {ledger.LEDGER}/: it is written by runs with log.ids = true, "
            f"this one has log.ids = {str(config.log.ids).lower()}"
        )
    index = Index.from_json(folder.read("index.json") or "")
    order = order_of(
        index,
        config.data,
        seed=config.seed,
        lanes=newest.stream["lanes"],
        micro_batch_size=config.train.micro_batch_size,
        global_batch_size=config.train.global_batch_size,
    )
    steps = steps_of(order, SampleCost.of_state(newest.stream))
    result = Verifier(Places(index), steps, partial(ledger.read, folder), files, newest.progress.step, limit).run()
    result.uncertain = [index.unit(number).path for number, damage in index.damages.items() if not damage.is_known]
    return result
