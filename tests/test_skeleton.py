from tfcpn.skeleton import JOINTS, LEFT_RIGHT_PAIRS, LIMBS, NUM_JOINTS, mirror

MIRROR = mirror(NUM_JOINTS)


def test_pairs_are_those_of_coco():
    assert LEFT_RIGHT_PAIRS == ((1, 2), (3, 4), (5, 6), (7, 8), (9, 10), (11, 12), (13, 14), (15, 16))


def test_mirroring_twice_changes_nothing():
    assert [MIRROR[MIRROR[j]] for j in range(NUM_JOINTS)] == list(range(NUM_JOINTS))
    assert MIRROR[0] == 0 and JOINTS[MIRROR[JOINTS.index("left_knee")]] == "right_knee"


def test_limbs_reach_every_joint_and_their_mirror_is_a_limb():
    assert {j for limb in LIMBS for j in limb} == set(range(NUM_JOINTS))
    limbs = {frozenset(limb) for limb in LIMBS}
    assert {frozenset(MIRROR[j] for j in limb) for limb in limbs} == limbs
