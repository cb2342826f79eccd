"""Accuracy against cost: runs at many settings, their table and picture, and a setting chosen with a certificate."""
