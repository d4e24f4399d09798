"""Videos read and written: sound, rotation, interruptions."""

import os
import subprocess
import sys

import cv2
import numpy as np
import pytest

from support.photos import photo
from tfcpn.inference import video
from tfcpn.inference.video import VideoReader, VideoWriter, ffmpeg
from tfcpn.utils.errors import InputError


@pytest.fixture
def with_ffmpeg(installed_ffmpeg):
    """The path of an installed ffmpeg."""
    return ffmpeg(os.environ["PATH"])


@pytest.fixture
def without_ffmpeg(monkeypatch, tmp_path):
    monkeypatch.setattr(video, "_packaged_ffmpeg", lambda: None)
    monkeypatch.setenv("PATH", str(tmp_path))


FRAMES = [photo(48, 80, seed) for seed in range(12)]


def write(path, rate=25.0, **how):
    with VideoWriter(path, rate, **how) as video:
        for frame in FRAMES:
            video.add(frame)


def read(path):
    with VideoReader(str(path)) as video:
        return video, list(video)


@pytest.mark.parametrize("name", ["a.mp4", "a.avi", "a.webm", "a.mkv"])
@pytest.mark.parametrize("program", ["with_ffmpeg", "without_ffmpeg"])
def test_frames_are_read_in_order_with_timestamps(tmp_path, request, name, program):
    request.getfixturevalue(program)
    write(tmp_path / name)
    video, frames = read(tmp_path / name)
    assert video.rate == pytest.approx(25, abs=0.01)
    assert [seconds for _, seconds in frames] == pytest.approx([n / 25 for n in range(12)])
    away = np.array([[np.abs(a.astype(int) - b).mean() for b in FRAMES] for a, _ in frames])
    assert away.argmin(axis=1).tolist() == list(range(12))


def test_sound_and_rotation_are_kept(tmp_path, with_ffmpeg):
    def run(*arguments):
        return subprocess.run(
            [with_ffmpeg, "-y", *map(str, arguments)], capture_output=True, text=True, check=False
        ).stderr

    write(tmp_path / "silent.mp4")
    sound = ["-f", "lavfi", "-i", "sine=frequency=440:duration=0.48", "-shortest"]
    run("-i", tmp_path / "silent.mp4", *sound, "-c:v", "copy", tmp_path / "loud.mp4")
    run(
        "-display_rotation",
        "90",
        "-i",
        tmp_path / "loud.mp4",
        "-c",
        "copy",
        tmp_path / "turned.mp4",
    )
    assert "Audio: aac" in run("-i", tmp_path / "turned.mp4")
    _, frames = read(tmp_path / "turned.mp4")
    assert frames[0][0].shape == (80, 48, 3)
    with VideoWriter(tmp_path / "out.mp4", 25.0, str(tmp_path / "turned.mp4")) as video:
        for frame, _ in frames:
            video.add(frame)
    printed = run("-i", tmp_path / "out.mp4")
    assert "Audio: aac" in printed and "Video: h264" in printed and "48x80" in printed
    assert read(tmp_path / "out.mp4")[1][0][0].shape == (80, 48, 3)


def test_an_interrupted_video_leaves_no_file(tmp_path, without_ffmpeg):
    with pytest.raises(KeyboardInterrupt), VideoWriter(tmp_path / "a.mp4", 25.0) as video:
        video.add(FRAMES[0])
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_frames_are_drawn_in_the_writer_thread(tmp_path, without_ffmpeg):
    def draw(frame, gray):
        frame[:] = gray

    with VideoWriter(tmp_path / "a.mp4", 25.0, draw=draw) as video:
        for gray in range(0, 240, 20):
            video.add(FRAMES[0].copy(), gray)
    means = [frame.mean() for frame, _ in read(tmp_path / "a.mp4")[1]]
    assert means == pytest.approx(list(range(0, 240, 20)), abs=6)


def test_sound_that_the_output_format_cannot_hold_is_reencoded(tmp_path, with_ffmpeg):
    arguments = [
        "-f",
        "lavfi",
        "-i",
        "testsrc=size=64x48:rate=25:duration=0.4",
        "-f",
        "lavfi",
        "-i",
        "sine=duration=0.4",
    ]
    source = tmp_path / "a 12:30.wmv"
    arguments += ["-c:v", "wmv2", "-c:a", "wmav2", f"file:{source}"]
    made = subprocess.run(
        [with_ffmpeg, "-y", *arguments], capture_output=True, text=True, check=False
    )
    assert source.exists(), made.stderr[-500:]
    with VideoWriter(tmp_path / "out.mp4", 25.0, str(source)) as video:
        for frame in FRAMES[:10]:
            video.add(frame)
    printed = subprocess.run(
        [with_ffmpeg, "-i", str(tmp_path / "out.mp4")], capture_output=True, text=True, check=False
    )
    assert "Audio: aac" in printed.stderr


def test_an_interrupt_of_the_terminal_does_not_reach_ffmpeg(tmp_path, with_ffmpeg):
    """Ctrl-C goes to the whole process group: a recording from a camera would end with an error."""
    code = (
        "import os, signal, sys, time, numpy as np; from tfcpn.inference.video import VideoWriter\n"
        "with VideoWriter(sys.argv[1], 25.0) as video:\n"
        "    try:\n"
        "        for n in range(40): video.add(np.zeros((48, 64, 3), np.uint8))\n"
        "        time.sleep(0.5); os.killpg(0, signal.SIGINT); time.sleep(5)\n"
        "    except KeyboardInterrupt:\n"
        "        pass\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "a.mp4")],
        start_new_session=True,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert len(read(tmp_path / "a.mp4")[1]) == 40


def test_an_ffmpeg_with_much_output_does_not_block(tmp_path, monkeypatch):
    (tmp_path / "bin").mkdir()
    loud = tmp_path / "bin" / "ffmpeg"
    loud.write_text(
        f"#!{sys.executable}\nimport sys\nif '-encoders' in sys.argv: print('libx264'); "
        "sys.exit()\n"
        "sys.stderr.write('word ' * 60000 + 'the last'); sys.stdin.buffer.read(); sys.exit(3)\n"
    )
    loud.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    with pytest.raises(InputError, match=r"cannot be written \(ffmpeg: .*the last"):
        write(tmp_path / "a.mp4")
    assert not (tmp_path / "a.mp4").exists()


@pytest.mark.parametrize("error", [ValueError, MemoryError, KeyError])
@pytest.mark.parametrize("when", [2, 11])
def test_a_failed_thread_is_reported_and_leaves_no_partial_file(
    tmp_path, without_ffmpeg, error, when
):
    def draw(frame, number):
        if number == when:
            raise error("broken")

    with (
        pytest.raises(InputError, match="cannot be written"),
        VideoWriter(tmp_path / "a.mp4", 25.0, draw=draw) as video,
    ):
        for number, frame in enumerate(FRAMES):
            video.add(frame, number)
    assert not list(tmp_path.glob("*.mp4")) and not list(tmp_path.glob(".*"))


def test_a_reader_that_fails_is_reported(tmp_path, without_ffmpeg, monkeypatch):
    write(tmp_path / "a.avi")
    reader = VideoReader(str(tmp_path / "a.avi"))
    frames = iter(reader)
    next(frames)
    with reader:
        pass
    broken = type("Broken", (), {"read": lambda self: 1 / 0, "isOpened": lambda self: True})
    broken.get = broken.set = lambda self, *what: 10
    broken.release, broken.grab = lambda self: None, lambda self: False
    monkeypatch.setattr(cv2, "VideoCapture", lambda path: broken())
    with (
        pytest.raises(InputError, match=r"a.avi: cannot be decoded \(division by zero\)"),
        VideoReader(str(tmp_path / "a.avi")) as video,
    ):
        list(video)


def test_a_playlist_is_refused_as_a_video(tmp_path):
    (tmp_path / "a.mp4").write_text("#EXTM3U\n#EXTINF:1,\n/etc/passwd\n")
    with pytest.raises(InputError, match="it is a list of others"):
        VideoReader(str(tmp_path / "a.mp4"))


def test_temporary_files_of_a_killed_process_are_deleted(tmp_path, without_ffmpeg):
    (tmp_path / ".a.4711.tmp.avi").touch()
    write(tmp_path / "a.avi")
    assert [path.name for path in tmp_path.iterdir()] == ["a.avi"]


def test_a_writer_that_fails_is_reported(tmp_path, with_ffmpeg):
    with (
        pytest.raises(InputError, match=r"a.mp4: cannot be written \(ffmpeg"),
        VideoWriter(tmp_path / "a.mp4", 25.0, str(tmp_path / "no.mp4")) as video,
    ):
        for _ in range(100):
            video.add(FRAMES[0])
    assert not (tmp_path / "a.mp4").exists()


@pytest.mark.parametrize(
    "name, printed", [("no.mp4", "not found"), ("text.mp4", "cannot be read as a video")]
)
def test_an_invalid_video_is_reported(tmp_path, name, printed):
    (tmp_path / "text.mp4").write_text("no video")
    with pytest.raises(InputError, match=printed):
        VideoReader(str(tmp_path / name))
    with pytest.raises(InputError, match="expected a name that ends in .mp4"):
        VideoWriter(tmp_path / "a.txt", 25.0)


def test_a_missing_camera_is_reported():
    with pytest.raises(InputError, match="99: there is no such camera"):
        VideoReader("99")


def test_reading_may_stop_at_any_frame(tmp_path, without_ffmpeg):
    write(tmp_path / "a.avi")
    with VideoReader(str(tmp_path / "a.avi")) as video:
        next(iter(video))
    assert cv2.VideoCapture(str(tmp_path / "a.avi")).read()[0]


def test_the_ffmpeg_of_imageio_is_used_where_none_is_on_the_path(tmp_path):
    imageio_ffmpeg = pytest.importorskip("imageio_ffmpeg")
    ffmpeg.cache_clear()
    assert ffmpeg(str(tmp_path)) == imageio_ffmpeg.get_ffmpeg_exe()
    ffmpeg.cache_clear()


def test_without_any_ffmpeg_it_is_said_once_that_browsers_do_not_play_it(
    tmp_path, without_ffmpeg, caplog
):
    video._warn_without_ffmpeg.cache_clear()
    for name in ("a.mp4", "b.mp4", "c.webm"):
        video.open_sink(tmp_path / name, (32, 48), 25.0, None, cut=False).close()
    assert sum("which browsers do not play" in message for message in caplog.messages) == 1
