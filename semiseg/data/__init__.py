"""Data sets, lists, augmentation and streams: numpy, OpenCV and Pillow only, and explicit random generators everywhere."""
