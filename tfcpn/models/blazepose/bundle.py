"""MediaPipe's .task bundles: a detector and a landmark network with the metadata of Tasks."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from pathlib import Path

from tfcpn.models.blazepose.detector import DETECTOR_MEMBER
from tfcpn.models.tflite import add_metadata, find_bundle_member, read_metadata
from tfcpn.utils.errors import InputError

# Names that MediaPipe's PoseLandmarker looks for.
DETECTOR_FILE, LANDMARKS_FILE = "pose_detector.tflite", "pose_landmarks_detector.tflite"
TASK_METADATA = "TFLITE_METADATA"
_IDENTIFIER = b"M001"
# Mean and standard deviation of the inputs, as bytes: -1 to 1, and 0 to 1.
_DETECTOR_INPUT, _LANDMARKS_INPUT = (127.5, 127.5), (0.0, 255.0)
# Numbers of the schema of metadata: fields by their position, members of unions by their number.
_IMAGE_PROPERTIES, _NORMALIZATION = 2, 1
_RGB = 1
_ALIGNMENT = 4  # bytes; a model begins at a multiple of it in its bundle
_PADDING_ID = 0xD935  # of an extra field that only aligns, as zipalign writes it
_HEADER = 30  # bytes of a zip's local header, before name and extra field


def task_metadata(name: str, mean: float, std: float) -> bytes:
    """Return the metadata of a network with one image as its input.

    MediaPipe's Tasks read how to normalize the image from it, and refuse a network without it. The
    schema is metadata_schema.fbs of TensorFlow Lite Support.

    Args:
        name: Name of the network.
        mean, std: The input is (byte - mean) / std.
    """
    import flatbuffers

    builder = flatbuffers.Builder(512)

    def floats(value: float) -> int:
        builder.StartVector(4, 1, 4)
        builder.PrependFloat32(value)
        return builder.EndVector()

    def table(fields: int, **offsets: int) -> int:
        """Write a table; offsets by field, as f0, f1, ..."""
        builder.StartObject(fields)
        for field, offset in offsets.items():
            builder.PrependUOffsetTRelativeSlot(int(field[1:]), offset, 0)
        return builder.EndObject()

    def union(fields: int, slot: int, kind: int, offset: int) -> int:
        """Write a table with a union: its kind, and in the next field its value."""
        builder.StartObject(fields)
        builder.PrependUint8Slot(slot, kind, 0)
        builder.PrependUOffsetTRelativeSlot(slot + 1, offset, 0)
        return builder.EndObject()

    def vector(*offsets: int) -> int:
        builder.StartVector(4, len(offsets), 4)
        for offset in reversed(offsets):
            builder.PrependUOffsetTRelative(offset)
        return builder.EndVector()

    title, image, version = (builder.CreateString(t) for t in (name, "image", "1.0.0"))
    unit = union(2, 0, _NORMALIZATION, table(2, f0=floats(mean), f1=floats(std)))
    builder.StartObject(2)
    builder.PrependInt8Slot(0, _RGB, 0)
    content = union(3, 0, _IMAGE_PROPERTIES, builder.EndObject())
    # TensorMetadata, SubGraphMetadata and ModelMetadata.
    tensor = table(7, f0=image, f3=content, f4=vector(unit))
    subgraph = table(8, f2=vector(tensor))
    model = table(8, f0=title, f3=vector(subgraph), f7=version)
    builder.Finish(model, _IDENTIFIER)
    return bytes(builder.Output())


def make_bundle(landmarks: bytes, detector: bytes) -> bytes:
    """Return a .task bundle for MediaPipe's PoseLandmarker.

    Metadata that a file already has is kept.

    Args:
        landmarks: MediaPipe's landmark network, full or lite, or one exported into its form.
        detector: MediaPipe's detector, or one exported into its form.
    """
    files = {
        DETECTOR_FILE: _with_metadata(detector, "pose detector", *_DETECTOR_INPUT),
        LANDMARKS_FILE: _with_metadata(landmarks, "pose landmarks", *_LANDMARKS_INPUT),
    }
    bundle = io.BytesIO()
    with zipfile.ZipFile(bundle, "w", zipfile.ZIP_STORED) as new:
        for name, content in files.items():
            _add(new, bundle, zipfile.ZipInfo(name), content)
    return bundle.getvalue()


def _with_metadata(content: bytes, name: str, mean: float, std: float) -> bytes:
    if read_metadata(content, TASK_METADATA):
        return content
    return add_metadata(content, TASK_METADATA, task_metadata(name, mean, std))


def _add(new: zipfile.ZipFile, bundle: io.BytesIO, info: zipfile.ZipInfo, content: bytes) -> None:
    """Add a file to a bundle at a multiple of the alignment, uncompressed: it is mapped from it."""
    start = bundle.tell() + _HEADER + len(info.filename.encode())
    if padding := -start % _ALIGNMENT:
        # A valid extra field, which MediaPipe's reader checks: id, size, and that many bytes.
        info.extra = struct.pack("<HH", _PADDING_ID, padding) + b"\0" * padding
    new.writestr(info, content)


def has_detector(path: str) -> bool:
    """Return whether a file is a bundle with a detector."""
    if not path.endswith(".task") or not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as bundle:
        return any(Path(name).name.startswith(DETECTOR_MEMBER) for name in bundle.namelist())


def replace_bundle_members(path: str, members: dict[str, bytes]) -> bytes:
    """Return a copy of a .task bundle with other content of some of its files.

    Args:
        path: The bundle.
        members: New content by the prefix of a file's name. A landmark network or detector without
            metadata gets it.

    Raises:
        InputError: For a file that is no bundle or lacks a member.
    """
    copy = io.BytesIO()
    try:
        with zipfile.ZipFile(path) as old, zipfile.ZipFile(copy, "w", zipfile.ZIP_STORED) as new:
            replaced = {find_bundle_member(old, path, m): content for m, content in members.items()}
            for entry in old.infolist():
                content = replaced.get(entry.filename)
                if content is None:
                    content = old.read(entry)
                elif read_metadata(old.read(entry), TASK_METADATA):
                    content = _like(old.read(entry), content)
                _add(new, copy, zipfile.ZipInfo(entry.filename, entry.date_time), content)
    except (zipfile.BadZipFile, zlib.error, FileNotFoundError) as error:
        raise InputError(f"{path}: is no .task bundle ({error})") from error
    return copy.getvalue()


def _like(old: bytes, new: bytes) -> bytes:
    """Return a network with the metadata of the one that it replaces, if it has none."""
    if read_metadata(new, TASK_METADATA):
        return new
    return add_metadata(new, TASK_METADATA, read_metadata(old, TASK_METADATA))
