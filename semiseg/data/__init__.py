"""Data sets, lists, augmentation and streams: numpy, OpenCV and Pillow only, every random generator explicit."""
