"""The subject that is meant: composed scenes, the measures of Pick Subject, and the training of its
selector."""
