"""Whether the disk holds what a run will write, asked before it writes anything."""

from __future__ import annotations

import logging
import shutil

from tfcpn.base.errors import InputError
from tfcpn.run.snapshots import KEEP_EVERY

_log = logging.getLogger(__name__)


def check_disk_space(model_dir, size: int, there: int, epochs: int, keep: int, turns: int) -> None:
    """size: of a checkpoint, in bytes. there: how many epochs have one. epochs, keep: as in the flags.

    turns: how many must fit for the run to get on at all. Raises InputError if they do not; warns if not all fit that
    are to stay.
    """
    free = shutil.disk_usage(model_dir).free
    stay = min(epochs, keep + epochs // KEEP_EVERY) if keep else epochs
    # Beside those that stay: one within an epoch, and the one that is being written.
    least, all_of_them = turns * size, (max(stay - there, 0) + 2) * size
    told = f"{model_dir}: {free / 1e6:.0f} MB are free, of which checkpoints of {size / 1e6:.0f} MB each will want"
    if free < least:
        raise InputError(
            f"{told} {least / 1e6:.0f} at least; free some, or give another --model_dir"
        )
    if free < all_of_them:
        _log.warning(
            "%s %.0f by epoch %d; --keep_checkpoints=N keeps fewer", told, all_of_them / 1e6, epochs
        )
