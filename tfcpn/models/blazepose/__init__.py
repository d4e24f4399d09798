"""BlazePose: MediaPipe's pose landmark network and its detector."""
