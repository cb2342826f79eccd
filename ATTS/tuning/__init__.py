"""The best setting within a budget, searched for by replaying finished runs."""
