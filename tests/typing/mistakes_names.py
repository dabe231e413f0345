"""Names that do not exist; every marked line must be rejected by both checkers, though some names load on demand."""

from __future__ import annotations

from wrkflw import Complted  # E: Completed
from wrkflw.mail import SmtpSrver  # E: SmtpServer
from wrkflw.server import serv  # E: serve
from wrkflw.testing import TestRuntme  # E: TestRuntime
from wrkflw.worlds import SqlitWorld  # E: SqliteWorld
