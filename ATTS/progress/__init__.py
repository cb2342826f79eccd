"""How far a run has come: counted while it goes, shown in words."""
