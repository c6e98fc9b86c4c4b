"""Reading of replies as VLMEvalKit does without a judge (`exact_matching`), of August 2026 (`e8e78f05`).

`infer` follows `can_infer` in `vlmeval/utils/matching_util.py`, `yes_or_no` follows `YOrN_Extraction` in
`vlmeval/dataset/utils/yorn.py` (github.com/open-compass/VLMEvalKit, Apache-2.0).
"""

from collections.abc import Mapping

from cli_ray.evals.scoring.option_text import quoted_options
from cli_ray.evals.scoring.vqa import without_marks

_REFUSALS = (
    "Sorry, I can't help with images of people yet.",
    "I can't process this file.",
    "I'm sorry, but without the image provided",
    "Cannot determine the answer",
)
_MARKS = str.maketrans(dict.fromkeys(".()[],:;!*#{}", " "))


def infer(reply: str, options: Mapping[str, str]) -> tuple[str, str]:
    """The letter of a reply and the rule that found it; both empty when none does, which is wrong.

    It is the only letter of an option that stands as a word, and first does so within the last four words. Else it is
    that of the only option whose text is in the reply, unless the reply is twice as long as all options.
    """
    if any(refusal in reply for refusal in _REFUSALS):
        return "", ""
    words = reply.translate(_MARKS).split()
    letters = [letter for letter in options if letter in words]
    if len(letters) == 1 and words.index(letters[0]) > len(words) - 5:
        return letters[0], "letter among the last words"
    if not letters and "Z" in words:  # upstream's letter for none of them
        return "", ""
    if len(reply) > 2 * sum(map(len, options.values())):
        return "", ""
    quoted = quoted_options(reply, options)
    return (quoted[0], "option text") if len(quoted) == 1 else ("", "")


def yes_or_no(reply: str) -> tuple[str, str]:
    """ "yes" or "no", whichever alone is a word of the reply, and the rule; both empty when neither or both are."""
    said = {"yes", "no"} & set(without_marks(reply.lower()).split())
    return (said.pop(), "yes or no anywhere") if len(said) == 1 else ("", "")
