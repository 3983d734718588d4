"""The commands `models train|list|show|card|export|score|rm`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import typer

from streamforge.analytics.packages import require
from streamforge.cli import command_options as o
from streamforge.cli import terminal
from streamforge.cli.api_resources import listed, named, posting, removed
from streamforge.cli.client import path_part
from streamforge.cli.command_errors import CliError
from streamforge.cli.commands.graph_commands import Limit, read_definition_file
from streamforge.cli.commands.load_commands import driven
from streamforge.cli.graph_files import written
from streamforge.cli.session import Mode, session
from streamforge.cli.symbol_words import words_of
from streamforge.manager import answers
from streamforge.manager.models import answers as model_answers
from streamforge.manager.workflow_labels import parsed_labels

_FILES = {
    ".onnx": "model.safetensors",
    ".safetensors": "model.safetensors",
    ".parquet": "predictions.parquet",
}
Name = Annotated[str, typer.Argument(metavar="MODEL", help="A model's name.")]


def _count(option: str, text: str) -> Any:
    return typer.Option(option, metavar="N", help=text)


async def models_train(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Its name: a-z, 0-9 and `-`.")],
    symbols: Annotated[
        str,
        typer.Argument(metavar="SYMBOLS", help="BTCUSDT,ETHUSDT, a pattern such as '*USDT', @file, or a batch's name."),
    ],
    type: Annotated[str, typer.Argument(metavar="TYPE", help="Of the series: api_candles_1d, …")],
    time_range: Annotated[
        str, typer.Argument(metavar="TIME_RANGE", help="Of its moments, and of the ends of their targets: 2023, …")
    ],
    where: o.AtManagerOrNew,
    kind: Annotated[
        Literal["gat", "neighbour_mean"] | None,
        typer.Option("--model", help="The model on the graph (default gat, which needs torch)."),
    ] = None,
    window: Annotated[int | None, _count("--window", "Returns that a graph sees.")] = None,
    step: Annotated[int | None, _count("--step", "Bars from one moment to the next (default: a day).")] = None,
    top_k: Annotated[int | None, _count("--top-k", "Edges: of each coin the N largest (default 10).")] = None,
    feature: Annotated[
        list[str] | None,
        typer.Option("--feature", metavar="NAME", help="return_N, volatility_N or volume_N (repeatable)."),
    ] = None,
    definition: Annotated[
        Path | None, typer.Option("--definition", metavar="FILE", help="The graph's, as JSON; options go before it.")
    ] = None,
    horizon: Annotated[int | None, _count("--horizon", "Bars that a target lasts (default: a day).")] = None,
    test: Annotated[int | None, _count("--test", "Moments that a fold tests.")] = None,
    least_train: Annotated[int | None, _count("--least-train", "Moments that the first fold learns from.")] = None,
    train: Annotated[int | None, _count("--train", "Moments that a fold learns from at most (default: all).")] = None,
    embargo: Annotated[int | None, _count("--embargo", "Moments left out before a test (default 1).")] = None,
    seeds: Annotated[int | None, _count("--seeds", "How many seeds (default 5, which an edge needs).")] = None,
    fee_bp: Annotated[float | None, typer.Option("--fee-bp", metavar="BP", help="Fees (default 10).")] = None,
    trials: Annotated[int | None, _count("--trials", "Models tried so far, these included.")] = None,
    epochs: Annotated[int | None, _count("--epochs", "Of gat: passes of learning at most.")] = None,
    learning_rate: Annotated[
        float | None, typer.Option("--learning-rate", metavar="X", help="Of gat: how far a step of learning goes.")
    ] = None,
    device: Annotated[str | None, typer.Option("--device", metavar="NAME", help="Of gat: cpu, cuda, or auto.")] = None,
    load_missing: Annotated[
        bool, typer.Option("--load-missing", help="Load first what is not proven to be stored.")
    ] = False,
    label: o.LabelsOf = None,
    detach: o.Detach = False,
    timeout_s: o.Timeout = None,
    as_json: o.Json = False,
) -> int:
    """Train a model on the graph of coins, compare it with simpler ones and with leaks, and publish it with its card.

    Its series must be proven; what is missing is waited for if a workflow loads it, loaded with --load-missing, and
    refused by name otherwise.
    """
    graph = {} if definition is None else read_definition_file(definition)
    graph |= _given(window=window, step=step, top_k=top_k, features=feature or None)
    batch = symbols if symbols.startswith("batch-") else None
    start = posting(
        "/models",
        answers.Started,
        name=model,
        symbols=[] if batch else words_of(symbols),
        batch=batch,
        type=type,
        time_range=time_range,
        definition=graph,
        horizon=horizon,
        folds=_given(test=test, least_train=least_train, train=train, embargo=embargo),
        seeds=None if seeds is None else [*range(seeds)],
        fee_bp=fee_bp,
        trials=trials,
        load_missing=load_missing,
        parameters=_given(model=kind, epochs=epochs, learning_rate=learning_rate, device=device),
        labels=dict(parsed_labels(label or (), "--label")),
    )
    return await driven(where, start, detach=detach, timeout_s=timeout_s, as_json=as_json, loads=load_missing)


def _given(**fields: Any) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}


async def models_list(where: o.AtManager, limit: Limit = 100, as_json: o.Json = False) -> int:
    """List models."""
    how = "train one with `streamforge models train`"
    models, _ = await listed(where, "model", model_answers.ModelSummary, limit, as_json=as_json, how=how)
    if not models:
        return 0
    terminal.table(
        ["model", "kind", "series", "of", "from", "to", "verdict", "signal", "rank-IC", "Sharpe net", "made"],
        [
            [
                one.model,
                one.kind,
                terminal.number(one.symbols),
                one.type,
                terminal.moment(one.start),
                terminal.moment(one.end),
                one.outcome,
                "yes" if one.signal else "no",
                f"{one.rank_ic:.4f}",
                f"{one.sharpe_net:.2f}",
                terminal.moment(one.made_at),
            ]
            for one in models
        ],
        right=("series", "rank-IC", "Sharpe net"),
    )
    return 0


async def models_show(model: Name, where: o.AtManager, as_json: o.Json = False) -> int:
    """Show a model: what its card says in short, how it was made, and where its files lie."""
    one = await named(where, "model", model, model_answers.Model, as_json=as_json)
    if one is None:
        return 0
    terminal.write(
        f"{one.model}: {one.outcome}, signal {'yes' if one.signal else 'no'}; rank-IC {one.rank_ic:.4f}, Sharpe ratio "
        f"after fees {one.sharpe_net:.2f} over {terminal.many(one.moments, 'tested moment')}"
    )
    terminal.write(
        f"  made of     {one.symbols} series {one.type}, {terminal.moment(one.start)} to {terminal.moment(one.end)}"
    )
    terminal.write(f"  graph       {msgspec.json.encode(one.definition).decode()}, horizon {one.horizon}")
    terminal.write(f"  compared    {msgspec.json.encode(one.evaluation).decode()}")
    terminal.write(f"  model       {msgspec.json.encode(one.parameters).decode()}")
    terminal.write(f"  run_id      {one.run_id}")
    terminal.write(f"  predictions sha256 {one.predictions_sha256}")
    terminal.write(f"  made by     {one.queue_id} at {terminal.moment(one.made_at)}")
    size = terminal.number(round(sum(file.size for file in one.files) / 1000))
    terminal.write(f"  files       {len(one.files)}, {size} kB, named in {one.manifest}")
    return 0


async def models_card(
    model: Name,
    where: o.AtManager,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Where to: .html (with pictures), .md, .json.")
    ] = None,
) -> int:
    """Print the card of a model, or write it to a file: all that was compared, the verdict, and the switchboard."""
    form = "md" if output is None else output.suffix.lower().removeprefix(".")
    form = form if form in ("html", "json", "md") else "md"
    async with session(where, Mode.READ) as found:
        answer = await found.api.call("GET", f"/models/{path_part(model)}/card", query={"form": form})
    if output is None:
        terminal.write(answer.decode().rstrip("\n"))
        return 0
    written(output, answer)
    terminal.say(f"{output}: the card of {model}")
    return 0


async def models_export(
    model: Name,
    where: o.AtManager,
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="Where to: .onnx (of gat; takes the extra onnx), .safetensors (the model), .parquet (predictions).",
        ),
    ],
) -> int:
    """Write a published model to a file, which other programs can run, or what it predicted in its tests."""
    if (form := output.suffix.lower()) not in _FILES:
        raise CliError(f"{output} is none of {', '.join(_FILES)}: give the file such an ending")
    if form == ".onnx":
        require("a file of ONNX", dict.fromkeys(("numpy", "onnx", "safetensors"), "onnx"))
    async with session(where, Mode.READ) as found:
        answer = await found.api.call("GET", f"/models/{path_part(model)}/files/{_FILES[form]}")
    if form == ".onnx":
        from streamforge.analytics.models.onnx_export import onnx_of

        answer = onnx_of(answer, _FILES[form])
    written(output, answer)
    terminal.say(f"{output}: {_FILES[form]} of {model}")
    return 0


async def models_score(
    model: Name,
    where: o.AtManagerOrNew,
    time_range: Annotated[
        str | None, typer.Argument(metavar="TIME_RANGE", help="Of the moments; or --since last.")
    ] = None,
    since: Annotated[
        Literal["last"] | None,
        typer.Option("--since", help="From where the scores end on; at first, from the end of the training."),
    ] = None,
    load_missing: Annotated[
        bool, typer.Option("--load-missing", help="Load first what is not proven to be stored.")
    ] = False,
    label: o.LabelsOf = None,
    detach: o.Detach = False,
    timeout_s: o.Timeout = None,
    as_json: o.Json = False,
) -> int:
    """Let a published model score the coins of some moments, each of bars that were closed by then.

    The scores are documents of the collection MODEL_scores: time, symbol, score and run_id.
    """
    start = posting(
        f"/models/{path_part(model)}/scores",
        answers.Started,
        time_range=time_range,
        since=since,
        load_missing=load_missing,
        labels=dict(parsed_labels(label or (), "--label")),
    )
    return await driven(where, start, detach=detach, timeout_s=timeout_s, as_json=as_json, loads=load_missing)


async def models_rm(model: Name, where: o.AtManager, yes: o.Yes = False) -> int:
    """Remove a model: its scores, and all that was published or kept under its name. The series stay."""
    what, command = "its card and files", "models rm"
    return await removed(where, "model", model, model_answers.RemovedModel, yes=yes, what=what, command=command)
