"""tfcpn: the Cascaded Pyramid Network (COCO keypoints 2017) in TensorFlow 2."""
