"""What is on disk: samples, journals, calibration arrays, recordings, and how they were made."""
