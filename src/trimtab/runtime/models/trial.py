"""The process in which `apart` inspects a model: it reads a `Question`, writes an `Answer`, and exits.

What the model prints goes to stderr. The process ends with the one that asked, and is the first that the system ends
when memory runs out.
"""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path

import msgspec

from trimtab.errors import TrimtabError
from trimtab.runtime.frames import TensorHead
from trimtab.runtime.memory import die_first
from trimtab.runtime.models.apart import Answer, Question
from trimtab.runtime.models.model import Interface, ModelSource
from trimtab.runtime.models.registry import inspect_here
from trimtab.runtime.service import TensorInfo


def main() -> None:
    """Answer the question on stdin."""
    die_first()
    answers = os.dup(1)
    os.dup2(2, 1)
    question = msgspec.json.decode(sys.stdin.buffer.readline(), type=Question)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    source = ModelSource(
        question.runtime, Path(question.path), question.entry, question.options, tuple(map(Path, question.folders))
    )
    try:
        found = _answer(inspect_here(source))
    except TrimtabError as error:
        found = Answer(failure=str(error))
    with os.fdopen(answers, "wb") as pipe:
        pipe.write(msgspec.json.encode(found))
    sys.stderr.flush()
    os._exit(0)  # at once: threads of libraries may not hold it


def _answer(interface: Interface) -> Answer:
    return Answer(_heads(interface.inputs), _heads(interface.outputs))


def _heads(infos: tuple[TensorInfo, ...]) -> tuple[TensorHead, ...]:
    return tuple(TensorHead(info.name, info.dtype.name, info.shape) for info in infos)


def _end_with_parent() -> None:
    """The parent never writes more: an end of its pipe is its own end."""
    os.read(0, 1)
    os._exit(1)


if __name__ == "__main__":
    main()
