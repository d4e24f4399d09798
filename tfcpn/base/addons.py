"""The one place that imports tensorflow-addons, which greets every import with its end of life."""

from __future__ import annotations

import warnings

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import tensorflow_addons as tfa

transform = tfa.image.transform
gaussian_filter2d = tfa.image.gaussian_filter2d
