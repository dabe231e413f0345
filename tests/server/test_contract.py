"""The OpenAPI document: an operation for each workflow, with its types; and that nothing in it can be broken."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from wrkflw import create_workflow, step
from wrkflw.server import Token
from wrkflw.triggers import http

from .desk import Desk, Greeting, Person, greet, served


async def document(desk: Desk) -> dict[str, Any]:
    answer = await desk.client.get("/openapi.json")
    assert answer.status_code == 200
    return dict(answer.json())


async def test_each_workflow_is_an_operation_with_its_types(desk: Desk) -> None:
    told = await document(desk)

    operation = told["paths"]["/api/workflows/greeting/runs"]["post"]
    assert told["openapi"].startswith("3.1")
    assert operation["operationId"] == "start_greeting"
    taken = operation["requestBody"]["content"]["application/json"]["schema"]
    assert taken == {"$ref": "#/components/schemas/greeting.input"}
    assert told["components"]["schemas"]["greeting.input"]["required"] == ["name"]
    ended = operation["responses"]["200"]["content"]["application/json"]["schema"]
    assert {"$ref": "#/components/schemas/greeting.output"} in [
        one.get("properties", {}).get("output") for one in ended["allOf"]
    ]
    assert "/api/workflows/{workflow}/runs" not in told["paths"]


async def test_types_within_types_are_found() -> None:
    class Team(BaseModel):
        members: list[Person]
        inner: Team | None = None

    @step
    async def first(team: Team) -> Person:
        return team.members[0]

    workflow = create_workflow(id="first", input_schema=Team, output_schema=Person).then(first).commit()
    async with served([workflow]) as desk:
        schemas = (await document(desk))["components"]["schemas"]

    text = str(schemas["first.input"])
    assert "first.input.Team" in text
    assert (
        schemas["first.input.Team"]["properties"]["members"]["items"]["$ref"]
        == "#/components/schemas/first.input.Person"
    )
    assert "first.input.Person" in schemas


async def test_fields_have_the_names_by_which_they_are_stored() -> None:
    class Parcel(BaseModel):
        weight: int = Field(alias="weightInGrams")

    @step
    async def weigh(parcel: Parcel) -> Parcel:
        return parcel

    workflow = create_workflow(id="weigh", input_schema=Parcel, output_schema=Parcel).then(weigh).commit()
    async with served([workflow]) as desk:
        schemas = (await document(desk))["components"]["schemas"]
        answer = await desk.client.post("/api/workflows/weigh/runs?wait=1s", json={"weight": 3})

    assert list(schemas["weigh.input"]["properties"]) == ["weight"]
    assert list(schemas["weigh.output"]["properties"]) == ["weight"]
    assert answer.json()["output"] == {"weight": 3}


async def test_every_reference_leads_somewhere(desk: Desk) -> None:
    told = await document(desk)

    def references(node: Any) -> list[str]:
        if isinstance(node, dict):
            own = [node["$ref"]] if isinstance(node.get("$ref"), str) else []
            return own + [one for value in node.values() for one in references(value)]
        return [one for value in node for one in references(value)] if isinstance(node, list) else []

    for reference in references(told):
        place: Any = told
        for part in reference.removeprefix("#/").split("/"):
            place = place[part]


async def test_every_operation_says_what_lets_a_caller_in_and_what_is_refused() -> None:
    text, token = Token.new("reader", ["read"])
    async with served(tokens=[token]) as desk, desk.caller(text) as client:
        told = (await client.get("/openapi.json")).json()
    operations = [each for path in told["paths"].values() for each in path.values()]

    for operation in operations:
        keyed = operation["x-access"] in ("read", "start", "resume", "admin")
        assert operation.get("security") == ([{"bearer": []}] if keyed else None)
        assert "application/problem+json" in operation["responses"]["default"]["content"]
    ids = [operation["operationId"] for operation in operations]
    assert len(set(ids)) == len(ids)


async def test_a_workflow_that_comes_along_later_is_in_it(desk: Desk) -> None:
    before = await document(desk)
    late = create_workflow(id="late", input_schema=Person, output_schema=Greeting).then(greet).commit()
    await late.create_run()

    assert set((await document(desk))["paths"]) - set(before["paths"]) == {"/api/workflows/late/runs"}


async def test_an_endpoint_is_an_operation_too() -> None:
    workflow = create_workflow(id="signup", input_schema=Person, output_schema=Greeting).then(greet).commit()
    http(workflow, "POST /signup", public=True)

    async with served([workflow]) as desk:
        operation = (await document(desk))["paths"]["/signup"]["post"]

    assert operation["x-access"] == "open"
    assert operation["requestBody"]["content"]["application/json"]["schema"]["required"] == ["name"]


async def test_what_tells_kinds_of_a_value_apart_leads_to_the_components() -> None:
    class Cat(BaseModel):
        kind: Literal["cat"]

    class Dog(BaseModel):
        kind: Literal["dog"]

    class Pet(BaseModel):
        pet: Annotated[Cat | Dog, Field(discriminator="kind")]

    @step
    async def feed(pet: Pet) -> Pet:
        return pet

    workflow = create_workflow(id="feeding", input_schema=Pet, output_schema=Pet).then(feed).commit()
    async with served([workflow]) as desk:
        told = await document(desk)

    assert "#/$defs" not in str(told)
    assert told["components"]["schemas"]["feeding.input"]["properties"]["pet"]["discriminator"]["mapping"] == {
        "cat": "#/components/schemas/feeding.input.Cat",
        "dog": "#/components/schemas/feeding.input.Dog",
    }
