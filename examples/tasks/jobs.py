"""A file of tasks: plain functions that can be run by name.

riverrun run examples/tasks/jobs.py:greet --input '{"name": "Ada"}'
"""

import riverrun


@riverrun.task
def greet(name: str) -> str:
    return f"Hello, {name}!"


@riverrun.task
def word_count(text: str) -> dict[str, int]:
    words = text.split()
    return {word: words.count(word) for word in sorted(set(words))}
