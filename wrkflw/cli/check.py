"""``wrkflw check``: which runs in flight the code as it is now would break."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from .parameters import AsJson, Database, Targets

if TYPE_CHECKING:
    from .targets import AnyWorkflow


def check(targets: Targets = None, db: Database = None, as_json: AsJson = False) -> None:
    """Tell which open runs the code would break.

    Of these workflows, as the code is now; without a TARGET, of all, those that the code has no more among them.
    Nothing is written to them.  Exit code 1 when one cannot go on.
    """
    from .opening import perform
    from .targets import workflows_of

    perform(_check(workflows_of(targets), db, all_of_them=not targets, as_json=as_json))


async def _check(workflows: list[AnyWorkflow], db: str | None, *, all_of_them: bool, as_json: bool) -> int:
    from wrkflw.deploys import check_runs
    from wrkflw.mail.quarantine import QUARANTINE

    from .opening import opened
    from .screen import say, show_json, show_table

    async with opened(db) as runtime:
        checks = await check_runs(runtime, workflows)
        if all_of_them:
            known = {QUARANTINE.id, *(workflow.id for workflow in workflows)}
            checks += [one for one in await check_runs(runtime) if one.workflow_id not in known]
    broken = [one for one in checks if one.verdict != "fits"]
    if as_json:
        show_json([asdict(one) for one in checks])
        return 1 if broken else 0
    rows = [
        (one.run_id, one.workflow_id, one.verdict, one.key or "", one.reason or "") for one in checks if not one.fits
    ]
    if rows:
        show_table(("run", "workflow", "verdict", "at", "reason"), rows, empty="", last="folded")
    say(f"{len(checks) - len(rows)} of {len(checks)} open runs fit the code")
    return 1 if broken else 0
