"""Letters that replies state, in the forms that models give them, are read; nothing is guessed."""

# ruff: noqa: RUF001  (wide characters are in what is tested)

import time

import pytest

from cli_ray.evals.scoring.statement import denials, read_letter, unwrapped

EAST = {
    "答案：B": "B", "答案:B": "B", "答案是B": "B", "答案是 B。": "B", "答案为B": "B", "正确答案是B。": "B",
    "正确答案：（B）": "B", "选B": "B", "选项B": "B", "故选B。": "B", "因此选择B。": "B", "应该选B，因为它在左边": "B",
    "Answer：B": "B", "Ｂ": "B", "（B）": "B", "B选项正确": "B", "选项B是正确的": "B", "B是正确答案": "B",
    "根据图片，A选项不正确，C错误，答案是B。": "B", "不选A，选B": "B", "【答案】B": "B",
    "选项A是猫，选项B是狗。答案：B": "B", "正确选项是B": "B", "答案是B和狗有关": "B", "答案应为B": "B",
    "我认为答案是（B）狗": "B", "答えはBです": "B", "정답은 B 입니다": "B", "选 A 还是 B？选 B": "B", "选择：B": "B",
    "我选择B": "B", "答案是：B。": "B", "答案选B": "B", "本题选B": "B", "故答案为：B": "B", "综上所述，选B项": "B",
    "选项：B": "B", "正确的选项是B": "B", "正确答案为选项B": "B", "答案：\nB": "B", "答案: 选项B": "B",
}  # fmt: skip
"""In Chinese, Japanese and Korean, and with wide characters."""

MARKED = {
    "\\boxed{B}": "B", "$\\boxed{B}$": "B", "\\boxed{\\text{B}}": "B", "\\text{B}": "B",
    "Thus the answer is $\\text{(B)}$.": "B", "\\[\\boxed{B. dog}\\]": "B", "The final answer is: $\\boxed{B}$": "B",
    "<answer>B</answer>": "B", "<answer> (B) dog </answer>": "B", "A is a cat. <answer>B</answer>": "B",
    "<|begin_of_box|>B<|end_of_box|>": "B", "\\(\\mathrm{B}\\)": "B",
    "Option A gives 3, so \\boxed{A}? No: \\boxed{B}": "B", "Answer: $B": "B",
    "The most suitable answer is **(B)**.": "B",
    "Final Answer: The final answer is $\\boxed{B}$. I hope it is correct.": "B", "**B**: dog": "B", "**B) dog**": "B",
    "Option **B**": "B", "The correct answer is **B. a dog**, as A and C are cats.": "B", "Answer: \\textbf{B}": "B",
    "Answer: <B>": "B", "The answer is $B$": "B", "\\text{Answer: } \\text{B}": "B", "the answer is:**B**": "B",
}  # fmt: skip
"""In boxes, tags, LaTeX and Markdown."""

LISTED = {
    "<answer>\nB\n</answer>": "B", "A. cat\nB. dog\nC. bird\nD. fish\n\nAnswer: (B) dog": "B",
    "A. cat\nB. dog\nC. bird\nD. fish\n\nAnswer: B": "B",
    "A. cat\nB. dog\nC. bird\nD. fish\n\nThe correct answer is:\n(B) dog": "B",
    "A. cat\nB. dog\nC. bird\nD. fish\n\n**Answer: B. dog**": "B",
    "A. cat\nB. dog\nC. bird\nD. fish\n\nThe answer is (B).": "B",
    "(A) cat\n(B) dog\n\nThe best choice is (B) dog": "B", "the correct answer is:\n(B) text": "B",
    "A\n\nOn reflection, the answer is B.": "B", "Let us see\nC\nAnswer: B\n": "B",
    "Answer: A\nThe picture shows a dog.\n**Final Answer:** B": "B", "### Final answer\n\nB": "B", "Answer:\n\nB": "B",
    "**Answer:**\n**B**": "B", "Based on the image, the answer is\nB": "B",
    "Answer: B\n\nExplanation: A is a cat, C is a bird.": "B", "B\n\nA is a cat, which is wrong.": "B",
    "Reasoning: A dog barks. C is a letter.\nAnswer: B": "B", "(C)\nBecause (A) and (B) are cats": "C",
    "Answer: B) 12\nAnswer: C) 13": "C",
}  # fmt: skip
"""Over several lines: the last statement counts, and more than a letter on a line of its own."""

SAID = {
    "Answer: (B) text": "B", "The answer is (b) a dog": "B", "Answer: B) a dog": "B",
    "The correct answer is option (B): a dog.": "B", "So the answer is B: dog": "B",
    "The answer is A. Wait, the answer is B": "B", "So A. But the answer is B": "B", "The answer would be B.": "B",
    "The correct answer to the question is B.": "B", "The answer is therefore B.": "B", "I would go with B.": "B",
    "I'd pick option B": "B", "I think B": "B", "It is B.": "B", "It's (B)": "B",
    "Therefore, B is the most appropriate choice.": "B", "making (B) the correct answer": "B",
    "B seems to be the best answer": "B", "Option B must be correct.": "B", "answer = B": "B", "Correct option: B": "B",
    "My final answer: B": "B", "The answer is “B”.": "B", "The answer is 'B'": "B", "answer: b": "B",
    "The answer is b.": "B", "(b)": "B", "b)": "B", "ANSWER: B": "B", "Answer: B, a dog": "B",
    "Answer: B because it barks": "B", "Answer: B - a dog": "B", "The letter is B": "B", "B: a dog": "B",
    "B. a dog, unlike A": "B", "Option (B) matches.": "B", "The answer is (B), and (A) is wrong.": "B", "- B": "B",
    "> B": "B", "Answer is B": "B", "Ans: B": "B", "Choice B.": "B", "Correct answer: B": "B", "Thus B": "B",
    "Answer : B": "B", "The answer is: B)": "B", "the image corresponds to (B)": "B",
    "It matches the description in option B": "B", "Not A, B or C; D it is: option D": "D",
    "The answer is A. B is not correct since it barks.": "A", "The bus is red: (D).": "D",
    "The answer to question 2 is D.": "D", "Thus, the answer for this figure should be D": "D",
    "Among A, B, C and D, the correct choice is C": "C", "I choose (a).": "A", "Answer: a) cat": "A", "A": "A",
    "a": "A", "A.": "A", "The letter 'B' fits: answer B": "B", "Answer: [B]": "B", "Answer: {B}": "B",
    "Final answer is (B) 12 cm": "B", "Answer: Option B": "B", "Answer: option (b)": "B", "Answer:B": "B",
    "The answer could be A or B, but I go with B": "B", "If it were a cat, A would be right. The answer is B": "B",
    "I don't choose A. I choose B": "B", "The answer isn't A, it's B": "B", "A isn't right; the answer: B": "B",
}  # fmt: skip
"""In words."""

UNSTATED = (
    "Answer - B", "not B", "A or B", "(A) or (B)", "A. cat\nB. dog\nC. bird\nD. fish", "A cat is on the mat",
    "The answer is A dog", "It is A dog", "I think A dog is there", "Answer: A or B", "The answer is either A or B.",
    "Answer: A, B", "Answer: A and C", "Answer: A/B", "The answer is (A) or (B)", "答案是A或B", "选A和B", "不是B",
    "不选B", "B不正确", "选项A是猫，选项B是狗。", "The answer is A. Or rather the answer is A or B.",
    "The answer is not B.", "The answer is A.M.", "Answer: A cat", "I cannot tell", "", "Neither A nor B",
    "Answer: ABC", "Answer: None of A, B and C", "I went to school. A. B.", "Vitamin C is good, vitamin B too",
    "A4 paper", "Plan-B", "Class A/C unit", "What is B?", "\\boxed{12}", "<answer>a dog</answer>", "\\text{A dog}",
    "so A dog", "A: cat, B: dog", "Both A and B are right", "Is it A? Is it B?", "B is right of the dog",
    "Team A is the best team", "Sorry, I can't see it, so (A) or (B)", "I'm sorry, I can't help with that.",
    "The answer is (A), (B)", "A, B, C and D are all wrong", "Answer: (B)/(C)",
    "Looking at the options: A. cat B. dog. The man holds a leash.", "The image shows A. Lincoln",
    "A is wrong. B is wrong. So C or D.", "A and C are wrong, B remains", "(A) no\n(B) yes\n(C) no", "option a", "I",
    "答案：B、C", "Answer: B & C", "either B or C", "I would not choose A",
)  # fmt: skip
"""Denied, one of several, an article, a part of a word, or options that are listed without an answer."""


@pytest.mark.parametrize(("reply", "letter"), (EAST | MARKED | LISTED | SAID).items())
def test_what_a_reply_states_is_read(reply: str, letter: str) -> None:
    assert read_letter(reply)[0] == letter


@pytest.mark.parametrize("reply", UNSTATED)
def test_what_a_reply_does_not_state_is_not_guessed(reply: str) -> None:
    assert read_letter(reply) == ("", "")


@pytest.mark.parametrize(
    ("reply", "inside"),
    [
        ("<answer> a dog </answer>", "a dog"),
        ("<answer>a cat</answer> No: <answer>a dog</answer>", "a dog"),
        ("<|begin_of_box|>a dog<|end_of_box|>", "a dog"),
        ("so $\\boxed{\\text{a dog}}$", "a dog"),
        ("\\boxed{\\frac{1}{2}}", "\\frac{1}{2}"),
        ("<answer></answer> a dog", "<answer></answer> a dog"),
        ("a dog", "a dog"),
    ],
)
def test_what_is_in_a_tag_or_box_is_the_answer(reply: str, inside: str) -> None:
    assert unwrapped(reply) == inside


@pytest.mark.parametrize("part", ["<answer>", "\\boxed{", "A, ", "A and B, ", "answer to ", "not ", "so ", "\n", "("])
def test_an_endless_reply_is_read_in_no_time(part: str) -> None:
    started = time.monotonic()
    read_letter(part * 20_000)
    unwrapped(part * 20_000)
    assert time.monotonic() - started < 10


def test_only_letters_of_options_are_read() -> None:
    assert read_letter("E", "ABCDE")[0] == "E"
    assert read_letter("E", "ABCD") == ("", "")


@pytest.mark.parametrize(
    ("reply", "letter"),
    [
        ("B", "B"),
        ("b.", "B"),
        ("(B)", "B"),
        ("**B**", "B"),
        ("B. a dog", "B"),
        ("B) a dog", "B"),
        ("The answer is (B).", "B"),
        ("Answer: C", "C"),
        ("The answer is A. No, the answer is D.", "D"),
        ("I think (C) fits", "C"),
        ("B is correct", "B"),
        ("(B) is the right answer, I think", "B"),
        ("B is the best option", "B"),
        ("Option B", "B"),
        ("choice (B) fits", "B"),
        ("The correct option is B.", "B"),
        ("The answer is B because it barks", "B"),
        ("The answer is: **B**", "B"),
        ("I choose B", "B"),
        ("B\nBecause it is so.", "B"),
        ("Let me see.\n\n(B)", "B"),
        ("A. a cat\nB. a dog\nAnswer: B", "B"),
    ],
)
def test_strict_reading(reply: str, letter: str) -> None:
    assert read_letter(reply)[0] == letter


@pytest.mark.parametrize(
    ("reply", "letter"),
    [
        ("(A) is wrong, so B", "B"),
        ("The answer is not (A) but (B)", "B"),
        ("Not A. The answer is B.", "B"),
        ("It is not A, B is correct", "B"),
        ("B, not A", "B"),
        ("B rather than A", "B"),
        ("A and C are incorrect, and it is (B)", "B"),
        ("Neither A, C nor D fits, therefore B.", "B"),
        ("A is clearly wrong. B is right.", "B"),
        ("A isn\u2019t it. Option B.", "B"),
        ("I eliminate (A) and (C). (B) stays", "B"),
        ("The answer is not (A)", ""),
        ("The answer is not B.", ""),
        ("B is not correct", ""),
        ("I don't think A is correct", ""),
        ("The wrong answer is A", ""),
        ("Option A cannot be eliminated", ""),
    ],
)
def test_a_letter_that_is_denied_is_not_stated(reply: str, letter: str) -> None:
    assert read_letter(reply)[0] == letter


def test_denials_name_letters_and_texts() -> None:
    assert denials("It is not a dog. A and C are wrong, B is not.", "ABC") == ["A and C are wrong", "B is not"]
    assert denials("It is not a Dog but a cat", ("A", "B", "dog", "cat")) == ["not a Dog"]
    assert denials("I am not sure. A cat", ("A", "cat")) == []


@pytest.mark.parametrize(
    "reply",
    ["A or B is correct", "The answer is A or B", "Answer: A, B", "(A)/(B)", "(A) or (B)", "A\nB", "A. cat\nB. dog",
     "Option A is a cat. Option B is a dog.", "B is right of the dog", "So A dog"],
)  # fmt: skip
def test_what_may_be_either_is_not_read(reply: str) -> None:
    assert read_letter(reply) == ("", "")


@pytest.mark.parametrize(
    "reply",
    ["A dog", "ABC", "The answer is A dog", "either (A) or (C)", "A.M.", "Because", "", "A's", "the answer is a dog"],
)
def test_articles_words_and_hedges_are_no_letters(reply: str) -> None:
    assert read_letter(reply) == ("", "")
