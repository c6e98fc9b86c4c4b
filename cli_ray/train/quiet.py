"""What libraries say is kept out of the output of runs and exports."""

import warnings

import transformers.utils.logging


def quiet() -> None:
    """No progress bars, and no notes that libraries write to each other."""
    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()
    warnings.filterwarnings("ignore", category=FutureWarning, module="torch.distributed")
