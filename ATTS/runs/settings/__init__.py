"""Settings of each front door: one frozen dataclass each, from which the flags are made.

Names are those of the published flags: ``small_model`` is the draft and ``eval_model`` the target.
Inside the package they are called draft and target; here is where the names meet.
"""
