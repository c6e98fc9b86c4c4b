"""Whether the attention kernels that a config names are installed.

Training, evaluation and the doctor ask before anything is started that needs them.
"""

from packaging.version import Version

from cli_ray.config.model import FLASH
from cli_ray.errors import UserError
from cli_ray.packages import version_of

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
    installed = version_of("flash-attn")
    if not installed or Version(installed) < _LEAST:
        state = f"installed in version {installed}" if installed else "not installed"
        raise UserError(
            f"{field} = {FLASH!r} needs the package flash-attn {_LEAST} or newer, which is {state} here: on all nodes, "
            "pip install --no-build-isolation flash-attn (which compiles it against the CUDA of torch, with nvcc), or "
            f"set {field} = 'sdpa', which uses the FlashAttention kernels of torch"
        )
