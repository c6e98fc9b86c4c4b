"""Pictures that people name: files, bytes, images of Pillow, data URLs and, where it is asked for, web addresses.

The commands and the library ask for the encoded bytes, which the engine decodes.
"""

from cli_ray.config import DataConfig
from cli_ray.data.images import Limits

_FIELDS = DataConfig.model_fields
LIMITS = Limits(_FIELDS["max_image_pixels"].default, int(_FIELDS["max_image_MiB"].default * 2**20))
"""What an image may cost: the defaults of training."""
