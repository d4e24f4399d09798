"""People that do not exist: bodies in three dimensions, drawn into pictures with exact annotations."""
