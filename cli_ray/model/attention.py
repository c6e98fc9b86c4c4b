"""Whether the attention kernels that a config names are installed.

Training, evaluation and the doctor ask before anything is started that needs them.
"""

from importlib.metadata import PackageNotFoundError, version

from packaging.version import Version

from cli_ray.config.model import FLASH
from cli_ray.errors import UserError

_LEAST = Version("2.3.3")
"""Of flash-attn, by transformers."""


def check_attention(attention: str, field: str) -> None:
    """Looks for the package of FlashAttention; sdpa and eager are part of torch.

    Args:
        attention: as the config names it.
        field: of the config, for the message.

    Raises:
        UserError: it is not installed, or too old.
    """
    if attention != FLASH:
        return
    try:
        installed = Version(version("flash-attn"))
    except PackageNotFoundError:
        installed = None
    if installed is None or installed < _LEAST:
        state = "not installed" if installed is None else f"installed in version {installed}"
        raise UserError(
            f"{field} = {FLASH!r} needs the package flash-attn {_LEAST} or newer, which is {state} here: on all nodes, "
            "pip install --no-build-isolation flash-attn (which compiles it against the CUDA of torch, with nvcc), or "
            f"set {field} = 'sdpa', which uses the FlashAttention kernels of torch"
        )
