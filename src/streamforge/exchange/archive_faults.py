"""What the faults of the archive do to the lines, the members, the checksum and the listing of its files."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

import msgspec

from streamforge.exchange.bucket_listing import ListingRequest, listing_xml
from streamforge.exchange.fault_kind import Fault
from streamforge.exchange.published_files import Entry, PublishedFile
from streamforge.exchange.zip_writer import Member

_DAY_MS, _MINUTE_MS = 86_400_000, 60_000
_MEGABYTE = 1 << 20
_replace = msgspec.structs.replace


def members_of(file: PublishedFile, faults: Iterable[Fault] = ()) -> list[Member]:
    """What is in the zip of a file. faults: of the stage `file`, that are in it."""
    name, blocks = file.name.removesuffix(".zip") + ".csv", file.lines()
    kinds = sorted(((fault, str(fault.options.get("kind"))) for fault in faults), key=_turn)
    for fault, _ in kinds:
        if fault.name == "archive-rows":
            blocks = _blocks(_spoilt(fault, file, _lines(blocks)))
    members = [Member(name, blocks)]
    for fault, kind in kinds:
        if kind == "bomb":
            members = [Member(name, _zeros(int(fault.number("megabytes"))), size=2 * file.size)]
        elif kind == "path":
            members[:1] = [_replace(one, name=f"../{name}") for one in members[:1]]
        elif kind == "name":
            members[:1] = [_replace(one, name=f"{name.rpartition('-')[0]}-other.csv") for one in members[:1]]
        elif kind == "two":
            members.append(Member("second.csv", file.lines()))
        elif kind == "none":
            members = []
    return members


def _turn(one: tuple[Fault, str]) -> int:
    """Rows are spoilt first, the header comes last: what a bomb or a header has in its lines are no rows."""
    fault, kind = one
    return 0 if fault.name == "archive-rows" and kind != "header" else 1


def checksum_of(sha256: str, file: PublishedFile, faults: Iterable[Fault]) -> str | None:
    """What a file with a checksum holds; None: there is none. faults: of the stage `checksum`, that strike it."""
    name = file.name
    line: str | None = file.checksum(sha256)
    for fault in faults:
        match fault.options["kind"]:
            case "wrong":
                line = f"{sha256[::-1]}  {name}\n"
            case "missing":
                line = None
            case "malformed":
                line = f"SHA256 ({name}) = {sha256[:40]}\n"
            case _:
                line = f"{sha256}  other-{name}\n"
    return line


def spoilt_listing(request: ListingRequest, listing: Iterator[Entry | str], faults: Sequence[Fault]) -> bytes:
    """The page that answers `request`. faults: of the stage `listing`, that strike it."""
    for fault in faults:
        match fault.options["kind"]:
            case "empty":
                listing = iter(())
            case "cut":
                listing = islice(listing, request.limit)
                found = list(listing)
                listing = iter(found[: len(found) // 2])
            case _:
                return listing_xml(request, listing, endless=True)
    return listing_xml(request, listing)


def _spoilt(fault: Fault, file: PublishedFile, lines: Iterator[str]) -> Iterator[str]:
    """The lines after a fault. It hits those in the middle, or all."""
    kind, many = fault.options["kind"], int(fault.number("rows"))
    place, many = (file.count // 2, many) if many > 0 else (0, file.count)
    match kind:
        case "torn":
            yield from islice(lines, file.count - 1)
            yield from (_torn_line(file, line) for line in lines)
        case "header":
            yield file.endpoint.header + "\n"
            yield from lines
        case "cut":
            end_ms = file.span.end_ms - _DAY_MS + _minutes(str(fault.options["at"])) * _MINUTE_MS
            column = min(file.endpoint.times)
            yield from (line for line in lines if int(line.split(",")[column][:13]) < end_ms)
        case "mixed-units":
            yield from islice(lines, place)
            yield from (_other_unit(file, line) for line in lines)
        case _:
            yield from islice(lines, place)
            hit = list(islice(lines, many + (kind == "swapped")))
            match kind:
                case "swapped":
                    yield from (*hit[many:], *hit[:many])
                case "repeated":
                    yield from (*hit, *hit)
                case "skipped":
                    pass
                case _:
                    yield from (_spoilt_line(str(kind), file, line) for line in hit)
            yield from lines


def _spoilt_line(kind: str, file: PublishedFile, line: str) -> str:
    cells = line.rstrip("\n").split(",")
    match kind:
        case "fewer-columns":
            del cells[-1]
        case "more-columns":
            cells.append("0")
        case "bad-price":
            cells[1] = "n/a"
        case "altered":
            cells[file.endpoint.quantity] = f"1{cells[file.endpoint.quantity]}"
        case _:
            cells[file.endpoint.quantity] = "0.00000000"
    return ",".join(cells) + "\n"


def _torn_line(file: PublishedFile, line: str) -> str:
    """An aggregated trade with a trade more, of the next one."""
    cells, members = line.rstrip("\n").split(","), file.endpoint.members
    if "l" in members:
        cells[members.index("l")] = str(int(cells[members.index("l")]) + 1)
    return ",".join(cells) + "\n"


def _other_unit(file: PublishedFile, line: str) -> str:
    cells = line.rstrip("\n").split(",")
    for column, digits in file.endpoint.times.items():
        cells[column] = cells[column][:13] if file.micro else cells[column] + digits
    return ",".join(cells) + "\n"


def _lines(blocks: Iterable[bytes]) -> Iterator[str]:
    for block in blocks:
        yield from block.decode().splitlines(keepends=True)


def _blocks(lines: Iterator[str]) -> Iterator[bytes]:
    while part := list(islice(lines, 1_000)):
        yield "".join(part).encode()


def _zeros(megabytes: int) -> Iterator[bytes]:
    for _ in range(megabytes):
        yield bytes(_MEGABYTE)


def _minutes(clock: str) -> int:
    hours, minutes = clock.split(":")
    return int(hours) * 60 + int(minutes)
