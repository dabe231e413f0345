"""The statements of the queue, and of what is counted of runs whose processes died."""

from __future__ import annotations

from typing import cast

from sqlalchemy import and_, delete, exists, func, insert, literal_column, null, or_, select, text, tuple_, update
from sqlalchemy.dialects.sqlite import insert as upsert

from wrkflw.world.queue import DEFAULT_ENVIRONMENT, ENVIRONMENT

from . import tables as t
from .clauses import Clause, at

messages, crashes, runs = (t.Table.metadata.tables[name] for name in ("queue_messages", "crashes", "runs"))

_here = messages.c.namespace == at("namespace")
_it = messages.c.message_id == at("id")
_waits = text(t.WAITS_IN_QUEUE)  # as the indexes have it
# Few messages say of which environment they are, so no column does.
_stamped = func.json_extract(messages.c.headers, literal_column(f"'$.\"{ENVIRONMENT}\"'"))
_ours = func.coalesce(_stamped, literal_column(f"'{DEFAULT_ENVIRONMENT}'")) == at("environment")
_key = messages.c.idempotency_key == at("idempotency_key")
_letters = select(messages).where(_here, messages.c.dead_at.is_not(None))
_place = tuple_(messages.c.dead_at, messages.c.message_no)
_edge = tuple_(at("edge_dead"), at("edge_no"))
_of_run = messages.c.run_id == at("run_id")
_counted = upsert(crashes)
_owned: Clause = select(runs.c.run_no, cast("Clause", literal_column("1"))).where(
    runs.c.owner == at("gone"), runs.c.namespace == at("namespace")
)

QUEUE_STATEMENTS: dict[str, Clause] = {
    # --- queueing
    "MESSAGE_INSERT": insert(messages).values(
        {item.name: at(item.name) for item in messages.c if item.name != "message_no"}
    ),
    "MESSAGE_PENDING": select(messages).where(_here, _key, text(t.HOLDS_PENDING)),
    "MESSAGE_INFLIGHT": select(messages).where(_here, _key, text(t.HOLDS_INFLIGHT)),
    "MESSAGE_MERGE": update(messages)
    .where(_it)
    .values(
        {
            "available_at": func.min(messages.c.available_at, at("at")),
            "attempt": func.max(messages.c.attempt, at("attempts")),
            "failures": func.max(messages.c.failures, at("failed")),
        }
    ),
    # --- taking, and what becomes of what was taken
    "MESSAGES_OPEN": select(
        or_(
            exists(select(messages.c.message_no).where(_here, _waits, _ours)),
            exists(select(messages.c.message_no).where(_here, messages.c.lease_owner.is_not(None))),
        )
    ),
    "MESSAGES_DUE": select(messages)
    .where(_here, _waits, _ours, messages.c.available_at <= at("now"))
    .order_by(messages.c.available_at, messages.c.message_no)
    .limit(at("row_limit")),
    "MESSAGE_NEXT": select(func.min(messages.c.available_at)).where(_here, _waits, _ours),
    "MESSAGE_TAKE": update(messages)
    .where(_it)
    .values(lease_owner=at("owner"), epoch=messages.c.epoch + 1, attempt=messages.c.attempt + 1),
    "MESSAGE_TAKEN": select(messages).where(_it, messages.c.lease_owner == at("owner"), messages.c.epoch == at("held")),
    "MESSAGE_HOLDERS": select(messages.c.lease_owner).where(_here, messages.c.lease_owner.is_not(None)).distinct(),
    "MESSAGES_HELD": select(messages).where(_here, messages.c.lease_owner == at("owner")),
    "MESSAGE_RETURN": update(messages)
    .where(_it)
    .values(
        lease_owner=null(),
        dead_at=null(),
        available_at=at("at"),
        attempt=at("attempts"),
        failures=at("failed"),
        last_error=at("error"),
    ),
    "MESSAGE_BURY": update(messages)
    .where(_it)
    .values(lease_owner=null(), dead_at=at("now"), failures=at("failed"), last_error=at("error")),
    "MESSAGE_DELETE": delete(messages).where(_it),
    # --- dead letters
    "LETTER_BY_ID": _letters.where(_it),
    "LETTERS_BEFORE": _letters.where(_place < _edge)
    .order_by(messages.c.dead_at.desc(), messages.c.message_no.desc())
    .limit(at("row_limit")),
    # --- what goes with a run
    "MESSAGES_OF_RUN_END": delete(messages).where(_of_run, _here, messages.c.scope == "pending", _waits),
    "MESSAGES_OF_RUN_DELETE": delete(messages).where(_of_run, _here),
    "ANYTHING_OF_RUNS": select(
        or_(
            exists(select(messages.c.message_no).where(messages.c.run_id.is_not(None))),
            exists(select(crashes.c.run_no)),
        )
    ),
    "RUN_WAKE": update(runs)
    .where(
        runs.c.run_id == at("id"),
        runs.c.namespace == at("namespace"),
        runs.c.ended_slot.is_(None),
        runs.c.paused_at.is_(None),
        runs.c.owner.is_(None),
        or_(runs.c.status != "pending", and_(runs.c.wake_at.is_(None), runs.c.epoch > 0)),  # none out of its turn
    )
    .values(wake_at=func.min(func.coalesce(runs.c.wake_at, at("now")), at("now"))),
    "CRASHES_COUNT": _counted.from_select(["run_no", "times"], _owned).on_conflict_do_update(
        index_elements=["run_no"], set_={"times": crashes.c.times + 1}
    ),
    "CRASH_COUNT": _counted.values(run_no=at("run_no"), times=literal_column("1")).on_conflict_do_update(
        index_elements=["run_no"], set_={"times": crashes.c.times + 1}
    ),
    "CRASHED_TOO_OFTEN": select(runs.c.run_id, runs.c.workflow_name, crashes.c.times)
    .join(crashes, crashes.c.run_no == runs.c.run_no)
    .where(and_(runs.c.owner == at("gone"), runs.c.namespace == at("namespace"), crashes.c.times >= at("most"))),
    "CRASHES_DELETE": delete(crashes).where(crashes.c.run_no == at("run_no")),
}
