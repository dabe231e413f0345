"""The family of errors: every text, every fact, and the built-in errors they also are."""

from __future__ import annotations

import copy
import pickle
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import cast

import pytest

import wrkflw.errors
from wrkflw.context import Results
from wrkflw.errors import (
    AlreadyResumedError,
    AmbiguousResumeError,
    ConditionError,
    DefinitionChangedError,
    DefinitionError,
    DuplicateStepError,
    FatalError,
    ForeignAwaitError,
    InvalidValueError,
    LimitError,
    MapError,
    NodeError,
    NoMatchError,
    NondeterminismError,
    NotSuspendedError,
    OutcomeUnknownError,
    RetryAfter,
    RunConflictError,
    RunExistsError,
    RunFailedError,
    RunFinishedError,
    RunNotFinishedError,
    RunNotFoundError,
    RunTimeoutError,
    StateConflictError,
    StepFailedError,
    StepInterruptedError,
    StepNotRunError,
    StepTimeoutError,
    SuspendSwallowedError,
    UnknownEventError,
    UnknownStepError,
    WaitTimeoutError,
    WrkflwError,
)
from wrkflw.results import Cancelled, Paused, StepError, Suspended, Suspension, Waiting

NOON = datetime(2026, 1, 1, 12, 3, 11, tzinfo=UTC)
NO_RESULTS = cast("Results", None)


class CardDeclined(ValueError):
    """A user's own error."""


def step_error(key: str = "charge", attempts: int = 3, kind: type[Exception] = TimeoutError) -> StepError:
    return StepError(
        key=key, step_id=key, type=kind.__name__, module=kind.__module__, message="gateway", attempts=attempts
    )


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (
            DuplicateStepError("campaign", "fetch-user", "use fetch_user.with_id('...') for the second"),
            "workflow 'campaign' already has a step 'fetch-user'; use fetch_user.with_id('...') for the second",
        ),
        (
            InvalidValueError(
                "input of step 'send'",
                "Letter",
                ["to: field required"],
                cure="put a .map() or .into(Letter) before it",
            ),
            "input of step 'send' does not fit Letter: to: field required; put a .map() or .into(Letter) before it",
        ),
        (
            InvalidValueError.because(
                "into Outgoing after 'write-mail'", ": to: field required", cure="add it with .map()"
            ),
            "into Outgoing after 'write-mail': to: field required; add it with .map()",
        ),
        (
            MapError.raised("map-2", IndexError("list index out of range")),
            "map 'map-2' raised IndexError: list index out of range; do fallible work in a step, which can be retried",
        ),
        (MapError.gave_coroutine("map-2"), "map 'map-2' gave a coroutine; use a step for async work"),
        (
            MapError.raised("join-1", KeyError("vip"), kind="join"),
            "join 'join-1' raised KeyError: 'vip'; do fallible work in a step, which can be retried",
        ),
        (
            MapError.gave_coroutine("wait-1", kind="join_event"),
            "join_event 'wait-1' gave a coroutine; use a step for async work",
        ),
        (
            ConditionError.raised("only_if", "notify", KeyError("vip")),
            "only_if of step 'notify' raised KeyError: 'vip'; conditions must not raise",
        ),
        (
            ConditionError.raised("arm", "ask-first", AttributeError("'NoneType' object has no attribute 'to'")),
            "the condition of arm 'ask-first' raised AttributeError: 'NoneType' object has no attribute 'to'; "
            "conditions must not raise",
        ),
        (
            ConditionError.raised("loop", "poll", TypeError("no"), iteration=4),
            "the condition of loop 'poll' raised TypeError: no after iteration 4; conditions must not raise",
        ),
        (
            ConditionError.not_a_bool("arm", "ask-first", "yes"),
            "the condition of arm 'ask-first' gave 'yes', not a bool; compare explicitly",
        ),
        (
            ConditionError.gave_coroutine("only_if", "notify"),
            "only_if of step 'notify' gave a coroutine; return True or False",
        ),
        (
            NoMatchError("match-1", ["dog", "cat"], CardDeclined()),
            "none of the cases 'dog', 'cat' takes CardDeclined; add a case or .otherwise(step)",
        ),
        (InvalidValueError.no_list("send", {}), "foreach 'send' got dict; it needs a list, put a .map() before it"),
        (
            InvalidValueError.bailed("check", "str", "campaign", "Sent"),
            "bail in step 'check' gives str, but workflow 'campaign' promises Sent; give a Sent",
        ),
        (
            InvalidValueError.chunk("draft", set[int]()),
            "a chunk of step 'draft' is a set, which JSON has not; write a list or bytes",
        ),
        (
            InvalidValueError.no_time("sleep-1", datetime(2026, 1, 1)),  # noqa: DTZ001 -- that is the mistake
            "sleep_until 'sleep-1' needs a timezone-aware time, got 2026-01-01 00:00:00; add tzinfo",
        ),
        (
            InvalidValueError.no_time("sleep-1", "noon"),
            "sleep_until 'sleep-1' needs a datetime, got str; give a timezone-aware one",
        ),
        (
            InvalidValueError("answer to step 'approve'", "Approval", ["approved: field required"]),
            "answer to step 'approve' does not fit Approval: approved: field required",
        ),
        (
            LimitError.items("send", 25_000, 10_000),
            "foreach 'send' got 25,000 items, the limit is 10,000; split the list or raise Limits.items",
        ),
        (
            LimitError.iterations("poll", 10_000),
            "loop 'poll' reached 10,000 iterations; raise max_iterations= or mend the condition",
        ),
        (
            LimitError.iterations("poll", 500, of_runtime=True),
            "loop 'poll' reached 500 iterations; raise Limits.iterations or mend the condition",
        ),
        (
            LimitError.nesting("a/b/c", 33, 32),
            "workflow 'a/b/c' is nested 33 deep, the limit is 32; flatten it or raise Limits.nesting",
        ),
        (
            StepNotRunError("charge", ["fetch", "price"]),
            "step 'charge' has no result here; finished before this point: 'fetch', 'price'",
        ),
        (StepNotRunError("charge", []), "step 'charge' has no result here; finished before this point: nothing"),
        (
            StepNotRunError.beside("stock", "price"),
            "step 'stock' runs beside step 'price'; read its result after the parallel block",
        ),
        (StepNotRunError.once_per_item("send"), "step 'send' ran once per item; use get_step_results()"),
        (StepNotRunError.skipped("notify"), "step 'notify' was skipped; pass default="),
        (
            StepNotRunError.skipped("notify", guarded=True),
            "step 'notify' was skipped; ask with the guarded step, or pass default=",
        ),
        (
            StepNotRunError.never_reached("r-17", "charge", ["fetch", "price"]),
            "run 'r-17' never reached 'charge'; it can be forked at 'fetch', 'price'",
        ),
        (StepNotRunError.never_reached("r-17", "charge", []), "run 'r-17' never reached 'charge'; start another"),
        (
            StepNotRunError.never_called("r-17", "send#9", ["send", "send#2"]),
            "run 'r-17' never reached 'send#9'; it can be forked at 'send', 'send#2'",
        ),
        (
            StepNotRunError.no_sleep("r-17", "nap", ["sleep-1", "sleep-2"]),
            "run 'r-17' never reached a sleep 'nap'; open: 'sleep-1', 'sleep-2'",
        ),
        (StepNotRunError.no_sleep("r-17", "nap", []), "run 'r-17' never reached a sleep 'nap'; open: nothing"),
        (RunNotFoundError.not_started("r-17"), "run 'r-17' was not started; call start() or enqueue()"),
        (
            RunNotFoundError.of_another("r-17", "campaign"),
            "run 'r-17' is a run of workflow 'campaign'; take it with that workflow's get_run()",
        ),
        (
            DefinitionChangedError.reordered("r-17", "charge", "fetch", "campaign"),
            "run 'r-17' recorded 'charge' after 'fetch', but workflow 'campaign' now has it before; "
            "deploy the old code, or fork at an earlier step",
        ),
        (
            UnknownStepError("campaign", "chrage", ["fetch", "charge"]),
            "workflow 'campaign' has no step 'chrage'; did you mean 'charge'",
        ),
        (
            UnknownStepError("campaign", "refund", ["fetch", "charge"]),
            "workflow 'campaign' has no step 'refund'; it has 'fetch', 'charge'",
        ),
        (
            UnknownEventError("campaign", "confirmd", ["confirmed"]),
            "workflow 'campaign' never waits for 'confirmd'; it waits for 'confirmed'",
        ),
        (RunFailedError(step_error()), "step 'charge' failed after 3 attempts: TimeoutError: gateway"),
        (RunFailedError(step_error(attempts=1)), "step 'charge' failed: TimeoutError: gateway"),
        (RunFailedError(step_error(key="")), "run failed: TimeoutError: gateway"),
        (StepFailedError(step_error()), "step 'charge' failed after 3 attempts: TimeoutError: gateway"),
        (
            StateConflictError("total", ("price", "stock"), (12, 15)),
            "steps 'price' and 'stock' ran side by side and both set state field 'total' (12 and 15); "
            "let one set it, or declare how to merge it with Annotated[..., Merge.LAST], of numbers also Merge.SUM",
        ),
        (
            StepTimeoutError("charge", timedelta(seconds=30), 2),
            "step 'charge' took longer than 30s (attempt 2); raise timeout= or split it",
        ),
        (
            RunTimeoutError("r-17", timedelta(days=7), "approve"),
            "run 'r-17' passed its 7 days, waiting at 'approve'; raise timeout=",
        ),
        (RunTimeoutError("r-17", timedelta(hours=2)), "run 'r-17' passed its 2h; raise timeout="),
        (
            WaitTimeoutError("confirmed", timedelta(days=7)),
            "no event 'confirmed' within 7 days; send it earlier, raise timeout= or give default=",
        ),
        (
            WaitTimeoutError.unanswered("approve", timedelta(days=7)),
            "no answer to step 'approve' within 7 days; answer it earlier, raise timeout= or catch this",
        ),
        (
            StepInterruptedError("charge", 5),
            "step 'charge' was interrupted 5 times without an outcome; it may be killing its worker",
        ),
        (
            OutcomeUnknownError("pay"),
            "step 'pay' may or may not have happened and must not run twice; check it by hand, then fork",
        ),
        (
            SuspendSwallowedError("approve"),
            "step 'approve' went on after suspend(); catch Exception, not BaseException",
        ),
        (RunExistsError("r-17"), "run 'r-17' was already started; take it with wf.get_run('r-17')"),
        (
            RunConflictError("r-17"),
            "run 'r-17' was started with another input; start with that input, or use another idempotency key",
        ),
        (RunFinishedError("r-17", "failed"), "run 'r-17' is already failed; fork it instead"),
        (
            RunFinishedError("r-17", "completed", "events are taken by open runs only"),
            "run 'r-17' is already completed; events are taken by open runs only",
        ),
        (
            NotSuspendedError("r-17", "approve", ["review[2]", "review[5]"]),
            "step 'approve' of run 'r-17' is not suspended; open: 'review[2]', 'review[5]'",
        ),
        (
            NotSuspendedError.ended("r-17", "approve", "cancelled"),
            "step 'approve' of run 'r-17' is not suspended: the run is already cancelled; fork it instead",
        ),
        (
            NotSuspendedError.of_another("r-17", "approve", "ask", ["ask", "approve"]),
            "'ask' of run 'r-17' is no call of step 'approve'; open: 'ask', 'approve'",
        ),
        (
            AmbiguousResumeError("review", ["review[2]", "review[5]"]),
            "step 'review' waits at 'review[2]' and 'review[5]'; pass at=",
        ),
        (
            AmbiguousResumeError.ran_often("send", ["send[1]", "send[2]", "send[3]"]),
            "'send' ran 3 times; pass key='send[3]'",
        ),
        (
            AmbiguousResumeError.gave_often("send", ["send", "send#2"]),
            "'send' ran 2 times; fork at the call that is meant: "
            "run.fork(at=send, key='send#2').with_output(send, ...)",
        ),
        (
            NondeterminismError.items_changed("r-17", "send", 12, 13),
            "foreach 'send' had 12 items and has 13 after a restart; keep the map before it pure",
        ),
        (
            NondeterminismError.items_changed("r-17", "send", 12, 12),
            "foreach 'send' had 12 items and has others after a restart; keep the map before it pure",
        ),
        (NondeterminismError("r-17", "charge", "step 'charge' was a sleep"), "step 'charge' was a sleep"),
        (
            ForeignAwaitError.of("r-17", "charge", "onboarding", "asyncio.sleep(5)"),
            "workflow 'onboarding' awaits asyncio.sleep(5), which is not recorded; "
            "await step.* calls only, and do other work in a step",
        ),
        (
            AlreadyResumedError("r-17", "approve", NOON),
            "'approve' of run 'r-17' was answered at 12:03:11; nothing was changed",
        ),
        (
            DefinitionChangedError("r-17", "charge", "campaign"),
            "run 'r-17' stands at 'charge', which workflow 'campaign' no longer has; "
            "deploy the old code, or fork at an earlier step",
        ),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_an_error_words_its_own_sentence(error: WrkflwError, text: str) -> None:
    assert text == str(error)


@pytest.mark.parametrize(
    ("result", "text"),
    [
        (
            Suspended("r-17", NO_RESULTS, [Suspension("approve", "approve", None, "token", NOON)]),
            "run 'r-17' is suspended at 'approve'; answer it with run.resume(approve, ...)",
        ),
        (
            Waiting("r-17", NO_RESULTS, "sleep", NOON),
            "run 'r-17' is waiting for a sleep; take it up with run.result()",
        ),
        (
            Waiting("r-17", NO_RESULTS, "event", None, "confirmed"),
            "run 'r-17' is waiting for event 'confirmed'; take it up with run.result()",
        ),
        (Paused("r-17", NO_RESULTS, "user", "audit"), "run 'r-17' is paused (audit); go on with run.unpause()"),
        (Cancelled("r-17", NO_RESULTS, None), "run 'r-17' is cancelled; start another"),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, str) else "",
)
def test_unwrapping_an_unfinished_run_says_how_it_stands(
    result: Suspended | Waiting | Paused | Cancelled, text: str
) -> None:
    error = RunNotFinishedError(result)

    assert text == str(error)
    assert error.result is result


@pytest.mark.parametrize(
    ("error", "builtin"),
    [
        (DefinitionError, TypeError),
        (DuplicateStepError, DefinitionError),
        (InvalidValueError, ValueError),
        (MapError, NodeError),
        (StepNotRunError, LookupError),
        (UnknownStepError, LookupError),
        (UnknownEventError, LookupError),
        (RunNotFoundError, LookupError),
        (StepTimeoutError, TimeoutError),
        (RunTimeoutError, TimeoutError),
        (WaitTimeoutError, TimeoutError),
        (ForeignAwaitError, NondeterminismError),
    ],
)
def test_an_error_is_also_the_one_that_people_would_catch(error: type[Exception], builtin: type[Exception]) -> None:
    assert issubclass(error, WrkflwError)
    assert issubclass(error, builtin)


def test_the_family_is_drawn_in_full() -> None:
    members = {
        name
        for name, member in vars(wrkflw.errors).items()
        if isinstance(member, type) and issubclass(member, WrkflwError)
    }
    drawn = re.findall(r"\b[A-Z]\w+", (wrkflw.errors.__doc__ or "").partition("::")[2])

    assert members <= set(drawn)


def test_an_invalid_value_says_what_where_and_why() -> None:
    error = InvalidValueError("input of step 'send'", "Letter", ["to: field required", "body: field required"])

    assert error.what == "input of step 'send'"
    assert error.where == "step 'send'"
    assert error.problems == ["to: field required", "body: field required"]


def test_a_map_error_knows_its_node() -> None:
    assert MapError.gave_coroutine("map-2").node == "map-2"


def test_a_limit_error_carries_both_numbers() -> None:
    error = LimitError("foreach 'send' got 25,000 items, the limit is 10,000", limit=10_000, got=25_000)

    assert (error.limit, error.got) == (10_000, 25_000)


def test_a_state_conflict_carries_the_field_the_steps_and_the_values() -> None:
    error = StateConflictError("total", ("price", "stock"), (12, 15))

    assert (error.field, error.steps, error.values) == ("total", ("price", "stock"), (12, 15))


def test_retry_after_takes_text_and_holds_a_timedelta() -> None:
    error = RetryAfter("30s", "busy")

    assert timedelta(seconds=30) == error.delay
    assert str(error) == "busy"


def test_retry_after_without_a_message_says_when() -> None:
    assert str(RetryAfter(timedelta(minutes=5))) == "try again after 5m"


def test_retry_after_refuses_what_is_no_duration() -> None:
    with pytest.raises(ValueError, match="expected a duration"):
        RetryAfter("soon")


def test_a_fatal_error_says_what_its_user_says() -> None:
    assert str(FatalError("the account is closed")) == "the account is closed"


def test_a_failed_step_matches_the_class_that_was_raised_and_its_bases() -> None:
    failed = StepFailedError(step_error(kind=CardDeclined))

    assert failed.matches(CardDeclined)
    assert failed.matches(ValueError)
    assert failed.matches(Exception)
    assert not failed.matches(TimeoutError)


def test_a_failed_step_whose_class_is_gone_matches_nothing_but_its_name() -> None:
    error = StepError(key="charge", step_id="charge", type="Gone", module="no.such.module", message="")

    assert not StepFailedError(error).matches(Exception)


def test_what_does_not_fit_the_record_says_of_which_run_and_where() -> None:
    error = NondeterminismError.items_changed("r-17", "send", 12, 13)

    assert (error.run_id, error.key) == ("r-17", "send")


def test_an_unanswered_suspension_is_of_a_step_and_a_late_event_is_not() -> None:
    unanswered = WaitTimeoutError.unanswered("approve", timedelta(days=7))
    late = WaitTimeoutError("confirmed", timedelta(days=7))

    assert (unanswered.event, unanswered.step_id, unanswered.timeout) == (None, "approve", timedelta(days=7))
    assert (late.event, late.step_id) == ("confirmed", None)


def test_the_condition_of_a_step_is_known_by_the_step() -> None:
    assert ConditionError.gave_coroutine("loop", "poll").node == "poll"
    assert NoMatchError("match-1", ["dog"], 5).cases == ("dog",)


@pytest.mark.parametrize(
    "error",
    [
        RunFailedError(StepError("send", "send", "OSError", "builtins", "down", {"code": 5}, 3)),
        RunNotFinishedError(Suspended("r-17", NO_RESULTS, [Suspension("approve", "approve", None, "token", NOON)])),
        RunNotFoundError("r-17"),
        InvalidValueError("input of step 'send'", "Mail", ["to: field required"]),
        InvalidValueError.because("into Mail after 'fetch'", "has no field 'to'"),
        WaitTimeoutError.unanswered("approve", timedelta(days=7)),
        StepTimeoutError("send", timedelta(seconds=5), 2),
    ],
    ids=lambda error: type(error).__name__,
)
@pytest.mark.parametrize("way", [copy.copy, copy.deepcopy, lambda error: pickle.loads(pickle.dumps(error))])  # noqa: S301 -- our own
def test_an_error_is_the_same_in_another_process(error: WrkflwError, way: Callable[[WrkflwError], object]) -> None:
    """Pools of processes pickle what their work raises; one that cannot be read there ends the pool, or hangs it."""
    arrived = way(error)

    assert type(arrived) is type(error)
    assert (str(arrived), vars(arrived)) == (str(error), vars(error))


class NoDisk(FatalError, OSError):
    """A user's own, which takes what the built-in one does."""


def test_an_error_of_ones_own_that_is_a_built_in_one_too_keeps_its_fields() -> None:
    error = pickle.loads(pickle.dumps(NoDisk(28, "no space left", "a.db")))  # noqa: S301 -- our own

    assert (error.errno, error.filename) == (28, "a.db")


def test_every_error_is_known_by_the_name_of_its_family() -> None:
    members = [getattr(wrkflw.errors, name) for name in wrkflw.errors.__all__]

    assert {member.__module__ for member in members} == {"wrkflw.errors"}
    assert all(pickle.loads(pickle.dumps(member)) is member for member in members)  # noqa: S301 -- our own
