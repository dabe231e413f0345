"""Every statement, built from the tables.

``python -m wrkflw.worlds.sql.statements`` compiles them to text in ``compiled.py``, so that neither the hot path nor a
cold start needs SQLAlchemy; a test compares the two.  Placeholders are ``bindparam`` names, or the column's own name
where a whole row is written.
"""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import (
    Table,
    and_,
    case,
    delete,
    exists,
    func,
    insert,
    literal,
    literal_column,
    null,
    or_,
    select,
    text,
    tuple_,
    union,
    union_all,
    update,
)

from . import tables as t
from .clauses import Clause, any_of, at, in_json, or_absent, replace, row_where, unindexed
from .compiling import compiled
from .cursor_statements import CURSOR_STATEMENTS
from .payload_statements import PAYLOAD_STATEMENTS
from .queue_statements import QUEUE_STATEMENTS
from .retention_statements import RETENTION_STATEMENTS
from .schedule_statements import SCHEDULE_STATEMENTS

runs, events, steps, hooks, waits, signals, attributes, streams, chunks, owners = (
    t.Table.metadata.tables[name]
    for name in (
        "runs", "events", "steps", "hooks", "waits", "signals", "run_attributes", "streams", "chunks", "owners",
    )
)  # fmt: skip


_here = runs.c.namespace == at("namespace")
_also_here = unindexed(runs.c.namespace) == at("namespace")
_of_run = {table.name: table.c.run_no == runs.c.run_no for table in (steps, hooks, waits, attributes)}


def _some(table: Table, *conditions: Clause) -> Clause:
    return exists().where(_of_run[table.name], *conditions)


_sought = func.json_each(at("attributes")).table_valued("key", "value", name="sought")
_lacks_one = exists(
    select(_sought.c.key).where(
        ~_some(attributes, attributes.c.key == _sought.c.key, attributes.c.value == _sought.c.value).correlate(
            runs, _sought
        )
    )
)
_detail = case(
    (runs.c.ended_slot.is_not(None), null()),
    (runs.c.paused_at.is_not(None), "paused"),
    (or_(runs.c.owner.is_not(None), runs.c.last_slot > runs.c.seen_slot), null()),
    (_some(steps, steps.c.status == "running"), null()),
    # A hook for one answer is live until then.
    (_some(hooks, hooks.c.kind == "suspend", hooks.c.released_slot.is_(None), hooks.c.payloads == 0), "suspended"),
    (_some(hooks, hooks.c.kind != "suspend", hooks.c.released_slot.is_(None)), "waiting"),
    (_some(waits, waits.c.kind == "signal", waits.c.status == "waiting", waits.c.matched_slot.is_(None)), "waiting"),
    (_some(steps, steps.c.kind == "child", steps.c.status == "pending"), "waiting"),
    (_some(waits, waits.c.kind == "sleep", waits.c.status == "waiting"), "sleeping"),
    (_some(steps, steps.c.retry_after > at("now")), "sleeping"),
    else_=null(),
)
_place = tuple_(runs.c.created_at, runs.c.run_no)
_edge = tuple_(at("edge_created"), at("edge_no"))
_fits = (
    or_(at("workflow_name").is_(None), runs.c.workflow_name == at("workflow_name")),
    any_of(runs.c.status, "statuses"),
    or_(at("attributes").is_(None), ~_lacks_one),
    runs.c.created_at >= at("since"),
    runs.c.created_at < at("until"),
)
_listed = (_here, *_fits)
_of_detail = or_(at("detail").is_(None), _detail == at("detail"))
_with_detail = select(runs, _detail.label("detail")).where(*_listed, _of_detail)
_among = select(runs, _detail.label("detail")).where(
    runs.c.run_no.in_(in_json("run_nos")), _also_here, *_fits, _of_detail
)
# Those have an index; and their detail is known, which is a long question that every process asks when it starts.
_paused = select(runs, literal("paused").label("detail")).where(
    *_listed, runs.c.ended_slot.is_(None), runs.c.paused_at.is_not(None)
)
_due = and_(
    _here,
    runs.c.wake_at.is_not(None),
    runs.c.owner.is_(None),
    runs.c.paused_at.is_(None),
    any_of(runs.c.workflow_name, "workflow_names"),
)
_creation = events.alias("creation")
_correlation_id = func.coalesce(events.c.correlation_id, _creation.c.correlation_id)
_logged = events.outerjoin(_creation, and_(_creation.c.run_no == events.c.run_no, _creation.c.slot == events.c.subject))
_log = (
    select(
        events.c.slot,
        events.c.event_type,
        _correlation_id,
        events.c.data,
        events.c.payload,
        events.c.codec,
        events.c.payload_ref,
        events.c.epoch,
        events.c.created_at,
    )
    .select_from(_logged)
    .where(events.c.run_no == at("run_no"))
)
# Where many are read: the id that stands elsewhere is filled in by who reads.
_plain_log = select(
    events.c.slot,
    events.c.event_type,
    events.c.correlation_id,
    events.c.data,
    events.c.payload,
    events.c.codec,
    events.c.payload_ref,
    events.c.epoch,
    events.c.created_at,
    events.c.subject,
).where(events.c.run_no == at("run_no"))
_chunk = select(
    chunks.c.after_slot,
    null(),
    chunks.c.stream,
    chunks.c.key,
    chunks.c.data,
    chunks.c.codec,
    null(),
    chunks.c.epoch,
    chunks.c.created_at,
    chunks.c.attempt,
    chunks.c.number,
    chunks.c.idx,
).where(chunks.c.run_no == at("run_no"))
_about = _plain_log.where(or_(events.c.subject.in_(in_json("subjects")), events.c.slot.in_(in_json("slots"))))
# By the log, which is in this order; the key of the steps is not.
_steps_in_order = (
    select(steps)
    .select_from(
        events.join(steps, and_(steps.c.run_no == events.c.run_no, steps.c.step_id == events.c.correlation_id))
    )
    .where(events.c.run_no == at("run_no"), text("events.event_type = 'step_created'"))
)
# A hook is live until it is released; past the end of its run as long as it keeps its token.
_hook_place = tuple_(events.c.created_at, hooks.c.run_no, hooks.c.created_slot)
_hook_edge = tuple_(at("edge_created"), at("edge_no"), at("edge_slot"))
_hooks = (
    select(hooks, runs.c.ended_slot, runs.c.run_id, events.c.created_at)
    .select_from(
        hooks.join(runs, runs.c.run_no == hooks.c.run_no).join(
            events, and_(events.c.run_no == hooks.c.run_no, events.c.slot == hooks.c.created_slot)
        )
    )
    .where(
        hooks.c.namespace == at("namespace"),
        hooks.c.released_slot.is_(None),
        or_(runs.c.ended_slot.is_(None), hooks.c.retention_until > at("now")),
    )
)
_hooks_up = _hooks.where(_hook_place > _hook_edge).limit(at("row_limit"))
_hooks_up = _hooks_up.order_by(events.c.created_at, hooks.c.run_no, hooks.c.created_slot)
_hooks_down = _hooks.where(_hook_place < _hook_edge).limit(at("row_limit"))
_hooks_down = _hooks_down.order_by(events.c.created_at.desc(), hooks.c.run_no.desc(), hooks.c.created_slot.desc())
_of_one_run = hooks.c.run_no == at("run_no")
_named = events.c.correlation_id == at("correlation_id")  # by an index for some types, which are written out for it
_fixed = {
    "run_no", "run_id", "namespace", "workflow_name", "created_at", "spec_version", "deployment_id", "definition_hash",
    "idempotency_key", "parent_run_id", "replayed_from",
}  # fmt: skip
_mutable = [item.name for item in runs.c if item.name not in _fixed]  # a column that is set has its indexes rewritten
_moves_on = (
    "status", "updated_slot", "attempt", "started_slot", "ended_slot", "error_slot", "hook_id", "retry_after",
)  # fmt: skip

_newest = (
    select(runs.c.run_no)
    .where(_here)
    .order_by(runs.c.created_at.desc(), runs.c.run_no.desc())
    .limit(1)
    .scalar_subquery()
)

STATEMENTS: dict[str, Clause] = {
    # --- the run row, which every write locks by being in one transaction with it
    "RUN_BY_ID": select(runs).where(runs.c.run_id == at("run_id"), _here),
    "RUN_BY_KEY": select(runs).where(
        _here, runs.c.workflow_name == at("workflow_name"), runs.c.idempotency_key == at("idempotency_key")
    ),
    "RUNS_BY_ID": select(runs).where(_also_here, runs.c.run_id.in_(in_json("run_ids"))),
    # What the newest run began with.
    "NEWEST_CODEC": select(events.c.codec).where(events.c.run_no == _newest, events.c.slot == 1),
    "RUN_KEY_FREE": update(runs).where(runs.c.run_no == at("no")).values(idempotency_key=None),
    "RUN_INSERT": insert(runs).values({item.name: or_absent(item) for item in runs.c if item.name != "run_no"}),
    "RUN_UPDATE": update(runs)
    .where(runs.c.run_no == at("no"))
    .values({name: or_absent(runs.c[name]) for name in _mutable}),
    "RUN_MOVE": update(runs)
    .where(runs.c.run_no == at("no"), runs.c.last_slot == at("found_slot"), runs.c.epoch == at("found_epoch"))
    .values({name: or_absent(runs.c[name]) for name in _mutable}),
    "RUN_ADVANCE": update(runs)
    .where(runs.c.run_no == at("no"), runs.c.last_slot == at("found_slot"), runs.c.epoch == at("found_epoch"))
    .values(last_slot=at("last_slot"), updated_at=at("updated_at")),
    "RUN_DETAIL": select(_detail).where(runs.c.run_no == at("no")),
    "RUNS_LIST": _with_detail.where(_place < _edge)
    .order_by(runs.c.created_at.desc(), runs.c.run_no.desc())
    .limit(at("row_limit")),
    "RUNS_LIST_PAUSED": _paused.where(_place < _edge)
    .order_by(runs.c.created_at.desc(), runs.c.run_no.desc())
    .limit(at("row_limit")),
    "RUNS_LIST_ASC": _with_detail.where(_place > _edge)
    .order_by(runs.c.created_at, runs.c.run_no)
    .limit(at("row_limit")),
    # Those with an attribute that few have are found by it, and not among all runs.
    "RUNS_WITH": select(attributes.c.run_no)
    .where(row_where(attributes, "namespace", "key", "value"))
    .limit(at("row_limit")),
    "RUNS_AMONG": _among.where(_place < _edge)
    .order_by(runs.c.created_at.desc(), runs.c.run_no.desc())
    .limit(at("row_limit")),
    "RUNS_AMONG_ASC": _among.where(_place > _edge).order_by(runs.c.created_at, runs.c.run_no).limit(at("row_limit")),
    # --- who works on what
    "RUNS_DUE": select(runs).where(_due, runs.c.wake_at <= at("now")).order_by(runs.c.wake_at).limit(at("row_limit")),
    "NEXT_DUE": select(func.min(runs.c.wake_at)).where(_due),
    # Those who have announced themselves, and whoever else holds runs.
    "OWNERS": union(select(owners.c.owner), select(runs.c.owner).where(runs.c.owner.is_not(None), _also_here)),
    "OWNER_BY_NAME": select(owners.c.lease_until).where(owners.c.owner == at("owner")),
    "OWNER_RENEW": replace(owners),
    "OWNER_DELETE": delete(owners).where(owners.c.owner == at("owner")),
    "RUNS_FREE": update(runs).where(runs.c.owner == at("gone")).values(owner=None, wake_at=at("now")),
    "RUNS_TAKE_OVER": update(runs).where(runs.c.owner == at("gone"), _here).values(owner=None, wake_at=at("now")),
    # --- the log
    "EVENT_INSERT": insert(events).values({item.name: or_absent(item) for item in events.c}),
    "EVENTS_AFTER": _plain_log.where(events.c.slot > at("after")).order_by(events.c.slot).limit(at("row_limit")),
    "EVENTS_BEFORE": _plain_log.where(events.c.slot > at("after"), events.c.slot < at("before"))
    .order_by(events.c.slot.desc())
    .limit(at("row_limit")),
    "NAMES_AT": select(events.c.slot, events.c.correlation_id).where(
        events.c.run_no == at("run_no"), events.c.slot.in_(in_json("slots"))
    ),
    "EVENT_AT": _log.where(events.c.slot == at("slot")),
    # Between where it began and where it ended, not in all of the log.
    "EVENTS_ABOUT": _about.where(events.c.slot > at("after"), events.c.slot <= at("last"))
    .order_by(events.c.slot)
    .limit(at("row_limit")),
    "EVENTS_ABOUT_BEFORE": _about.where(events.c.slot >= at("first"), events.c.slot < at("before"))
    .order_by(events.c.slot.desc())
    .limit(at("row_limit")),
    "SPANS_OF": union_all(
        select(steps.c.created_slot, steps.c.ended_slot).where(row_where(steps, "run_no", "step_id")),
        select(hooks.c.created_slot, hooks.c.released_slot).where(row_where(hooks, "run_no", "hook_id")),
        select(waits.c.created_slot, waits.c.completed_slot).where(row_where(waits, "run_no", "wait_id")),
    ),
    "EVENT_RESUMED": _log.where(events.c.resume_id == at("resume_id")),
    "CONFLICT_OF": _log.where(text("events.event_type = 'hook_conflict'"), _named),
    "ATTRIBUTE_CLAIM": select(events.c.slot).where(
        events.c.run_no == at("run_no"), text("events.event_type = 'attr_set'"), _named
    ),
    # --- the views
    "STEP_BY_ID": select(steps).where(row_where(steps, "run_no", "step_id")),
    "STEP_INSERT": insert(steps).values({item.name: or_absent(item) for item in steps.c}),
    "STEP_UPDATE": update(steps)
    .where(steps.c.run_no == at("no"), steps.c.step_id == at("id"))
    .values({name: or_absent(steps.c[name]) for name in _moves_on}),
    "STEPS_BEFORE": _steps_in_order.where(events.c.slot < at("before"))
    .order_by(events.c.slot.desc())
    .limit(at("row_limit")),
    "STEPS_AFTER": _steps_in_order.where(events.c.slot > at("after")).order_by(events.c.slot).limit(at("row_limit")),
    "HOOK_BY_ID": select(hooks).where(row_where(hooks, "run_no", "hook_id")),
    "HOOK_BY_TOKEN": select(hooks, runs.c.ended_slot, runs.c.run_id)
    .join(runs, runs.c.run_no == hooks.c.run_no)
    .where(hooks.c.namespace == at("namespace"), hooks.c.token == at("token"), hooks.c.released_slot.is_(None)),
    "HOOK_WRITE": replace(hooks),
    "HOOKS_OF_RUN": select(hooks).where(row_where(hooks, "run_no")).order_by(hooks.c.created_slot),
    "HOOKS_RELEASE": update(hooks)
    .where(
        hooks.c.run_no == at("no"),
        hooks.c.released_slot.is_(None),
        or_(hooks.c.retention_until.is_(None), hooks.c.retention_until <= at("now")),
    )
    .values(released_slot=at("slot")),
    "HOOK_VACATE": update(hooks)
    .where(hooks.c.run_no == at("no"), hooks.c.hook_id == at("id"))
    .values(released_slot=at("slot")),
    "HOOKS_BY_ID": _hooks.where(hooks.c.hook_id == at("hook_id")).limit(2),
    "HOOKS_LIVE": _hooks_up,
    "HOOKS_LIVE_DESC": _hooks_down,
    "HOOKS_LIVE_OF_RUN": _hooks_up.where(_of_one_run),
    "HOOKS_LIVE_OF_RUN_DESC": _hooks_down.where(_of_one_run),
    "WAIT_BY_ID": select(waits).where(row_where(waits, "run_no", "wait_id")),
    "WAITS_FOR_SIGNAL": select(waits)
    .where(row_where(waits, "run_no", "signal_type"), text(t.OPEN_FOR_A_SIGNAL))
    .order_by(waits.c.created_slot)
    .limit(at("row_limit")),
    "WAITS_OF_RUN": select(waits).where(row_where(waits, "run_no")).order_by(waits.c.created_slot),
    "WAIT_WRITE": replace(waits),
    "WAITS_CLOSE": update(waits)
    .where(waits.c.run_no == at("no"), waits.c.status == "waiting")
    .values(status="completed", completed_slot=at("slot")),
    "SIGNALS_OF_TYPE": select(signals.c.slot)
    .where(row_where(signals, "run_no", "signal_type"))
    .order_by(signals.c.slot)
    .limit(at("row_limit")),
    "SIGNALS_OF_RUN": select(signals.c.signal_type, signals.c.slot)
    .where(row_where(signals, "run_no"))
    .order_by(signals.c.slot),
    "SIGNAL_INSERT": insert(signals),
    "SIGNAL_DELETE": delete(signals).where(row_where(signals, "run_no", "signal_type", "slot")),
    "ATTRIBUTES_OF_RUN": select(attributes.c.key, attributes.c.value).where(row_where(attributes, "run_no")),
    "ATTRIBUTES_CLEAR": delete(attributes).where(row_where(attributes, "run_no")),
    "ATTRIBUTE_INSERT": insert(attributes),
    # --- streams
    "STREAM_BY_NAME": select(streams.c.length, streams.c.done).where(row_where(streams, "run_no", "stream")),
    "STREAM_WRITE": replace(streams),
    "STREAMS_OF_RUN": select(streams.c.stream).where(row_where(streams, "run_no")).order_by(streams.c.stream),
    "CHUNK_INSERT": insert(chunks),
    "CHUNK_LAST": select(chunks.c.number)
    .where(row_where(chunks, "run_no"))
    .order_by(chunks.c.after_slot.desc(), chunks.c.number.desc())
    .limit(1),
    "CHUNK_BY_KEY": select(chunks.c.number)
    .where(row_where(chunks, "run_no", "key"), chunks.c.after_slot < at("before_slot"))
    .limit(1),
    "CHUNKS_OF_STREAM": _chunk.where(chunks.c.stream == at("stream"), chunks.c.idx >= at("start_index"))
    .order_by(chunks.c.idx)
    .limit(at("row_limit")),
    "ITEMS_AFTER": union_all(
        _plain_log.add_columns(literal_column("0"), null()).where(events.c.slot > at("after")),
        _chunk.where(tuple_(chunks.c.after_slot, chunks.c.number) > tuple_(at("after"), at("after_number"))),
    )
    .order_by(text("1, 11"))
    .limit(at("row_limit")),
    **{
        f"{table.name.upper()}_DELETE": delete(table).where(row_where(table, "run_no"))
        for table in (events, steps, hooks, waits, signals, streams, chunks, runs)
    },
    **CURSOR_STATEMENTS,
    **PAYLOAD_STATEMENTS,
    **QUEUE_STATEMENTS,
    **RETENTION_STATEMENTS,
    **SCHEDULE_STATEMENTS,
}


if __name__ == "__main__":
    Path(__file__).with_name("compiled.py").write_text(compiled(STATEMENTS))
