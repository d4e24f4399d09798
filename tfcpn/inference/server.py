"""A page on this computer that shows poses of an uploaded image or short video."""

from __future__ import annotations

import copy
import functools
import json
import secrets
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from tfcpn.data.images import read_image
from tfcpn.inference.batch import PredictOptions, media_type
from tfcpn.inference.detectors import Detector, full_image_box
from tfcpn.inference.estimator import Person
from tfcpn.inference.outputs import TAG_COLORS, draw_people, is_unsure, results, to_coco
from tfcpn.inference.pose import Pose
from tfcpn.inference.tracker import Tracker
from tfcpn.inference.video import VideoReader, VideoWriter, hold, no_frame
from tfcpn.skeleton import Skeleton
from tfcpn.utils.errors import InputError
from tfcpn.visualization import LEFT, MIDDLE, RIGHT

HOST = "127.0.0.1"  # this computer only
NAMES = (HOST, "localhost")  # host names that a browser may use; other sites' pages are refused
_MISSING = "--serve needs Flask and waitress; pip install 'tfcpn[serve]'"
PAGE = Path(__file__).parent / "page" / "index.html"
# Uploads whose drawn files and frames can be fetched.
KEPT = 3
# Longer side of the frames that the page shows of a video that the browser does not play.
_FRAME_SIDE = 960
_LOADED = 8  # detectors, each with a threshold
# Seconds between reports of progress.
_REPORT_SECONDS = 0.2
# The detectors to choose from: name -> function from a pose and a threshold to the detector.
Detectors = Mapping[str, Callable[[Pose, float | None], Detector]]


class Limits(NamedTuple):
    """Limits of uploads.

    Attributes:
        megabytes: Size of an upload.
        frames: Frames of a video.
    """

    megabytes: int = 50
    frames: int = 900


def sides(skeleton: Skeleton, *keypoints: int) -> str:
    """Return "left", "right" or "middle", of a keypoint or of all of several."""
    for side in (0, 1):
        if {pair[side] for pair in skeleton.pairs}.issuperset(keypoints):
            return ("left", "right")[side]
    return "middle"


def _person_json(person: Person) -> dict:
    """Return what the page draws of a person; missing keypoints are null, as JSON has no NaN."""
    keypoints = [
        [round(x, 2), round(y, 2)] if np.isfinite(x) else None for x, y in person.keypoints.tolist()
    ]
    return {
        "track_id": person.track_id,
        "score": round(float(person.score), 4),
        "keypoints": keypoints,
        "scores": np.round(person.scores.astype(float), 4).tolist(),
        "confidence": np.round(person.confidence.astype(float), 4).tolist(),
        "box": [round(value, 2) for value in person.box],
        "size": round(float(person.region[2:4].mean()), 2),
        "unsure": is_unsure(person),
    }


class Upload:
    """An uploaded file in a folder of its own, and what is made of it there."""

    def __init__(self, name: str):
        """Make the folder.

        Args:
            name: The file's name in the browser, which only decides the type of the file.
        """
        self.name, self.token = name, secrets.token_urlsafe(16)
        self.is_video = media_type(name) == "video"
        self._folder, self._lock = tempfile.TemporaryDirectory(), threading.Lock()
        self._is_closed = False
        folder = Path(self._folder.name)
        self.path = str(folder / f"upload{Path(name).suffix.lower()}")
        self.drawn = folder / ("drawn.mp4" if self.is_video else "drawn.png")

    def close(self) -> None:
        """Delete the folder."""
        with self._lock:
            self._is_closed = True
            self._folder.cleanup()

    def frame(self, number: int) -> Path | None:
        """Return a frame of a video as a JPEG; all are read at the first call."""
        folder = Path(self._folder.name) / "frames"
        with self._lock:
            if self._is_closed:
                return None
            if not folder.exists():
                self._write_frames(folder)
        file = folder / f"{number}.jpg"
        return file if file.exists() else None

    def _write_frames(self, folder: Path) -> None:
        part = folder.with_suffix(".part")
        part.mkdir(exist_ok=True)
        with VideoReader(self.path) as video:
            for place, (image, _) in enumerate(video):
                scale = min(1.0, _FRAME_SIDE / max(image.shape[:2]))
                image = cv2.resize(image, None, fx=scale, fy=scale)
                cv2.imwrite(str(part / f"{place}.jpg"), image)
        part.rename(folder)


class Uploads:
    """The last uploads by token."""

    def __init__(self):
        self._kept: dict[str, Upload] = {}
        self._lock = threading.Lock()

    def keep(self, upload: Upload) -> None:
        """Keep an upload, and delete the oldest if there are too many."""
        with self._lock:
            self._kept[upload.token] = upload
            old = [self._kept.pop(token) for token in list(self._kept)[:-KEPT]]
        for each in old:
            each.close()

    def find(self, token: str) -> Upload | None:
        """Return an upload, if it is still kept."""
        return self._kept.get(token)

    def close(self) -> None:
        """Delete all."""
        with self._lock:
            old = list(self._kept.values())
            self._kept.clear()
        for upload in old:
            upload.close()


class Progress(NamedTuple):
    """Progress of a prediction.

    Attributes:
        done: Number of finished frames.
        total: Approximate number of all; 0 if unknown.
        seconds: Time taken so far.
    """

    done: int
    total: int
    seconds: float


def predict_upload(
    choose: Callable[[], Pose], upload: Upload, options: PredictOptions, limits: Limits
) -> Iterator[Progress | dict]:
    """Yield the progress of predicting an upload, and at last the page's data.

    Args:
        choose: Returns the pose; it may load a detector.
        upload: The file.
        options: Options of the prediction.
        limits: Limits of uploads.

    Raises:
        InputError: If the file is unreadable or too long, or a detector cannot be loaded.
    """
    start = time.monotonic()
    yield Progress(0, 1, 0.0)
    pose = choose()
    skeleton = pose.people_skeleton
    if not upload.is_video:
        image = read_image(upload.path)
        people = pose(image)
        draw_people(image, people, skeleton)
        cv2.imwrite(str(upload.drawn), image)
        shown, times, size = [people], [0.0], image.shape[:2]
    else:
        shown, times, size = [], [], (0, 0)
        for people, seconds, shape, total in _frames(pose, upload, options, limits):
            shown.append(people)
            times.append(seconds)
            size = shape
            yield Progress(len(shown), total, time.monotonic() - start)
    place = {"height": size[0], "width": size[1]}
    frames = []
    for number, people in enumerate(shown):
        when = {"frame": number, "seconds": round(times[number], 4)} if upload.is_video else {}
        frames.append({**place, **when, "people": [to_coco(person) for person in people]})
    records = [{"name": upload.name, "video": upload.is_video}]
    yield {
        **place,
        "token": upload.token,
        "video": upload.is_video,
        "keypoints": list(pose.keypoint_names),
        "sides": [sides(skeleton, keypoint) for keypoint in range(skeleton.num_keypoints)],
        "limbs": [[a, b, sides(skeleton, a, b)] for a, b in skeleton.limbs],
        "frames": [
            {"seconds": round(seconds, 4), "people": [_person_json(person) for person in people]}
            for seconds, people in zip(times, shown)
        ],
        "results": json.loads("".join(results(records, lambda record: frames, skeleton))),
        "seconds": time.monotonic() - start,
    }


def _frames(
    pose: Pose, upload: Upload, options: PredictOptions, limits: Limits
) -> Iterator[tuple[list[Person], float, tuple[int, int], int]]:
    """Yield people, seconds, (height, width) and number of frames of a video; draw it meanwhile."""
    tracker = Tracker(pose, options.detect_every, options.smooth, options.track_timeout)
    count, written, skeleton, held = 0, 0, pose.people_skeleton, None
    with (
        VideoReader(upload.path) as video,
        VideoWriter(
            upload.drawn,
            video.rate,
            upload.path,
            draw=lambda image, people: draw_people(image, people, skeleton),
            aspect=video.aspect,
        ) as drawn,
    ):
        for image, seconds in video:
            if count == limits.frames:
                raise InputError(
                    f"has more than {limits.frames} frames; cut it, or start with a larger "
                    "--max_frames"
                )
            people = tracker(image, seconds)
            written += hold(drawn, held, seconds, video.rate, written)
            held = image, people
            count += 1
            yield people, seconds, image.shape[:2], min(video.count, limits.frames)
        if not count:
            raise InputError(no_frame(upload.path, video.codec))
        drawn.add(*held)


def _answer(
    work: Iterator[Progress | dict], upload: Upload, uploads: Uploads, is_gone: Callable[[], bool]
) -> Iterator[str]:
    """Yield the lines that are sent of a prediction: progress, and data or an error.

    Args:
        work: See `predict_upload`.
        upload: The upload, which is kept if it succeeds.
        uploads: Where it is kept.
        is_gone: Whether the browser has ended the request.
    """
    last, is_done = 0.0, False
    try:
        for item in work:
            if is_gone():
                return
            if not isinstance(item, Progress):
                is_done = True
                uploads.keep(upload)
                yield json.dumps(item) + "\n"
            elif not item.done or item.seconds - last >= _REPORT_SECONDS:
                last = item.seconds
                yield json.dumps(item._asdict()) + "\n"
    except InputError as error:
        text = str(error).removeprefix(f"{upload.path}: ")
        yield json.dumps({"error": f"{upload.name}: {text}"}) + "\n"
    except cv2.error:
        yield json.dumps({"error": f"{upload.name}: cannot be decoded"}) + "\n"
    finally:
        work.close()  # ends a drawn video that is not complete
        if not is_done:
            upload.close()


class PoseChoice:
    """A pose, and the same with other detectors and thresholds."""

    def __init__(self, pose: Pose, detectors: Detectors):
        """Create the choice.

        Args:
            pose: Has the first of the detectors, with the threshold that the page starts with.
            detectors: The detectors; none to leave no choice.
        """
        self.pose, self._lock = pose, threading.Lock()
        self.detectors = detectors
        self._load = functools.lru_cache(_LOADED)(
            lambda name, threshold: detectors[name](pose, threshold)
        )

    def __call__(self, form: Mapping[str, str]) -> Pose:
        """Return the pose with the `detector` and `threshold` of a form."""
        name = form.get("detector", "")
        if name not in self.detectors:
            return self.pose
        try:
            threshold = round(float(form.get("threshold") or 0), 2)
        except (ValueError, OverflowError):
            threshold = 0.0
        if not 0 < threshold <= 1:
            threshold = None  # that of the detector
            if name == next(iter(self.detectors)):
                return self.pose
        with self._lock:
            detector = self._load(name, threshold)
        other = copy.copy(self.pose)  # shares network and lock
        other.detector = detector
        return other


def _colors() -> dict:
    """Return the colors of drawn files as CSS."""

    def css(color) -> str:
        return "#" + "".join(f"{channel:02x}" for channel in color[::-1])

    named = {"left": LEFT, "right": RIGHT, "middle": MIDDLE}
    return {**{k: css(v) for k, v in named.items()}, "tags": [css(c) for c in TAG_COLORS]}


def make_app(
    pose: Pose,
    options: PredictOptions,
    limits: Limits,
    port: int,
    detectors: Detectors | None = None,
):
    """Return the web application; InputError if Flask is not installed.

    Args:
        pose: Predicts.
        options: Options of the prediction.
        limits: Limits of uploads.
        port: The port.
        detectors: The detectors to choose from, that of `pose` first; none to leave no choice.
    """
    try:
        import flask
        from werkzeug.exceptions import HTTPException
    except ImportError as error:
        raise InputError(_MISSING) from error
    app = flask.Flask(__name__, static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = limits.megabytes * 1_000_000
    # Browsers omit the default port.
    hosts = {f"{name}:{port}" for name in NAMES} | (set(NAMES) if port == 80 else set())
    uploads = app.uploads = Uploads()
    choose = PoseChoice(pose, detectors or {})

    @app.before_request
    def own_page_only():
        # Another site's page could make browsers send requests here.
        origin = flask.request.headers.get("Origin")
        if flask.request.host not in hosts or (
            origin and origin not in {f"http://{host}" for host in hosts}
        ):
            flask.abort(403, "this page answers this computer only")

    @app.after_request
    def set_security_headers(response):
        policy = (
            "default-src 'self' blob: data:; script-src 'self' 'unsafe-inline'; "
            "style-src 'self' 'unsafe-inline'"
        )
        response.headers["Content-Security-Policy"] = f"{policy}; frame-ancestors 'none'"
        response.headers["X-Content-Type-Options"] = "nosniff"
        return response

    @app.get("/")
    def page():
        return flask.Response(PAGE.read_bytes(), mimetype="text/html")

    @app.get("/settings")
    def settings():
        return {**limits._asdict(), "detectors": list(detectors or ()), "colors": _colors()}

    @app.get("/drawn/<token>")
    def drawn(token):
        upload = uploads.find(token)
        if upload is None or not upload.drawn.exists():
            flask.abort(404, "no longer there; send the file again")
        name = f"{Path(upload.name).stem}_poses{upload.drawn.suffix}"
        return flask.send_file(upload.drawn.resolve(), as_attachment=True, download_name=name)

    @app.get("/frame/<token>/<int:number>")
    def frame(token, number):
        upload = uploads.find(token)
        file = upload.frame(number) if upload is not None and upload.is_video else None
        if file is None:
            flask.abort(404, "no longer there; send the file again")
        return flask.send_file(file.resolve(), mimetype="image/jpeg")

    @app.post("/pose")
    def upload():
        file = flask.request.files.get("file")
        name = Path(file.filename or "").name if file else ""
        if not media_type(name):
            return {"error": f"{name or 'no file'}: expected an image or a video"}, 400
        taken = Upload(name)
        file.save(taken.path)
        is_gone = flask.request.environ.get("waitress.client_disconnected", lambda: False)
        form = flask.request.form
        work = predict_upload(lambda: choose(form), taken, options, limits)
        lines = _answer(work, taken, uploads, is_gone)
        return flask.Response(lines, mimetype="application/x-ndjson")

    @app.errorhandler(HTTPException)
    def handle_http_error(error):
        large = f"larger than the {limits.megabytes} MB that this page takes"
        return {"error": large if error.code == 413 else error.description}, error.code

    return app


def serve(
    load: Callable[[], Pose],
    options: PredictOptions,
    limits: Limits,
    port: int,
    detectors: Detectors | None = None,
) -> None:
    """Serve the page until interrupted.

    Args:
        load: Loads the Pose.
        options: Options of the prediction.
        limits: Limits of uploads.
        port: The port.
        detectors: See `make_app`.

    Raises:
        InputError: For a port in use, and if Flask or waitress is not installed.
    """
    try:
        from waitress import create_server
    except ImportError as error:
        raise InputError(_MISSING) from error
    pose = load()
    app = make_app(pose, options, limits, port, detectors)
    # Compile before the first visitor.
    blank = np.zeros((256, 256, 3), np.uint8)
    pose(blank, full_image_box(blank))
    # waitress buffers requests on disk: limit them to a form with one file.
    limit = app.config["MAX_CONTENT_LENGTH"] + 100_000
    try:
        server = create_server(
            app,
            host=HOST,
            port=port,
            threads=4,
            max_request_body_size=limit,
            channel_request_lookahead=1,  # sees that a visitor has gone
        )
    except OSError as error:
        raise InputError(f"--port={port}: {error.strerror or error}; give another one") from error
    print(f"open http://{HOST}:{port} ; Ctrl-C ends it", flush=True)
    try:
        server.run()
    finally:
        app.uploads.close()
