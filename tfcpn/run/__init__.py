"""What lies in a model_dir: config.json, checkpoints, the log."""
