"""Parallel: three questions are asked side by side, and one offer is made of the answers.

Every step gets what flows in, and the answers flow on in the order of the steps, whichever comes first.
"""

from __future__ import annotations

import asyncio

from pydantic import BaseModel

from wrkflw import Runtime, create_workflow, step


class Trip(BaseModel):
    city: str
    nights: int


class Flight(BaseModel):
    number: str
    price: int


class Hotel(BaseModel):
    name: str
    price: int


@step
async def find_flight(trip: Trip) -> Flight:
    await asyncio.sleep(0.3)  # it is the slowest to answer
    print("the airline has answered")
    return Flight(number="TP 571", price=180)


@step
async def find_hotel(trip: Trip) -> Hotel:
    await asyncio.sleep(0.1)
    print("the hotel has answered")
    return Hotel(name=f"Grand Hotel {trip.city}", price=90 * trip.nights)


@step
async def ask_weather(trip: Trip) -> str:
    await asyncio.sleep(0.2)
    print("the weather station has answered")
    return "21 °C"


def offer(flight: Flight, hotel: Hotel, weather: str) -> str:
    return f"{flight.number}, {hotel.name}, {weather}: {flight.price + hotel.price} euros"


plan_trip = (
    create_workflow(id="plan-trip", input_schema=Trip, output_schema=str)
    .parallel(find_flight, find_hotel, ask_weather)
    .join(offer)  # a tuple of Flight, Hotel and str: type checkers know
    .commit()
)


async def main() -> None:
    async with Runtime(":memory:", workflows=[plan_trip]):
        print(await plan_trip.run(Trip(city="Lisbon", nights=3)))


if __name__ == "__main__":
    asyncio.run(main())
