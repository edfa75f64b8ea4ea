"""Signatures of images: sums of all files of a folder, signed with the operator's own key."""
