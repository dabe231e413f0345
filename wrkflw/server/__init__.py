"""Runs over HTTP: ``wrkflw.server.app(rt)`` is an ASGI application, ``serve(rt)`` a server of it.

Every workflow of the runtime is an operation of its own in the OpenAPI document; all that a :class:`~wrkflw.Run` can do
has a route; what is refused is ``application/problem+json`` (RFC 9457).  Needs the extra: ``wrkflw[server]``.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

from wrkflw.asgi import AsgiApp
from wrkflw.on_demand import loaded_from as _loaded_from

if find_spec("fastapi") is None:
    raise ImportError('wrkflw.server needs FastAPI; pip install "wrkflw[server]"')

if TYPE_CHECKING:
    from .application import app
    from .lifespans import lifespan
    from .limits import ServerLimits
    from .problems import problem_answer
    from .serving import ExposedServerError, serve
    from .tokens import Permission, Token, TokenFile
else:  # FastAPI and uvicorn are loaded by who serves, not by who asks for the JSON of a run.
    __getattr__ = _loaded_from(
        __name__,
        {
            "ExposedServerError": "serving",
            "Permission": "tokens",
            "ServerLimits": "limits",
            "Token": "tokens",
            "TokenFile": "tokens",
            "app": "application",
            "lifespan": "lifespans",
            "problem_answer": "problems",
            "serve": "serving",
        },
    )

__all__ = [
    "AsgiApp",
    "ExposedServerError",
    "Permission",
    "ServerLimits",
    "Token",
    "TokenFile",
    "app",
    "lifespan",
    "problem_answer",
    "serve",
]
