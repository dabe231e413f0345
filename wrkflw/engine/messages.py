"""What a worker does with a message of the queue: it makes the run due, and the log says what is to be done."""

from __future__ import annotations

import logging
from collections.abc import Coroutine, Mapping
from typing import Any, Protocol

from wrkflw.errors import LimitError
from wrkflw.world import events as e
from wrkflw.world.errors import WorkflowRunNotFoundError, WorldError
from wrkflw.world.queue import Defer, Delivery, HealthCheck, Invocation, Message, QueueName
from wrkflw.world.storage import Storage

from .definition import Definition

UNKNOWN_WORKFLOW = Defer(5)
"""Another process may know the workflow, or the next version of this one."""
NO_ROOM = Defer(60)
"""The log of the run is full: by then it has failed of that, or come to its end."""
_LATER = frozenset({425, 429})  # statuses of what may be accepted another time

_log = logging.getLogger("wrkflw")


class Wakes(Protocol):
    """What it needs of the driver."""

    def deliver(
        self, run_id: str, definition: Definition, event: e.NewEvent, resume_id: str | None = None
    ) -> Coroutine[Any, Any, None]: ...
    def stir(self, run_id: str) -> None: ...


class Receiver:
    """The handler of a worker's messages."""

    def __init__(self, storage: Storage, definitions: Mapping[str, Definition], wakes: Wakes) -> None:
        self._storage = storage
        self._definitions = definitions
        self._wakes = wakes

    async def __call__(self, message: Message, delivery: Delivery) -> Defer | None:
        if isinstance(message, HealthCheck):
            return None
        if QueueName.parse(delivery.queue_name).workflow_name not in self._definitions:
            return UNKNOWN_WORKFLOW
        try:
            return await self._act_upon(message, delivery.message_id)
        except LimitError as refusal:
            _log.info("message %s was not taken: %s", delivery.message_id, refusal)
            return NO_ROOM
        except WorldError as refusal:
            if refusal.status in _LATER or refusal.status >= 500:
                raise
            _log.info("message %s had nothing to do: %s", delivery.message_id, refusal)
        return None

    async def _act_upon(self, message: Invocation, message_id: str) -> Defer | None:
        run_id = message.run_id
        if message.run_input is not None:
            await self._create_if_lost(run_id, message.run_input)
        if message.hook_input is not None:
            # Who hands something in goes on with the run: by its own workflow, whatever queue the message came by.
            definition = self._definitions.get((await self._storage.runs.locate(run_id)).workflow_name)
            if definition is None:
                return UNKNOWN_WORKFLOW
            await self._wakes.deliver(run_id, definition, message.hook_input, message_id)
            return None
        await self._storage.runs.wake(run_id)
        self._wakes.stir(run_id)
        return None

    async def _create_if_lost(self, run_id: str, creation: e.RunCreated) -> None:
        try:
            await self._storage.runs.locate(run_id)
        except WorkflowRunNotFoundError:
            await self._storage.events.create(run_id, e.RunStarted(creation=creation))
