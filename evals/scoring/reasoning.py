"""Reasoning before an answer, cut from replies as lmms-eval 0.7.3 does, so that no word of it is read as the answer."""

TAGS = (("<think>", "</think>"), ("<analysis>", "</analysis>"))
"""The default of `--reasoning_tags` in lmms-eval 0.7.3."""


def without_reasoning(reply: str) -> str:
    """The reply without its blocks of reasoning, stripped; as `strip_reasoning_tags` in `api/reasoning.py`.

    Case counts in tags. An opening tag that nothing closes stays, with all behind it. Where only closing tags are left,
    as when the chat template opens the block, what stands behind the last one is the reply.
    """
    for start, end in TAGS:
        begin = reply.find(start)
        while begin >= 0 and (close := reply.find(end, begin)) >= 0:
            reply = reply[:begin] + reply[close + len(end) :]
            begin = reply.find(start)
        if begin < 0 and end in reply:
            reply = reply.rsplit(end, 1)[1]
    return reply.strip()


def is_open(text: str) -> bool:
    """Whether a text without its blocks of reasoning still holds the opening tag of one: its answer never came."""
    return any(start in text for start, _ in TAGS)
