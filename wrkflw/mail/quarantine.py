"""Mail that could not be read, or not be let in: each a run that waits for a person, so nothing of it is lost.

It is kept as everything else is: durable before anybody is told, encoded if there is a codec, to be seen and listed
with the other runs, under the workflow :data:`QUARANTINE`.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from hashlib import sha256
from typing import Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict

from wrkflw.builder import create_workflow
from wrkflw.context import SuspendContext
from wrkflw.errors import RunConflictError, RunNotFoundError
from wrkflw.results import Page
from wrkflw.run import Run
from wrkflw.runtime import Runtime
from wrkflw.steps import step

Verdict: TypeAlias = Literal["drop"]


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
        """Keep the mail; its id.  The same mail for the same recipients is kept once.  Durable when it returns."""
        # The mail comes last: whatever it holds, it is no address of another mail.
        content = b"\x00".join((*sorted(address.encode() for address in mail.envelope_to), b"", mail.raw))
        run: Run[Any, Any, Any] = await Run.open(
            self._rt,
            QUARANTINE,
            run_id=None,
            idempotency_key=f"mail:{sha256(content).hexdigest()}",
            attributes=None,
            on_conflict="use_existing",
        )
        with suppress(RunConflictError):  # it is there already, for another reason
            await run.enqueue(mail)
        return run.run_id

    async def list(self, *, limit: int = 100, cursor: str | None = None) -> Page[str]:
        """The ids of the mails, the newest first, up to 1,000 a page."""
        page = await self._rt.runs.list(
            workflow=QUARANTINE.id, status=["pending", "running"], limit=limit, cursor=cursor
        )
        return Page(data=[run.run_id for run in page.data], cursor=page.cursor, has_more=page.has_more)

    async def get(self, mail_id: str) -> HeldMail:
        """The mail, and why it is held.  Raises RunNotFoundError when there is none of this id."""
        located = await self._rt.runs.located(mail_id)
        if located.workflow_name != QUARANTINE.id:
            raise RunNotFoundError.of_another(mail_id, located.workflow_name)
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
