"""The commands `graph build|list|show|metrics|edges|export|rm`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import typer

from streamforge.cli import command_options as o
from streamforge.cli import terminal
from streamforge.cli.api_resources import listed, named, posting, removed
from streamforge.cli.client import Query, path_part, to_json
from streamforge.cli.command_errors import UsageProblem
from streamforge.cli.commands.load_commands import driven
from streamforge.cli.graph_files import csv_of, graphml_of, parquet_of, written
from streamforge.cli.session import Mode, session
from streamforge.cli.symbol_words import words_of
from streamforge.manager import answers
from streamforge.manager.graphs import answers as graph_answers
from streamforge.manager.workflow_labels import parsed_labels

Name = Annotated[str, typer.Argument(metavar="GRAPH", help="A graph's name.")]
At = Annotated[
    str,
    typer.Option("--at", metavar="INSTANT", help="The latest stored snapshot of that moment or before, UTC."),
]
Limit = Annotated[int, typer.Option("--limit", metavar="N", min=1, max=100_000, help="At most so many.")]
_NOW = "now"


async def graph_build(
    graph: Annotated[str, typer.Argument(metavar="GRAPH", help="Its name: a-z, 0-9 and `-`.")],
    symbols: Annotated[
        str,
        typer.Argument(metavar="SYMBOLS", help="BTCUSDT,ETHUSDT, a pattern such as '*USDT', @file, or a batch's name."),
    ],
    type: Annotated[str, typer.Argument(metavar="TYPE", help="Of the series: api_candles_1h, …")],
    time_range: Annotated[str, typer.Argument(metavar="TIME_RANGE", help="Of its snapshots: 2024-08, -30d, …")],
    where: o.AtManagerOrNew,
    method: Annotated[
        Literal["pearson", "spearman", "partial", "lead_lag"] | None,
        typer.Option("--method", help="How coins are associated (default pearson)."),
    ] = None,
    window: Annotated[int | None, typer.Option("--window", metavar="N", help="Returns seen (default 168).")] = None,
    step: Annotated[
        int | None, typer.Option("--step", metavar="N", help="Bars from one snapshot to the next (default 24).")
    ] = None,
    lag: Annotated[int | None, typer.Option("--lag", metavar="N", help="Of lead_lag: bars.")] = None,
    top_k: Annotated[
        int | None, typer.Option("--top-k", metavar="K", help="Edges: of each coin the K largest (default 10).")
    ] = None,
    threshold: Annotated[
        float | None, typer.Option("--threshold", metavar="W", help="Edges instead: those at least so large.")
    ] = None,
    mst: Annotated[bool, typer.Option("--mst", help="Edges instead: the tree with the largest.")] = False,
    tmfg: Annotated[bool, typer.Option("--tmfg", help="Edges instead: the planar graph of triangles.")] = False,
    feature: Annotated[
        list[str] | None,
        typer.Option("--feature", metavar="NAME", help="return_N, volatility_N or volume_N (repeatable)."),
    ] = None,
    definition: Annotated[
        Path | None, typer.Option("--definition", metavar="FILE", help="All of that as JSON; options go before it.")
    ] = None,
    stored: Annotated[
        Literal["daily", "all", "none"] | None,
        typer.Option("--stored", help="Which snapshots become documents (default daily); all lie in the files."),
    ] = None,
    load_missing: Annotated[
        bool, typer.Option("--load-missing", help="Load first what is not proven to be stored.")
    ] = False,
    label: o.LabelsOf = None,
    detach: o.Detach = False,
    timeout_s: o.Timeout = None,
    as_json: o.Json = False,
) -> int:
    """Make a graph of the coins that move together: a snapshot for each step, made of bars that were closed by then.

    Its series must be proven; what is missing is waited for if a workflow loads it, loaded with --load-missing, and
    refused by name otherwise.
    """
    fields = {"method": method, "window": window, "step": step, "lag": lag, "top_k": top_k, "threshold": threshold}
    given: dict[str, Any] = {} if definition is None else read_definition_file(definition)
    given |= {name: value for name, value in fields.items() if value is not None}
    given |= {name: True for name, value in (("mst", mst), ("tmfg", tmfg)) if value}
    if feature:
        given["features"] = feature
    if not {"top_k", "threshold", "mst", "tmfg"} & {*given}:
        given["top_k"] = 10
    batch = symbols if symbols.startswith("batch-") else None
    start = posting(
        "/graphs",
        answers.Started,
        graph=graph,
        symbols=[] if batch else words_of(symbols),
        batch=batch,
        type=type,
        time_range=time_range,
        definition=given,
        load_missing=load_missing,
        parameters={} if stored is None else {"stored": stored},
        labels=dict(parsed_labels(label or (), "--label")),
    )
    return await driven(where, start, detach=detach, timeout_s=timeout_s, as_json=as_json, loads=load_missing)


async def graph_list(where: o.AtManager, limit: Limit = 100, as_json: o.Json = False) -> int:
    """List graphs."""
    how = "make one with `streamforge graph build`"
    graphs, _ = await listed(where, "graph", graph_answers.GraphSummary, limit, as_json=as_json, how=how)
    if not graphs:
        return 0
    terminal.table(
        ["graph", "series", "of", "from", "to", "snapshots", "edges", "made"],
        [
            [
                one.graph,
                terminal.number(one.symbols),
                one.type,
                terminal.moment(one.start),
                terminal.moment(one.end),
                terminal.number(one.snapshots),
                terminal.number(one.edges),
                terminal.moment(one.made_at),
            ]
            for one in graphs
        ],
        right=("series", "snapshots", "edges"),
    )
    return 0


async def graph_show(graph: Name, where: o.AtManager, as_json: o.Json = False) -> int:
    """Show a graph: how it is defined, and where its files lie."""
    one = await named(where, "graph", graph, graph_answers.Graph, as_json=as_json)
    if one is None:
        return 0
    terminal.write(
        f"{one.graph}: {terminal.many(one.snapshots, 'snapshot')} of {one.symbols} series {one.type}, "
        f"{terminal.moment(one.start)} to before {terminal.moment(one.end)}, {terminal.many(one.edges, 'edge')}"
    )
    terminal.write(f"  definition  {msgspec.json.encode(one.definition).decode()}")
    terminal.write(f"  graph_id    {one.graph_id}")
    terminal.write(f"  snapshots   sha256 {one.sha256}")
    terminal.write(f"  made by     {one.queue_id} at {terminal.moment(one.made_at)}")
    size = terminal.number(round(sum(file.size for file in one.files) / 1000))
    terminal.write(f"  files       {len(one.files)} of Parquet, {size} kB, named in {one.manifest}")
    return 0


async def graph_metrics(
    graph: Name,
    where: o.AtManager,
    time_range: Annotated[
        str | None, typer.Argument(metavar="TIME_RANGE", help="Snapshots of this range; without it, all.")
    ] = None,
    limit: Limit = 1000,
    as_json: o.Json = False,
) -> int:
    """List the stored snapshots of a graph, and what each adds up to."""
    query: Query = {} if time_range is None else {"time_range": time_range}
    async with session(where, Mode.READ) as found:
        raw, _ = await found.api.pages(f"/graphs/{path_part(graph)}/snapshots", "snapshots", query, limit)
    if as_json:
        terminal.write(to_json({"graph": graph, "snapshots": [msgspec.json.decode(one) for one in raw]}))
        return 0
    told = [msgspec.json.decode(one, type=graph_answers.GraphSnapshot) for one in raw]
    if not told:
        terminal.say(f"graph {graph} has no stored snapshot there")
        return 0
    terminal.table(
        ["at", "coins", "edges", "tree length", "turnover"],
        [
            [
                terminal.moment(one.at),
                terminal.number(one.coins),
                terminal.number(one.edges),
                "" if one.tree_length is None else f"{one.tree_length:.3f}",
                "" if one.turnover is None else f"{one.turnover:.1%}",
            ]
            for one in told
        ],
        right=("coins", "edges", "tree length", "turnover"),
    )
    return 0


async def graph_edges(
    graph: Name,
    where: o.AtManager,
    at: At = _NOW,
    least: Annotated[float, typer.Option("--least", metavar="W", help="Only edges at least so large.")] = 0.0,
    limit: Limit = 50,
    as_json: o.Json = False,
) -> int:
    """List the edges of a graph at a moment, the largest first."""
    one, answer = await _moment(graph, where, at, {"least": str(least), "limit": limit})
    if as_json:
        terminal.write(to_json(msgspec.json.decode(answer)))
        return 0
    terminal.write(f"{graph} at {terminal.moment(one.at)}: {one.coins} coins, {terminal.many(one.edges, 'edge')}")
    terminal.table(
        ["from", "to", "weight"],
        [[link.source, link.target, f"{link.weight:.6f}"] for link in one.links],
        right=("weight",),
    )
    if one.edges > len(one.links):
        terminal.say(f"{len(one.links)} of {one.edges} are shown; see more with --limit and --least")
    return 0


async def graph_export(
    graph: Name,
    where: o.AtManager,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="Where to: .graphml, .csv, .parquet.")],
    at: At = _NOW,
) -> int:
    """Write the graph of a moment as GraphML (nodes and edges), or its edges as CSV or Parquet."""
    makers = {".graphml": graphml_of, ".csv": csv_of, ".parquet": parquet_of}
    make = makers.get(output.suffix.lower())
    if make is None:
        raise UsageProblem(f"{output} has no ending that is known: name a file with {', '.join(makers)}")
    one, _ = await _moment(graph, where, at, {"limit": 100_000})
    written(output, make(one))
    told = f"{terminal.many(len(one.nodes), 'coin')} and {terminal.many(len(one.links), 'edge')}"
    terminal.say(f"{output}: {told} of {graph} at {terminal.moment(one.at)}")
    return 0


async def graph_rm(graph: Name, where: o.AtManager, yes: o.Yes = False) -> int:
    """Remove a graph: its documents, edges and files. The series that it was made of stay."""
    what, command = "all its snapshots", "graph rm"
    return await removed(where, "graph", graph, graph_answers.RemovedGraph, yes=yes, what=what, command=command)


async def _moment(graph: str, where: Any, at: str, query: Query) -> tuple[graph_answers.GraphMoment, bytes]:
    async with session(where, Mode.READ) as found:
        answer = await found.api.call("GET", f"/graphs/{path_part(graph)}/at/{path_part(at)}", query=query)
    return found.api.read(answer, graph_answers.GraphMoment), answer


def read_definition_file(path: Path) -> dict[str, Any]:
    """The definition in a file. Raises UsageProblem."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, Any])
    except OSError as error:
        raise UsageProblem(f"definition {path} cannot be read: {error.strerror or error}") from error
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise UsageProblem(f"definition {path} is no JSON object: {error}") from error
