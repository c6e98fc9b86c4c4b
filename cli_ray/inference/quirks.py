"""What is special to single families of other models; `foreign` looks here, and nothing else does."""

PALIGEMMA = (
    "{%- if messages | length != 1 or messages[0]['role'] != 'user' -%}"
    "{{ raise_exception('PaliGemma answers one question, without a system message or turns before it') }}{%- endif -%}"
    "{%- for part in messages[0]['content'] if part['type'] == 'image' -%}<image>{%- else -%}"
    "{{ raise_exception('PaliGemma answers questions about images alone') }}{%- endfor -%}"
    "{{ 'answer en ' }}"
    "{%- for part in messages[0]['content'] if part['type'] == 'text' -%}{{ part['text'] }}{%- endfor -%}"
)
"""PaliGemma has no chat: its prompts are the images, a task and its words, and a question is the task `answer` in some
language (big_vision, configs/proj/paligemma/README.md). Its processor adds `<bos>` behind the images and a line end."""

TEMPLATES = {"paligemma": PALIGEMMA}
"""Chat templates of families whose checkpoints have none, by model type."""
