"""People that do not exist: bodies in three dimensions, drawn into images with exact annotations."""
