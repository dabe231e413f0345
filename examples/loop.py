"""Loop: page after page is fetched as long as there is another one.

Every pass is a recorded step of its own, so after a crash the loop goes on with the page where it was.
"""

from __future__ import annotations

import asyncio

from pydantic import BaseModel

from wrkflw import Runtime, create_workflow, step

SHELVES = {1: ["lamp", "chair"], 2: ["table"], 3: ["shelf", "mirror"]}


class Catalogue(BaseModel):
    items: list[str] = []
    next_page: int | None = 1


@step
async def fetch_page(so_far: Catalogue) -> Catalogue:
    page = so_far.next_page or 1
    return Catalogue(items=so_far.items + SHELVES[page], next_page=page + 1 if page + 1 in SHELVES else None)


fetch_all = (
    create_workflow(id="fetch-all", input_schema=Catalogue, output_schema=Catalogue)
    .do_while(fetch_page, lambda catalogue: catalogue.next_page is not None)
    .commit()
)


async def main() -> None:
    async with Runtime(":memory:", workflows=[fetch_all]):
        run = await fetch_all.create_run()
        result = await run.start(Catalogue())
        for number, catalogue in enumerate(run.get_step_results(fetch_page), start=1):
            print(f"after page {number}: {', '.join(catalogue.items)}")
        print(f"{len(result.unwrap().items)} items; recorded: {', '.join((await run.snapshot()).execution_path)}")


if __name__ == "__main__":
    asyncio.run(main())
