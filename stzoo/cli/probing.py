"""The commands `stzoo probe` and `stzoo split`."""

import click

from stzoo.cli import options, terminal


@click.command()
@options.data
@click.option(
    "--model",
    "name",
    default=options.GENERAL,
    show_default=True,
    help="Weights of the network: NAME.TAG, a folder, or hf://....",
)
@options.out(required=True, help="Folder of the features and of the model.")
@click.option("--validation", help="Videos to evaluate the classifier on.")
@click.option("--validation-split", help="Or another split of the same list.")
@options.views
def probe(*, name, out, views, num_workers, skip, **chosen):
    """Fit a linear classifier to the features of a model.

    DATA is a folder with a folder of videos for each class, or a list. The features are
    computed once, and an interrupted run resumes. The output folder can be used as
    --model in the other commands. The accuracy is from a cross-validation. It is too
    high if several videos were cut from one recording and their names do not show it.
    """
    from stzoo.cli.training import read_both
    from stzoo.data.reading import Reading
    from stzoo.training.probe import probe

    data = options.data_of(chosen)
    with (
        terminal.resumable(out),
        terminal.one_line(),
        terminal.log_shown(),
        terminal.progress("Videos") as track,
    ):
        train, validation = read_both(data, chosen, skip)
        model = options.load_model(
            name,
            advice=options.OFFLINE if name == options.GENERAL else "",
            classes=len(train.classes) or None,
        )
        reading = Reading(num_workers, skip=skip)
        how = {"reading": reading, "progress": track}
        found = probe(model, train, out, validation, views, **how)
    _show(found)
    click.echo(f"Saved {out}.")


def _show(found):
    low, high = (100 * share for share in found.interval)
    for failed in found.failed:
        click.secho(f"Not decoded: {failed['error']}", fg="red", err=True)
    for row in found.classes:
        share = row["accuracy"]
        shown = "-" if share is None else f"{100 * share:.1f} %"
        click.echo(f"{row['label']}: {shown} of {row['videos']} videos")
    click.echo(
        f"Accuracy in a {found.folds}-fold cross-validation of {found.videos} videos: "
        f"{100 * found.accuracy:.1f} % (95 % confidence: {low:.1f} to {high:.1f} %). "
        f"Guessing the largest class: {100 * found.baseline:.1f} %."
    )
    if found.validation is not None:
        click.echo(
            f"Accuracy on the validation videos: {100 * found.validation:.1f} %."
        )
    click.echo(found.advice)


@click.command()
@options.data
@options.out(required=True, help="Folder for train.csv and test.csv.")
@click.option(
    "--by",
    default="group",
    show_default=True,
    type=click.Choice(("group", "video")),
    help="Keep all videos of a person, source or date together, or each video.",
)
@click.option(
    "--test",
    "share",
    default=0.2,
    show_default=True,
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    help="Share of the videos that go into test.csv.",
)
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0))
def split(*, out, by, share, seed, num_workers, skip, **chosen):
    """Split DATA into a training set and a test set.

    With --by group, all videos of a person, source or date are in the same set, if
    their names show it: v_Dive_g01_c02.mp4, person07_run_d1.avi, P03_05.mp4,
    2024-05-01_2.mp4. Each class has about the same share in both sets.
    """
    from stzoo.data import datasets, splits

    with terminal.one_line(), terminal.log_shown():
        videos = datasets.read(**chosen, skip=skip)
        train, test = splits.split(videos, by, share, seed)
        out.mkdir(parents=True, exist_ok=True)
        for name, part in (("train.csv", train), ("test.csv", test)):
            splits.write_list(out / name, part)
    click.echo(
        f"Saved {out / 'train.csv'} ({len(train)} videos) and {out / 'test.csv'} "
        f"({len(test)} videos)."
    )
