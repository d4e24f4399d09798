"""A page on this computer on which an image or a short video is dropped, and poses are seen."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from tfcpn.base.errors import InputError
from tfcpn.picture.read import read_image
from tfcpn.prediction.job import PredictOptions
from tfcpn.prediction.person import Person
from tfcpn.prediction.pose import Pose
from tfcpn.prediction.sources import kind
from tfcpn.prediction.tracker import Tracker
from tfcpn.prediction.video_file import VideoReader, no_frame
from tfcpn.prediction.whom import full_image_box
from tfcpn.prediction.written import entry, results
from tfcpn.skeleton import Skeleton

HOST = "127.0.0.1"  # nobody but this computer
NAMES = (HOST, "localhost")  # under which a browser may ask: no other site's page that was led here
_WANTED = "--serve wants Flask and waitress; pip install 'tfcpn[serve]'"
PAGE = Path(__file__).parent / "page" / "index.html"


class Limits(NamedTuple):
    """megabytes: of an upload. frames: of a video."""

    megabytes: int = 50
    frames: int = 900


def sides(skeleton: Skeleton, *keypoints: int) -> str:
    """ "left", "right" or "middle", of a keypoint or of all of several."""
    for side in (0, 1):
        if {pair[side] for pair in skeleton.pairs}.issuperset(keypoints):
            return ("left", "right")[side]
    return "middle"


def _told(person: Person) -> dict:
    """What the page draws of a person. Keypoints that there are not are null: JSON has no NaN."""
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
    }


def answer(pose: Pose, path: str, name: str, how: PredictOptions, limits: Limits) -> dict:
    """What the page gets of an uploaded file. Raises InputError for one that cannot be read or is too long."""
    start, skeleton = time.monotonic(), pose.people_skeleton
    if kind(name) == "picture":
        image = read_image(path)
        shown, times, size = [pose(image)], [0.0], image.shape[:2]
    else:
        shown, times, size = _video(pose, path, how, limits)
    place = {"height": size[0], "width": size[1]}
    video = kind(name) == "video"
    frames = []
    for number, people in enumerate(shown):
        when = {"frame": number, "seconds": round(times[number], 4)} if video else {}
        frames.append({**place, **when, "people": [entry(person) for person in people]})
    return {
        **place,
        "video": video,
        "keypoints": list(pose.keypoints),
        "sides": [sides(skeleton, keypoint) for keypoint in range(skeleton.count)],
        "limbs": [[a, b, sides(skeleton, a, b)] for a, b in skeleton.limbs],
        "frames": [
            {"seconds": round(seconds, 4), "people": [_told(person) for person in people]}
            for seconds, people in zip(times, shown)
        ],
        "results": json.loads(
            "".join(results([{"name": name, "video": video}], lambda record: frames, skeleton))
        ),
        "seconds": time.monotonic() - start,
    }


def _video(
    pose: Pose, path: str, how: PredictOptions, limits: Limits
) -> tuple[list[list[Person]], list[float], tuple[int, int]]:
    """The people of each frame, the frames' times in seconds, and their size (height, width)."""
    tracker, shown, times, size = (
        Tracker(pose, how.detect_every, how.smooth, how.memory),
        [],
        [],
        (0, 0),
    )
    with VideoReader(path) as video:
        for image, seconds in video:
            if len(shown) == limits.frames:
                raise InputError(
                    f"has more than {limits.frames} frames; cut it, or start with a larger --frames"
                )
            shown.append(tracker(image, seconds))
            times.append(seconds)
            size = image.shape[:2]
        if not shown:
            raise InputError(no_frame(path, video.codec))
        return shown, times, size


def make_app(pose: Pose, how: PredictOptions, limits: Limits, port: int):
    """The web application. Raises InputError if Flask is not installed."""
    try:
        import flask
        from werkzeug.exceptions import HTTPException
    except ImportError as error:
        raise InputError(_WANTED) from error
    app = flask.Flask(__name__, static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = limits.megabytes * 1_000_000
    # Browsers leave out the port that is usual.
    hosts = {f"{name}:{port}" for name in NAMES} | (set(NAMES) if port == 80 else set())

    @app.before_request
    def own_page_only():
        # Another site's page could send its visitors' browsers here.
        origin = flask.request.headers.get("Origin")
        if flask.request.host not in hosts or (
            origin and origin not in {f"http://{host}" for host in hosts}
        ):
            flask.abort(403, "this page answers this computer only")

    @app.after_request
    def strictly(response):
        policy = "default-src 'self' blob: data:; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'"
        response.headers["Content-Security-Policy"] = f"{policy}; frame-ancestors 'none'"
        response.headers["X-Content-Type-Options"] = "nosniff"
        return response

    @app.get("/")
    def page():
        return flask.Response(PAGE.read_bytes(), mimetype="text/html")

    @app.post("/pose")
    def upload():
        file = flask.request.files.get("file")
        name = Path(file.filename or "").name if file else ""
        if not kind(name):
            return {"error": f"{name or 'no file'}: want an image or a video"}, 400
        # Under a name of its own: what the browser calls it decides nothing but what kind it is.
        with tempfile.TemporaryDirectory() as folder:
            path = str(Path(folder) / f"upload{Path(name).suffix.lower()}")
            file.save(path)
            try:
                return answer(pose, path, name, how, limits)
            except InputError as error:
                return {"error": f"{name}: {str(error).removeprefix(f'{path}: ')}"}, 400
            except cv2.error:
                return {"error": f"{name}: cannot be decoded"}, 400

    @app.errorhandler(HTTPException)
    def told(error):
        large = f"larger than the {limits.megabytes} MB that this page takes"
        return {"error": large if error.code == 413 else error.description}, error.code

    return app


def serve(load: Callable[[], Pose], how: PredictOptions, limits: Limits, port: int) -> None:
    """Serve the page until interrupted. load: makes the Pose. Raises InputError for a port that is taken, and where
    Flask or waitress is not installed.
    """
    try:
        from waitress import create_server
    except ImportError as error:
        raise InputError(_WANTED) from error
    pose = load()
    app = make_app(pose, how, limits, port)
    # The first image takes seconds, in which TensorFlow compiles: let it not be the visitor's.
    blank = np.zeros((256, 256, 3), np.uint8)
    pose(blank, full_image_box(blank))
    # Before the application is asked, waitress keeps what comes on the disk: as much as a form of one file needs.
    most = app.config["MAX_CONTENT_LENGTH"] + 100_000
    try:
        server = create_server(app, host=HOST, port=port, threads=4, max_request_body_size=most)
    except OSError as error:
        raise InputError(f"--port={port}: {error.strerror or error}; give another one") from error
    print(f"open http://{HOST}:{port} ; Ctrl-C ends it", flush=True)
    server.run()
