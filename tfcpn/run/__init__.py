"""What lies in a model_dir: config.json, snapshots, the log."""
