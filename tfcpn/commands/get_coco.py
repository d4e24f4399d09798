"""Download what is missing of COCO 2017."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
import urllib.error
import urllib.request
import zipfile
import zlib
from collections.abc import Callable
from http.client import HTTPException
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from tfcpn.cli import Command, Options, boolean, integer, path, string, string_list
from tfcpn.utils.console import progress_bar, status
from tfcpn.utils.errors import InputError
from tfcpn.utils.files import write_atomically


class Part(NamedTuple):
    """A part of COCO.

    Attributes:
        address: Path on the server.
        size: Published size of the archive in bytes.
        md5: Published MD5 of the archive.
        folder: Folder of its files.
        files: Number of files.
        pattern: Pattern of their names.
    """

    address: str
    size: int
    md5: str
    folder: str
    files: int
    pattern: str


PARTS = {
    "annotations": Part(
        "annotations/annotations_trainval2017.zip",
        252_907_541,
        "f4bbac642086de4f52a3fdda2de5fa2c",
        "annotations",
        6,
        "*_*2017.json",
    ),
    "val": Part(
        "zips/val2017.zip",
        815_585_330,
        "442b8da7639aecaf257c1dceb8ba8c80",
        "val2017",
        5_000,
        "*.jpg",
    ),
    "train": Part(
        "zips/train2017.zip",
        19_336_861_798,
        "cced6f7f71b7629ddf16f17bbcfab6b2",
        "train2017",
        118_287,
        "*.jpg",
    ),
}
COMMAND = Command(
    "python tools/get_coco.py",
    __doc__,
    {
        "What": [
            string_list("parts", tuple(PARTS), f"Which of {', '.join(PARTS)}."),
            path("output", "data/coco", "Folder for train2017/, val2017/ and annotations/."),
            boolean("keep_archives", False, "Keep the .zip files after they are unpacked."),
        ],
        "How": [
            string("server", "http://images.cocodataset.org", "Address of COCO, or of a mirror."),
            integer("retries", 5, "Attempts without progress before a download fails.", minimum=0),
        ],
    },
)
_BLOCK = 1 << 20
_PATIENCE = 30  # seconds without a byte
_SPARE = 1.02  # disk that is wanted over what is to be written: files take whole blocks


def _listing(part: Part, output: Path) -> Path:
    """Return the file that lists names and sizes of a part once all of it is on the disk."""
    return output / f".{PurePosixPath(part.address).name}.files.json"


def unpacked(part: Part, output: Path) -> bool:
    """Return whether all of a part's files are there, of the sizes that they had in the archive.

    Of files that were not unpacked by this tool the number must be right, and none may be empty.
    """
    folder = output / part.folder
    there = (
        {entry.name: entry.stat().st_size for entry in os.scandir(folder)}
        if folder.is_dir()
        else {}
    )
    try:
        listed = json.loads(_listing(part, output).read_text())
        return bool(listed) and all(there.get(name) == size for name, size in listed.items())
    except (OSError, ValueError, AttributeError):
        sizes = [size for name, size in there.items() if PurePosixPath(name).match(part.pattern)]
        return len(sizes) >= part.files and min(sizes, default=0) > 0


def check_disk_space(parts: list[Part], output: Path, keep: bool) -> None:
    """Raise InputError unless one archive and the unpacked files fit on the disk."""
    come, most = 0, 0
    for part in parts:
        there = (
            sum(f.stat().st_size for f in (output / part.folder).glob("*"))
            if (output / part.folder).is_dir()
            else 0
        )
        files = [_archive(part, output), _incomplete(part, output)]
        fetched = sum(f.stat().st_size for f in files if f.exists())
        archive = part.size - fetched
        # Images do not shrink in an archive; annotations unpack to about three times its size.
        content = max(0, part.size * (3 if part.folder == "annotations" else 1) - there)
        most = max(most, come + archive + content)
        come += content + (archive if keep else -fetched)
    need, free = int(most * _SPARE), shutil.disk_usage(output).free
    if need > free:
        raise InputError(
            f"{output}: {free / 1e9:.1f} GB are free and {need / 1e9:.1f} needed; make room, or "
            "give another --output"
        )


def _archive(part: Part, output: Path) -> Path:
    return output / PurePosixPath(part.address).name


def _incomplete(part: Part, output: Path) -> Path:
    return output / f"{PurePosixPath(part.address).name}.part"


def _fetch_rest(address: str, part: Part, file: Path, on_progress: Callable[[int], None]) -> None:
    """Append the missing bytes of a file by one request.

    Raises:
        OSError, HTTPException: If the download breaks off.
        InputError: For an answer that is not part of the archive.
    """
    start = file.stat().st_size if file.exists() else 0
    request = urllib.request.Request(address, headers={"Range": f"bytes={start}-"} if start else {})
    with urllib.request.urlopen(request, timeout=_PATIENCE) as answer:
        length = answer.headers.get("Content-Length")
        if answer.status != 206:
            start = 0  # it sends everything again
        said = answer.headers.get("Content-Range", "")
        if answer.status == 206 and not said.startswith(f"bytes {start}-"):
            raise InputError(
                f"{address}: was asked for what comes after byte {start} and sends "
                f"{said or 'no range'}"
            )
        if length is not None and start + int(length) != part.size:
            raise InputError(
                f"{address}: is of {start + int(length):,} bytes there, COCO's is of "
                f"{part.size:,}; not that file"
            )
        on_progress(start)
        with file.open("r+b" if start else "wb") as out:
            out.seek(start)
            while block := answer.read(_BLOCK):
                if out.tell() + len(block) > part.size:
                    raise InputError(
                        f"{address}: sends more than the {part.size:,} bytes of COCO's; not that "
                        "file"
                    )
                out.write(block)
                on_progress(out.tell())


def download(address: str, part: Part, file: Path, retries: int, wait: float = 1.0) -> None:
    """Download and verify an archive, resuming from what is there.

    Raises:
        InputError: If it cannot be downloaded.
    """
    incomplete, failures = file.with_name(f"{file.name}.part"), 0
    with progress_bar(part.size, file.name, "B") as bar:

        def on_progress(received: int) -> None:
            bar.update(received - bar.n)

        while not incomplete.exists() or incomplete.stat().st_size < part.size:
            before = incomplete.stat().st_size if incomplete.exists() else 0
            try:
                _fetch_rest(address, part, incomplete, on_progress)
                cause = "it broke off"
            except urllib.error.HTTPError as error:
                if error.code < 500 and error.code != 429:
                    raise InputError(
                        f"{address}: the server says {error.code} {error.reason}"
                    ) from error
                cause = f"the server says {error.code} {error.reason}"
            except (OSError, HTTPException) as error:
                cause = str(getattr(error, "reason", error)) or type(error).__name__
            now = incomplete.stat().st_size if incomplete.exists() else 0
            failures = 0 if now > before else failures + 1
            if now < part.size:
                if failures > retries:
                    raise InputError(
                        f"{address}: {cause}; the same command goes on with the {now:,} bytes that "
                        "are there"
                    )
                time.sleep(wait * min(2**failures, 30))
    if _md5(incomplete) != part.md5:
        incomplete.unlink()
        raise InputError(
            f"{address}: came damaged (its MD5 is not COCO's) and is deleted; try again"
        )
    incomplete.rename(file)


def _md5(file: Path) -> str:
    total = hashlib.md5()
    with (
        file.open("rb") as content,
        progress_bar(file.stat().st_size, f"checking {file.name}", "B") as bar,
    ):
        while block := content.read(_BLOCK):
            total.update(block)
            bar.update(len(block))
    return total.hexdigest()


def unpack(file: Path, part: Part, output: Path) -> None:
    """Unpack the missing files of an archive, each atomically.

    Raises:
        InputError: For an archive with other files.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            members = [m for m in archive.infolist() if not m.is_dir()]
            for member in members:
                if PurePosixPath(member.filename).parts[:-1] != (part.folder,):
                    raise InputError(
                        f"{file}: holds {member.filename!r}, which is not in {part.folder}/"
                    )
            with progress_bar(len(members), f"unpacking {file.name}", "file") as bar:
                for member in members:
                    target = output / member.filename
                    if not target.exists() or target.stat().st_size != member.file_size:
                        write_atomically(target, archive.read(member), durable=False)
                    bar.update()
    except (zipfile.BadZipFile, zlib.error) as error:
        raise InputError(f"{file}: is damaged ({error}); delete it and try again") from error
    with status(f"waiting for the disk to hold {part.folder}"):
        os.sync()  # the archive may be deleted next
    sizes = {PurePosixPath(member.filename).name: member.file_size for member in members}
    write_atomically(_listing(part, output), json.dumps(sizes))


def main(options: Options) -> None:
    args = options.args
    for name in args.parts:
        if name not in PARTS:
            raise InputError(
                f"--parts={','.join(args.parts)}: there is no {name!r}; expected of "
                f"{', '.join(PARTS)}"
            )
    output = Path(args.output)
    output.mkdir(parents=True, exist_ok=True)
    missing = [PARTS[name] for name in args.parts if not unpacked(PARTS[name], output)]
    check_disk_space(missing, output, args.keep_archives)
    for part in missing:
        file = _archive(part, output)
        if not file.exists():
            download(f"{args.server.rstrip('/')}/{part.address}", part, file, args.retries)
        unpack(file, part, output)
        if not unpacked(part, output):
            raise InputError(
                f"{file}: holds fewer than {part.files} files; delete it and try again"
            )
        if not args.keep_archives:
            file.unlink()
    there = ", ".join(
        f"{output / PARTS[name].folder} ({PARTS[name].files:,} files)" for name in args.parts
    )
    print(f"there: {there}" if missing else f"already there, nothing to do: {there}")


if __name__ == "__main__":
    COMMAND.run(main)
