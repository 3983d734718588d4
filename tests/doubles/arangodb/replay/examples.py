"""The example graphs that ArangoDB documents, under the names by which its shell loads them."""

from __future__ import annotations

import re
from typing import Any

import msgspec

Docs = list[dict[str, Any]]


class ExampleGraph(msgspec.Struct, frozen=True):
    """ends: by edge collection, the vertex collections at both of its ends. geo: vertex collections with a geo index.

    named: whether it is a named graph, or only its collections.
    """

    ends: dict[str, list[str]]
    vertices: dict[str, Docs]
    edges: dict[str, Docs]
    geo: tuple[str, ...] = ()
    named: bool = True


def _keys(names: str) -> Docs:
    return [{"_key": name} for name in names.split()]


def _edge(vertices: str, a: str, b: str, **more: Any) -> dict[str, Any]:
    return {"_from": f"{vertices}/{a}", "_to": f"{vertices}/{b}", **more}


def _pairs(text: str) -> list[tuple[str, str]]:
    """`A-B C-D`: (A, B), (C, D)."""
    return [(a, b) for a, _, b in (pair.partition("-") for pair in text.split())]


def _knows() -> ExampleGraph:
    names = ["alice", "bob", "charlie", "dave", "eve"]
    pairs = _pairs("alice-bob bob-charlie bob-dave eve-alice eve-bob")
    return ExampleGraph(
        ends={"knows": ["persons"]},
        vertices={"persons": [{"_key": name, "name": name.capitalize()} for name in names]},
        edges={"knows": [_edge("persons", a, b, vertex=a) for a, b in pairs]},
    )


def _social() -> ExampleGraph:
    relations = [
        ("female/alice", "male/bob", "married"),
        ("female/alice", "male/charly", "friend"),
        ("male/charly", "female/diana", "married"),
        ("male/bob", "female/diana", "friend"),
    ]
    return ExampleGraph(
        ends={"relation": ["female", "male"]},
        vertices={
            "female": [{"_key": "alice", "name": "Alice"}, {"_key": "diana", "name": "Diana"}],
            "male": [{"_key": "bob", "name": "Bob"}, {"_key": "charly", "name": "Charly"}],
        },
        edges={
            "relation": [
                {"_from": a, "_to": b, "type": kind, "vertex": a.partition("/")[2]} for a, b, kind in relations
            ]
        },
    )


def _traversal() -> ExampleGraph:
    labels = {
        "A-B": "left_bar", "B-C": "left_blarg", "C-D": "left_blorg", "B-E": "left_blub", "E-F": "left_schubi",
        "A-G": "right_foo", "G-H": "right_blob", "H-I": "right_blub", "G-J": "right_zip", "J-K": "right_zup",
    }  # fmt: skip
    return ExampleGraph(
        ends={"edges": ["circles"]},
        vertices={"circles": [{"_key": key, "label": str(i)} for i, key in enumerate("ABCDEFGHIJK", start=1)]},
        edges={
            "edges": [
                _edge("circles", pair[0], pair[2], theFalse=False, theTruth=True, label=label)
                for pair, label in labels.items()
            ]
        },
    )


def _multiple_paths() -> ExampleGraph:
    return ExampleGraph(
        ends={"mps_edges": ["mps_verts"]},
        vertices={"mps_verts": _keys("A B C D E F")},
        edges={"mps_edges": [_edge("mps_verts", a, b, vertex=a) for a, b in _pairs("A-B A-E A-D B-C D-C E-F F-C")]},
    )


_TRAINS: list[tuple[str, str, float, float]] = [
    ("Inverness", "Aberdeen", 3, 2.5),
    ("Aberdeen", "Leuchars", 1.5, 1),
    ("Leuchars", "Edinburgh", 1.5, 3),
    ("Edinburgh", "Glasgow", 1, 1),
    ("Edinburgh", "York", 3.5, 4),
    ("Glasgow", "Carlisle", 1, 1),
    ("Carlisle", "York", 2.5, 3.5),
    ("Carlisle", "Birmingham", 2, 1),
    ("Birmingham", "London", 1.5, 2.5),
    ("Leuchars", "StAndrews", 0.2, 0.2),
    ("York", "London", 1.8, 2),
    ("London", "Brussels", 2.5, 3.5),
    ("Brussels", "Cologne", 2, 1.5),
    ("Toronto", "Winnipeg", 36, 35),
    ("Winnipeg", "Saskatoon", 12, 5),
    ("Saskatoon", "Edmonton", 12, 17),
    ("Edmonton", "Jasper", 6, 5),
    ("Jasper", "Vancouver", 12, 13),
]
"""Hours of travel there and back."""


def _k_shortest_paths() -> ExampleGraph:
    places = (
        "Inverness Aberdeen Leuchars StAndrews Edinburgh Glasgow York Carlisle Birmingham London Brussels Cologne "
        "Toronto Winnipeg Saskatoon Edmonton Jasper Vancouver"
    )
    both_ways = [one for a, b, there, back in _TRAINS for one in ((a, b, there), (b, a, back))]
    return ExampleGraph(
        ends={"connections": ["places"]},
        vertices={"places": [{"_key": name, "label": name} for name in places.split()]},
        edges={"connections": [_edge("places", a, b, travelTime=hours) for a, b, hours in both_ways]},
    )


_WORLD = """
Africa: Algeria DZA Algiers, Angola AGO Luanda, Botswana BWA Gaborone, Burkina Faso BFA Ouagadougou,
  Burundi BDI Bujumbura, Cameroon CMR Yaounde, Chad TCD N'Djamena, Cote d'Ivoire CIV Yamoussoukro, Egypt EGY Cairo,
  Eritrea ERI Asmara
Asia: Afghanistan AFG Kabul, Bahrain BHR Manama, Bangladesh BGD Dhaka, Bhutan BTN Thimphu,
  Brunei BRN Bandar Seri Begawan, Cambodia KHM Phnom Penh, People's Republic of China CHN Beijing
Australia: Australia AUS Canberra
Europe: Albania ALB Tirana, Andorra AND Andorra la Vella, Austria AUT Vienna, Belgium BEL Brussels,
  Bosnia and Herzegovina BIH Sarajevo, Bulgaria BGR Sofia, Croatia HRV Zagreb, Czech Republic CZE Prague,
  Denmark DNK Copenhagen, Finland FIN Helsinki, France FRA Paris, Germany DEU Berlin
North America: Antigua and Barbuda ATG Saint John's, Bahamas BHS Nassau, Barbados BRB Bridgetown, Canada CAN Ottawa
South America: Argentina ARG Buenos Aires, Bolivia BOL La Paz, Brazil BRA Brasilia, Chile CHL Santiago,
  Colombia COL Bogota, Ecuador ECU Quito
"""
"""By continent: each country, its code of three letters, its capital."""


def _world(named: bool) -> ExampleGraph:
    vertices: Docs = [{"_key": "world", "name": "World", "type": "root"}]
    edges: Docs = []

    def add(kind: str, name: str, parent: str, **more: str) -> str:
        key = f"{kind}-{re.sub('[^a-z]+', '-', name.lower())}"
        vertices.append({"_key": key, "name": name, "type": kind, **more})
        edges.append(_edge("worldVertices", key, parent, type="is-in"))
        return key

    for continent, countries in re.findall(r"^(\w[\w ]+):((?:[^:]|\n)+)$", _WORLD, re.MULTILINE):
        place = add("continent", continent, "world")
        for country, code, capital in re.findall(r"\s*([^,]+?) ([A-Z]{3}) ([^,\n]+)", countries):
            add("capital", capital, add("country", country, place, code=code))
    kinds = ["world", "continent", "country", "capital"]
    vertices.sort(key=lambda vertex: (kinds.index(vertex["_key"].partition("-")[0]), vertex["_key"]))
    order = {f"worldVertices/{vertex['_key']}": place for place, vertex in enumerate(vertices)}
    edges.sort(key=lambda edge: order[edge["_from"]])
    return ExampleGraph(
        ends={"worldEdges": ["worldVertices"]},
        vertices={"worldVertices": vertices},
        edges={"worldEdges": edges},
        named=named,
    )


def _cities() -> ExampleGraph:
    def city(key: str, population: int, capital: bool, longitude: float, latitude: float) -> dict[str, Any]:
        point = {"type": "Point", "coordinates": [longitude, latitude]}
        return {"_key": key, "population": population, "isCapital": capital, "geometry": point}

    def highways(*ways: tuple[str, str, int]) -> Docs:
        return [{"_from": a, "_to": b, "distance": distance} for a, b, distance in ways]

    berlin, cologne, hamburg = (f"germanCity/{name}" for name in ("Berlin", "Cologne", "Hamburg"))
    lyon, paris = "frenchCity/Lyon", "frenchCity/Paris"
    return ExampleGraph(
        ends={
            "germanHighway": ["germanCity"],
            "frenchHighway": ["frenchCity"],
            "internationalHighway": ["frenchCity", "germanCity"],
        },
        vertices={
            "germanCity": [
                city("Berlin", 3_000_000, True, 13.3833, 52.5167),
                city("Cologne", 1_000_000, False, 6.9528, 50.9364),
                city("Hamburg", 1_000_000, False, 10.0014, 53.5653),
            ],
            "frenchCity": [
                city("Lyon", 80_000, False, 4.84, 45.76),
                city("Paris", 4_000_000, True, 2.3508, 48.8567),
            ],
        },
        edges={
            "germanHighway": highways((berlin, cologne, 850), (berlin, hamburg, 400), (hamburg, cologne, 500)),
            "frenchHighway": highways((paris, lyon, 550)),
            "internationalHighway": highways(
                (berlin, lyon, 1100),
                (berlin, paris, 1200),
                (hamburg, paris, 900),
                (hamburg, lyon, 1300),
                (cologne, lyon, 700),
                (cologne, paris, 550),
            ),
        },
        geo=("germanCity", "frenchCity"),
    )


def _connected_components() -> ExampleGraph:
    pairs = _pairs(
        "A1-A2 A2-A3 A3-A4 A4-A1 "
        "B1-B3 B2-B4 B3-B6 B4-B3 B4-B5 B6-B7 B7-B8 B7-B9 B7-B10 B7-B19 B11-B10 B12-B11 B13-B12 B13-B20 B14-B13 "
        "B15-B14 B15-B16 B17-B15 B17-B18 B19-B17 B20-B21 B20-B22 "
        "C1-C2 C2-C3 C3-C4 C4-C5 C4-C7 C5-C6 C5-C7 C7-C8 C8-C9 C8-C10"
    )
    return ExampleGraph(
        ends={"connections": ["components"]},
        vertices={"components": [{"_key": key} for key in dict.fromkeys(key for pair in pairs for key in pair)]},
        edges={"connections": [_edge("components", a, b) for a, b in pairs]},
    )


EXAMPLE_GRAPHS = {
    "knows_graph": _knows(),
    "traversalGraph": _traversal(),
    "kShortestPathsGraph": _k_shortest_paths(),
    "mps_graph": _multiple_paths(),
    "worldCountry": _world(named=True),
    "worldCountryUnManaged": _world(named=False),
    "social": _social(),
    "routeplanner": _cities(),
    "cityGraph": _cities(),
    "connectedComponentsGraph": _connected_components(),
}
"""By name. ArangoDB's manual calls `routeplanner` the City Graph."""
