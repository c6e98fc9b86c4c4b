"""docs/troubleshooting.md: it has every message that ends a command, and none that no code raises."""

import re

from tests.raises import GAP, ROOT, messages

PAGE = ROOT / "docs/troubleshooting.md"
ROW = re.compile(r"^\| (`+) ?(.+?) ?\1 \| (.*) \| (.*) \|$", re.MULTILINE)


def entries() -> dict[str, tuple[str, str]]:
    """Why and what to do, by the message."""
    return {text.replace("\\|", "|"): (why, fix) for _, text, why, fix in ROW.findall(PAGE.read_text())}


def test_every_message_for_users_has_an_entry() -> None:
    listed = entries()
    lacking = [
        f"{message.place}: add to {PAGE.name} (in `` `` where it holds `):\n| `{message.text}` | why | what to do |"
        for message in messages()
        if message.text not in listed
    ]
    assert not lacking, "\n".join(lacking)


def test_every_entry_is_a_message_that_the_code_raises_with_a_reason_and_a_way_out() -> None:
    raised = {message.text for message in messages()}
    outdated = [text for text in entries() if text not in raised]
    assert not outdated, f"no code raises these, take them out of {PAGE.name} or change them: {outdated}"
    assert all(why and fix for why, fix in entries().values())


def test_every_row_of_the_page_is_read() -> None:
    rows = [line for line in PAGE.read_text().splitlines() if line.startswith("| `")]
    assert len(rows) == len(ROW.findall(PAGE.read_text()))


def test_messages_are_found_in_the_forms_in_which_code_writes_them() -> None:
    texts = {message.text for message in messages()}
    assert "name a sweep first: … [--field value ...]" in texts
    assert f"{GAP} has no complete checkpoint yet" in texts
    assert any(text.startswith(f"the last checkpoint, {GAP} of {GAP}, could not be written: ") for text in texts)
    assert any(" samples are bad so far, data.max_bad_share = " in text for text in texts)
