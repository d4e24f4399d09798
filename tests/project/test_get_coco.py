"""Download of COCO, from a local server with every fault."""

import hashlib
import io
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import numpy as np
import pytest

from tfcpn.commands import get_coco


def archive(folder, count) -> bytes:
    """A zip of files of noise, which do not compress."""
    content, rng = io.BytesIO(), np.random.default_rng(count)
    with zipfile.ZipFile(content, "w") as made:
        for number in range(count):
            made.writestr(f"{folder}/{number:012d}.jpg", rng.bytes(20_000))
    return content.getvalue()


@pytest.fixture
def coco(monkeypatch, tmp_path, command):
    """A small COCO, a server of it, and the tool.

    `server.faults`: the next responses, by name; `asked`: requested ranges.
    """
    files = {
        "zips/train2017.zip": archive("train2017", 6),
        "zips/val2017.zip": archive("val2017", 3),
    }
    files["annotations/a.zip"] = archive("annotations", 2)
    names = {
        "annotations": ("annotations/a.zip", 2),
        "val": ("zips/val2017.zip", 3),
        "train": ("zips/train2017.zip", 6),
    }
    parts = {
        name: get_coco.Part(
            address,
            len(files[address]),
            hashlib.md5(files[address]).hexdigest(),
            "annotations" if name == "annotations" else f"{name}2017",
            count,
            "*.jpg",
        )
        for name, (address, count) in names.items()
    }
    monkeypatch.setattr(get_coco, "PARTS", parts)
    state = SimpleNamespace(faults=[], asked=[], parts=parts, output=tmp_path / "coco")

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_):
            pass

        def do_GET(self):
            content, fault = files[self.path[1:]], state.faults.pop(0) if state.faults else ""
            asked = self.headers.get("Range")
            state.asked.append((self.path, asked))
            if fault.isdigit():
                self.send_error(int(fault))
                return
            start = int(asked.split("=")[1].rstrip("-")) if asked and fault != "no ranges" else 0
            body = content[start:]
            self.send_response(206 if asked and fault != "no ranges" else 200)
            if asked and fault != "no ranges":
                begin = 5 if fault == "another range" else start
                self.send_header(
                    "Content-Range", f"bytes {begin}-{len(content) - 1}/{len(content)}"
                )
            if fault == "damaged":
                body = bytes([body[0] ^ 1]) + body[1:]
            if fault not in ("no length", "too much"):
                self.send_header("Content-Length", str(len(body) + (7 if fault == "lies" else 0)))
            self.end_headers()
            self.wfile.write(
                body[: len(body) // 2]
                if fault == "breaks off"
                else body + b"x" * (9 * (fault == "too much"))
            )

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setattr(get_coco.time, "sleep", lambda seconds: None)

    def get(*arguments, check=True):
        where = f"--output={state.output}", f"--server=http://127.0.0.1:{server.server_port}/"
        return command("tools/get_coco.py", *where, *arguments, check=check)

    state.get = get
    yield state
    server.shutdown()
    server.server_close()


def files_of(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("[!.]*") if path.is_file())


WHOLE = [f"annotations/{n:012d}.jpg" for n in range(2)] + [
    f"train2017/{n:012d}.jpg" for n in range(6)
]
WHOLE += [f"val2017/{n:012d}.jpg" for n in range(3)]


def test_each_file_is_downloaded_once(coco):
    assert "there: " in coco.get().out
    assert files_of(coco.output) == WHOLE and len(coco.asked) == 3
    assert "already there, nothing to do" in coco.get().out and len(coco.asked) == 3
    for file in (coco.output / "val2017").iterdir():
        file.unlink()
    coco.get()
    assert files_of(coco.output) == WHOLE and len(coco.asked) == 4


def test_empty_files_are_not_taken_for_complete(coco):
    """As after a power failure: names without content."""
    coco.get()
    victim = sorted((coco.output / "val2017").iterdir())[1]
    victim.write_bytes(b"")
    coco.asked.clear()
    coco.get()
    assert victim.stat().st_size == 20_000 and [path for path, _ in coco.asked] == [
        "/zips/val2017.zip"
    ]
    victim.write_bytes(b"other")
    coco.get()
    assert victim.stat().st_size == 20_000


def test_files_are_synced_before_the_archive_is_deleted(coco, monkeypatch):
    done, remove = [], type(coco.output).unlink
    monkeypatch.setattr(get_coco.os, "sync", lambda: done.append("sync"))

    def unlink(path, *how, **more):
        done.append(path.name)
        return remove(path, *how, **more)

    monkeypatch.setattr(type(coco.output), "unlink", unlink)
    coco.get("--parts=val")
    assert done.index("sync") < done.index("val2017.zip")


def test_selected_parts_and_archives_are_downloaded(coco):
    coco.get("--parts=val", "--keep_archives")
    assert files_of(coco.output) == ["val2017.zip"] + [f"val2017/{n:012d}.jpg" for n in range(3)]
    # Unpacked again from the existing archive.
    (coco.output / "val2017" / "000000000001.jpg").unlink()
    coco.get("--parts=val")
    assert (
        files_of(coco.output) == [f"val2017/{n:012d}.jpg" for n in range(3)]
        and len(coco.asked) == 1
    )


def test_an_interrupted_download_resumes(coco):
    coco.faults += ["breaks off", "breaks off", "503"]
    coco.get("--parts=train")
    ranges = [asked for _, asked in coco.asked]
    half = coco.parts["train"].size // 2
    assert (
        ranges[0] is None
        and ranges[1] == f"bytes={half}-"
        and len(ranges) == 4
        and ranges[2] == ranges[3]
    )
    assert len(files_of(coco.output)) == 6


def test_a_later_call_resumes_the_download(coco):
    coco.faults += ["breaks off", *["503"] * 3]
    failed = coco.get("--parts=train", "--retries=2", check=False)
    half = coco.parts["train"].size // 2
    assert (
        failed.status == 1
        and f"503 Service Unavailable; the same command goes on with the {half:,} bytes"
        in failed.err
    )
    assert files_of(coco.output) == ["train2017.zip.part"]
    coco.get("--parts=train")
    assert coco.asked[-1][1] == f"bytes={half}-" and len(files_of(coco.output)) == 6


def test_a_server_without_ranges_sends_the_whole_file_again(coco):
    coco.faults += ["breaks off", "no ranges"]
    coco.get("--parts=train")
    assert len(files_of(coco.output)) == 6


@pytest.mark.parametrize(
    "faults, printed",
    [
        (["404"], "the server says 404 Not Found"),
        (["lies"], "bytes there, COCO's is of"),
        (["too much"], "sends more than the"),
        (["breaks off", "another range"], "and sends bytes 5-"),
        (["damaged"], "came damaged"),
        (["503"] * 9, "the server says 503 Service Unavailable"),
    ],
)
def test_a_wrong_archive_is_reported_in_one_line_and_not_unpacked(coco, faults, printed):
    coco.faults += faults
    failed = coco.get("--parts=val", "--retries=3", check=False)
    assert failed.status == 1 and printed in failed.err.strip().splitlines()[-1]
    assert not (coco.output / "val2017").exists() and not (coco.output / "val2017.zip").exists()
    coco.faults.clear()
    if printed == "came damaged":
        coco.get("--parts=val")
        assert len(files_of(coco.output)) == 3


def test_an_unreachable_server_is_reported(coco, command):
    failed = command(
        "tools/get_coco.py",
        f"--output={coco.output}",
        "--server=http://127.0.0.1:9",
        "--retries=1",
        check=False,
    )
    assert failed.status == 1 and "refused" in failed.err


def test_a_disk_that_is_too_small_is_reported_before_any_request(coco, monkeypatch):
    monkeypatch.setattr(get_coco.shutil, "disk_usage", lambda folder: SimpleNamespace(free=200_000))
    failed = coco.get(check=False)
    assert failed.status == 1 and "0.0 GB are free" in failed.err and not coco.asked


def test_an_archive_with_paths_outside_the_folder_is_refused(coco):
    coco.output.mkdir()
    with zipfile.ZipFile(coco.output / "val2017.zip", "w") as made:
        made.writestr("val2017/../../evil.jpg", b"x")
    failed = coco.get("--parts=val", check=False)
    assert failed.status == 1 and "which is not in val2017/" in failed.err
    assert not (coco.output.parent / "evil.jpg").exists()


def test_the_published_sizes_are_those_of_coco():
    """Names are those of the reference sets; totals are those of the README."""
    from importlib import reload

    parts = reload(get_coco).PARTS
    assert sum(part.size for part in parts.values()) == pytest.approx(20.4e9, rel=0.01)
    assert {name: part.files for name, part in parts.items()} == {
        "annotations": 6,
        "val": 5000,
        "train": 118287,
    }


def test_an_unknown_part_is_reported(coco):
    failed = coco.get("--parts=test", check=False)
    assert (
        failed.status == 1
        and "there is no 'test'; expected of annotations, val, train" in failed.err
    )
