"""Who may send over SMTP: this machine, those with a login, those over TLS."""

from __future__ import annotations

import datetime
import logging
import ssl
from pathlib import Path

import aiosmtplib
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1
from cryptography.hazmat.primitives.asymmetric.ec import generate_private_key as new_key
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from wrkflw.mail import SmtpServer
from wrkflw.mail.smtp import ExposedSmtpError

from .counter import TO, served
from .desk import letter, mailroom, triage


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL, logger="wrkflw")
    caplog.set_level(logging.CRITICAL, logger="mail.log")


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "mail.acme.test"])
async def test_other_machines_are_let_in_only_by_saying_so(host: str) -> None:
    workflow = triage()
    workflow.on_email("invoices@*")
    async with mailroom(workflow) as room:
        with pytest.raises(ExposedSmtpError, match="can be reached by other machines; pass login= and tls="):
            SmtpServer(room, host=host)
        SmtpServer(room, host=host, exposed=True)


async def test_passwords_are_not_taken_in_the_clear() -> None:
    workflow = triage()
    workflow.on_email("invoices@*")
    async with mailroom(workflow) as room:
        with pytest.raises(ValueError, match="would be sent in the clear; pass tls= as well"):
            SmtpServer(room, login=lambda user, password: True)


async def test_with_a_login_only_those_send_who_have_one(tmp_path: Path) -> None:
    def login(user: str, password: str) -> bool:
        return (user, password) == ("ada", "secret")

    async with served(tls=certificate(tmp_path), login=login) as desk:
        told: list[int] = []
        for password in (None, "wrong", "secret"):
            client = aiosmtplib.SMTP(
                hostname="127.0.0.1", port=desk.port, start_tls=password is not None, validate_certs=False
            )
            async with client:
                try:
                    if password is not None:
                        await client.login("ada", password)
                    await client.sendmail("ada@example.org", [TO], letter().as_bytes())
                except aiosmtplib.SMTPResponseException as refused:
                    told.append(refused.code)

        assert told == [530, 535]
        assert len(await desk.runs()) == 1


async def test_without_tls_nothing_is_taken_where_it_is_required(tmp_path: Path) -> None:
    async with served(tls=certificate(tmp_path), require_tls=True) as desk:
        assert await desk.refusal(letter().as_bytes()) == 530

        async with aiosmtplib.SMTP(
            hostname="127.0.0.1", port=desk.port, start_tls=True, validate_certs=False
        ) as client:
            await client.sendmail("ada@example.org", [TO], letter().as_bytes())
        assert len(await desk.runs()) == 1


def certificate(folder: Path) -> ssl.SSLContext:
    """Of a server that vouches for itself."""
    key, name = new_key(SECP256R1()), x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    day = datetime.timedelta(days=1)
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - day)
        .not_valid_after(now + day)
        .sign(key, SHA256())
    )
    path = folder / "server.pem"
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path.write_bytes(private + made.public_bytes(Encoding.PEM))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(path)
    return context
