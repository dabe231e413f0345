"""The smallest workflow: one step, run from synchronous code.

The run is recorded in ``wrkflw.db`` in the working directory; ``WRKFLW_DATABASE_URL`` names another place.
"""

from __future__ import annotations

import sys

from wrkflw import create_workflow, step


@step
def greet(name: str) -> str:
    return f"Hello, {name}!"


hello = create_workflow(id="hello", input_schema=str, output_schema=str).then(greet).commit()


if __name__ == "__main__":
    print(hello.run_sync(sys.argv[1] if len(sys.argv) > 1 else "world"))
