"""The commands `evaluate`, `extract` and `explain`."""

import click

from stzoo.cli import options, terminal


@click.command()
@options.data
@options.model(default=options.MODEL, show_default=True)
@options.views
@options.out(help="Folder for the results: JSON, tables and pictures.")
@click.option(
    "--push",
    is_flag=False,
    flag_value="",
    metavar="[ORGANISATION/NAME]",
    help="Add the results to a model card on the Hub. Default: the one of --model.",
)
@options.engine
@options.sample_fps
def evaluate(*, name, views, out, push, engine, **data):
    """Evaluate a model on DATA.

    DATA is a folder or a list of labelled videos, see `stzoo finetune --help`. The
    results are the accuracy, the accuracy of each class, and the confusion of classes.
    For several labels a video, they are the mean average precision, and precision,
    recall and F1 of each class at its threshold.

    With --out, an interrupted evaluation resumes, and mistakes.png shows wrong answers,
    the most confident ones first. With --push, the results are added to
    the model card on the Hub. The repository must have the evaluated weights.
    """
    from stzoo.data import datasets
    from stzoo.inference.evaluate import evaluate

    if push == "" and not name.startswith("hf://"):
        raise click.UsageError(
            "--push needs the name of a repository if --model is not on the Hub. "
            f"Received: --model {name}."
        )
    with (
        terminal.resumable(out),
        terminal.one_line(),
        terminal.log_shown(),
        terminal.progress("Videos") as track,
    ):
        model = options.load_model(name)
        if push is not None:  # raises an error before hours of work
            from stzoo.weights import publish

            publish.check_measured(model.stzoo.sha256, push or name)
        how = {"reading": options.pop_reading(data), "engine": engine}
        if data["multi_label"] is None and model.stzoo.multi_label:
            data["multi_label"] = True
        videos = datasets.read(**data, classes=model.stzoo.labels)
        parts = out and out / "parts"
        found = evaluate(model, videos, views, parts, progress=track, **how)
        if out:
            found.save(out)
    _show_evaluation(found)
    if push is not None:
        with terminal.one_line():
            address = publish.push_evaluation(found, push or name)
        click.echo(f"Added the results to the card of {address}.")


@click.command()
@options.data
@options.model(default=options.MODEL, show_default=True)
@click.option(
    "--layer",
    default="avgpool",
    show_default=True,
    help="Layer whose output is extracted.",
)
@options.views
@options.out(required=True, help="Folder for the parts.")
@click.option(
    "--shard",
    default="1/1",
    callback=options.check_shard,
    help="Shard to compute: 3/16 is the third of sixteen.",
)
@click.option("--parquet", is_flag=True, help="Write Parquet files instead of npz.")
@options.engine
@options.sample_fps
def extract(*, name, layer, views, out, shard, parquet, engine, **data):
    """Extract features of the videos in DATA.

    DATA is a folder or a list of videos, see `stzoo finetune --help`. Each output file
    has the features of 256 videos. An interrupted extraction resumes.
    """
    from stzoo.data import datasets
    from stzoo.inference.extract import extract

    with (
        terminal.resumable(out),
        terminal.one_line(),
        terminal.log_shown(),
        terminal.progress("Parts") as track,
    ):
        model = options.load_model(name)
        how = {"reading": options.pop_reading(data), "engine": engine}
        how |= {"shard": shard, "format": "parquet" if parquet else "npz"}
        videos = datasets.read(**data)
        manifest = extract(model, videos, out, layer, views, progress=track, **how)
    if manifest is None:
        return click.echo(f"This shard is complete. Other shards in {out} are not.")
    failed = len(manifest["failed"])
    click.echo(f"Saved {manifest['videos']} videos to {out}. {failed} not decoded.")


@click.command()
@options.options(
    click.argument("source", required=False, metavar="[VIDEO|DATA]"), *options.reading
)
@options.model(default=options.MODEL, show_default=True)
@options.out(
    default=".", show_default=True, help="Folder for pictures, table and video."
)
@click.option("--layer", help="Layer whose maps (VIDEO) or channels (DATA) are shown.")
@click.option(
    "--class", "answer", help="For a VIDEO: class to explain. Default: the prediction."
)
def explain(*, source, name, out, layer, answer, num_workers, **data):
    """Explain a prediction, or what a model uses in videos.

    For a VIDEO (a file or a folder of frames), write a filmstrip and a video that show
    the evidence for a class. For DATA, write a table and pictures of the contributions
    of space and time, by layer and by class. Without either, compute the contributions
    from the weights, if possible (CoST of variant "a").
    """
    from stzoo.explain import reports

    video = source is not None and reports.is_video(source)
    given = [f"--{name.replace('_', '-')}" for name, value in data.items() if value]
    received = f"Received: {source or 'no VIDEO or DATA'}."
    if given and (video or source is None):
        raise click.UsageError(f"{given[0]} needs DATA. {received}")
    if answer and not video:
        raise click.UsageError(f"--class needs a VIDEO. {received}")
    with terminal.one_line(), terminal.progress("Batches") as track:
        model = options.load_model(name)
        if video:
            title, answers, paths = reports.of_video(model, out, source, layer, answer)
        else:
            found, paths = reports.of_network(
                model, out, source, layer, num_workers, track, **data
            )
    if video:
        terminal.show(title, answers)
    else:
        click.echo(found)
    click.echo(f"Saved {', '.join(map(str, paths))}.")


def _show_evaluation(found):
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    columns = {"accuracy": "Accuracy", "average_precision": "Average precision"}
    columns |= {"precision": "Precision", "recall": "Recall", "f1": "F1"}
    columns |= {"threshold": "Threshold"}
    columns = {key: title for key, title in columns.items() if key in found.classes[0]}
    table = Table("Class")
    for title in ("Videos", *columns.values()):
        table.add_column(title, justify="right")
    if not found.multi_label:
        table.add_column("Most often confused with")
    for row in found.classes:
        shares = [row[key] for key in columns]
        table.add_row(
            Text(row["label"]),
            str(row["videos"]),
            *("-" if share is None else f"{100 * share:.1f} %" for share in shares),
            *() if found.multi_label else [Text(row["mistaken_for"] or "-")],
        )
    console = Console()
    console.print(table)
    for name, share in (
        ("Top-1", found.top1),
        ("Top-5", found.top5),
        ("Mean class accuracy", found.mean_class_accuracy),
        ("Mean average precision", found.mean_average_precision),
        *((f"Macro {key}", share) for key, share in found.macro.items()),
        *((f"Micro {key}", share) for key, share in found.micro.items()),
    ):
        if share is not None:
            console.print(f"{name}: {100 * share:.2f} %")
    console.print(
        f"{found.model}, {found.videos} videos, {found.views} views, {found.decoder}."
    )
    for failed in found.failed:
        text = Text(f"Not decoded: {failed['error']}", "red")
        Console(stderr=True).print(text, soft_wrap=True)
