"""What a graph comes to: descriptions of graphs, and a pure evaluator of them that shares nothing with the engine.

All values are numbers.  Where timing decides, which is only in a block that a failure or a bail has ended early, the
evaluator asks the log which of the possible things happened, and says what must follow from it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

MODULUS = 997
SKIPPED = 500
"""What stands for the output of a step that its condition skipped."""
MOST_ITERATIONS = 3

# --- descriptions --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Rest:
    """A condition: what is left of a number."""

    by: int
    rest: int

    def holds(self, n: int) -> bool:
        return n % self.by == self.rest


ALWAYS = Rest(1, 0)


@dataclass(frozen=True)
class Trouble:
    """What a body does other than giving its output: before its first question, or after the last."""

    kind: Literal["fails", "stumbles", "bails"]
    when: Rest = ALWAYS
    late: bool = False
    tries: int = 1
    """Of which all fail, or all but the last."""
    delay: int = 0


@dataclass(frozen=True)
class Step:
    id: str
    add: int = 1
    sets: tuple[tuple[str, int], ...] = ()
    """Fields of the state and what they become; to ``total`` it is added."""
    reads: str | None = None
    """A field of the state that is added to the output."""
    asks: int = 0
    """How often it suspends."""
    trouble: Trouble | None = None
    guard: Rest | None = None
    pace: int = 0
    """How often the body lets others go first."""


@dataclass(frozen=True)
class Flow:
    """A workflow: the whole one, or one that is nested as a step."""

    id: str
    nodes: tuple[Node, ...]
    guard: Rest | None = None


Member: TypeAlias = "Step | Flow"


@dataclass(frozen=True)
class Then:
    step: Member


@dataclass(frozen=True)
class Map:
    add: int
    breaks: Rest | None = None


@dataclass(frozen=True)
class Recall:
    """``map_ctx``: what an earlier step gave, the input of the workflow, and the state."""

    step_id: str


@dataclass(frozen=True)
class Parallel:
    members: tuple[Member, ...]
    gives: Literal["tuple", "list"] = "tuple"
    concurrency: int | None = None


@dataclass(frozen=True)
class Branch:
    arms: tuple[tuple[Rest, Member], ...]
    otherwise: Member | None


@dataclass(frozen=True)
class Match:
    """By the parity of what ``sorter`` gives."""

    sorter: Step
    even: Member
    odd: Member


@dataclass(frozen=True)
class Foreach:
    """Over so many numbers, from the one that flows in."""

    step: Member
    size: int
    concurrency: int = 1


@dataclass(frozen=True)
class Loop:
    step: Member
    until: bool
    condition: Rest


@dataclass(frozen=True)
class Sleep:
    seconds: int


@dataclass(frozen=True)
class Wait:
    """For an event of its own name; one that is never sent times out, after ``seconds``."""

    event: str
    payload: int
    joins: bool = False
    seconds: int | None = None
    sent: bool = True
    default: int | None = None


Node: TypeAlias = "Then | Map | Recall | Parallel | Branch | Match | Foreach | Loop | Sleep | Wait"

FIELDS = ("a", "b", "last", "total")
"""Of the state.  Of ``last`` the last one counts, ``total`` is added up, others may not differ."""


def answer_to(number: int, n: int) -> int:
    """The answer to the ``number``-th question of a body that was given ``n``."""
    return (n + number) % 4


def items_of(n: int, size: int) -> list[int]:
    return [(n + index) % MODULUS for index in range(size)]


def folded(values: Sequence[int | None]) -> int:
    """One number of many; their order counts."""
    n = len(values)
    for value in values:
        n = (n * 7 + (SKIPPED if value is None else value)) % MODULUS
    return n


def output_of(step: Step, n: int, seen: Mapping[str, int], answers: Sequence[int]) -> int:
    return (n * 5 + step.add + (seen[step.reads] if step.reads else 0) + sum(answers)) % MODULUS


def bail_of(step: Step, n: int) -> int:
    return (n + 300 + step.add) % MODULUS


def changed(step: Step, state: Mapping[str, int]) -> dict[str, int]:
    after = dict(state)
    for name, value in step.sets:
        after[name] = after[name] + value if name == "total" else value
    return after


# --- what happened -------------------------------------------------------------------------------------

Came: TypeAlias = tuple[str, object]
"""What a step call came to: its status, and its output or the type of its error."""
CANCELLED: Came = ("cancelled", "CancelledError")
GAVE_UP: Came = ("failed", "Trouble")


@dataclass(frozen=True)
class End:
    """How a step or nested workflow ended, by the log."""

    slot: int
    how: Literal["completed", "bailed", "failed", "gave up", "cancelled"]
    """Who gives up between two tries, since its block ends, has failed: after those that failed by themselves."""
    error: tuple[str, str] | None = None
    """Key and type."""


class Broken(Exception):
    def __init__(self, key: str, type: str) -> None:
        super().__init__(key, type)
        self.error = (key, type)


class Bailed(Exception):
    def __init__(self, value: int) -> None:
        super().__init__(value)
        self.value = value


class CutOff(Exception):
    """A block around this one was decided before this one was."""


@dataclass
class Verdict:
    """What a run must come to."""

    output: int | None
    error: tuple[str, str] | None
    state: dict[str, int]
    certain: dict[str, Came]
    """The step calls that must have come to this."""
    possible: dict[str, set[Came]]
    """Those of members of a block that ended early: none of them must be."""
    begins: dict[str, int]
    """How often each body begins when nothing crashes; at most, where it is only possible."""


@dataclass
class Scope:
    prefix: str
    input: int
    state: dict[str, int] = field(default_factory=lambda: dict.fromkeys(FIELDS, 0))
    outputs: dict[str, list[int | None]] = field(default_factory=dict)


@dataclass
class Part:
    """A member of a block, as if it were alone."""

    key: str
    evaluation: Evaluation
    how: int | Broken | Bailed | CutOff | None
    delta: dict[str, int]


def evaluate(flow: Flow, n: int, log: Mapping[str, End]) -> Verdict:
    evaluation, scope = Evaluation(log), Scope("", n)
    output, error = None, None
    try:
        output = evaluation.chain(flow, scope)
    except Bailed as bailed:
        output = bailed.value
    except Broken as broken:
        error = broken.error
    return Verdict(output, error, scope.state, evaluation.certain, evaluation.possible, evaluation.begins)


class Evaluation:
    def __init__(self, log: Mapping[str, End]) -> None:
        self.log = log
        self.certain: dict[str, Came] = {}
        self.possible: dict[str, set[Came]] = {}
        self.begins: dict[str, int] = {}
        self.shaky: set[str] = set()
        """The step calls that may give up between two tries."""

    def chain(self, flow: Flow, scope: Scope) -> int:
        n = scope.input
        for node in flow.nodes:
            n = self.node(scope, node, n)
        return n

    def node(self, scope: Scope, node: Node, n: int) -> int:
        match node:
            case Then(step):
                return tidy(self.call(scope, step, step.id, n))
            case Map(add, breaks):
                if breaks is not None and breaks.holds(n):
                    raise Broken(scope.prefix[:-1], "MapError")
                return (n + add) % MODULUS
            case Recall(step_id):
                return self.recalled(scope, step_id, n)
            case Parallel(members):
                keys = [member.id for member in members]
                return folded(self.block(scope, members, keys, [n] * len(members)))
            case Branch(arms, otherwise):
                taken = next((step for condition, step in arms if condition.holds(n)), otherwise)
                return n if taken is None else tidy(self.call(scope, taken, taken.id, n))
            case Match(sorter, even, odd):
                given = tidy(self.call(scope, sorter, sorter.id, n))
                case_ = odd if given % 2 else even
                return tidy(self.call(scope, case_, case_.id, given))
            case Foreach():
                return self.foreach(scope, node, n)
            case Loop():
                return self.loop(scope, node, n)
            case Sleep():
                return n
            case Wait():
                return self.wait(scope, node, n)

    def foreach(self, scope: Scope, node: Foreach, n: int) -> int:
        step, items = node.step, items_of(n, node.size)
        keys = [f"{step.id}[{index}]" for index in range(node.size)]
        if node.concurrency > 1:
            return folded(self.block(scope, [step] * node.size, keys, items))
        return folded([self.call(scope, step, key, item) for key, item in zip(keys, items, strict=True)])

    def loop(self, scope: Scope, node: Loop, n: int) -> int:
        for iteration in range(1, MOST_ITERATIONS + 1):
            n = tidy(self.call(scope, node.step, f"{node.step.id}#{iteration}", n))
            if node.condition.holds(n) is node.until:
                return n
        raise Broken(scope.prefix[:-1], "LimitError")

    def wait(self, scope: Scope, node: Wait, n: int) -> int:
        payload = node.payload if node.sent else node.default
        if payload is None:
            raise Broken(scope.prefix[:-1], "WaitTimeoutError")
        return (n * 3 + payload) % MODULUS if node.joins else payload

    def recalled(self, scope: Scope, step_id: str, n: int) -> int:
        earlier = folded(scope.outputs.get(step_id, []))
        return (n + earlier + scope.input + scope.state["a"] + scope.state["total"]) % MODULUS

    # --- calls -------------------------------------------------------------------------------------

    def call(self, scope: Scope, member: Member, key: str, n: int) -> int | None:
        """A call in a chain: those after it see its output, and the state as it left it."""
        value, after = self.alone(scope, member, scope.prefix + key, n)
        scope.state = after
        scope.outputs.setdefault(member.id, []).append(value)
        return value

    def alone(self, scope: Scope, member: Member, key: str, n: int) -> tuple[int | None, dict[str, int]]:
        """Output, and state after it."""
        if member.guard is not None and not member.guard.holds(n):
            if isinstance(member, Step):
                self.certain[key] = ("skipped", None)
            return None, scope.state
        if isinstance(member, Step):
            return self.body(scope, member, key, n)
        try:
            return self.chain(member, Scope(f"{key}/", n)), scope.state
        except Bailed as bailed:
            return bailed.value, scope.state

    def body(self, scope: Scope, step: Step, key: str, n: int) -> tuple[int, dict[str, int]]:
        trouble = step.trouble if step.trouble is not None and step.trouble.when.holds(n) else None
        segments = step.asks + 1  # from the top to a question, or to the end
        match trouble:
            case Trouble(kind="fails"):
                self.begins[key] = trouble.tries + (step.asks if trouble.late else 0)
                self.certain[key] = GAVE_UP
                raise Broken(key, "Trouble")
            case Trouble(kind="stumbles"):
                self.shaky.add(key)
                self.begins[key] = trouble.tries + step.asks if trouble.late else trouble.tries * segments
            case Trouble(kind="bails", late=False):
                self.begins[key] = 1
            case _:
                self.begins[key] = segments
        after = changed(step, scope.state)
        if trouble is not None and trouble.kind == "bails":
            self.certain[key] = ("completed", None)
            scope.state = after
            raise Bailed(bail_of(step, n))
        answers = [answer_to(number, n) for number in range(step.asks)]
        output = output_of(step, n, scope.state, answers)
        self.certain[key] = ("completed", output)
        return output, after

    # --- blocks ------------------------------------------------------------------------------------

    def block(
        self, scope: Scope, members: Sequence[Member], keys: Sequence[str], values: Sequence[int]
    ) -> list[int | None]:
        parts = [
            self.part(scope, member, scope.prefix + key, n)
            for member, key, n in zip(members, keys, values, strict=True)
        ]
        if any(isinstance(part.how, Exception) for part in parts):
            for part in parts:
                self.take_as_possible(part.evaluation)
            raise self.decision(parts)
        outputs: list[int | None] = []
        for part, member in zip(parts, members, strict=True):
            assert not isinstance(part.how, Exception)
            self.certain |= part.evaluation.certain
            self.possible |= part.evaluation.possible
            self.begins |= part.evaluation.begins
            self.shaky |= part.evaluation.shaky
            scope.outputs.setdefault(member.id, []).append(part.how)
            outputs.append(part.how)
        scope.state = self.merged(scope, [part.delta for part in parts])
        return outputs

    def part(self, scope: Scope, member: Member, key: str, n: int) -> Part:
        evaluation, before = Evaluation(self.log), dict(scope.state)
        inside = Scope(scope.prefix, scope.input, before)
        try:
            value, after = evaluation.alone(inside, member, key, n)
        except (Broken, Bailed, CutOff) as how:
            return Part(key, evaluation, how, {})
        return Part(key, evaluation, value, {name: after[name] for name in FIELDS if after[name] != before[name]})

    def take_as_possible(self, part: Evaluation) -> None:
        for key, came in part.certain.items():
            self.possible.setdefault(key, set()).update({came, CANCELLED} if key in part.begins else {came})
        for key, cames in part.possible.items():
            self.possible.setdefault(key, set()).update(cames)
        for key in part.shaky:
            self.possible[key].add(GAVE_UP)
        self.begins |= part.begins
        self.shaky |= part.shaky

    def decision(self, parts: Sequence[Part]) -> Exception:
        """A failure before a bail, the first of its kind in the log."""
        ended = sorted(((end, part) for part in parts if (end := self.log.get(part.key))), key=lambda it: it[0].slot)
        for end, part in ended:
            if end.how == "failed":
                assert end.error is not None
                key, type = end.error
                is_predicted = isinstance(part.how, Broken) and part.how.error == end.error
                is_given_up = (type, GAVE_UP in self.possible.get(key, ())) == ("Trouble", True)
                assert is_predicted or is_given_up, f"{part.key} failed of {end.error}, not {part.how!r}"
                return Broken(key, type)
        for key, end in sorted(self.log.items(), key=lambda it: it[1].slot):
            inside = any(key == part.key or key.startswith(f"{part.key}/") for part in parts)
            if inside and end.how == "gave up":
                assert GAVE_UP in self.possible[key], f"{key} gave up, and never stumbles"
                return Broken(key, "Trouble")
        for end, part in ended:
            if end.how == "bailed":
                assert isinstance(part.how, Bailed), f"{part.key} bailed, not {part.how!r}"
                return Bailed(part.how.value)
        return CutOff()

    def merged(self, scope: Scope, deltas: Sequence[dict[str, int]]) -> dict[str, int]:
        after, setters = dict(scope.state), set[str]()
        for delta in deltas:
            for name, value in delta.items():
                if name == "total":
                    after[name] += value - scope.state[name]
                elif name == "last" or name not in setters or after[name] == value:
                    after[name] = value
                else:
                    raise Broken(scope.prefix[:-1], "StateConflictError")
                setters.add(name)
        return after


def tidy(value: int | None) -> int:
    return SKIPPED if value is None else value
