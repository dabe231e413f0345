"""What the bodies of a run write to its streams."""

from __future__ import annotations


class Chunks:
    def write(self, key: str, attempt: int, chunk: object, stream: str) -> None:
        raise NotImplementedError(key, attempt, chunk, stream)
