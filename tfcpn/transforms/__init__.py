"""Regions of images, crops of them, and how their pixels become inputs."""
