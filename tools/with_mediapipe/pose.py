"""MediaPipe's own Pose on images, as JSON: run by tools/mediapipe_check.py with the Python that has
mediapipe.

usage: pose.py MODEL.tflite PICTURE...   writes, in the images' order, 33 [x, y] in pixels, or null.
"""

import json
import shutil
import sys
import tempfile
from pathlib import Path


def main(model, images):
    import cv2
    import mediapipe

    # Pose reads its network from its package: for this run the given file lies there.
    place = Path(mediapipe.__file__).parent / "modules/pose_landmark/pose_landmark_full.tflite"
    with tempfile.TemporaryDirectory() as folder:
        own = shutil.copy(place, folder)
        try:
            shutil.copy(model, place)
            found = []
            for path in images:
                image = cv2.imread(path)
                height, width = image.shape[:2]
                with mediapipe.solutions.pose.Pose(
                    static_image_mode=True, model_complexity=1
                ) as pose:
                    landmarks = pose.process(cv2.cvtColor(image, cv2.COLOR_BGR2RGB)).pose_landmarks
                found.append(
                    landmarks and [[p.x * width, p.y * height] for p in landmarks.landmark]
                )
        finally:
            shutil.copy(own, place)
    print(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
