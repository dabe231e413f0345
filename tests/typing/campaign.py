"""The steps and models that the programs of this folder are made of."""

from __future__ import annotations

from pydantic import BaseModel

from wrkflw import Retry, StepContext, SuspendContext, create_step, create_workflow, step


class UserId(BaseModel):
    user_id: str


class User(BaseModel):
    name: str
    email: str


class Mail(BaseModel):
    subject: str
    body: str


class Outgoing(Mail):
    email: str


class Sent(BaseModel):
    message_id: str | None


class Approval(BaseModel):
    approved: bool


class Counters(BaseModel):
    sent: int = 0


class Totals(BaseModel):
    amount: float = 0.0


@step
async def fetch_user(data: UserId) -> User:
    return User(name=data.user_id, email="ada@example.org")


@step
def generate_email(user: User) -> Mail:
    return Mail(subject=f"Hello {user.name}", body="…")


@step(id="send", retry=Retry(attempts=5, delay="2s"), timeout="30s")
async def send_email(mail: Outgoing, ctx: StepContext) -> Sent:
    return Sent(message_id=ctx.idempotency_key)


@step
async def count(sent: Sent, ctx: StepContext[Counters]) -> Sent:
    ctx.state.sent += 1
    return sent


@step
async def ask_first(mail: Outgoing, ctx: SuspendContext[Approval, Mail]) -> Sent:
    return Sent(message_id=None)


@step
def now() -> str:
    return "noon"


def describe_user(user: User) -> str:
    return user.name


lookup = create_step(id="lookup", execute=describe_user)

campaign = (
    create_workflow(id="campaign", input_schema=UserId, output_schema=Sent)
    .then(fetch_user)
    .then(generate_email)
    .map_ctx(
        lambda mail, ctx: Outgoing(email=ctx.get_step_result(fetch_user).email, subject=mail.subject, body=mail.body)
    )
    .then(send_email)
    .commit()
)

counted = (
    create_workflow(id="counted", input_schema=Outgoing, output_schema=Sent, state_schema=Counters)
    .then(send_email)
    .then(count)
    .commit()
)

tick = create_workflow(id="tick", input_schema=None, output_schema=str).then(now).commit()
