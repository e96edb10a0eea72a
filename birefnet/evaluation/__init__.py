"""Measures of masks and mattes, and their evaluation over a data set.

NumPy only, no PyTorch. Needs scipy and, for HCE, scikit-image and OpenCV (requirements-train.txt).
"""
