"""What docs/GUARANTEES.md says, measured: by simulation, on recorded runs, and in time."""
