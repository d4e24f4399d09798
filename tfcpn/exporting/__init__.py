"""A trained network out of the house: files of other runtimes, and how they compare with Keras."""
