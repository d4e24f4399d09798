"""Videos of variable frame rate: their timestamps count in results, smoothing and output."""

import json
import subprocess

import cv2
import numpy as np
import pytest

from support.walking import KnowingPose, standing
from tfcpn.inference.batch import BatchPredictor, InputFile, Journal, PredictOptions
from tfcpn.inference.video import VideoReader, VideoWriter

# Like the recording of a browser: about 30 frames per second, with two longer gaps.
WAITS = [33, 34, 33, 66, 33, 33, 34, 200, 33, 34, 33, 33, 34, 33, 33, 34, 33, 33, 34, 33]
TIMES = np.concatenate([[0], np.cumsum(WAITS)]) / 1000


@pytest.fixture
def ffmpeg(installed_ffmpeg):
    """Run ffmpeg with these arguments; it is on the PATH as well."""
    return lambda *arguments: subprocess.run(
        [installed_ffmpeg, "-y", "-loglevel", "error", *map(str, arguments)], check=True
    )


def recorded(ffmpeg, path, times=TIMES, size=(48, 64), *more):
    """Write a video with these timestamps in seconds; the brightness of a frame is the frame
    number.
    """
    folder = path.with_suffix("")
    folder.mkdir()
    lines = ["ffconcat version 1.0"]
    ends = [*times[1:], times[-1] + 0.033]
    for number, (start, end) in enumerate(zip(times, ends)):
        cv2.imwrite(str(folder / f"{number}.png"), np.full((*size, 3), 10 * number + 20, np.uint8))
        # Image inputs have 25 frames per second, and timestamps would be rounded to that rate.
        lines += [
            f"file {folder}/{number}.png",
            "option framerate 1000",
            f"duration {end - start:.6f}",
        ]
    (folder / "list").write_text("\n".join(lines))
    arguments = [
        "-f",
        "concat",
        "-safe",
        "0",
        "-i",
        folder / "list",
        "-fps_mode",
        "passthrough",
        *more,
    ]
    ffmpeg(*arguments, path)
    return path


def frames_of(path):
    with VideoReader(str(path)) as video:
        found = list(video)
    return (
        video,
        [round((image.mean() - 20) / 10) for image, _ in found],
        [seconds for _, seconds in found],
    )


@pytest.mark.parametrize("name", ["a.webm", "a.mkv", "a.ts", "a.mp4", "a.mov"])
def test_frames_have_recorded_timestamps(ffmpeg, tmp_path, name):
    video, numbers, seconds = frames_of(recorded(ffmpeg, tmp_path / name))
    assert numbers == list(range(len(TIMES)))
    assert seconds == pytest.approx(TIMES.tolist(), abs=0.02)
    assert video.rate == pytest.approx(30, abs=1) and video.aspect == (1, 1)


def test_a_rate_below_one_frame_per_second_is_valid(ffmpeg, tmp_path):
    times = np.arange(5) * 2.5
    video, _, seconds = frames_of(recorded(ffmpeg, tmp_path / "slow.mkv", times))
    assert seconds == pytest.approx(times.tolist(), abs=0.02) and video.rate == pytest.approx(
        0.4, rel=0.05
    )


class Walker(KnowingPose):
    """Stand-in for Pose: the one person of a recorded frame walks at 60 pixels per second."""

    @staticmethod
    def number(image) -> int:
        return round((float(image.mean()) - 20) / 10)


def predict(path, folder, name, **how):
    pose = Walker(lambda number: [standing(100 + 60 * float(TIMES[number]))])
    source = InputFile(str(path), name, True)
    journal = Journal(folder, {}, {name: str(path)})
    return BatchPredictor(
        pose, [source], str(folder), PredictOptions(draw=True, detect_every=1, **how), journal
    ).run()


def test_a_browser_recording_is_predicted_smoothed_and_drawn_by_timestamps(ffmpeg, tmp_path):
    """The header says 1000 frames per second, so that one second would last 20 milliseconds."""
    path = recorded(ffmpeg, tmp_path / "a.webm", TIMES, (400, 640), "-enc_time_base", "1:1000")
    done = predict(path, tmp_path / "out", "a.webm")
    assert not done.failed, done.failed
    data = json.loads((tmp_path / "out" / "results.json").read_text())
    assert [image["seconds"] for image in data["images"]] == pytest.approx(
        TIMES.tolist(), abs=0.003
    )
    noses = [annotation["keypoints"][0] for annotation in data["annotations"]]
    # A person who walks evenly is smoothed to the true position, except for a delay of less than a
    # frame.
    assert np.abs(np.array(noses) - (100 + 60 * TIMES)).max() < 60 * 0.1
    _, numbers, seconds = frames_of(tmp_path / "out" / "a.webm")
    assert seconds[-1] == pytest.approx(TIMES[-1], abs=0.05)
    # The drawn video shows the frame of the recording at each time.
    for time in (0.02, 0.3, 0.45, 0.6):
        shown = numbers[np.searchsorted(seconds, time, "right") - 1]
        assert abs(shown - (np.searchsorted(TIMES, time, "right") - 1)) <= 1


def test_a_truncated_video_is_reported_with_the_time(ffmpeg, tmp_path):
    path = tmp_path / "whole.mp4"
    ffmpeg(
        "-f",
        "lavfi",
        "-i",
        "testsrc=size=320x240:rate=30:duration=4",
        "-movflags",
        "faststart",
        path,
    )
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 2 // 3])
    pose = KnowingPose(lambda number: [])
    journal = Journal(tmp_path / "out", {}, {"whole.mp4": str(path)})
    done = BatchPredictor(
        pose,
        [InputFile(str(path), "whole.mp4", True)],
        str(tmp_path / "out"),
        PredictOptions(draw=False),
        journal,
    ).run()
    assert (
        len(done.failed) == 1
        and " seconds" in done.failed[0]
        and "breaks off after" in done.failed[0]
    )


@pytest.mark.parametrize("name", ["a.mkv", "a.ts", "a.mp4"])
def test_a_video_with_longer_sound_is_complete(ffmpeg, tmp_path, name):
    image = ["-f", "lavfi", "-i", "testsrc=size=64x48:rate=25:duration=1"]
    ffmpeg(*image, "-f", "lavfi", "-i", "sine=duration=3", "-c:a", "aac", tmp_path / name)
    source, journal = (
        InputFile(str(tmp_path / name), name, True),
        Journal(tmp_path / "out", {}, {name: str(tmp_path / name)}),
    )
    done = BatchPredictor(
        KnowingPose(lambda number: []),
        [source],
        str(tmp_path / "out"),
        PredictOptions(draw=False),
        journal,
    ).run()
    assert not done.failed and done.files == 1


def test_a_gif_with_a_long_last_frame_is_complete(ffmpeg, tmp_path):
    recorded(ffmpeg, tmp_path / "a.gif", np.array([0, 0.1, 0.2, 0.3, 3.0]))
    source, journal = (
        InputFile(str(tmp_path / "a.gif"), "a.mp4", True),
        Journal(tmp_path / "out", {}, {}),
    )
    done = BatchPredictor(
        KnowingPose(lambda number: []),
        [source],
        str(tmp_path / "out"),
        PredictOptions(draw=False),
        journal,
    ).run()
    assert not done.failed


def test_a_frame_is_shown_from_the_timestamp_on_and_not_before(ffmpeg, tmp_path):
    """Also after a long wait: the later frame must not fill the time before it."""
    times = np.array([0, 0.1, 0.2, 0.3, 2.3, 2.4])
    path = recorded(ffmpeg, tmp_path / "a.mkv", times, (400, 640))
    pose = Walker(lambda number: [])
    journal = Journal(tmp_path / "out", {}, {"a.mkv": str(path)})
    assert (
        not BatchPredictor(
            pose,
            [InputFile(str(path), "a.mkv", True)],
            str(tmp_path / "out"),
            PredictOptions(),
            journal,
        )
        .run()
        .failed
    )
    _, numbers, seconds = frames_of(tmp_path / "out" / "a.mkv")
    for time in (0.05, 0.15, 0.25, 0.5, 1.3, 2.2, 2.35):
        shown = numbers[np.searchsorted(seconds, time, "right") - 1]
        assert shown == np.searchsorted(times, time, "right") - 1, time


@pytest.mark.parametrize("name", ["a.mp4", "a.webm", "a.mkv"])
def test_odd_sides_stay_odd(ffmpeg, tmp_path, name):
    with VideoWriter(tmp_path / name, 25.0) as video:
        for number in range(5):
            video.add(np.full((241, 321, 3), 40 * number, np.uint8))
    capture = cv2.VideoCapture(str(tmp_path / name))
    assert capture.read()[1].shape == (241, 321, 3)


def test_the_pixel_aspect_ratio_is_kept(ffmpeg, tmp_path):
    source = ["-f", "lavfi", "-i", "testsrc=size=64x48:rate=25:duration=0.4"]
    ffmpeg(*source, "-vf", "setsar=4/3", tmp_path / "wide.mp4")
    with VideoReader(str(tmp_path / "wide.mp4")) as video:
        assert video.aspect == (4, 3)
        with VideoWriter(tmp_path / "out.mp4", video.rate, aspect=video.aspect) as out:
            for image, _ in video:
                out.add(image)
    with VideoReader(str(tmp_path / "out.mp4")) as video:
        assert video.aspect == (4, 3)


def test_a_colon_in_a_name_is_not_a_protocol(ffmpeg, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    ffmpeg("-f", "lavfi", "-i", "testsrc=size=64x48:rate=25:duration=0.2", "file:take1:30.mp4")
    assert len(frames_of("take1:30.mp4")[1]) == 5


def test_av1_is_reported_in_one_line_with_a_remedy(ffmpeg, tmp_path, capfd):
    try:
        source = ["-f", "lavfi", "-i", "testsrc=size=64x64:rate=25:duration=0.2"]
        ffmpeg(*source, "-c:v", "libaom-av1", tmp_path / "a.mp4")
    except subprocess.CalledProcessError:
        pytest.skip("this ffmpeg writes no AV1")
    capfd.readouterr()
    journal = Journal(tmp_path / "out", {}, {"a.mp4": str(tmp_path / "a.mp4")})
    source = InputFile(str(tmp_path / "a.mp4"), "a.mp4", True)
    done = BatchPredictor(
        KnowingPose(lambda number: []),
        [source],
        str(tmp_path / "out"),
        PredictOptions(draw=False),
        journal,
    ).run()
    if not done.failed:
        pytest.skip("this OpenCV reads AV1")
    assert (
        "a.mp4: OpenCV decodes no AV1; convert it first: ffmpeg -i INPUT -c:v libx264 OUTPUT.mp4"
        in done.failed[0]
    )
    lines = [
        line for line in capfd.readouterr().err.splitlines() if line.strip() and "%|" not in line
    ]
    assert len(lines) <= 1
