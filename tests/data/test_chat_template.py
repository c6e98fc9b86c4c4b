"""What is supervised, to the character, under the templates that published checkpoints carry."""

import copy

import pytest
from transformers import ProcessorMixin

from cli_ray.data.chat_template import ChatTemplate
from cli_ray.data.sample import Message
from cli_ray.errors import UserError
from cli_ray.model.tiny import tiny_processor

# llava-hf/llava-1.5-7b-hf, chat_template.json
HUB_LLAVA = (
    "{% for message in messages %}{% if message['role'] != 'system' %}{{ message['role'].upper() + ': '}}{% endif %}"
    "{# Render all images first #}{% for content in message['content'] | selectattr('type', 'equalto', 'image') %}"
    "{{ '<image>\n' }}{% endfor %}{# Render all text next #}{% if message['role'] != 'assistant' %}"
    "{% for content in message['content'] | selectattr('type', 'equalto', 'text') %}{{ content['text'] + ' '}}"
    "{% endfor %}{% else %}{% for content in message['content'] | selectattr('type', 'equalto', 'text') %}"
    "{% generation %}{{ content['text'] + ' '}}{% endgeneration %}{% endfor %}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %}"
)
# llava-hf/llava-onevision-qwen2-7b-ov-hf, chat_template.json, without its video part
HUB_ONEVISION = (
    "{% for message in messages %}{{'<|im_start|>' + message['role'] + ' '}}{# Render all images first #}"
    "{% for content in message['content'] | selectattr('type', 'equalto', 'image') %}{{ '<image>' }}{% endfor %}"
    "{# Render all text next #}{% if message['role'] != 'assistant' %}{% for content in message['content'] | "
    "selectattr('type', 'equalto', 'text') %}{{ '\n' + content['text'] }}{% endfor %}{% else %}"
    "{% for content in message['content'] | selectattr('type', 'equalto', 'text') %}{% generation %}"
    "{{ '\n' + content['text'] }}{% endgeneration %}{% endfor %}{% endif %}{{'<|im_end|>'}}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
TALK = [
    Message("system", "Be brief."),
    Message("user", "<image>\nWhat?"),
    Message("assistant", "A cat."),
    Message("user", "Sure? <image>"),
    Message("assistant", "Yes,\nA cat."),
]


def with_template(family: str, template: str) -> ProcessorMixin:
    """The tiny processor under another template."""
    processor = copy.deepcopy(tiny_processor(family))
    processor.chat_template = template
    return processor


@pytest.mark.parametrize(
    ("family", "template", "text", "learnt"),
    [
        (
            "llava",
            HUB_LLAVA,
            "Be brief. USER: <image>\nWhat? ASSISTANT: A cat.</s>USER: Sure? <image> ASSISTANT: Yes,\nA cat.</s>",
            [" A cat.</s>", " Yes,\nA cat.</s>"],
        ),
        (
            "llava_onevision",
            HUB_ONEVISION,
            "<|im_start|>system \nBe brief.<|im_end|><|im_start|>user <image>\nWhat?<|im_end|><|im_start|>assistant\n"
            "A cat.<|im_end|><|im_start|>user \nSure? <image><|im_end|><|im_start|>assistant\nYes,\nA cat.<|im_end|>",
            ["A cat.<|im_end|>", "Yes,\nA cat.<|im_end|>"],
        ),
        (
            "llava_onevision",
            CHATML,
            "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\n<image>\nWhat?<|im_end|>\n"
            "<|im_start|>assistant\nA cat.<|im_end|>\n<|im_start|>user\nSure? <image><|im_end|>\n"
            "<|im_start|>assistant\nYes,\nA cat.<|im_end|>\n",
            ["A cat.<|im_end|>", "Yes,\nA cat.<|im_end|>"],
        ),
    ],
)
def test_text_and_spans(family: str, template: str, text: str, learnt: list[str]) -> None:
    rendered = ChatTemplate(with_template(family, template)).render(TALK)
    assert rendered.text == text
    assert [text[start:end] for start, end in rendered.spans] == learnt


def test_tiny_templates(processor: ProcessorMixin) -> None:
    rendered = ChatTemplate(processor).render(TALK)
    end = processor.tokenizer.eos_token
    learnt = [rendered.text[slice(*span)].lstrip() for span in rendered.spans]
    assert learnt == [f"A cat.{end}", f"Yes,\nA cat.{end}"]
    assert rendered.text.count("<image>") == 2


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("", "no chat template"),
        ("{{ messages[0]['content'] }}", "cannot be used for training"),
        ("{{ messages | length }}{% for m in messages %}{{ m['content'] + '</s>' }}{% endfor %}", "not begin with"),
        ("{% for m in messages %}{{ m['content'] + '</s>' }}{% endfor %}{{ add_generation_prompt }}", "does not begin"),
        ("{% for m in messages %}{{ m['role'] + m['content'] + '.' }}{% endfor %}", "no token ends"),
        ("{{ raise_exception('not today') }}", "not today"),
    ],
)
def test_templates_that_cannot_be_trained_on(template: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        ChatTemplate(with_template("llava", template))
