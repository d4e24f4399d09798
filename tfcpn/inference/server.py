"""A page on this computer that shows poses of an uploaded image or short video."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from tfcpn.data.images import read_image
from tfcpn.inference.batch import PredictOptions, media_type
from tfcpn.inference.detectors import full_image_box
from tfcpn.inference.estimator import Person
from tfcpn.inference.outputs import results, to_coco
from tfcpn.inference.pose import Pose
from tfcpn.inference.tracker import Tracker
from tfcpn.inference.video import VideoReader, no_frame
from tfcpn.skeleton import Skeleton
from tfcpn.utils.errors import InputError

HOST = "127.0.0.1"  # this computer only
NAMES = (HOST, "localhost")  # host names that a browser may use; other sites' pages are refused
_MISSING = "--serve needs Flask and waitress; pip install 'tfcpn[serve]'"
PAGE = Path(__file__).parent / "page" / "index.html"


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
    }


def predict_upload(
    pose: Pose, path: str, name: str, options: PredictOptions, limits: Limits
) -> dict:
    """Return the page's data for an uploaded file; InputError if it is unreadable or too long."""
    start, skeleton = time.monotonic(), pose.people_skeleton
    if media_type(name) == "image":
        image = read_image(path)
        shown, times, size = [pose(image)], [0.0], image.shape[:2]
    else:
        shown, times, size = _video(pose, path, options, limits)
    place = {"height": size[0], "width": size[1]}
    video = media_type(name) == "video"
    frames = []
    for number, people in enumerate(shown):
        when = {"frame": number, "seconds": round(times[number], 4)} if video else {}
        frames.append({**place, **when, "people": [to_coco(person) for person in people]})
    return {
        **place,
        "video": video,
        "keypoints": list(pose.keypoint_names),
        "sides": [sides(skeleton, keypoint) for keypoint in range(skeleton.num_keypoints)],
        "limbs": [[a, b, sides(skeleton, a, b)] for a, b in skeleton.limbs],
        "frames": [
            {"seconds": round(seconds, 4), "people": [_person_json(person) for person in people]}
            for seconds, people in zip(times, shown)
        ],
        "results": json.loads(
            "".join(results([{"name": name, "video": video}], lambda record: frames, skeleton))
        ),
        "seconds": time.monotonic() - start,
    }


def _video(
    pose: Pose, path: str, options: PredictOptions, limits: Limits
) -> tuple[list[list[Person]], list[float], tuple[int, int]]:
    """Return the people of each frame, the frames' times in seconds, and their (height, width)."""
    tracker, shown, times, size = (
        Tracker(pose, options.detect_every, options.smooth, options.track_timeout),
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


def make_app(pose: Pose, options: PredictOptions, limits: Limits, port: int):
    """Return the web application; InputError if Flask is not installed."""
    try:
        import flask
        from werkzeug.exceptions import HTTPException
    except ImportError as error:
        raise InputError(_MISSING) from error
    app = flask.Flask(__name__, static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = limits.megabytes * 1_000_000
    # Browsers omit the default port.
    hosts = {f"{name}:{port}" for name in NAMES} | (set(NAMES) if port == 80 else set())

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

    @app.post("/pose")
    def upload():
        file = flask.request.files.get("file")
        name = Path(file.filename or "").name if file else ""
        if not media_type(name):
            return {"error": f"{name or 'no file'}: expected an image or a video"}, 400
        # The name from the browser only decides the type of the file.
        with tempfile.TemporaryDirectory() as folder:
            path = str(Path(folder) / f"upload{Path(name).suffix.lower()}")
            file.save(path)
            try:
                return predict_upload(pose, path, name, options, limits)
            except InputError as error:
                return {"error": f"{name}: {str(error).removeprefix(f'{path}: ')}"}, 400
            except cv2.error:
                return {"error": f"{name}: cannot be decoded"}, 400

    @app.errorhandler(HTTPException)
    def handle_http_error(error):
        large = f"larger than the {limits.megabytes} MB that this page takes"
        return {"error": large if error.code == 413 else error.description}, error.code

    return app


def serve(load: Callable[[], Pose], options: PredictOptions, limits: Limits, port: int) -> None:
    """Serve the page until interrupted.

    Args:
        load: Loads the Pose.
        options: Options of the prediction.
        limits: Limits of uploads.
        port: The port.

    Raises:
        InputError: For a port in use, and if Flask or waitress is not installed.
    """
    try:
        from waitress import create_server
    except ImportError as error:
        raise InputError(_MISSING) from error
    pose = load()
    app = make_app(pose, options, limits, port)
    # Compile before the first visitor.
    blank = np.zeros((256, 256, 3), np.uint8)
    pose(blank, full_image_box(blank))
    # waitress buffers requests on disk: limit them to a form with one file.
    limit = app.config["MAX_CONTENT_LENGTH"] + 100_000
    try:
        server = create_server(app, host=HOST, port=port, threads=4, max_request_body_size=limit)
    except OSError as error:
        raise InputError(f"--port={port}: {error.strerror or error}; give another one") from error
    print(f"open http://{HOST}:{port} ; Ctrl-C ends it", flush=True)
    server.run()
