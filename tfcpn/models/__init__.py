"""Networks: architectures, losses, and pretrained weights."""
