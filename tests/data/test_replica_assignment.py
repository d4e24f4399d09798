"""Assignment of the examples of a global batch to replicas."""

import numpy as np
import pytest
import tensorflow as tf

from tfcpn.data.sampling import assign_replicas


def dealt(images, alone=None, replicas=2, batches=1):
    alone = [False] * len(images) if alone is None else alone
    return assign_replicas(
        tf.constant(images, tf.int64), tf.constant(alone), replicas, batches
    ).numpy()


def random_people(seed, count):
    """Images of 1 to 6 people, some of them in this batch."""
    rng = np.random.default_rng(seed)
    of_image = rng.integers(1, 7, 200)
    images = rng.choice(np.repeat(np.arange(200), of_image), count, replace=False)
    return images, of_image[images] == 1


def test_the_image_id_decides_the_replica():
    assert dealt([4, 7, 4, 7, 9, 2]).tolist() == [0, 1, 0, 1, 1, 0]


def test_overflow_of_a_replica_goes_to_free_slots():
    assert dealt([4, 6, 4, 7]).tolist() == [0, 0, 1, 1]


def test_single_person_images_are_moved_first():
    assert dealt([4, 6, 4, 7], [False, True, False, True]).tolist() == [0, 1, 0, 1]


@pytest.mark.parametrize("replicas, share", [(2, 8), (4, 8), (8, 3)])
def test_replicas_get_equal_shares_and_examples_move_only_on_overflow(replicas, share):
    for seed in range(20):
        images, alone = random_people(seed, replicas * share)
        hands, wish = dealt(images, alone, replicas), images % replicas
        assert np.bincount(hands, minlength=replicas).tolist() == [share] * replicas
        for replica in range(replicas):
            wanted = wish == replica
            assert (hands[wanted] == replica).sum() == min(wanted.sum(), share)
            # If a person from a shared image was moved, all single-person images were moved.
            if (hands[wanted & ~alone] != replica).any():
                assert (hands[wanted & alone] != replica).all()


def test_several_batches_at_once_are_assigned_as_one_by_one():
    images, alone = random_people(3, 5 * 24)
    one_by_one = [dealt(images[i : i + 24], alone[i : i + 24], 4) for i in range(0, 120, 24)]
    np.testing.assert_array_equal(dealt(images, alone, 4, 5), np.concatenate(one_by_one))
