"""MediaPipe's .task bundles: zips of .tflite files, which its runtime reads where they lie."""

from __future__ import annotations

import io
import zipfile
import zlib

from tfcpn.base.errors import InputError
from tfcpn.networks.tflite_file import find_bundle_member

_ALIGNMENT = 4  # bytes; a model begins at a multiple of it in its bundle
_HEADER = 30  # bytes of a zip's local header, before name and extra field


def replace_bundle_member(path: str, member: str, content: bytes) -> bytes:
    """A copy of a bundle with `content` in the place of its file whose name begins with `member`.

    Nothing is compressed, since the runtime maps the models from the bundle. Raises InputError for a file that is no
    bundle, or without such a member.
    """
    copy = io.BytesIO()
    try:
        with zipfile.ZipFile(path) as old, zipfile.ZipFile(copy, "w", zipfile.ZIP_STORED) as new:
            replaced = find_bundle_member(old, path, member)
            for entry in old.infolist():
                data = content if entry.filename == replaced else old.read(entry)
                info = zipfile.ZipInfo(entry.filename, entry.date_time)
                start = copy.tell() + _HEADER + len(entry.filename.encode())
                info.extra = b"\0" * (-start % _ALIGNMENT)
                new.writestr(info, data)
    except (zipfile.BadZipFile, zlib.error, FileNotFoundError) as error:
        raise InputError(f"{path}: is no .task bundle ({error})") from error
    return copy.getvalue()
