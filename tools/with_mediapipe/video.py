"""MediaPipe's own Pose on a video, timed: run by tools/benchmark.py with the Python that has
mediapipe.

usage: video.py VIDEO ROUNDS   writes the seconds of each round and the number of frames with
a person, as JSON.
"""

import json
import sys
import time


def main(video, rounds):
    import cv2
    import mediapipe

    seconds, found = [], 0
    for _ in range(rounds + 1):
        capture = cv2.VideoCapture(video)
        with mediapipe.solutions.pose.Pose(model_complexity=1) as pose:
            start, found = time.perf_counter(), 0
            while True:
                good, frame = capture.read()
                if not good:
                    break
                found += (
                    pose.process(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)).pose_landmarks is not None
                )
        seconds.append(time.perf_counter() - start)
    print(json.dumps({"seconds": seconds[1:], "found": found}))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
