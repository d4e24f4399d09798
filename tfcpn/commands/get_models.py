"""Download MediaPipe's two pose networks from its wheel, which is not installed."""

from __future__ import annotations

import hashlib
import io
import subprocess
import sys
import tempfile
import zipfile
import zlib
from pathlib import Path

from tfcpn.cli import Command, Options, path
from tfcpn.utils.console import status
from tfcpn.utils.errors import InputError
from tfcpn.utils.files import write_atomically

COMMAND = Command(
    "python tools/get_models.py",
    __doc__,
    {
        "Where": [
            path("output", "data/mediapipe", "Folder for the networks and their license."),
            path(
                "wheel",
                "",
                "A local wheel of mediapipe 0.10.14, for machines without internet access.",
            ),
        ]
    },
)
VERSION = "0.10.14"
# Of all wheels of a version, which hold the same networks, always this one.
WHEEL = [
    "--python-version=3.11",
    "--implementation=cp",
    "--abi=cp311",
    "--platform=manylinux_2_17_x86_64",
]
WHEEL_SHA256 = "a807328339e7356fda0bb14df12fedbf1d33bdf81649c5f8666b0026b1cc30b4"
MODELS = {
    "pose_landmark_full.tflite": (
        "mediapipe/modules/pose_landmark/pose_landmark_full.tflite",
        "e9a5c5cb17f736fafd4c2ec1da3b3d331d6edbe8a0d32395855aeb2cdfd64b9f",
    ),
    "pose_detection.tflite": (
        "mediapipe/modules/pose_detection/pose_detection.tflite",
        "9ba9dd3d42efaaba86b4ff0122b06f29c4122e756b329d89dca1e297fd8f866c",
    ),
}
LICENCE = f"mediapipe-{VERSION}.dist-info/LICENSE"
NOTICE = f"""pose_landmark_full.tflite and pose_detection.tflite are part of MediaPipe {VERSION},
copyright The MediaPipe Authors, under the Apache License 2.0 (LICENSE). They were taken unchanged
out of its wheel. A network that is trained from them is a derivative work of them: keep this notice
and the license with it, and say that you changed it.
"""


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def fetch() -> bytes:
    """Return the wheel, downloaded by pip.

    Raises:
        InputError: If it cannot be downloaded.
    """
    with tempfile.TemporaryDirectory() as folder:
        words = [
            "download",
            "--quiet",
            "--no-deps",
            "--only-binary=:all:",
            f"--dest={folder}",
            *WHEEL,
        ]
        with status(f"downloading the wheel of mediapipe {VERSION}"):
            done = subprocess.run(
                [sys.executable, "-m", "pip", *words, f"mediapipe=={VERSION}"],
                capture_output=True,
                text=True,
            )
        wheels = list(Path(folder).glob("*.whl"))
        if done.returncode or not wheels:
            errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or [
                "pip brought nothing"
            ]
            raise InputError(
                f"mediapipe {VERSION} cannot be fetched ({errors[-1]}); without access to "
                "the internet, copy its wheel here and give it as --wheel=FILE"
            )
        return wheels[0].read_bytes()


def taken_out(wheel: bytes, name: str) -> dict[str, bytes]:
    """Return the files to write by name.

    Raises:
        InputError: If the wheel lacks one, or is of another version.
    """
    files = {"NOTICE": NOTICE.encode()}
    try:
        with zipfile.ZipFile(io.BytesIO(wheel)) as bundle:
            files["LICENSE"] = bundle.read(LICENCE)
            for file, (member, sha256) in MODELS.items():
                files[file] = bundle.read(member)
                if digest(files[file]) != sha256:
                    raise InputError(f"{name}: its {file} is not that of mediapipe {VERSION}")
    except (zipfile.BadZipFile, zlib.error, KeyError) as error:
        raise InputError(
            f"{name}: is no whole wheel of mediapipe {VERSION} ({error}); fetch it again"
        ) from error
    return files


def main(options: Options) -> None:
    folder, args = Path(options.args.output), options.args
    there = {
        n: (folder / n).exists() and digest((folder / n).read_bytes()) == sha
        for n, (_, sha) in MODELS.items()
    }
    if all(there.values()):
        print(f"{folder}: already there, nothing to do")
        return
    if args.wheel:
        if not Path(args.wheel).exists():
            raise InputError(f"--wheel={args.wheel} not found")
        content, name = Path(args.wheel).read_bytes(), args.wheel
    else:
        content, name = fetch(), f"the wheel of mediapipe {VERSION}"
        if digest(content) != WHEEL_SHA256:
            raise InputError(
                f"{name}: came damaged, or is another one (SHA-256 {digest(content)}); try again"
            )
    for file, data in taken_out(content, name).items():
        write_atomically(folder / file, data)
    print(f"written: {', '.join(str(folder / name) for name in MODELS)}, LICENSE and NOTICE")


if __name__ == "__main__":
    COMMAND.run(main)
