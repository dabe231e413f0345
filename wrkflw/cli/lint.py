"""``wrkflw lint``: what in code between steps may come out otherwise when it runs again."""

from __future__ import annotations

from dataclasses import asdict

import typer

from .parameters import AsJson, Targets


def lint(targets: Targets = None, as_json: AsJson = False) -> None:
    """Tell what may come out otherwise when a workflow goes on after a crash.

    The code between the steps of these workflows is read, and not run: it must not ask for the time, for chance or
    for the world outside, which steps may.  A line that says "# wrkflw: deterministic" is taken at its word.
    Exit code 1 when there is something.
    """
    from wrkflw.determinism import lint as read

    from .screen import clean, say, show, show_json
    from .targets import workflows_of

    workflows = workflows_of(targets)
    findings = read(*workflows)
    if as_json:
        show_json([asdict(one) for one in findings])
    else:
        for one in findings:
            show(clean(str(one)))
        count = len(workflows)
        say(f"{len(findings) or 'nothing'} found in {count} workflow{'' if count == 1 else 's'}")
    if findings:
        raise typer.Exit(1)
