"""MediaPipe's PoseLandmarker on images or a video, as JSON: run with the Python that has mediapipe.

usage: landmarker.py MODE PEOPLE FILE.task PATH...

MODE is image (each image alone) or video (the images are the frames of a video, 30 per second). For
each image, a list of people, each with landmarks [x, y, z, visibility, presence] as MediaPipe
gives them and world landmarks [x, y, z] in meters; and the seconds of the whole.
"""

import json
import sys
import time

FRAMES_PER_SECOND = 30


def main(mode, people, task, paths):
    import cv2
    import mediapipe
    from mediapipe.tasks import python as tasks
    from mediapipe.tasks.python import vision

    options = vision.PoseLandmarkerOptions(
        base_options=tasks.BaseOptions(model_asset_path=task),
        running_mode=vision.RunningMode[mode.upper()],
        num_poses=int(people),
    )
    found, seconds = [], 0.0
    with vision.PoseLandmarker.create_from_options(options) as landmarker:
        for number, path in enumerate(paths):
            pixels = cv2.cvtColor(cv2.imread(path), cv2.COLOR_BGR2RGB)
            image = mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=pixels)
            start = time.perf_counter()
            if mode == "video":
                milliseconds = round(1000 * number / FRAMES_PER_SECOND)
                result = landmarker.detect_for_video(image, milliseconds)
            else:
                result = landmarker.detect(image)
            seconds += time.perf_counter() - start
            found.append(
                [
                    {
                        "landmarks": [[p.x, p.y, p.z, p.visibility, p.presence] for p in points],
                        "world": [[p.x, p.y, p.z] for p in world],
                    }
                    for points, world in zip(result.pose_landmarks, result.pose_world_landmarks)
                ]
            )
    answer = {"version": mediapipe.__version__, "seconds": seconds, "images": found}
    print(json.dumps(answer))


if __name__ == "__main__":
    main(*sys.argv[1:4], sys.argv[4:])
