"""Runs a module of this package in a process of its own."""

import os
import re
import subprocess
import sys


def run(module, argument, **env):
    """Runs `python -m MODULE ARGUMENT`, and returns what it prints.

    Args:
        module: string, its full name.
        argument: string.
        **env: strings, environment variables.

    Raises:
        RuntimeError: it failed. The text is the last error that it printed.
    """
    path = os.pathsep.join(filter(None, sys.path))
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", module, argument],
        env={**os.environ, "PYTHONPATH": path, **env},
        capture_output=True,
        text=True,
    )
    if done.returncode:
        errors = re.findall(r"^[\w.]*(?:Error|Exception): .*", done.stderr, re.M)
        raise RuntimeError(errors[-1] if errors else f"exit code {done.returncode}")
    return done.stdout
