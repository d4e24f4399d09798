"""The state of a run in its model_dir: config.json and checkpoints."""
