"""What libraries say is kept out of the output of runs and exports."""

import os
import warnings

import transformers.utils.logging


def quiet() -> None:
    """No progress bars, no notes that libraries write to each other, and no request to the hub to convert the .bin
    files of others, which transformers makes whenever it reads some."""
    os.environ.setdefault("DISABLE_SAFETENSORS_CONVERSION", "1")
    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()
    warnings.filterwarnings("ignore", category=FutureWarning, module="torch.distributed")
