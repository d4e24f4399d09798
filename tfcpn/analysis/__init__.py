"""Where the points of AP are lost: evaluations taken apart by kinds of errors, joints and people."""
