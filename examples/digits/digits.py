#!/usr/bin/env python3
"""Writes scikit-learn's bundled digits for main.cc:  digits.py OUT

1,797 images of 8 x 8 pixels, each as 64 bytes of brightness (0 to 16) and one byte of label, in the
order in which scikit-learn has them.
"""
import sys

import numpy
from sklearn.datasets import load_digits

digits = load_digits()
rows = numpy.concatenate([digits.data, digits.target[:, None]], axis=1).astype(numpy.uint8)
rows.tofile(sys.argv[1])
print(f"{len(rows)} images in {sys.argv[1]}")
