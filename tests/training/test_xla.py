"""--xla: the same steps, compiled."""

import numpy as np
import pytest

from support.tiny import build
from support.tiny_steps import SIZE, trained


@pytest.mark.parametrize("replicas", [1, 2])
def test_compiled_steps_learn_the_same(replicas, two_replicas):
    strategy = two_replicas if replicas == 2 else None
    plain, compiled = trained(4, strategy), trained(4, strategy, xla=True)
    for expected, actual in zip(plain[2], compiled[2]):
        np.testing.assert_allclose(actual, expected, rtol=1e-4)
    names = [variable.name for variable in build(SIZE, 17).weights]
    for name, a, b in zip(names, plain[0][-1], compiled[0][-1]):
        # The gradient of a bias before a batch norm is only rounding, and the mean of the norm
        # follows the bias.
        if name not in ("only/bias:0", "norm/moving_mean:0"):
            np.testing.assert_allclose(b, a, rtol=1e-2, atol=2e-4, err_msg=name)
