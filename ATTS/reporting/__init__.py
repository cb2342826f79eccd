"""Finished runs as a static site that opens from the disk: overview, questions, transcripts."""
