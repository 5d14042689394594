"""Hides what TensorFlow logs while it is imported: five lines or more, on any machine.

They come from C++, before any setting of TensorFlow holds (TF_CPP_MIN_LOG_LEVEL hides
only later ones), so they are caught where they are written: at file descriptor 2.
"""

import importlib.abc
import importlib.machinery
import os
import sys
import tempfile
from contextlib import contextmanager

MODULE = "tensorflow"


def install():
    """Makes the next import of TensorFlow silent, unless it fails."""
    if MODULE not in sys.modules:
        sys.meta_path.insert(0, _Finder())


class _Finder(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name != MODULE:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = _Loader(spec.loader)
        return spec


class _Loader(importlib.abc.Loader):
    def __init__(self, loader):
        self.loader = loader

    def __getattr__(self, name):  # such as `get_resource_reader`
        return getattr(self.loader, name)

    def create_module(self, spec):
        return self.loader.create_module(spec)

    def exec_module(self, module):
        with _silent():
            self.loader.exec_module(module)
            module.config.list_physical_devices()  # logs what it does not find


@contextmanager
def _silent():
    """Keeps what is written to file descriptor 2, and shows it if an error occurs."""
    sys.stderr.flush()
    shown = os.dup(2)
    with tempfile.TemporaryFile() as kept:
        os.dup2(kept.fileno(), 2)
        try:
            yield
        except BaseException:
            sys.stderr.flush()
            kept.seek(0)
            os.write(shown, kept.read())
            raise
        finally:
            sys.stderr.flush()
            os.dup2(shown, 2)
            os.close(shown)
