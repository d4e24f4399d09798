"""Export to MediaPipe, TensorFlow Lite, ONNX and SavedModel, and verify against Keras."""
