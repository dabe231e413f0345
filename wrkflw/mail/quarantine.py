"""Mail that could not be read, or not be let in: each a run that waits for a person, so nothing of it is lost.

It is kept as everything else is: durable before anybody is told, encoded if there is a codec, to be seen and listed
with the other runs, under the workflow :data:`QUARANTINE`.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from hashlib import sha256
from itertools import count
from typing import Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict

from wrkflw.births import Birth
from wrkflw.builder import create_workflow
from wrkflw.context import SuspendContext
from wrkflw.decorators import step
from wrkflw.errors import RunConflictError, RunNotFoundError
from wrkflw.results import Page
from wrkflw.run import Run
from wrkflw.runtime import Runtime
from wrkflw.world.errors import RunExpiredError

Verdict: TypeAlias = Literal["drop"]
RELEASED = "released"


class HeldMail(BaseModel):
    """A mail in the quarantine, as it came.  ``reason`` says why it is there."""

    model_config = ConfigDict(frozen=True, defer_build=True, ser_json_bytes="base64", val_json_bytes="base64")
    raw: bytes
    reason: str
    envelope_from: str = ""
    envelope_to: tuple[str, ...] = ()


@step(id="judge")
async def judge(mail: HeldMail, ctx: SuspendContext[Verdict, str]) -> str:
    return ctx.suspend(mail.reason)


QUARANTINE = (
    create_workflow(
        id="mail-quarantine",
        input_schema=HeldMail,
        output_schema=str,
        description="mail that was not let in; answer 'drop', or release it",
    )
    .then(judge)
    .commit()
)


class Quarantine:
    """The mails that wait for a person, in the database of the runtime."""

    def __init__(self, rt: Runtime) -> None:
        self._rt = rt

    async def hold(self, mail: HeldMail) -> str:
        """Keep the mail; its id.  Durable when it returns.

        The same mail for the same recipients is kept once; but anew when it was released, and is to be held for
        another reason than then.
        """
        # The mail comes last: whatever it holds, it is no address of another mail.
        content = b"\x00".join((*sorted(address.encode() for address in mail.envelope_to), b"", mail.raw))
        key = f"mail:{sha256(content).hexdigest()}"
        mail_id = await self._keep(mail, key)
        for number in count(2):
            if not await self._was_released(mail_id, but_not_for=mail.reason):
                break
            mail_id = await self._keep(mail, f"{key}:{number}")
        return mail_id

    async def _keep(self, mail: HeldMail, key: str) -> str:
        run: Run[Any, Any, Any] = Run(await Birth.of(self._rt, QUARANTINE, idempotency_key=key))
        with suppress(RunConflictError, RunExpiredError):  # it is there already, for another reason, or was
            await run.enqueue(mail)
        return run.run_id

    async def _was_released(self, mail_id: str, *, but_not_for: str) -> bool:
        """Whether the mail was let in, though for this reason it would not have been."""
        if (await self._rt.runs.located(mail_id)).cancel_reason != RELEASED:
            return False
        try:
            return (await self._content_of(mail_id)).reason != but_not_for
        except RunExpiredError:  # what it was held for is not known any more
            return True

    async def list(self, *, limit: int = 100, cursor: str | None = None) -> Page[str]:
        """The ids of the mails, the newest first, up to 1,000 a page."""
        page = await self._rt.runs.list(
            workflow=QUARANTINE.id, status=["pending", "running"], limit=limit, cursor=cursor
        )
        return Page(data=[run.run_id for run in page.data], cursor=page.cursor, has_more=page.has_more)

    async def get(self, mail_id: str) -> HeldMail:
        """The mail, and why it is held.

        Raises RunNotFoundError when there is none of this id, or it was released or dropped.
        """
        located = await self._rt.runs.located(mail_id)
        if located.workflow_name != QUARANTINE.id:
            raise RunNotFoundError.of_another(mail_id, located.workflow_name)
        if located.ended:
            raise RunNotFoundError.not_held(mail_id)
        return await self._content_of(mail_id)

    async def _content_of(self, mail_id: str) -> HeldMail:
        definition = self._rt.define(QUARANTINE)
        journal = await self._rt.runs.journal(mail_id)
        held = definition.input_schema.load(journal.input or b"null", f"mail {mail_id!r}")
        assert isinstance(held, HeldMail)
        return held

    async def drop(self, mail_id: str, reason: str = "dropped") -> None:
        """Keep the mail no longer, nor the same mail when it comes again.  Durable when it returns.

        Raises RunNotFoundError.
        """
        await self.get(mail_id)
        await self._rt.runs.cancel(mail_id, reason)


def reason_of(reasons: Sequence[str]) -> str:
    return "; ".join(dict.fromkeys(reasons))[:1000]
