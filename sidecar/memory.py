"""A worker's memory: what is loaded is not looked at again, and what was freed is not given away at once."""

import ctypes
import gc
import os
from collections.abc import Mapping
from typing import Final

_YOUNG_OBJECTS: Final = 10_000
_KEPT_FREE: Final = 16 * 1024 * 1024
_MAPPED_FROM: Final = 2 * 1024 * 1024
_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_THRESHOLD: Final = -3
_OF_THE_OPERATOR: Final = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES")


def settle(environ: Mapping[str, str] = os.environ) -> None:
    """Make a worker ready to serve: to be called once everything is loaded.

    Args:
        environ: The environment; where it tells glibc how to allocate, that stays.
    """
    _set_aside()
    if not any(name in environ for name in _OF_THE_OPERATOR):
        _keep_freed()


def _set_aside() -> None:
    """Take what is loaded by now out of the garbage collector's rounds: modules and types, made to stay.

    Each of its full rounds looks at every object that there is, and the worker does nothing else meanwhile:
    37 ms for what the modules alone hold, and nothing once that is set aside. An exchange leaves no cycles,
    so rounds may be rarer as well (docs/decisions/0024).
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_YOUNG_OBJECTS, 20, 50)


def _keep_freed() -> None:
    """Have glibc keep up to 16 MiB of what was freed, and take up to 2 MiB from there.

    As it comes, it gives memory back to the kernel as soon as 256 KiB to some megabytes lie free, and a body
    of a megabyte is then asked of the kernel again, page by page, at each step of its way: up to half of the
    CPU of such a request. Elsewhere than on glibc (`mallopt(3)`) nothing is changed.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_TRIM_THRESHOLD, _KEPT_FREE)
        mallopt(_M_MMAP_THRESHOLD, _MAPPED_FROM)
