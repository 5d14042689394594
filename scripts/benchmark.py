"""python scripts/benchmark.py --models cost_resnet50 p3d_resnet50

Measures models of the zoo against PyTorch networks with the same arithmetic, and writes
`benchmarks/MACHINE-PRECISION.csv`. New measurements of a case replace its old rows.
Linux only.

Each case (a model, a backend, a batch, cores) has one process with all contenders: the
model, the fused model, on PyTorch also the fused model compiled with `jit_compile=True`
of Keras, and the PyTorch networks: eager, channels last, and channels last with
`torch.compile`. A training step has the model, the same rematerialized, and the PyTorch
networks. All of them run in every round, in random order and with a pause before each,
so that the load of the machine is the same for all. Times are those of the calls of a
user, `predict_on_batch` and `train_on_batch`, from clips of 0 to 255 in memory to
NumPy. The PyTorch networks get clips that are already normalised. A training step is
SGD with momentum.

Beside them, in the case of PyTorch only, since no backend of Keras runs them: the model
exported to ONNX Runtime and OpenVINO, and the PyTorch network converted to them. All
answer in float32. They are not measured from their start, which would be an export.

* `median_ms`, `low_ms` and `high_ms`: median and quartiles of the rounds.
  `against_eager`: the time of eager PyTorch divided by that of the row.
* `gflops`: operations of one run, for the convolutions and products of the eager
  network as PyTorch counts them (including the backward pass), 2 for a multiply-add.
  `share`: fraction of `best_rate`, the rate of PyTorch's fastest convolution in any
  round.
* `others`: number of cores that other processes kept busy meanwhile. Above 0.2 the
  command refuses to start without `--busy`, since such times are not reliable.
* In a process that does nothing else: `build_s`, from its start until the model is
  built; `first_s`, from there to the first output, with nothing compiled before;
  `built_mb` and `peak_mb`, the maximum resident memory up to the build and in total.
"""

import argparse
import csv
import dataclasses
import io
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
import time
from functools import partial
from itertools import product
from pathlib import Path

import numpy as np
from contenders import CONTENDERS, RUNTIMES, Case, best_rate, operations

ROOT = Path(__file__).resolve().parents[1]
BACKENDS = ("tensorflow", "jax", "torch")
PRECISIONS = ("float32", "bfloat16")
CASE = ("model", "backend", "precision", "step", "batch", "threads")
START = ("build_s", "first_s", "built_mb", "peak_mb")
PAUSE = 0.3  # seconds, until the threads of the contender before no longer spin
QUIET = 0.2  # maximum number of cores that other processes may keep busy


def busy():
    """Returns the busy core seconds of the machine, and of this process."""
    fields = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]
    user, nice, system, _, _, *interrupts = map(int, fields)
    mine = os.times()
    total = (user + nice + system + sum(interrupts)) / os.sysconf("SC_CLK_TCK")
    return np.array([total, mine.user + mine.system])


def clock(run):
    """Returns the seconds of a call, and the core seconds of other processes."""
    before, start = busy(), time.perf_counter()
    run()
    seconds = time.perf_counter() - start
    total, mine = busy() - before
    return seconds, total - mine


def peak():
    """Returns the peak memory of this process, in MB.

    `getrusage` would include the memory of the parent at the fork.
    """
    status = Path("/proc/self/status").read_text()
    return int(re.search(r"VmHWM:\s*(\d+) kB", status)[1]) / 1024


def start(case):
    """Measures the start of the only contender, from the beginning of this process."""
    (name,) = case.contenders
    if name in RUNTIMES:
        return dict.fromkeys(START, np.nan)
    run = CONTENDERS[name](case)
    built, holds = time.time(), peak()
    run()
    first = time.time() - built
    run()  # the first step creates the state of an optimizer
    built -= case.started
    return dict(zip(START, (built, first, holds, peak()), strict=True))


def race(case):
    """Returns the row of each contender. All run in every round, in random order."""
    runs = {name: CONTENDERS[name](case) for name in case.contenders}
    for run in runs.values():
        run()
        run()
    measured, rate = {name: [] for name in runs}, 0
    for number in range(case.rounds):
        order = np.random.default_rng(number).permutation(list(runs))
        for name in order.tolist():
            time.sleep(PAUSE)
            measured[name].append(clock(runs[name]))
        rate = max(rate, best_rate(case))
    count = operations(case)
    times = {name: np.array(pairs)[:, 0] for name, pairs in measured.items()}
    eager = np.median(times["eager"]) if "eager" in times else np.nan
    rows = {}
    for name, seconds in times.items():
        low, median, high = np.quantile(seconds, (0.25, 0.5, 0.75))
        others = sum(other for _, other in measured[name]) / seconds.sum()
        rows[name] = {
            "rounds": case.rounds,
            "median_ms": 1e3 * median,
            "low_ms": 1e3 * low,
            "high_ms": 1e3 * high,
            "against_eager": eager / median,
            "gflops": count / 1e9,
            "gflops_s": count / 1e9 / median,
            "best_rate": rate / 1e9,
            "share": count / median / rate,
            "others": others,
        }
    return rows


def in_process(work, case):
    """Runs `start` or `race` in a new process, on some of the cores."""
    case = dataclasses.replace(case, started=time.time())
    cores = sorted(os.sched_getaffinity(0))[: case.threads]
    with tempfile.TemporaryDirectory() as folder:
        variables = {
            "KERAS_BACKEND": case.backend,
            "OMP_NUM_THREADS": str(case.threads),
            "TORCHINDUCTOR_CACHE_DIR": folder,
        }
        done = subprocess.run(
            [sys.executable, __file__, work, json.dumps(dataclasses.asdict(case))],
            env=os.environ | variables,
            preexec_fn=partial(os.sched_setaffinity, 0, cores),
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
    return json.loads(done.stdout.splitlines()[-1])


def tables(cases):
    """Yields the rows of the contenders of each case once they are measured."""
    started = {}
    for case in cases:
        rows = []
        for name, row in in_process("race", case).items():
            alone = dataclasses.replace(case, contenders=(name,))
            if not name.startswith("stzoo"):  # the same for each backend
                alone = dataclasses.replace(alone, backend="torch")
            key = json.dumps(dataclasses.asdict(alone))
            if key not in started:
                started[key] = in_process("start", alone)
            about = {key: getattr(case, key) for key in CASE}
            rows.append(about | {"contender": name} | row | started[key])
        yield rows


def cases(chosen):
    """The cases that the command asks for, see `main`."""
    import stzoo
    from stzoo.conversion import parse_options

    cores = len(os.sched_getaffinity(0))
    threads = dict.fromkeys(min(n or cores, cores) for n in chosen.threads)
    steps = [("inference", batch) for batch in chosen.batches]
    steps += [("training", batch) for batch in chosen.training]
    for model in chosen.models:
        builder, *more = model.split(":")
        options = parse_options(builder, chosen.option + more)
        about = stzoo.create(builder, **options).stzoo
        for backend, count, (step, batch) in product(chosen.backends, threads, steps):
            names = set(chosen.contenders)
            if step == "training":
                names -= {"stzoo fused", "stzoo compiled"}
            else:
                names -= {"stzoo rematerialized"}
            if backend != "torch":
                names -= {"stzoo compiled", *RUNTIMES}
            if step == "training" or chosen.precision != "float32":
                names -= {*RUNTIMES}
            yield Case(
                model=model,
                options=about.options,
                shape=about.clip.shape,
                classes=about.classes,
                backend=backend,
                precision=chosen.precision,
                step=step,
                batch=batch,
                threads=count,
                contenders=tuple(name for name in CONTENDERS if name in names),
                rounds=chosen.rounds,
            )


def machine():
    """Returns the processor and its cores, as a part of a file name."""
    text = Path("/proc/cpuinfo").read_text()
    found = re.search(r"model name\s*: (.*)", text)
    name = f"{found[1] if found else platform.machine()} {os.cpu_count()} cores"
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def joined(path, rows, keys):
    """Returns a CSV file as bytes, with new rows instead of those of the same cases.

    Args:
        path: path of the file, which may not exist.
        rows: list of dicts from columns to values.
        keys: the columns that identify a case.
    """

    def case(row):
        return [row[key] for key in keys]

    rows = [
        {k: f"{v:.4g}" if isinstance(v, float) else str(v) for k, v in row.items()}
        for row in rows
    ]
    new, kept = list(map(case, rows)), []
    if path.exists():
        with path.open() as file:
            kept = [row for row in csv.DictReader(file) if case(row) not in new]
    text = io.StringIO()
    table = csv.DictWriter(text, rows[0], lineterminator="\n")
    table.writeheader()
    table.writerows(sorted(kept + rows, key=case))
    return text.getvalue().encode()


def command():
    """Returns the parser of the arguments."""
    parser = argparse.ArgumentParser(usage=__doc__)
    models = "such as p3d_resnet152 or cost_resnet50:variant=a"
    parser.add_argument("--models", nargs="+", required=True, help=models)
    parser.add_argument("--option", action="append", default=[], help="variant=a")
    parser.add_argument("--backends", nargs="+", default=BACKENDS, choices=BACKENDS)
    parser.add_argument(
        "--contenders", nargs="+", default=[*CONTENDERS], choices=CONTENDERS
    )
    parser.add_argument("--precision", default="float32", choices=PRECISIONS)
    parser.add_argument("--batches", nargs="*", type=int, default=[1, 4, 8])
    parser.add_argument("--training", nargs="*", type=int, default=[8])
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 0], help="0: all")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--machine", default=machine())
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks")
    parser.add_argument("--busy", action="store_true", help="ignore other load")
    return parser


def main():
    from stzoo.writer import write

    parser = command()
    chosen = parser.parse_args()
    _, others = clock(lambda: time.sleep(2))
    if others / 2 > QUIET and not chosen.busy:
        parser.error(f"other processes keep {others / 2:.1f} cores busy (see --busy)")
    name = f"{chosen.machine}-{chosen.precision}.csv"
    for rows in tables(list(cases(chosen))):  # a wrong name is an error at once
        write(chosen.out, {name: joined(chosen.out / name, rows, CASE)})


if __name__ == "__main__":
    if sys.argv[1:2] in (["start"], ["race"]):
        case = Case(**json.loads(sys.argv[2]))
        print(json.dumps({"start": start, "race": race}[sys.argv[1]](case)))
    else:
        main()
