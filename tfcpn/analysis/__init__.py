"""Where the points of AP are lost: evaluations taken apart by kinds of errors, keypoints and people."""
