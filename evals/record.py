"""The record of one generated reply: what is stored the moment a sample is finished."""

import hashlib
from typing import Literal

from pydantic import BaseModel, ConfigDict

from cli_ray.evals.benchmark import Reply


class Record(BaseModel):
    """A reply and all that it depends on."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    key: str
    """Of content: equal for equal benchmark, sample, prompt, images, decoding and model."""
    benchmark: str
    sample_id: str
    prompt_hash: str
    image_hash: str
    decoding: str
    """Such as `greedy, 16 tokens, bf16, sdpa`."""
    model: str
    """Hash of the weights and configs."""
    reply: str
    finish: Literal["stop", "length", "error"]
    error: str = ""
    """Why there is no reply."""
    attempts: int = 1
    prompt_tokens: int = 0
    reply_tokens: int = 0
    seconds: float = 0.0
    """Of its batch, divided by the samples in it."""

    def as_reply(self) -> Reply:
        """The reply as scorers take it."""
        return Reply(self.error or self.reply, self.finish)


def digest(*parts: str | bytes) -> str:
    """32 hex digits of a hash over the parts, whose borders count."""
    state = hashlib.blake2b(digest_size=16)
    for part in parts:
        data = part.encode(errors="surrogatepass") if isinstance(part, str) else part
        state.update(len(data).to_bytes(8, "little"))
        state.update(data)
    return state.hexdigest()


def key_of(benchmark: str, sample_id: str, prompt_hash: str, image_hash: str, decoding: str, model: str) -> str:
    """The key of a record."""
    return digest(benchmark, sample_id, prompt_hash, image_hash, decoding, model)
