"""The commands that measure, extract and explain, for many videos."""

import click

from stzoo.cli import options


@click.command()
@options.data
@click.option("--model", "name", default=options.MODEL, show_default=True)
@options.views
@options.out(help="Folder for evaluation.json, classes.csv and confusion.png.")
@click.option(
    "--push",
    is_flag=False,
    flag_value="",
    metavar="[ORGANISATION/NAME]",
    help="Add the results to the card of a repository; of that of --model by default.",
)
@options.engine
@options.sample_fps
def evaluate(*, name, views, out, push, num_workers, skip, **chosen):
    """Measure a model on DATA: accuracy in all, by class, and what is mistaken.

    With --out, an evaluation that was interrupted goes on where it was. With --push,
    the results are added to the model card on the Hub, which must hold these weights.
    """
    from stzoo.data import datasets
    from stzoo.inference.evaluate import evaluate
    from stzoo.weights import publish

    if push == "" and not name.startswith("hf://"):
        raise click.UsageError(f"--push needs a repository. Received: --model {name}.")
    with options.one_line(), options.log_shown(), options.progress("Videos") as track:
        model = options.load_model(name)
        if push is not None:  # an error comes before hours of work
            publish.check_measured(model.stzoo.sha256, push or name)
        how = {key: chosen.pop(key) for key in ("engine", "sample_fps")}
        videos = datasets.read(**chosen, skip=skip, classes=model.stzoo.labels)
        parts = out and out / "parts"
        found = evaluate(model, videos, views, parts, num_workers, track, **how)
        if out:
            found.save(out)
    _show_evaluation(found)
    if push is not None:
        with options.one_line():
            address = publish.push_evaluation(found, push or name)
        click.echo(f"Added the results to the card of {address}.")


@click.command()
@options.data
@click.option("--model", "name", default=options.MODEL, show_default=True)
@click.option("--layer", default="avgpool", show_default=True)
@options.views
@options.out(required=True, help="Folder for the parts.")
@click.option(
    "--shard",
    default="1/1",
    callback=options.check_shard,
    help="Which share is done here: 3/16 is the third of sixteen.",
)
@click.option("--parquet", is_flag=True, help="Parquet instead of npz.")
@options.engine
@options.sample_fps
def extract(*, name, layer, views, out, shard, parquet, skip, **chosen):
    """Write the features of the videos of DATA, in parts of 256 videos.

    An extraction that was interrupted goes on where it was.
    """
    from stzoo.data import datasets
    from stzoo.inference.extract import extract

    with options.one_line(), options.log_shown(), options.progress("Parts") as track:
        model = options.load_model(name)
        how = {key: chosen.pop(key) for key in ("num_workers", "engine", "sample_fps")}
        manifest = extract(
            model,
            datasets.read(**chosen, skip=skip),
            out,
            layer,
            views,
            shard,
            format="parquet" if parquet else "npz",
            progress=track,
            **how,
        )
    if manifest is None:
        return click.echo(f"This shard is done; others of {out} are not.")
    failed = len(manifest["failed"])
    click.echo(f"Saved {out}: {manifest['videos']} videos, {failed} not decoded.")


@click.command()
@options.options(
    click.argument("source", required=False, metavar="[VIDEO|DATA]"), *options.reading
)
@click.option("--model", "name", default=options.MODEL, show_default=True)
@options.out(
    default=".", show_default=True, help="Folder for pictures, table and film."
)
@click.option("--layer", help="VIDEO: whose maps are shown. DATA: whose channels.")
@click.option("--class", "answer", help="VIDEO: the class; by default the likeliest.")
def explain(*, source, name, out, layer, answer, num_workers, **data):
    """Show what a model sees in a VIDEO, or what it leans on in DATA.

    For a VIDEO (a file, or a folder of frames): a filmstrip and a film of what speaks
    for a class. For DATA: how much each operator leans on space and on time, by layer
    and by class, as a table and pictures. Without either: the same from the weights,
    if they tell it (CoST of variant "a").
    """
    from stzoo.explain import reports

    video = source is not None and reports.is_video(source)
    given = [f"--{option}" for option, value in data.items() if value]
    received = f"Received: {source or 'neither'}."
    if given and (video or source is None):
        raise click.UsageError(f"{given[0]} is for DATA. {received}")
    if answer and not video:
        raise click.UsageError(f"--class is for a VIDEO. {received}")
    with options.one_line(), options.progress("Batches") as track:
        model = options.load_model(name)
        if video:
            title, answers, paths = reports.of_video(model, out, source, layer, answer)
        else:
            found, paths = reports.of_network(
                model, out, source, layer, num_workers, track, **data
            )
    if video:
        options.show(title, answers)
    else:
        click.echo(found)
    click.echo(f"Saved {', '.join(map(str, paths))}.")


def _show_evaluation(found):
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table("Class")
    for title in ("Videos", "Accuracy", "Average precision"):
        table.add_column(title, justify="right")
    table.add_column("Most often taken for")
    for row in found.classes:
        shares = (row["accuracy"], row["average_precision"])
        table.add_row(
            Text(row["label"]),
            str(row["videos"]),
            *("-" if share is None else f"{100 * share:.1f} %" for share in shares),
            Text(row["mistaken_for"] or "-"),
        )
    console = Console()
    console.print(table)
    for name, share in (
        ("Top-1", found.top1),
        ("Top-5", found.top5),
        ("Mean class accuracy", found.mean_class_accuracy),
        ("Mean average precision", found.mean_average_precision),
    ):
        console.print(f"{name}: {100 * share:.2f} %")
    console.print(
        f"{found.model}, {found.videos} videos, views {found.views}, {found.decoder}."
    )
    for failed in found.failed:
        text = Text(f"Not decoded: {failed['error']}", "red")
        Console(stderr=True).print(text, soft_wrap=True)
