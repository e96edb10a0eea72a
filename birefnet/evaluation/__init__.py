"""The field's measures of masks and mattes, and what runs them over a data set. Needs scipy and, for HCE, scikit-image
and OpenCV (requirements-train.txt); numpy only, no PyTorch."""
