# SPDX-License-Identifier: Apache-2.0
"""``log.jsonl`` of a training run: one line an epoch."""

import json
from pathlib import Path
from typing import Any


def log_line(folder: Path, **values: Any) -> None:
    """Append one line to ``log.jsonl``."""
    with (folder / 'log.jsonl').open('a') as file:
        file.write(json.dumps(values) + '\n')


def keep_log(folder: Path, epochs: int) -> None:
    """Drop what ``log.jsonl`` says of later epochs: they are done again."""
    kept = [line for line in read_log(folder) if line['epoch'] <= epochs]
    partial = folder / 'log.partial'
    partial.write_text(''.join(json.dumps(line) + '\n' for line in kept))
    partial.replace(folder / 'log.jsonl')


def read_log(folder: Path) -> list[dict[str, Any]]:
    """All lines so far; one that an interruption cut short is left out."""
    path = folder / 'log.jsonl'
    if not path.exists():
        return []
    *whole, _ = path.read_text().split('\n')
    return [json.loads(line) for line in whole]
