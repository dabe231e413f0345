"""Standard Webhooks: the vectors of the specification, and what is no signature."""

from __future__ import annotations

import hmac
import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from wrkflw.triggers import HttpRequest, StandardWebhooks

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
OTHER = "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
BODY = b'{"test": 2432232314}'
AT = datetime.fromtimestamp(1614265330, UTC)
VECTOR = {
    "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
    "webhook-timestamp": "1614265330",
    "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
}


def request(headers: dict[str, str], body: bytes = BODY) -> HttpRequest:
    return HttpRequest("POST", "/", {}, {}, headers, body)


def test_the_vector_of_the_specification_is_accepted_and_made() -> None:
    webhooks = StandardWebhooks(SECRET)

    assert webhooks(request(VECTOR), AT) == "msg_p5jXN8AQM9LWM0D4loKWxJek"
    assert webhooks.sign("msg_p5jXN8AQM9LWM0D4loKWxJek", AT, BODY) == VECTOR


def test_one_of_several_secrets_and_one_of_several_signatures_is_enough() -> None:
    signatures = f"v1a,AAAA v1,BBBB {VECTOR['webhook-signature']}"

    assert StandardWebhooks(OTHER, SECRET)(request({**VECTOR, "webhook-signature": signatures}), AT)


@pytest.mark.parametrize("off", [timedelta(minutes=-5), timedelta(minutes=5)])
def test_clocks_may_be_five_minutes_apart(off: timedelta) -> None:
    assert StandardWebhooks(SECRET)(request(VECTOR), AT + off)
    with pytest.raises(ValueError, match="webhook-timestamp '1614265330' is not of now"):
        StandardWebhooks(SECRET)(request(VECTOR), AT + off * 1.01)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"webhook-id": ""},
        {"webhook-id": "a b"},
        {"webhook-id": "é"},
        {"webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek.1614265330"},
        {"webhook-timestamp": ""},
        {"webhook-timestamp": "now"},
        {"webhook-timestamp": "1614265330.0"},
        {"webhook-timestamp": " 1614265330"},
        {"webhook-timestamp": "9" * 40},
        {"webhook-timestamp": "-1614265330"},
        {"webhook-timestamp": "١٦١٤٢٦٥٣٣٠"},
        {"webhook-signature": ""},
        {"webhook-signature": "g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="},
        {"webhook-signature": "v2,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="},
        {"webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE"},
    ],
)
def test_what_is_not_signed_is_refused(headers: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=r"webhook-|signed request"):
        StandardWebhooks(SECRET)(request({**VECTOR, **headers} if headers else {}), AT)


def test_no_change_of_a_signed_request_is_accepted() -> None:
    random_ = random.Random(7)
    webhooks = StandardWebhooks(SECRET)

    for _ in range(10_000):
        name = random_.choice([*VECTOR, "body"])
        text = BODY.decode() if name == "body" else VECTOR[name]
        at = random_.randrange(len(text))
        changed = text[:at] + random_.choice(["", chr(random_.randrange(33, 127)), text[at] * 2]) + text[at + 1 :]
        if changed == text:
            continue
        sent = request(VECTOR, changed.encode()) if name == "body" else request({**VECTOR, name: changed})
        with pytest.raises(ValueError, match=r"webhook-|signed request"):
            webhooks(sent, AT)


def test_what_is_signed_for_one_id_is_not_accepted_for_another() -> None:
    webhooks = StandardWebhooks(SECRET)
    signed = webhooks.sign("a", AT, b"1614265330.{}")

    with pytest.raises(ValueError, match=r"a webhook-id, in which there is no '.'"):
        webhooks(request({**signed, "webhook-id": "a.1614265330"}, b"{}"), AT)
    with pytest.raises(ValueError, match=r"'a\.b' cannot be a webhook-id; use 1 to 256 letters of ASCII, without"):
        webhooks.sign("a.b", AT, BODY)


def test_a_body_is_gone_through_once_for_each_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many signatures there are: who sends them is not known as yet."""
    begun, new = list[bytes](), hmac.new

    def counted(key: bytes, message: bytes, digest: Callable[[], Any]) -> hmac.HMAC:
        begun.append(key)
        return new(key, message, digest)

    monkeypatch.setattr(hmac, "new", counted)
    webhooks = StandardWebhooks(OTHER, SECRET)

    for signatures, times in (("x " * 30_000, 0), ("v1,x " * 30_000, 2), (VECTOR["webhook-signature"] + " v1,", 2)):
        begun.clear()
        try:
            webhooks(request({**VECTOR, "webhook-signature": signatures}), AT)
        except ValueError:
            assert "x" in signatures
        assert len(begun) == times


def test_no_more_than_twenty_signatures_are_looked_at() -> None:
    webhooks, fits = StandardWebhooks(SECRET), VECTOR["webhook-signature"]

    assert webhooks(request({**VECTOR, "webhook-signature": "v2,AAAA " * 50 + "v1,AAAA " * 19 + fits}), AT)
    with pytest.raises(ValueError, match="webhook-signature fits no secret"):
        webhooks(request({**VECTOR, "webhook-signature": "v1,AAAA " * 20 + fits}), AT)


@pytest.mark.parametrize("secret", ["", "whsec_", "whsec_secret!", "whsec_c2hvcnQ="])
def test_what_is_no_secret_is_refused_without_being_told(secret: str) -> None:
    with pytest.raises(ValueError, match="a secret is 'whsec_' and base64, of at least 24 bytes; this one is not"):
        StandardWebhooks(secret)
    with pytest.raises(ValueError, match="needs a secret"):
        StandardWebhooks()
